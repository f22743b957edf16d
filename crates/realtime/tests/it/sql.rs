//! The schema `realtime` as projects have it: messages that SQL sends, what their payloads are, and who may send.

use serde_json::{Value, json};
use store::postgres::Client;
use testkit::{TestProject, project, run};

/// What was sent to `topic`, oldest first: event, payload, private.
async fn sent(admin: &Client, topic: &str) -> Vec<(String, Value, bool)> {
    let text =
        "select event, payload, private from realtime.messages where topic = $1 order by inserted_at, event";
    let rows = admin.query(text, &[&topic]).await.unwrap();
    rows.iter().map(|it| (it.get(0), it.get(1), it.get(2))).collect()
}

/// Run `text` as an API caller does: as `role`, with claims.
async fn run_as(project: &TestProject, role: &str, text: &str) -> Result<(), store::postgres::Error> {
    let login = &project.project.logins.authenticator;
    let client = project.databases.server().login(&project.project.database, login).await.unwrap();
    let claims = json!({"role": role, "sub": "4f1a1c1e-0000-4000-8000-000000000001"});
    client
        .batch_execute(&format!("begin; set local role {role}; set local request.jwt.claims = '{claims}'"))
        .await?;
    client.batch_execute(text).await?;
    client.batch_execute("commit").await
}

#[test]
fn what_is_sent_gets_an_id_unless_it_has_one() {
    run(async {
        let project = project("sqlsend").await;
        let owner = project.owner().await;
        owner
            .batch_execute(
                r#"select realtime.send('{"a": 1}', 'e1', 't');
                   select realtime.send('{"id": "mine"}', 'e2', 't', false);
                   select realtime.send('[1, 2]', 'e3', 't');"#,
            )
            .await
            .unwrap();
        let [first, second, third] = sent(&owner, "t").await.try_into().unwrap();
        assert_eq!(first.0, "e1");
        assert_eq!(first.1["a"], 1);
        assert_eq!(first.1["id"].as_str().unwrap().len(), 36);
        assert!(first.2, "private unless told otherwise");
        assert_eq!(second, ("e2".into(), json!({"id": "mine"}), false));
        assert_eq!(third.1, json!([1, 2]));

        owner.batch_execute(r"select realtime.send_binary('\x00ff', 'raw', 'b')").await.unwrap();
        let text = "select binary_payload, payload::text, extension from realtime.messages where topic = 'b'";
        let row = owner.query_one(text, &[]).await.unwrap();
        assert_eq!(row.get::<_, Vec<u8>>(0), [0, 0xff]);
        assert_eq!(row.get::<_, Option<String>>(1), None);
        assert_eq!(row.get::<_, String>(2), "broadcast");
    });
}

#[test]
fn nobody_sends_without_a_policy_and_no_transaction_fails_for_it() {
    run(async {
        let project = project("sqlpolicy").await;
        let owner = project.owner().await;
        owner.batch_execute("create table public.notes (id int)").await.unwrap();
        let send = "insert into public.notes values (1); select realtime.send('{}', 'e', 'open')";
        for role in ["anon", "authenticated"] {
            run_as(&project, role, send).await.unwrap();
        }
        assert!(sent(&owner, "open").await.is_empty());
        let notes: i64 = owner.query_one("select count(*) from public.notes", &[]).await.unwrap().get(0);
        assert_eq!(notes, 2);
        // Nor past the functions.
        for table in ["messages", &today(&owner).await] {
            let text =
                format!("insert into realtime.{table} (topic, extension) values ('open', 'broadcast')");
            let refused = run_as(&project, "anon", &text).await.unwrap_err();
            assert_eq!(refused.code().unwrap().code(), "42501", "{table}");
        }

        owner
            .batch_execute(
                "create policy send on realtime.messages for insert to authenticated
                    with check (realtime.topic() = 'open' and topic = 'open' and extension = 'broadcast')",
            )
            .await
            .unwrap();
        run_as(&project, "authenticated", "select realtime.send('{}', 'e', 'open')").await.unwrap();
        run_as(&project, "authenticated", "select realtime.send('{}', 'e', 'other')").await.unwrap();
        run_as(&project, "anon", "select realtime.send('{}', 'e', 'open')").await.unwrap();
        assert_eq!(sent(&owner, "open").await.len(), 1);
        assert!(sent(&owner, "other").await.is_empty());
    });
}

async fn today(client: &Client) -> String {
    let text = "select to_char(now() at time zone 'utc', '\"messages_\"YYYY_MM_DD')";
    client.query_one(text, &[]).await.unwrap().get(0)
}

