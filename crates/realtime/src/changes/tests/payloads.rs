//! What a change looks like on its way to clients.

use super::*;

// REQ K3
#[test]
fn changes_are_told_as_clients_know_them() {
    testkit::run(async {
        let sql = "create table notes (id int8 primary key, body text, tags int4[]);
            grant select on notes to authenticated;";
        let world = World::new("chgpayload", sql).await;
        let table = world.table("notes").await;
        let caller = world.role("authenticated");
        let wanted = json!([{"event": "*", "schema": "public"}, {"event": "UPDATE", "schema": "public", "table": "notes"}]);
        let seat = world.join(&caller, wanted).await.unwrap();
        let row = world.rows("insert into notes values (1, 'a', '{1,null}') returning *").await.remove(0);
        let next = world.rows("update notes set body = null returning *").await.remove(0);
        let key = vec![row[0].clone(), Value::Unchanged, Value::Unchanged];
        world
            .apply(vec![
                change(&table, Kind::Insert, Some(row), None),
                change(&table, Kind::Update, Some(next), None),
                change(&table, Kind::Delete, None, Some(key)),
            ])
            .await;
        let columns = json!([
            {"name": "id", "type": "int8"}, {"name": "body", "type": "text"}, {"name": "tags", "type": "_int4"},
        ]);
        let common = |kind: &str, rest: Json| {
            let mut data = json!({
                "schema": "public", "table": "notes", "type": kind, "commit_timestamp": "2023-11-14T22:13:20.123Z",
                "columns": columns, "errors": null,
            });
            data.as_object_mut().unwrap().append(rest.clone().as_object_mut().unwrap());
            data
        };
        let payloads = seat.payloads();
        assert_eq!(
            payloads.iter().map(|it| it["ids"].clone()).collect::<Vec<_>>(),
            [json!([seat.ids[0]]), json!([seat.ids[0], seat.ids[1]]), json!([seat.ids[0]]),]
        );
        assert_eq!(
            payloads[0]["data"],
            common("INSERT", json!({"record": {"id": 1, "body": "a", "tags": [1, null]}}))
        );
        let update = json!({"record": {"id": 1, "body": null, "tags": [1, null]}, "old_record": {"id": 1}});
        assert_eq!(payloads[1]["data"], common("UPDATE", update));
        assert_eq!(payloads[2]["data"], common("DELETE", json!({"old_record": {"id": 1}})));
    });
}

#[test]
fn values_are_written_as_postgresql_writes_them_in_json() {
    testkit::run(async {
        let sql = "create type mood as enum ('sad', 'glad'); create domain positive as numeric check (value > 0);
            set timezone to 'UTC';
            create table every (id int primary key, i2 int2, i8 int8, n numeric, f4 float4, f8 float8, b bool, t text,
                v varchar(9), c char(5), u uuid, d date, tm time, ts timestamp, tz timestamptz, iv interval, j json,
                jb jsonb, ip inet, m mood, p positive, mo money, r int4range, ai int4[], at text[][], aj jsonb[],
                atz timestamptz[], am mood[], ab bool[], abytes bytea[], bx box[]);
            grant select on every to authenticated;";
        let world = World::new("chgtypes", sql).await;
        let table = world.table("every").await;
        let seat = world.join(&world.role("authenticated"), json!({"table": "every"})).await.unwrap();
        let sql = r#"insert into every values
            (1, -5, 9007199254740993, 1.50, 0.1, 1e+100, true, 'a"b\ ü' || chr(10), 'v', 'c', '0a000000-0000-0000-0000-000000000000',
             '2024-02-29', '12:00:00.5', '2024-02-29 12:00', '2024-02-29 12:00+02', '1 day 02:00', '{"a" : [1, "x"]}',
             '{"b": null}', '10.0.0.1', 'glad', 2.5, 3.5, '[1,5)', '{1,null,3}', '{{"a,b",c},{"NULL",null}}',
             array['{"a": 1}', '[2]']::jsonb[], '{2024-02-29 12:00+00}', '{sad,glad}', '{t,f}', '{"\\x01ff"}',
             '{(1,1),(0,0);(2,2),(1,1)}'),
            (2, null, null, 'NaN', 'Infinity', '-Infinity', null, null, null, null, null, 'infinity', null, '-infinity',
             '0044-03-15 00:00+00 BC', null, 'null', null, null, null, null, null, 'empty', '{}', '{}', null, null, null,
             null, null, null) returning *"#;
        world.insert(&table, sql).await;
        let expected: Vec<Json> = world
            .rows("select to_jsonb(it) from every as it order by id")
            .await
            .into_iter()
            .map(|it| match &it[0] {
                Value::Text(it) => serde_json::from_slice(it).unwrap(),
                _ => panic!("no row"),
            })
            .collect();
        let got: Vec<Json> = seat.payloads().into_iter().map(|it| it["data"]["record"].clone()).collect();
        assert_eq!(got.len(), 2);
        for (got, expected) in got.iter().zip(&expected) {
            for (name, value) in expected.as_object().unwrap() {
                assert_eq!(&got[name], value, "{name}");
            }
            assert_eq!(got.as_object().unwrap().len(), expected.as_object().unwrap().len());
        }
    });
}

