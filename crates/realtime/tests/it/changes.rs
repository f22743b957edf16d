//! Database changes as clients meet them: rows are written by SQL and come by PostgreSQL's stream.

use std::time::Duration;

use realtime::Config;
use serde_json::{Value, json};
use store::Redis;
use testkit::TestProject;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::world::{Client, World, open, secs, token};

const TOPIC: &str = "realtime:db";

/// A table whose rows belong to users, and one that nobody may read.
async fn tables(test: &TestProject) {
    let sql = "create table public.notes (id int8 primary key, owner uuid, body text, tags text[]);
        alter table public.notes enable row level security;
        create policy own on public.notes for select using (owner = auth.uid());
        create table public.hidden (id int primary key);
        revoke all on public.hidden from anon, authenticated;
        alter publication supabase_realtime add table public.notes, public.hidden;";
    test.owner().await.batch_execute(sql).await.unwrap();
}

/// A socket of `user` that asked for `wanted`, and what the server said to that: the ids, and the text that follows.
async fn follow(world: &World, user: Uuid, wanted: Value) -> (Client, Vec<Value>, Value) {
    let claims = json!({"role": "authenticated", "sub": user, "exp": secs(3600)});
    let token = token(&world.project, &claims);
    let mut client = world.connect("2.0.0").await;
    let reply =
        client.join(TOPIC, json!({"config": {"postgres_changes": wanted}, "access_token": token})).await;
    let echoed = reply["response"]["postgres_changes"].as_array().unwrap_or_else(|| panic!("{reply}"));
    let ids = echoed.iter().map(|it| it["id"].clone()).collect();
    loop {
        let told = client.event().await;
        // While the stream starts, others say that it does.
        if told.event == "system" && (told.payload["status"] == "ok" || wanted[0]["table"] == "hidden") {
            return (client, ids, told.payload);
        }
    }
}

#[test]
fn names_that_postgresql_cannot_hold_are_refused_at_once() {
    testkit::run(async {
        let test = testkit::project("nul").await;
        let world = World::new(&test).await;
        for wanted in [
            json!({"schema": "public\0", "table": "notes"}),
            json!({"table": "no\0tes"}),
            json!({"table": "notes", "filter": "id=eq.\0"}),
        ] {
            let mut client = world.connect("2.0.0").await;
            let reply = client.join(TOPIC, json!({"config": {"postgres_changes": [wanted]}})).await;
            assert_eq!(reply["status"], "ok", "{reply}");
            let told = client.event().await;
            assert_eq!((told.event.as_str(), &told.payload["status"]), ("system", &json!("error")));
            let message = told.payload["message"].as_str().unwrap();
            assert!(message.contains("U+0000"), "{message}");
        }
    });
}

#[test]
fn a_channel_hears_when_the_stream_of_changes_stands() {
    testkit::run(async {
        let test = testkit::project("ready").await;
        let world = World::new(&test).await;
        let config = json!({"broadcast": {"replication_ready": true}});
        let mut client = world.joined(TOPIC, config.clone()).await;
        let expected = json!({
            "extension": "system", "status": "ok", "message": "Replication connection established", "channel": "db",
        });
        assert_eq!(client.event().await.payload, expected);
        // What SQL sends from then on arrives.
        let send = "select realtime.send('{\"n\": 1}', 'e', 'db', false)";
        test.owner().await.batch_execute(send).await.unwrap();
        assert_eq!(client.event().await.payload["payload"]["n"], 1);

        // Another process, without Redis, never has it.
        let config_of_other =
            Config { ready_timeout: std::time::Duration::from_secs(1), ..Config::default() };
        let other = World::with(&test, open(), config_of_other, &Redis::none()).await;
        let mut late = other.joined(TOPIC, config).await;
        let told = late.event().await;
        let message = "Replication connection was not established in time";
        assert_eq!((&told.payload["status"], &told.payload["message"]), (&json!("error"), &json!(message)));
        assert_eq!(late.event().await.event, "phx_close");
        assert_eq!(late.join(TOPIC, json!({})).await["status"], "ok");
    });
}

/// Type, record and old record of the next change.
async fn change(client: &mut Client) -> (Value, Value) {
    let told = client.event().await;
    assert_eq!(told.event, "postgres_changes", "{told:?}");
    let data = &told.payload["data"];
    assert_eq!(data["errors"], Value::Null);
    (told.payload["ids"].clone(), json!([data["type"], data["record"], data["old_record"]]))
}