#[test]
fn triggers_tell_of_rows_as_supabase_does() {
    run(async {
        let project = project("sqlchanges").await;
        let owner = project.owner().await;
        owner
            .batch_execute(
                "create table public.tasks (id int primary key, title text);
                 create function public.tell() returns trigger language plpgsql as $$
                 begin
                    perform realtime.broadcast_changes(
                        'tasks:' || coalesce(new.id, old.id), tg_op, tg_op, tg_table_name, tg_table_schema, new, old
                    );
                    return null;
                 end $$;
                 create trigger tell after insert or update or delete on public.tasks
                    for each row execute function public.tell();
                 create policy send on realtime.messages for insert to authenticated with check (true)",
            )
            .await
            .unwrap();
        let work = "insert into public.tasks values (7, 'a'); update public.tasks set title = 'b'; delete from public.tasks";
        run_as(&project, "authenticated", work).await.unwrap();
        let mut all = sent(&owner, "tasks:7").await;
        for it in &mut all {
            assert_eq!(it.1.as_object_mut().unwrap().remove("id").unwrap().as_str().unwrap().len(), 36);
        }
        all.sort_by_key(|it| ["INSERT", "UPDATE", "DELETE"].iter().position(|name| *name == it.0));
        let (a, b) = (json!({"id": 7, "title": "a"}), json!({"id": 7, "title": "b"}));
        let payload = |operation: &str, new: &Value, old: &Value| json!({"operation": operation, "schema": "public", "table": "tasks", "record": new, "old_record": old});
        assert_eq!(
            all,
            [
                ("INSERT".into(), payload("INSERT", &a, &Value::Null), true),
                ("UPDATE".into(), payload("UPDATE", &b, &a), true),
                ("DELETE".into(), payload("DELETE", &Value::Null, &b), true),
            ]
        );

        for bad in [
            "'t', 'e', 'TRUNCATE', 'x', 'y', null, null",
            "'t', 'e', 'INSERT', 'x', 'y', null, null, 'STATEMENT'",
        ] {
            let refused = owner.batch_execute(&format!("select realtime.broadcast_changes({bad})")).await;
            assert_eq!(refused.unwrap_err().code().unwrap().code(), "P0001");
        }
    });
}

async fn partitions(client: &Client) -> Vec<i32> {
    let text = "select to_date(substr(c.relname, 10), 'YYYY_MM_DD') - (now() at time zone 'utc')::date
        from pg_inherits as i join pg_class as c on c.oid = i.inhrelid
        where i.inhparent = 'realtime.messages'::regclass order by 1";
    client.query(text, &[]).await.unwrap().iter().map(|it| it.get(0)).collect()
}

#[test]
fn no_message_is_lost_for_lack_of_a_partition() {
    run(async {
        let project = project("sqlparts").await;
        let owner = project.owner().await;
        assert_eq!(partitions(&owner).await, [-1, 0, 1, 2, 3, 4]);
        // As after days in which nothing of ours ran.
        let today = today(&owner).await;
        owner.batch_execute(&format!("drop table realtime.{today}")).await.unwrap();
        owner
            .batch_execute("create policy send on realtime.messages for insert to anon with check (true)")
            .await
            .unwrap();
        run_as(&project, "anon", "select realtime.send('{}', 'e', 't')").await.unwrap();
        assert_eq!(sent(&owner, "t").await.len(), 1);
        assert_eq!(partitions(&owner).await, [-1, 0, 1, 2, 3, 4]);
        // Nobody reads past the policies by naming a partition.
        let refused = run_as(&project, "anon", &format!("select from realtime.{today}")).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "42501");
    });
}

#[test]
fn the_stream_publishes_messages_as_those_of_one_table() {
    run(async {
        let project = project("sqlpub").await;
        let text =
            "select p.pubinsert and not p.pubdelete and p.pubviaroot, t.schemaname || '.' || t.tablename,
                c.relowner::regrole::text, c.relrowsecurity
            from pg_publication as p join pg_publication_tables as t using (pubname)
            join pg_class as c on c.oid = 'realtime.messages'::regclass
            where pubname = 'supabase_realtime_messages_publication'";
        let row = project.admin().await.query_one(text, &[]).await.unwrap();
        assert!(row.get::<_, bool>(0));
        assert_eq!(row.get::<_, String>(1), "realtime.messages");
        assert_eq!(row.get::<_, String>(2), "supabase_realtime_admin");
        assert!(row.get::<_, bool>(3));
    });
}

#[test]
fn a_trigger_that_runs_as_the_owner_sends_for_users_without_a_policy() {
    run(async {
        let project = project("sqldefiner").await;
        let owner = project.owner().await;
        owner
            .batch_execute(
                "create table public.rooms (id int primary key);
                 create function public.tell_rooms() returns trigger security definer language plpgsql as $$
                 begin
                    perform realtime.send(jsonb_build_object('room', new.id), tg_op, 'rooms', false);
                    return new;
                 end $$;
                 create trigger tell after insert on public.rooms for each row execute function public.tell_rooms()",
            )
            .await
            .unwrap();
        run_as(&project, "anon", "insert into public.rooms values (1), (2)").await.unwrap();
        let mut rooms: Vec<_> =
            sent(&owner, "rooms").await.into_iter().map(|it| it.1["room"].clone()).collect();
        rooms.sort_by_key(ToString::to_string);
        assert_eq!(rooms, [1, 2]);
        // A transaction that is rolled back sends nothing.
        let failing = "insert into public.rooms values (3); select 1 / 0";
        assert!(run_as(&project, "anon", failing).await.is_err());
        assert_eq!(sent(&owner, "rooms").await.len(), 2);
    });
}
