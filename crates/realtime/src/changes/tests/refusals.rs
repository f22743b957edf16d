//! What cannot be subscribed to, and that nothing of a client's text is ever run.

use super::*;

const TABLES: &str = "
create type mood as enum ('sad', 'glad');
create table notes (id int primary key, body text, flag bool, seen timestamptz, mood mood, data json, secret text);
revoke all on notes from anon, authenticated;
grant select (id, body, flag, seen, mood, data) on notes to authenticated;
create table hidden (id int primary key);
revoke all on hidden from anon, authenticated;
grant select on hidden to service_role;";

const WEIRD: &str = "create table notes (id int primary key, body text, code varchar(20), ip inet);
            create table \"we\"\"ird\" (\"i\"\"d\" int primary key, \"b'; drop table notes\" text);
            grant select on all tables in schema public to authenticated;";

/// What is asked for, and a part of the reason why it is refused; nothing where it is not.
fn cases() -> Vec<(Json, &'static str)> {
    let disabled = "Please check Realtime is enabled for the given connect parameters";
    vec![
        (json!({"table": "notes"}), ""),
        (json!({"schema": "public", "table": "*"}), ""),
        (json!({"schema": "*", "table": "*"}), ""),
        (json!({"schema": "nowhere"}), ""),
        (json!({"table": "unknown"}), disabled),
        (json!({"schema": "apart", "table": "t"}), disabled),
        (json!({"table": "hidden"}), "42501 (insufficient_privilege) permission denied for table hidden"),
        (json!({"table": "notes", "filter": "nothing=eq.1"}), "invalid column for filter nothing"),
        (json!({"table": "notes", "filter": "secret=eq.1"}), "invalid column for filter secret"),
        (json!({"table": "notes", "select": ["id", "secret"]}), "invalid column for select secret"),
        (
            json!({"table": "notes", "filter": "id=eq.hey"}),
            "22P02 (invalid_text_representation) invalid input syntax for type integer: \"hey\"",
        ),
        (json!({"table": "notes", "filter": "id=eq.99999999999"}), "22003 (numeric_value_out_of_range)"),
        (json!({"table": "notes", "filter": "id=in.(1,x)"}), "22P02"),
        (
            json!({"table": "notes", "filter": "id=like.5%"}),
            "operator like requires a text-compatible column type, got integer",
        ),
        (json!({"table": "notes", "filter": "body=match.("}), "2201B (invalid_regular_expression)"),
        (
            json!({"table": "notes", "filter": "body=like.a\\"}),
            "LIKE pattern must not end with escape character",
        ),
        (
            json!({"table": "notes", "filter": "id=is.true"}),
            "is true filter requires a boolean column, got integer",
        ),
        (json!({"table": "notes", "filter": "flag=is.maybe"}), "invalid value for is filter"),
        (json!({"table": "notes", "filter": "seen=gt.yesteryear"}), "22007"),
        (json!({"table": "notes", "filter": "mood=eq.angry"}), "22P02"),
        (json!({"table": "notes", "filter": "data=eq.{}"}), "42883 (undefined_function)"),
        (
            json!({"table": "notes", "filter": format!("id=in.({})", "1,".repeat(100) + "1")}),
            "too many values for `in` filter. Maximum 100",
        ),
        (
            json!({"table": "notes", "filter": "id=what.5"}),
            "Error parsing `filter` params: [\"what\", \"5\"]",
        ),
        (json!({"schema": "public", "filter": "body=eq.x"}), "invalid column for filter body"),
        (json!({"table": "*", "filter": "id=eq.5"}), "invalid column for filter id"),
        (json!({}), "No subscription params provided"),
        (
            json!({"table": "notes", "filter": "seen=gt.2024-01-01,mood=in.(sad,glad),body=ilike.a%,flag=is.unknown"}),
            "",
        ),
    ]
}

// REQ K3
#[test]
fn subscriptions_are_checked_against_the_catalog() {
    testkit::run(async {
        let world = World::new("chgcheck", TABLES).await;
        world.run("create schema apart; create table apart.t (id int primary key)").await;
        let caller = world.role("authenticated");
        for (wanted, reason) in cases() {
            let told =
                world.join(&caller, wanted.clone()).await.err().map(|it| it.to_string()).unwrap_or_default();
            assert_eq!(told.is_empty(), reason.is_empty(), "{wanted} {told}");
            assert!(told.contains(reason), "{wanted} {told}");
        }
        // A role that is none.
        assert!(world.join(&world.role("nobody"), json!({"table": "notes"})).await.is_err());
        let many: Vec<Json> = (0..101).map(|_| json!({"schema": "public"})).collect();
        assert!(world.join(&caller, Json::Array(many)).await.is_err());
        // One entry that cannot be refuses all.
        let both = json!([{"table": "notes"}, {"table": "unknown"}]);
        assert!(world.join(&caller, both).await.is_err());
        assert!(world.changes.registry.all().is_empty());
    });
}

