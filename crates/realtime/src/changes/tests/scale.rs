//! That work is done once for all who need it, and that order holds.

use super::*;

// REQ K3
#[test]
fn a_batch_is_asked_about_once_for_each_user() {
    testkit::run(async {
        let world = World::new("chgmany", NOTES).await;
        let table = world.table("notes").await;
        let mut seats = Vec::new();
        for number in 0..1000_u128 {
            // Every device has a token of its own.
            let claims = json!({"sub": user(number % 100), "role": "authenticated", "exp": 9_000_000_000_u128 + number, "session_id": number});
            let claims = common::jwt::Claims::from_map(claims.as_object().unwrap().clone(), "anon");
            let caller = Caller { claims: Arc::new(claims), authenticated: true };
            seats.push(world.join_topic(&caller, json!({"table": "notes"}), "all").await.unwrap());
        }
        let rows: Vec<String> = (0..200).map(|it| format!("({it}, '{}', 'x')", user(it % 100))).collect();
        world.insert(&table, &format!("insert into notes values {} returning *", rows.join(","))).await;
        assert_eq!(world.asked(), 100);
        let events: Vec<Vec<Arc<Event>>> = seats.iter().map(Seat::events).collect();
        assert!(events.iter().all(|it| it.len() == 2));
        // Equal bytes are one frame.
        assert!(Arc::ptr_eq(&events[7][0], &events[107][0]));
        assert!(!Arc::ptr_eq(&events[7][0], &events[8][0]));
        // Filters come before policies.
        let world_two = json!({"table": "notes", "filter": "id=eq.5000"});
        drop(seats);
        let _seat = world.join(&world.project.user(user(1)), world_two).await.unwrap();
        let asked = world.asked();
        world
            .insert(&table, &format!("insert into notes values (4999, '{}', 'x') returning *", user(1)))
            .await;
        assert_eq!(world.asked(), asked);
    });
}

/// Policies as people write them; only who may see a row is asked about, and PostgreSQL has the last word.
#[test]
fn users_are_not_asked_about_rows_of_others() {
    testkit::run(async {
        let policies = [
            "owner = auth.uid()",
            "(select auth.uid()) = owner",
            "name = auth.uid()::text",
            "owner = auth.uid() and not hidden",
            "owner = auth.uid() or name = (select auth.uid()::text)",
        ];
        let table = |idx: usize, policy: &str| {
            format!(
                "create table t{idx} (id int primary key, owner uuid, name text, hidden bool);
                 alter table t{idx} enable row level security; create policy p on t{idx} using ({policy});"
            )
        };
        let sql: String = policies.iter().enumerate().map(|(idx, it)| table(idx, it)).collect();
        let world = World::new(
            "chgguard",
            &format!("{sql} grant select on all tables in schema public to authenticated"),
        )
        .await;
        let mut seats = Vec::new();
        for number in 0..10 {
            seats.push(
                world.join(&world.project.user(user(number)), json!({"schema": "public"})).await.unwrap(),
            );
        }
        for (idx, policy) in policies.into_iter().enumerate() {
            let table = world.table(&format!("t{idx}")).await;
            let asked = world.asked();
            let row = |id: u32, hidden: bool| format!("({id}, '{0}', '{0}', {hidden})", user(3));
            let sql = format!("insert into t{idx} values {}, {} returning *", row(1, false), row(2, true));
            world.insert(&table, &sql).await;
            assert_eq!(world.asked() - asked, 1, "{policy}");
            let seen: &[&str] = if policy.contains("hidden") { &["1"] } else { &["1", "2"] };
            for (number, seat) in seats.iter().enumerate() {
                assert_eq!(seat.got("id"), if number == 3 { seen } else { &[] }, "{policy} {number}");
            }
        }
    });
}

#[test]
fn changes_of_several_tables_come_in_the_order_of_their_commits() {
    testkit::run(async {
        let sql = "create table free (id int primary key, body text); grant select on free to authenticated;
            create table ignored (id int primary key);";
        let world = World::new("chgorder", &format!("{NOTES}{sql}")).await;
        let (notes, free, ignored) =
            (world.table("notes").await, world.table("free").await, world.table("ignored").await);
        let wanted = json!([{"table": "notes"}, {"table": "free"}]);
        let seat = world.join(&world.project.user(user(1)), wanted).await.unwrap();
        assert!(
            world.changes.registry.wants("public", "notes")
                && !world.changes.registry.wants("public", "ignored")
        );
        let mut changes = Vec::new();
        for id in 0..300 {
            let (table, sql) = match id % 3 {
                0 => (&notes, format!("insert into notes values ({id}, '{}', '') returning *", user(1))),
                1 => (&free, format!("insert into free values ({id}, '') returning *")),
                _ => (&ignored, format!("insert into ignored values ({id}) returning *")),
            };
            let row = world.rows(&sql).await.remove(0);
            changes.push(change(table, Kind::Insert, Some(row), None));
        }
        world.apply(changes).await;
        let expected: Vec<String> = (0..300).filter(|it| it % 3 != 2).map(|it| it.to_string()).collect();
        assert_eq!(seat.got("id"), expected);
    });
}

const FREE: &str =
    "create table free (id int primary key, body text); grant select on free to authenticated;";

