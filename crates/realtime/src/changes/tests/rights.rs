//! Who is told of which rows: policies, privileges, and what happens when they change or fail.

use super::*;

fn note(id: u32, owner: u128) -> String {
    format!("insert into notes values ({id}, '{}', 'note {id}') returning *", user(owner))
}

// REQ K3
#[test]
fn each_user_is_told_of_rows_that_the_policy_shows() {
    testkit::run(async {
        let world = World::new("chgrls", NOTES).await;
        let table = world.table("notes").await;
        let all = json!({"event": "*", "schema": "public", "table": "notes"});
        let ada = world.join(&world.project.user(user(1)), all.clone()).await.unwrap();
        let bob = world.join(&world.project.user(user(2)), all.clone()).await.unwrap();
        let anon = world.join(&world.role("anon"), all.clone()).await.unwrap();
        let service = world.join(&world.role("service_role"), all).await.unwrap();
        world.insert(&table, &note(1, 1)).await;
        world.insert(&table, &note(2, 2)).await;
        world.insert(&table, &note(3, 1)).await;
        assert_eq!(ada.got("id"), ["1", "3"]);
        assert_eq!(bob.got("id"), ["2"]);
        assert_eq!(anon.got("id"), [""; 0]);
        assert_eq!(service.got("id"), ["1", "2", "3"]);
        // A refreshed token decides from then on.
        bob.subscription.update_caller(&world.project.user(user(1)));
        world.insert(&table, &note(4, 1)).await;
        assert_eq!(bob.got("id"), ["4"]);
        // Nobody is told after leaving.
        drop(ada.subscription);
        assert!(world.changes.registry.wants("public", "notes"));
        world.insert(&table, &note(5, 1)).await;
        assert_eq!(ada.outbox.take(&Context::from_waker(Waker::noop()), true).0.len(), 1);
    });
}

#[test]
fn a_policy_that_fails_silences_its_own_callers_only_and_tells_them() {
    testkit::run(async {
        let world = World::new("chgraise", NOTES).await;
        let sql = "create function fails(row_id int) returns bool language plpgsql stable as $$ begin
                if auth.uid() = '00000000-0000-0000-0000-000000000001' or row_id = 3 then
                    raise exception 'no luck with %', row_id;
                end if;
                return true;
            end $$;
            drop policy own on notes;
            create policy loose on notes for select using (fails(id));";
        world.run(sql).await;
        let table = world.table("notes").await;
        let all = json!({"table": "notes"});
        let ada = world.join(&world.project.user(user(1)), all.clone()).await.unwrap();
        let bob = world.join(&world.project.user(user(2)), all).await.unwrap();
        world.insert(&table, "insert into notes values (1), (2), (3), (4) returning *").await;
        let told = |id: u32| format!("Error 400: Bad Request, P0001: no luck with {id}");
        assert_eq!(bob.got("id"), ["1".to_owned(), "2".to_owned(), told(3), "4".to_owned()]);
        assert_eq!(ada.got("id"), [told(1), told(2), told(3), told(4)]);
    });
}

#[test]
fn a_policy_that_takes_too_long_is_given_up_for_its_callers() {
    testkit::run(async {
        let world = World::new("chgslow", NOTES).await;
        let sql = "create function waits() returns bool language plpgsql stable as $$ begin
                if auth.uid() = '00000000-0000-0000-0000-000000000001' then perform pg_sleep(60); end if;
                return true;
            end $$;
            drop policy own on notes;
            create policy loose on notes for select using (waits());";
        world.run(sql).await;
        let table = world.table("notes").await;
        let ada = world.join(&world.project.user(user(1)), json!({"table": "notes"})).await.unwrap();
        let bob = world.join(&world.project.user(user(2)), json!({"table": "notes"})).await.unwrap();
        world.insert(&table, &note(1, 1)).await;
        let slow = "Error 504: Gateway Timeout, the table's policies took too long";
        assert_eq!((ada.got("id"), bob.got("id")), (vec![slow.to_owned()], vec!["1".to_owned()]));
        // Not asked again for a while.
        let asked = world.asked();
        world.insert(&table, &note(2, 1)).await;
        assert_eq!((ada.got("id"), bob.got("id")), (vec![slow.to_owned()], vec!["2".to_owned()]));
        assert_eq!(world.asked() - asked, 1);
    });
}

