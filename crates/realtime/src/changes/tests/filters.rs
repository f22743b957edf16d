//! Filters end to end, and that what is decided here is what PostgreSQL would decide.

use super::super::condition::{Check, Question, Test};
use super::super::filter;
use super::*;

/// Columns with values among which every operator finds something: type, values.
const SAMPLES: &[(&str, &[&str])] = &[
    ("int2", &["-3", "0", "7"]),
    ("int4", &["-2147483648", "-1", "0", "10", "9"]),
    ("int8", &["-9223372036854775808", "0", "9007199254740993", "9007199254740992"]),
    ("oid", &["0", "4294967295", "7"]),
    (
        "numeric",
        &[
            "-10.5",
            "-0.001",
            "0",
            "0.00",
            "1.50",
            "1.5",
            "123456789012345678901234567890",
            "NaN",
            "Infinity",
            "-Infinity",
        ],
    ),
    ("float4", &["0.1", "-0", "0", "1e-10", "3.4e+38", "NaN", "Infinity", "-Infinity"]),
    (
        "float8",
        &["0.1", "-0", "0", "1e-300", "1e+300", "NaN", "Infinity", "-Infinity", "0.30000000000000004"],
    ),
    ("bool", &["true", "false"]),
    ("text", &["", "a", "A", "b", "a b", "ä", "Z", "a%", "null", "x,y", "\"q\"", "back\\slash"]),
    ("varchar(30)", &["", "a", "A", "10", "9"]),
    ("char(5)", &["a", "ab", "b"]),
    (
        "uuid",
        &[
            "00000000-0000-0000-0000-000000000001",
            "0A000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-4fff-bfff-ffffffffffff",
        ],
    ),
    (
        "date",
        &["2024-02-29", "1970-01-01", "0044-03-15 BC", "12024-01-01", "infinity", "-infinity", "1969-12-31"],
    ),
    ("time", &["00:00", "23:59:59.999999", "24:00", "12:00:00.5", "12:00:00.45"]),
    (
        "timestamp",
        &[
            "2024-02-29 12:00",
            "2024-02-29 12:00:00.5",
            "1960-01-01 00:00:00.1",
            "0044-03-15 12:00 BC",
            "infinity",
        ],
    ),
    (
        "timestamptz",
        &[
            "2024-02-29 12:00+00",
            "2024-02-29 12:00+05:30",
            "2024-02-29 11:59:59.999-00",
            "-infinity",
            "1900-01-01 00:00Z",
        ],
    ),
    ("interval", &["1 day", "24 hours", "1 mon", "30 days"]),
    ("inet", &["10.0.0.1", "10.0.0.0/8"]),
    ("mood", &["sad", "glad"]),
    ("positive", &["1", "5"]),
    ("int4[]", &["{1,2}", "{}", "{1,NULL}"]),
    ("jsonb", &["1", "{\"a\": 1}", "[]"]),
    ("bytea", &["\\x00", "\\xff01"]),
];

const OPS: [&str; 10] = ["eq", "neq", "lt", "lte", "gt", "gte", "isdistinct", "like", "ilike", "match"];