fn inserts(table: &Arc<Table>, count: usize, bytes: usize) -> Vec<Change> {
    let body = bytes::Bytes::from(vec![b'x'; bytes]);
    let row = |it: usize| vec![Value::Text(it.to_string().into()), Value::Text(body.clone())];
    (0..count).map(|it| change(table, Kind::Insert, Some(row(it)), None)).collect()
}

// REQ K3: 100 % delivered, however much happens at once, to who reads.
#[test]
fn who_reads_slowly_gets_all_of_a_burst() {
    testkit::run(async {
        let world = World::new("chgpace", FREE).await;
        let table = world.table("free").await;
        let caller = world.role("authenticated");
        let wanted = Wanted::list(Some(&json!([{"table": "free"}])));
        let (slow, topic) = (Outbox::new(1, 1_000_000), Arc::from("realtime:slow"));
        let _slow = world.changes.subscribe(&caller, &wanted, &topic, &slow).await.unwrap();
        let seat = world.join(&caller, json!({"table": "free"})).await.unwrap();
        // Twenty times what waits at most, in batches of which each is larger than that.
        let reading = tokio::spawn(async move {
            let (mut sizes, mut end) = (Vec::new(), None);
            while sizes.len() < 4000 && end.is_none() {
                tokio::time::sleep(Duration::from_millis(40)).await;
                let taken = slow.take(&Context::from_waker(Waker::noop()), true);
                sizes.extend(taken.0.iter().map(|it| it.size_bytes()));
                end = taken.1;
            }
            (sizes, end)
        });
        for _ in 0..10 {
            world.apply(inserts(&table, 400, 5000)).await;
        }
        let (sizes, end) = tokio::time::timeout(Duration::from_secs(60), reading).await.unwrap().unwrap();
        assert_eq!((sizes.len(), end), (4000, None));
        assert!(sizes.iter().sum::<usize>() > 20_000_000);
        assert_eq!(seat.events().len(), 4000);
    });
}

#[test]
fn who_does_not_read_is_closed_and_holds_others_up_once() {
    testkit::run(async {
        let world = World::new("chgslowbox", FREE).await;
        let table = world.table("free").await;
        let caller = world.role("authenticated");
        let wanted = Wanted::list(Some(&json!([{"table": "free"}])));
        let mut stuck = Vec::new();
        for it in 0..20 {
            let (outbox, topic) = (Outbox::new(it, 100_000), Arc::from("realtime:stuck"));
            let subscribed = world.changes.subscribe(&caller, &wanted, &topic, &outbox).await.unwrap();
            stuck.push((outbox, subscribed));
        }
        let seat = world.join(&caller, json!({"table": "free"})).await.unwrap();
        let began = Instant::now();
        for _ in 0..10 {
            world.apply(inserts(&table, 400, 1000)).await;
        }
        let took = began.elapsed();
        assert_eq!(seat.payloads().len(), 4000);
        let ends = stuck.iter().map(|it| it.0.take(&Context::from_waker(Waker::noop()), true));
        assert!(ends.into_iter().all(|it| it.0.is_empty() && it.1.is_some_and(|it| it.code == 1013)));
        // For all of them together, and not for each batch.
        assert!(took > Duration::from_secs(2) && took < Duration::from_secs(15), "{took:?}");
        world.changes.tell_gap("The stream was lost");
        let told = seat.payloads();
        assert_eq!(told[0]["message"], "The stream was lost");
        assert_eq!(
            (&told[0]["status"], &told[0]["extension"]),
            (&json!("error"), &json!("postgres_changes"))
        );
    });
}

// A batch may wait for a database or a slow reader: nothing comes to a channel that was left, or whose token ended.
#[test]
fn nothing_is_sent_to_who_left_or_whose_token_ended_while_a_batch_waits() {
    testkit::run(async {
        let world = World::new("chgleft", &format!("{NOTES}
            create function waits() returns bool language plpgsql stable as $$ begin perform pg_sleep(0.8); return true; end $$;
            drop policy own on notes; create policy slow on notes for select using (waits());")).await;
        let table = world.table("notes").await;
        let until = |secs: i64| {
            let claims = json!({"sub": user(1), "role": "authenticated", "exp": tokens::now_secs() + secs});
            let claims = common::jwt::Claims::from_map(claims.as_object().unwrap().clone(), "anon");
            Caller { claims: Arc::new(claims), authenticated: true }
        };
        let all = json!({"table": "notes"});
        let stays = world.join(&until(3600), all.clone()).await.unwrap();
        let leaves = world.join(&until(3600), all.clone()).await.unwrap();
        let ended = world.join(&until(0), all).await.unwrap();
        let row = world.rows("insert into notes values (1) returning *").await.remove(0);
        let leaving = async {
            while world.asked() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            drop(leaves.subscription);
        };
        let applying = world.apply(vec![change(&table, Kind::Insert, Some(row), None)]);
        tokio::join!(applying, leaving);
        let count = |it: &Outbox| it.take(&Context::from_waker(Waker::noop()), true).0.len();
        assert_eq!([&stays.outbox, &leaves.outbox, &ended.outbox].map(count), [1, 0, 0]);
    });
}
