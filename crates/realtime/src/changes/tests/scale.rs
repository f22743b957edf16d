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
            let claims = json!({"sub": user(number % 100), "role": "authenticated", "exp": number, "session_id": number});
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

#[test]
fn a_slow_consumer_is_closed_and_holds_nobody_up() {
    testkit::run(async {
        let sql = "create table free (id int primary key, body text); grant select on free to authenticated;";
        let world = World::new("chgslowbox", sql).await;
        let table = world.table("free").await;
        let caller = world.role("authenticated");
        let wanted = Wanted::list(Some(&json!([{"table": "free"}])));
        let (small, topic) = (Outbox::new(1, 1000), Arc::from("realtime:small"));
        let _small = world.changes.subscribe(&caller, &wanted, &topic, &small).await.unwrap();
        let seat = world.join(&caller, json!({"table": "free"})).await.unwrap();
        world
            .insert(&table, "insert into free select n, 'x' from generate_series(1, 100) n returning *")
            .await;
        assert_eq!(seat.payloads().len(), 100);
        assert!(small.take(&Context::from_waker(Waker::noop()), true).1.is_some());
        world.changes.tell_gap("The stream was lost");
        let told = seat.payloads();
        assert_eq!(told[0]["message"], "The stream was lost");
        assert_eq!(
            (&told[0]["status"], &told[0]["extension"]),
            (&json!("error"), &json!("postgres_changes"))
        );
    });
}