/// Every value against every value by every operator: what is decided here, what PostgreSQL answers to our question, and
/// what PostgreSQL says by itself.
#[test]
fn comparisons_are_postgresqls() {
    testkit::run(async {
        let columns: Vec<String> =
            SAMPLES.iter().enumerate().map(|(idx, it)| format!("c{idx} {}", it.0)).collect();
        let sql = format!(
            "create type mood as enum ('sad', 'glad'); create domain positive as int check (value > 0);
             create table samples (id int primary key, {}); grant select on samples to authenticated;",
            columns.join(", ")
        );
        let world = World::new("chgcompare", &sql).await;
        let database = world.project.databases.of(&world.project.project).await;
        let table = world.table("samples").await;
        let facts = world.changes.catalog.tables(&database, &[table.oid], &["authenticated"]).await.unwrap();
        let facts = &facts[&table.oid];
        let session = ask::session("authenticated", None);
        let (mut decided, mut asked) = (0, 0);
        for (idx, (kind, values)) in SAMPLES.iter().enumerate() {
            let column = &facts.columns[idx + 1];
            let mut rows = vec![None];
            for value in *values {
                let sql = format!("select ('{}'::{kind})::text", value.replace('\'', "''"));
                rows.push(match world.rows(&sql).await.remove(0).remove(0) {
                    Value::Text(it) => Some(it),
                    _ => None,
                });
            }
            let mut operands: Vec<String> =
                rows.iter().flatten().map(|it| String::from_utf8(it.to_vec()).unwrap()).collect();
            operands.extend(values.iter().map(|it| (*it).to_owned()));
            for op in OPS {
                for operand in &operands {
                    let text = format!("a={op}.\"{}\"", operand.replace('\\', "\\\\").replace('"', "\\\""));
                    let condition = filter::parse(&text).unwrap().remove(0);
                    let question = Question::of(&condition, column);
                    let truth =
                        ask::question(&database, &session, &question, &rows).await.unwrap_or_default();
                    match compare(&condition, column, (&rows, &truth)) {
                        true => asked += 1,
                        false => decided += 1,
                    }
                }
            }
        }
        // Both ways were walked.
        assert!(decided > 500 && asked > 200, "{decided} {asked}");
    });
}

/// Fails where `rows` are not decided as PostgreSQL did; answers whether it must be asked.
fn compare(
    condition: &filter::Condition,
    column: &facts::ColumnFacts,
    (rows, truth): (&[Option<bytes::Bytes>], &[Option<bool>]),
) -> bool {
    let test = Test { at: 0, negate: false, check: Check::of(condition, column) };
    let not = Test { at: 0, negate: true, check: Check::of(condition, column) };
    let is_asked = matches!(test.check, Check::Asked(_));
    // No such operator: only what PostgreSQL is asked can be so.
    assert!(is_asked || !truth.is_empty(), "{condition} {}", column.type_name);
    for (row, truth) in rows.iter().zip(truth) {
        let value = row.clone().map_or(Value::Null, Value::Text);
        let passed = (test.passes(Some(&value), *truth), not.passes(Some(&value), *truth));
        assert_eq!(passed, (*truth == Some(true), *truth == Some(false)), "{condition} {row:?}");
    }
    is_asked
}