// However many callers a slow policy tells apart, subscribers of other tables wait for one time limit.
#[test]
fn a_table_whose_policies_are_slow_rests_for_all_its_callers() {
    testkit::run(async {
        let sql = "create table slow (id int primary key);
            create function waits() returns bool language plpgsql stable as $$ begin
                perform pg_sleep(60); return auth.jwt() is not null;
            end $$;
            alter table slow enable row level security;
            create policy p on slow for select using (waits());
            grant select on slow to authenticated;";
        let world = World::new("chgslowmany", &format!("{NOTES}{sql}")).await;
        let (slow, notes) = (world.table("slow").await, world.table("notes").await);
        let mut seats = Vec::new();
        for number in 0..200 {
            let caller = world.project.user(user(number));
            seats.push(world.join(&caller, json!({"table": "slow"})).await.unwrap());
        }
        let honest = world.join(&world.project.user(user(1)), json!({"table": "notes"})).await.unwrap();
        let mut rows = world.rows("insert into slow values (1), (2) returning *").await;
        let mut batch = vec![change(&slow, Kind::Insert, rows.pop(), None)];
        let note = world.rows(&note(1, 1)).await.remove(0);
        batch.push(change(&notes, Kind::Insert, Some(note), None));
        let began = Instant::now();
        world.apply(batch).await;
        let took = began.elapsed();
        assert_eq!(honest.got("id"), ["1"]);
        // One limit is a second; two hundred of them on ten connections would be twenty.
        assert!(took < Duration::from_secs(12), "{took:?}");
        let told = "Error 504: Gateway Timeout, the table's policies took too long";
        assert!(seats.iter().all(|it| it.got("id") == [told]));
        let asked = world.asked();
        world.apply(vec![change(&slow, Kind::Insert, rows.pop(), None)]).await;
        assert!(world.asked() == asked && seats.iter().all(|it| it.got("id") == [told]));
    });
}

#[test]
fn rights_that_are_taken_away_are_gone_within_a_second() {
    testkit::run(async {
        let sql = "create table open (id int primary key, body text, secret text);
            grant select on open to authenticated, anon;";
        let world = World::new("chglost", &format!("{NOTES}{sql}")).await;
        let (notes, open) = (world.table("notes").await, world.table("open").await);
        let ada = world.project.user(user(1));
        let noted = world.join(&ada, json!({"table": "notes"})).await.unwrap();
        let opened = world.join(&ada, json!({"table": "open"})).await.unwrap();
        let filtered = world.join(&ada, json!({"table": "open", "filter": "secret=eq.c"})).await.unwrap();
        let row = |id: u32| format!("insert into open values ({id}, 'b', 'c') returning *");
        world.insert(&notes, &note(1, 1)).await;
        world.insert(&open, &row(1)).await;
        assert_eq!(noted.got("id"), ["1"]);
        assert_eq!(opened.got("secret"), ["\"c\""]);
        assert_eq!(filtered.got("id"), ["1"]);
        // Policies are asked for every row.
        world.run("drop policy own on notes").await;
        world.insert(&notes, &note(2, 1)).await;
        assert_eq!(noted.got("id"), [""; 0]);
        // Columns and tables are known for a second.
        world
            .run("revoke select on open from authenticated; grant select (id, body) on open to authenticated")
            .await;
        tokio::time::sleep(facts::OLDEST).await;
        world.insert(&open, &row(2)).await;
        let payloads = opened.payloads();
        assert_eq!(payloads[0]["data"]["record"], json!({"id": 2, "body": "b"}));
        assert_eq!(
            payloads[0]["data"]["columns"],
            json!([{"name": "id", "type": "int4"}, {"name": "body", "type": "text"}])
        );
        assert_eq!(filtered.got("id"), ["Error 401: Unauthorized"]);
        world.run("revoke select on open from authenticated; revoke select (id, body) on open from authenticated").await;
        tokio::time::sleep(facts::OLDEST).await;
        world.insert(&open, &row(3)).await;
        assert_eq!(opened.got("id"), ["Error 401: Unauthorized"]);
        world.run("revoke select on notes from authenticated").await;
        world.insert(&notes, &note(3, 1)).await;
        assert_eq!(noted.got("id"), ["Error 401: Unauthorized"]);
        // Row security that is turned on holds as well.
        world.run("grant select on open to authenticated; alter table open enable row level security").await;
        tokio::time::sleep(facts::OLDEST).await;
        world.insert(&open, &row(4)).await;
        assert_eq!(opened.got("id"), [""; 0]);
    });
}

#[test]
fn of_deleted_rows_only_the_key_is_told_where_policies_hold() {
    testkit::run(async {
        let sql = "alter table notes replica identity full; create table bare (id int, body text);
            grant select on bare to authenticated, service_role;";
        let world = World::new("chgdel", &format!("{NOTES}{sql}")).await;
        let (notes, bare) = (world.table("notes").await, world.table("bare").await);
        let all = json!({"schema": "public", "event": "*"});
        let ada = world.join(&world.project.user(user(1)), all.clone()).await.unwrap();
        let service = world.join(&world.role("service_role"), all).await.unwrap();
        let old = world.rows(&note(7, 2)).await.remove(0);
        world.apply(vec![change(&notes, Kind::Delete, None, Some(old))]).await;
        assert_eq!(ada.payloads()[0]["data"]["old_record"], json!({"id": 7}));
        let whole = json!({"id": 7, "owner": user(2), "body": "note 7"});
        assert_eq!(service.payloads()[0]["data"]["old_record"], whole);
        // Without a primary key nobody can be asked; who is not subject to policies need not be.
        world.insert(&bare, "insert into bare values (1, 'x') returning *").await;
        assert_eq!((ada.got("id"), service.got("id")), (vec!["1".to_owned()], vec!["1".to_owned()]));
        world.run("alter table bare enable row level security").await;
        tokio::time::sleep(facts::OLDEST).await;
        world.insert(&bare, "insert into bare values (2, 'x') returning *").await;
        let error = "Error 400: Bad Request, no primary key".to_owned();
        assert_eq!((ada.got("id"), service.got("id")), (vec![error], vec!["2".to_owned()]));
    });
}