#[test]
fn old_records_are_what_the_replica_identity_tells() {
    testkit::run(async {
        let sql =
            "create table notes (id int primary key, body text); alter table notes replica identity full;
            grant select on notes to authenticated;";
        let world = World::new("chgfull", sql).await;
        let table = world.table("notes").await;
        let seat = world.join(&world.role("authenticated"), json!({"table": "notes"})).await.unwrap();
        let old = world.rows("insert into notes values (1, 'old') returning *").await.remove(0);
        let new = world.rows("update notes set body = 'new', id = 2 returning *").await.remove(0);
        world
            .apply(vec![
                change(&table, Kind::Update, Some(new.clone()), Some(old.clone())),
                change(&table, Kind::Update, Some(vec![new[0].clone(), Value::Unchanged]), Some(old.clone())),
                change(&table, Kind::Delete, None, Some(old)),
            ])
            .await;
        let payloads = seat.payloads();
        let whole = json!({"id": 1, "body": "old"});
        assert!(payloads.iter().all(|it| it["data"]["old_record"] == whole));
        assert_eq!(payloads[0]["data"]["record"], json!({"id": 2, "body": "new"}));
        // What was stored out of line and did not change is what it was.
        assert_eq!(payloads[1]["data"]["record"], json!({"id": 2, "body": "old"}));
        assert_eq!(payloads[2]["data"].get("record"), None);
    });
}

#[test]
fn chosen_columns_come_with_the_key_and_large_values_do_not_come() {
    testkit::run(async {
        let sql = "create table notes (id int primary key, body text, more text); grant select on notes to authenticated;";
        let world = World::new("chgselect", sql).await;
        let table = world.table("notes").await;
        let caller = world.role("authenticated");
        let wanted = json!([{"table": "notes", "select": ["more"]}, {"table": "notes"}]);
        let seat = world.join(&caller, wanted).await.unwrap();
        world.insert(&table, "insert into notes values (1, 'a', 'b') returning *").await;
        let payloads = seat.payloads();
        assert_eq!(payloads.len(), 2);
        assert_eq!(
            (&payloads[0]["ids"], &payloads[1]["ids"]),
            (&json!([seat.ids[0]]), &json!([seat.ids[1]]))
        );
        assert_eq!(payloads[0]["data"]["record"], json!({"id": 1, "more": "b"}));
        assert_eq!(
            payloads[0]["data"]["columns"],
            json!([{"name": "id", "type": "int4"}, {"name": "more", "type": "text"}])
        );
        assert_eq!(payloads[1]["data"]["record"], json!({"id": 1, "body": "a", "more": "b"}));
        world
            .insert(&table, "insert into notes values (2, repeat('a', 1024 * 1024 + 1), 'b') returning *")
            .await;
        let payloads = seat.payloads();
        assert_eq!(payloads[1]["data"]["record"], json!({"id": 2, "more": "b"}));
        assert_eq!(payloads[1]["data"]["errors"], json!(["Error 413: Payload Too Large"]));
    });
}