// REQ K3
#[test]
fn users_are_told_of_the_rows_that_policies_show_them() {
    testkit::run(async {
        let test = testkit::project("changes").await;
        tables(&test).await;
        let world = World::new(&test).await;
        let (ada, ben) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let all = json!({"event": "*", "schema": "public", "table": "notes"});
        let short = json!({"event": "INSERT", "schema": "public", "table": "notes", "filter": "id=lt.10"});
        let (mut ada_client, ids, told) = follow(&world, ada, json!([all, short])).await;
        assert_eq!(
            told,
            json!({"extension": "postgres_changes", "status": "ok", "message": "Subscribed to PostgreSQL", "channel": "db"})
        );
        let (mut ben_client, _, _) = follow(&world, ben, json!([{"schema": "*", "event": "*"}])).await;
        let (_refused, _, told) = follow(&world, ada, json!([{"table": "hidden"}])).await;
        assert_eq!(told["status"], "error");
        assert!(told["message"].as_str().unwrap().contains("permission denied for table hidden"), "{told}");

        let sql = format!(
            "insert into notes values (1, '{ada}', 'a', '{{x,y}}'), (2, '{ben}', 'b', null), (30, '{ada}', 'c', null);
             update notes set body = 'changed' where id = 1; delete from notes where id = 30;"
        );
        // Rows that are gone when they are decided about are shown to nobody.
        test.owner().await.batch_execute(&format!("begin; {sql} commit")).await.unwrap();
        let row = |body: &str| json!({"id": 1, "owner": ada, "body": body, "tags": ["x", "y"]});
        assert_eq!(change(&mut ada_client).await, (json!(ids), json!(["INSERT", row("a"), null])));
        assert_eq!(
            change(&mut ada_client).await,
            (json!([ids[0]]), json!(["UPDATE", row("changed"), {"id": 1}]))
        );
        assert_eq!(change(&mut ada_client).await, (json!([ids[0]]), json!(["DELETE", null, {"id": 30}])));
        ada_client.hears_nothing().await;
        let bens = json!({"id": 2, "owner": ben, "body": "b", "tags": null});
        assert_eq!(change(&mut ben_client).await.1, json!(["INSERT", bens, null]));
        assert_eq!(change(&mut ben_client).await.1, json!(["DELETE", null, {"id": 30}]));
        ben_client.hears_nothing().await;
    });
}

#[test]
fn rows_of_partitions_are_decided_by_the_policies_of_the_published_table() {
    testkit::run(async {
        let test = testkit::project("parted").await;
        let sql = "create table public.parts (id int primary key, owner uuid) partition by range (id);
            create table public.parts_1 partition of public.parts for values from (0) to (100);
            alter table public.parts enable row level security;
            create policy own on public.parts for select using (owner = auth.uid());
            create table public.alone (id int primary key, owner uuid) partition by range (id);
            create table public.alone_1 partition of public.alone for values from (0) to (100);
            alter table public.alone_1 enable row level security;
            create policy own on public.alone_1 for select using (owner = auth.uid());
            alter publication supabase_realtime add table public.parts, public.alone_1;";
        test.owner().await.batch_execute(sql).await.unwrap();
        let world = World::new(&test).await;
        let (ada, ben) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let (mut ada_client, _, told) = follow(&world, ada, json!([{"event": "*", "table": "parts"}])).await;
        assert_eq!(told["status"], "ok", "{told}");
        let (mut ben_client, _, _) = follow(&world, ben, json!([{"event": "*", "schema": "public"}])).await;
        let rows = |table: &str| format!("insert into {table} values (1, '{ada}'), (2, '{ben}');");
        let sql = format!("{}{}", rows("parts"), rows("alone"));
        test.owner().await.batch_execute(&sql).await.unwrap();
        // A row that is gone when it is decided about is shown to nobody: one after the other.
        let record = |id: u32, owner: Uuid| json!({"id": id, "owner": owner});
        assert_eq!(change(&mut ada_client).await.1, json!(["INSERT", record(1, ada), null]));
        let mut bens = vec![named(&mut ben_client).await, named(&mut ben_client).await];
        test.owner().await.batch_execute("update parts set id = id + 10").await.unwrap();
        assert_eq!(change(&mut ada_client).await.1, json!(["UPDATE", record(11, ada), {"id": 1}]));
        bens.push(named(&mut ben_client).await);
        test.owner().await.batch_execute("delete from parts where id = 12").await.unwrap();
        assert_eq!(change(&mut ada_client).await.1, json!(["DELETE", null, {"id": 12}]));
        bens.push(named(&mut ben_client).await);
        let expected = [
            json!(["parts", "INSERT", record(2, ben)]),
            json!(["alone_1", "INSERT", record(2, ben)]),
            json!(["parts", "UPDATE", record(12, ben)]),
            json!(["parts", "DELETE", null]),
        ];
        assert_eq!(bens, expected);
        ben_client.hears_nothing().await;
    });
}