#[test]
fn policies_over_other_tables_and_functions_see_the_claims_that_they_read() {
    testkit::run(async {
        let sql = "create table members (team int, member uuid);
            alter table members enable row level security;
            create policy own on members using (member = auth.uid());
            grant select on members to authenticated;
            create table tasks (id int primary key, team int);
            alter table tasks enable row level security;
            create policy team on tasks using (team in (select m.team from members m));
            create table levels (id int primary key, level text);
            alter table levels enable row level security;
            create function level_of() returns text language sql stable as $$ select auth.jwt() ->> 'level' $$;
            create policy level on levels using (level = level_of());
            grant select on tasks, levels to authenticated;";
        let world = World::new("chgclaims", sql).await;
        world.run(&format!("insert into members values (1, '{}'), (2, '{}')", user(1), user(2))).await;
        let (tasks, levels) = (world.table("tasks").await, world.table("levels").await);
        let with_level = |level: &str| {
            let claims =
                json!({"sub": user(1), "role": "authenticated", "level": level, "exp": 9_000_000_000_u64});
            let claims = common::jwt::Claims::from_map(claims.as_object().unwrap().clone(), "anon");
            Caller { claims: Arc::new(claims), authenticated: true }
        };
        let all = json!({"schema": "public"});
        let low = world.join(&with_level("low"), all.clone()).await.unwrap();
        let high = world.join(&with_level("high"), all.clone()).await.unwrap();
        let other = world.join(&world.project.user(user(2)), all).await.unwrap();
        let asked = world.asked();
        world.insert(&tasks, "insert into tasks values (1, 1), (2, 2) returning *").await;
        // The first two differ in claims that this policy does not read.
        assert_eq!(world.asked() - asked, 2);
        assert_eq!([low.got("id"), high.got("id"), other.got("id")], [["1"], ["1"], ["2"]]);
        world.insert(&levels, "insert into levels values (1, 'low'), (2, 'high') returning *").await;
        assert_eq!([low.got("id"), high.got("id")], [["1"], ["2"]]);
        assert_eq!(other.got("id"), [""; 0]);
    });
}

#[test]
fn claims_that_defaults_of_functions_read_are_seen() {
    testkit::run(async {
        let sql = "create table blocks (id int primary key, owner uuid);
            create function not_mine(o uuid, me uuid default auth.uid()) returns boolean language sql stable
                as 'select o is distinct from me';
            alter table blocks enable row level security;
            create policy others on blocks using (not_mine(owner));
            grant select on blocks to authenticated;";
        let world = World::new("chgdefaults", sql).await;
        let table = world.table("blocks").await;
        let all = json!({"schema": "public", "table": "blocks"});
        let ada = world.join(&world.project.user(user(1)), all.clone()).await.unwrap();
        let bob = world.join(&world.project.user(user(2)), all).await.unwrap();
        world.insert(&table, &format!("insert into blocks values (1, '{}') returning *", user(1))).await;
        assert_eq!((ada.got("id"), bob.got("id")), (vec![], vec!["1".to_owned()]));
    });
}

// A filter that is answered for a hidden row tells what is in it.
#[test]
fn filters_tell_nothing_of_rows_that_are_not_shown() {
    testkit::run(async {
        let sql = "alter table notes replica identity full;
            create table bare (id int, body text);
            alter table bare enable row level security;
            grant select on bare to authenticated;";
        let world = World::new("chgoracle", &format!("{NOTES}{sql}")).await;
        let (notes, bare) = (world.table("notes").await, world.table("bare").await);
        let bob = world.project.user(user(2));
        let join = async |table: &str, filter: &str| {
            let wanted = json!({"schema": "public", "table": table, "event": "*", "filter": filter});
            world.join(&bob, wanted).await.unwrap()
        };
        let guesses = [
            join("notes", "body=like.note%").await,
            join("notes", "body=eq.note 7").await,
            join("notes", "id=eq.8").await,
        ];
        let right = join("notes", "id=eq.7").await;
        let old = world.rows(&note(7, 1)).await.remove(0);
        world.apply(vec![change(&notes, Kind::Delete, None, Some(old))]).await;
        assert_eq!(guesses.each_ref().map(|it| it.events().len()), [0; 3]);
        assert_eq!(right.payloads()[0]["data"]["old_record"], json!({"id": 7}));
        // Whose policies cannot be asked hears the same of every row.
        let seats = [join("bare", "body=eq.y").await, join("bare", "body=like.y%").await];
        let row = vec![Value::Text("1".into()), Value::Text("x".into())];
        world.apply(vec![change(&bare, Kind::Insert, Some(row), None)]).await;
        assert_eq!(seats.each_ref().map(|it| it.events().len()), [1; 2]);
    });
}