#[test]
fn text_of_clients_is_never_run() {
    testkit::run(async {
        let world = World::new("chginject", WEIRD).await;
        let caller = world.role("authenticated");
        let attacks = [
            "1; drop table notes",
            "1) or (1=1",
            "1'; drop table notes; --",
            "\\'; drop table notes",
            "$1",
            "{}",
            "\0",
        ];
        for attack in attacks {
            for filter in [
                format!("id=eq.{attack}"),
                format!("body=eq.{attack}"),
                format!("body=ilike.{attack}"),
                format!("body=match.{attack}"),
                format!("body=gt.{attack}"),
                format!("code=in.({attack})"),
                format!("ip=eq.{attack}"),
                format!("{attack}=eq.1"),
                format!("id=in.(1,{attack})"),
            ] {
                // Refused or not: nothing else happens.
                let _ = world.join(&caller, json!({"table": "notes", "filter": filter})).await;
            }
            for name in ["schema", "table"] {
                assert!(
                    world.join(&caller, json!({"table": "notes", name: attack})).await.is_err()
                        || name == "schema"
                );
            }
            assert!(world.join(&caller, json!({"table": "notes", "select": [attack]})).await.is_err());
        }
        assert_eq!(world.rows("select count(*) from notes").await[0][0], Value::Text("0".into()));
    });
}

#[test]
fn what_looks_like_an_attack_and_is_a_value_matches_that_value() {
    testkit::run(async {
        let world = World::new("chgvalue", WEIRD).await;
        let caller = world.role("authenticated");
        let value = "1'; drop table notes; --";
        let table = world.table("notes").await;
        let seats = [
            world
                .join(&caller, json!({"table": "notes", "filter": format!("body=eq.{value}")}))
                .await
                .unwrap(),
            world
                .join(
                    &caller,
                    json!({"table": "notes", "filter": format!("body=gte.{value},body=lte.{value}")}),
                )
                .await
                .unwrap(),
        ];
        let sql =
            "insert into notes values (1, '1''; drop table notes; --'), (2, 'x'), (3, null) returning *";
        world.insert(&table, sql).await;
        assert!(seats.iter().all(|it| it.got("id") == ["1"]));
    });
}

#[test]
fn names_with_quotes_are_names() {
    testkit::run(async {
        let world = World::new("chgnames", WEIRD).await;
        let caller = world.role("authenticated");
        let wanted = json!({"table": "we\"ird", "filter": "b'; drop table notes=ilike.A"});
        let seat = world.join(&caller, wanted).await.unwrap();
        world.run("alter table \"we\"\"ird\" enable row level security; create policy p on \"we\"\"ird\" using (true)").await;
        tokio::time::sleep(facts::OLDEST).await;
        let weird = world.rows("select oid::text from pg_class where relname = 'we\"ird'").await;
        let Value::Text(oid) = &weird[0][0] else { panic!() };
        let column = |name: &str, is_key| Column { name: name.into(), type_oid: 25, is_key };
        let table = Arc::new(Table {
            oid: std::str::from_utf8(oid).unwrap().parse().unwrap(),
            schema: "public".into(),
            name: "we\"ird".into(),
            is_full: false,
            columns: vec![column("i\"d", true), column("b'; drop table notes", false)],
        });
        world.insert(&table, "insert into \"we\"\"ird\" values (1, 'a'), (2, 'b') returning *").await;
        assert_eq!(seat.got("i\"d"), ["1"]);
    });
}

#[test]
fn filters_that_postgresql_must_decide_are_bounded_in_number() {
    testkit::run(async {
        let world = World::new("chgasked", TABLES).await;
        let ada = world.project.user(user(1));
        let entry =
            |filter: String| json!({"schema": "public", "table": "notes", "event": "*", "filter": filter});
        let many = |from: usize| {
            let entries: Vec<Json> =
                (from..from + 100).map(|it| entry(format!("body=ilike.a{it}"))).collect();
            json!(entries)
        };
        let mut seats = Vec::new();
        for from in [0, 100, 200, 300, 400] {
            seats.push(world.join(&ada, many(from)).await.unwrap());
        }
        assert!(matches!(world.join(&ada, entry("body=ilike.b".into())).await, Err(Refusal::Invalid(_))));
        // The same ones again are nothing new, and others are decided here.
        seats.push(world.join(&ada, many(0)).await.unwrap());
        drop(world.join(&ada, entry("body=eq.b".into())).await.unwrap());
        seats.remove(1);
        drop(world.join(&ada, entry("body=ilike.b".into())).await.unwrap());
    });
}