// REQ K3
#[test]
fn only_changes_that_pass_the_filter_are_told() {
    testkit::run(async {
        let sql = "create extension if not exists citext with schema extensions;
            create type mood as enum ('sad', 'glad');
            create table notes (id int primary key, body text, flag bool, mood mood, at timestamptz, tag extensions.citext);
            grant select on notes to authenticated;";
        let world = World::new("chgfilter", sql).await;
        let table = world.table("notes").await;
        let caller = world.role("authenticated");
        let cases = [
            ("id=eq.2", "2"),
            ("id=neq.2", "1 3"),
            ("id=in.(1,3)", "1 3"),
            ("id=not.in.(1,3)", "2"),
            ("id=gt.1,id=lt.3", "2"),
            ("body=eq.Hello", "1"),
            ("body=like.H%", "1"),
            ("body=ilike.h%", "1 2"),
            ("body=match.^h.*o$", "2"),
            ("body=imatch.^h.*o$", "1 2"),
            ("body=is.null", "3"),
            ("body=not.is.null", "1 2"),
            ("body=lt.z", "1 2"),
            ("body=isdistinct.Hello", "2 3"),
            ("flag=is.true", "1"),
            ("flag=is.unknown", "3"),
            ("mood=eq.glad", "1"),
            ("mood=gt.sad", "1"),
            ("at=gt.2024-01-01", "1"),
            ("at=lte.2024-01-01 02:00+02", "2"),
            ("tag=eq.RED", "1 2"),
            ("tag=in.(red,blue)", "1 2 3"),
            (r#"tag=not.eq."red",id=eq.3"#, "3"),
        ];
        let mut seats = Vec::new();
        for (filter, _) in cases {
            let wanted = json!({"table": "notes", "filter": filter});
            seats.push(world.join(&caller, wanted).await.unwrap_or_else(|it| panic!("{filter} {it}")));
        }
        let everywhere =
            world.join(&caller, json!({"schema": "*", "table": "*", "filter": "id=eq.2"})).await.unwrap();
        let updates = world.join(&caller, json!({"table": "notes", "event": "UPDATE"})).await.unwrap();
        let sql = "insert into notes values (1, 'Hello', true, 'glad', '2024-01-01 00:00:01+00', 'Red'),
            (2, 'hello', false, 'sad', '2024-01-01 00:00+00', 'red'), (3, null, null, null, null, 'blue') returning *";
        world.insert(&table, sql).await;
        for ((filter, expected), seat) in cases.iter().zip(&seats) {
            assert_eq!(seat.got("id").join(" "), *expected, "{filter}");
        }
        assert_eq!((everywhere.got("id"), updates.got("id").len()), (vec!["2".to_owned()], 0));
    });
}

#[test]
fn a_value_that_the_stream_does_not_tell_passes_no_filter() {
    testkit::run(async {
        let sql = "create table notes (id int primary key, body text); grant select on notes to authenticated;
            create table full_notes (id int primary key, body text); alter table full_notes replica identity full;
            grant select on full_notes to authenticated;";
        let world = World::new("chgtoast", sql).await;
        let caller = world.role("authenticated");
        let text = |it: &str| Value::Text(it.to_owned().into());
        for (name, told) in [("notes", vec![]), ("full_notes", vec!["1".to_owned()])] {
            let table = world.table(name).await;
            let is_full = table.is_full;
            let seat = world.join(&caller, json!({"table": name, "filter": "body=eq.long"})).await.unwrap();
            let not =
                world.join(&caller, json!({"table": name, "filter": "body=not.eq.long"})).await.unwrap();
            let new = Some(vec![text("1"), Value::Unchanged]);
            let old = is_full.then(|| vec![text("1"), text("long")]);
            world.apply(vec![change(&table, Kind::Update, new, old)]).await;
            // A deleted row is matched as far as it is told.
            let beside = if is_full { text("long") } else { Value::Unchanged };
            let old = Some(vec![text("1"), beside]);
            let got = seat.got("id");
            world.apply(vec![change(&table, Kind::Delete, None, old)]).await;
            assert_eq!((got, not.got("id").len()), (told.clone(), 0), "{name}");
            assert_eq!(seat.payloads().len(), told.len(), "{name}");
        }
    });
}

#[test]
fn a_filter_that_takes_too_long_holds_nobody_up() {
    testkit::run(async {
        let sql = "create table long (id int primary key, body text); grant select on long to authenticated;";
        let world = World::new("chgslow", sql).await;
        let table = world.table("long").await;
        let caller = world.project.user(user(1));
        let entry = |number: usize| {
            // As many ways to divide 300 letters into five, none of which leaves one.
            let filter = format!("body=match.^(a*)(a*)(a*)(a*)(a*)\\1\\2\\3\\4\\5a[b{number}]*$");
            json!({"schema": "public", "table": "long", "event": "*", "filter": filter})
        };
        let greedy = world.join(&caller, json!((0..20).map(entry).collect::<Vec<_>>())).await.unwrap();
        let honest = json!({"schema": "public", "table": "long", "event": "*"});
        let honest = world.join(&caller, honest).await.unwrap();
        let row = |id: u32| format!("insert into long values ({id}, repeat('a', 300)) returning *");
        world.insert(&table, &row(1)).await;
        assert_eq!(honest.got("id"), ["1"]);
        assert!(world.changes.asker.rests_anybody(), "this was no filter that takes long");
        // It is not asked again for a while.
        let started = tokio::time::Instant::now();
        for id in 2..12 {
            world.insert(&table, &row(id)).await;
        }
        assert_eq!(honest.got("id").len(), 10);
        assert!(started.elapsed() < ask::LONGEST_OF_FILTER * 20, "{:?}", started.elapsed());
        assert!(greedy.events().is_empty());
    });
}