/// Table, type and record of the next change.
async fn named(client: &mut Client) -> Value {
    let data = client.event().await.payload["data"].clone();
    json!([data["table"], data["type"], data["record"]])
}

/// The id of the next row that `client` is told of; none when its connection has ended.
async fn id_of_next(client: &mut Client) -> Option<u64> {
    use futures_util::StreamExt as _;
    loop {
        let frame = timeout(Duration::from_secs(30), client.stream.next()).await.expect("nothing comes");
        match frame {
            Some(Ok(Message::Text(text))) => {
                let told: Value = serde_json::from_str(&text).unwrap();
                if told[3] == "postgres_changes" {
                    return told[4]["data"]["record"]["id"].as_u64();
                }
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
            Some(Ok(_)) => {}
        }
    }
}

// REQ K3: 100 % delivered to who reads, whatever the others do.
#[test]
fn a_burst_comes_as_a_whole_to_who_reads_also_beside_one_who_does_not() {
    const ROWS: u64 = 20_000;
    testkit::run(async {
        let test = testkit::project("burst").await;
        let sql = "create table public.events (id int8 primary key, body text);
            alter publication supabase_realtime add table public.events;";
        test.owner().await.batch_execute(sql).await.unwrap();
        let config = Config { max_waiting_bytes: 512 * 1024, ..Config::default() };
        let world = World::with(&test, open(), config, &Redis::none()).await;
        let wanted = json!([{"event": "INSERT", "schema": "public", "table": "events"}]);
        let (mut quick, _, _) = follow(&world, Uuid::from_u128(1), wanted.clone()).await;
        let (mut slow, _, _) = follow(&world, Uuid::from_u128(2), wanted.clone()).await;
        let (mut stuck, _, _) = follow(&world, Uuid::from_u128(3), wanted).await;
        let sql =
            format!("insert into events select it, repeat('x', 1000) from generate_series(1, {ROWS}) it");
        test.owner().await.batch_execute(&sql).await.unwrap();
        let reading = async {
            for id in 1..=ROWS {
                assert_eq!(id_of_next(&mut quick).await, Some(id));
            }
        };
        let dawdling = async {
            for id in 1..=ROWS {
                if id % 5000 == 1 {
                    sleep(Duration::from_secs(1)).await;
                }
                assert_eq!(id_of_next(&mut slow).await, Some(id));
            }
        };
        tokio::join!(reading, dawdling);
        let mut last = 0;
        while let Some(id) = id_of_next(&mut stuck).await {
            last = id;
        }
        assert!(last < ROWS, "who does not read is closed");
    });
}

#[test]
fn nothing_comes_to_a_channel_that_was_left_though_it_waited_already() {
    testkit::run(async {
        let test = testkit::project("leaving").await;
        let sql = "create table public.events (id int8 primary key, body text);
            alter publication supabase_realtime add table public.events;";
        test.owner().await.batch_execute(sql).await.unwrap();
        let world = World::new(&test).await;
        let (mut client, _, _) = follow(&world, Uuid::from_u128(1), json!([{"table": "events"}])).await;
        let sql = "insert into events select it, repeat('x', 1000) from generate_series(1, 20000) it";
        test.owner().await.batch_execute(sql).await.unwrap();
        // The queue fills while nothing is read.
        assert_eq!(id_of_next(&mut client).await, Some(1));
        sleep(Duration::from_secs(1)).await;
        let reference = client.send(TOPIC, "phx_leave", json!({})).await;
        loop {
            let told = client.next().await;
            if told.event == "phx_reply" && told.reference == json!(reference) {
                break;
            }
        }
        assert_eq!(client.next().await.event, "phx_close");
        client.hears_nothing().await;
    });
}
