//! REQ C12: changes of a real PostgreSQL, as the stream tells them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use store::replication::{Event, Kind, Lsn, Slots, Start, Stream, Value};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Fixture, eventually, run};

const SOON: Duration = Duration::from_secs(20);
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A slot, and a stream that reads it.
struct Reader {
    slots: Slots,
    slot: String,
    stream: Stream,
}

impl Reader {
    async fn new(db: &Fixture) -> Self {
        let slot = format!("{}_{}", db.name, COUNT.fetch_add(1, Ordering::Relaxed));
        let slots = Slots::open(&db.server, &db.name).await.unwrap();
        slots.create(&slot, SOON).await.unwrap();
        let stream = start(db, &slot, Lsn::ZERO).await.unwrap();
        Self { slots, slot, stream }
    }

    /// So many rows, each as text; what is complete is confirmed.
    async fn rows(&mut self, count: usize) -> Vec<String> {
        let mut rows = Vec::new();
        while rows.len() < count {
            match timeout(SOON, self.stream.next()).await.unwrap().unwrap() {
                Event::Row(row) => {
                    let name = &row.table.name;
                    rows.push(match (row.kind, row.new, row.old) {
                        (Kind::Insert, Some(new), None) => format!("+{name} {}", shown(&new)),
                        (Kind::Update, Some(new), None) => format!("*{name} {}", shown(&new)),
                        (Kind::Update, Some(new), Some(old)) => {
                            format!("*{name} {} <- {}", shown(&new), shown(&old))
                        }
                        (Kind::Delete, None, Some(old)) => format!("-{name} {}", shown(&old)),
                        other => panic!("{other:?}"),
                    });
                }
                Event::Truncate(tables) => rows.extend(tables.iter().map(|it| format!("0{}", it.name))),
                Event::Commit { end } => self.stream.confirm(end, false),
                Event::Begin { .. } | Event::Reached { .. } => {}
            }
        }
        rows
    }

    /// Drop the stream, remove the slot.
    async fn end(self) {
        drop(self.stream);
        self.slots.free(&self.slot).await.unwrap();
        eventually("the slot goes", async || {
            self.slots.remove(&self.slot).await.map(drop).map_err(|it| it.to_string())
        })
        .await;
    }
}

async fn start(db: &Fixture, slot: &str, from: Lsn) -> Result<Stream, store::Error> {
    let start = Start { slot: slot.to_owned(), publications: vec!["feed".to_owned()], from };
    Stream::start(&db.server, &db.name, &start).await
}

fn shown(values: &[Value]) -> String {
    let one = |it: &Value| match it {
        Value::Null => "null".to_owned(),
        Value::Unchanged => "?".to_owned(),
        Value::Text(it) if it.len() > 40 => format!("{} bytes", it.len()),
        Value::Text(it) => String::from_utf8(it.to_vec()).unwrap(),
    };
    values.iter().map(one).collect::<Vec<_>>().join("|")
}

#[test]
fn rows_come_in_the_order_of_their_commits_with_types_as_text() {
    run(|db| async move {
        db.execute(
            "create table notes (id int8 primary key, title text, done bool, at timestamptz, tags text[], more jsonb); \
             create publication feed for table notes",
        )
        .await;
        let mut reader = Reader::new(&db).await;
        let (one, other) = (db.admin().await, db.admin().await);
        one.batch_execute("begin; insert into notes values (1, 'late')").await.unwrap();
        other.batch_execute("insert into notes values (2, 'ä\"\\', true, '2026-01-02 03:04:05+00', '{a,\"b c\"}', '{\"a\": 1}')").await.unwrap();
        one.batch_execute(
            "rollback; begin; insert into notes values (3); update notes set id = 4 where id = 2; commit; \
            delete from notes where id = 3; truncate notes",
        )
        .await
        .unwrap();
        assert_eq!(
            reader.rows(5).await,
            [
                "+notes 2|ä\"\\|t|2026-01-02 03:04:05+00|{a,\"b c\"}|{\"a\": 1}",
                "+notes 3|null|null|null|null|null",
                "*notes 4|ä\"\\|t|2026-01-02 03:04:05+00|{a,\"b c\"}|{\"a\": 1} <- 2|?|?|?|?|?",
                "-notes 3|?|?|?|?|?",
                "0notes",
            ]
        );
        reader.end().await;
    });
}

#[test]
fn long_values_that_did_not_change_are_not_told_and_full_identity_tells_the_old_row() {
    run(|db| async move {
        db.execute(
            "create table docs (id int primary key, body text, seen int); \
             alter table docs alter body set storage external; \
             create publication feed for table docs; \
             insert into docs values (1, repeat('x', 100000), 0)",
        )
        .await;
        let mut reader = Reader::new(&db).await;
        db.execute(
            "update docs set seen = 1; alter table docs replica identity full; update docs set seen = 2",
        )
        .await;
        db.execute(
            "alter table docs add extra text; alter table docs drop seen; update docs set extra = 'new'",
        )
        .await;
        db.execute("delete from docs").await;
        assert_eq!(
            reader.rows(4).await,
            [
                "*docs 1|?|1",
                "*docs 1|?|2 <- 1|100000 bytes|1",
                "*docs 1|?|new <- 1|100000 bytes|null",
                "-docs 1|100000 bytes|new",
            ]
        );
        reader.end().await;
    });
}

#[test]
fn partitions_are_told_as_their_root_where_the_publication_says_so() {
    run(|db| async move {
        db.execute(
            "create table logs (id int, day date) partition by range (day); \
             create table logs_1 partition of logs for values from ('2026-01-01') to ('2026-02-01'); \
             create publication feed for table logs with (publish_via_partition_root)",
        )
        .await;
        let mut reader = Reader::new(&db).await;
        db.execute("insert into logs values (1, '2026-01-05')").await;
        assert_eq!(reader.rows(1).await, ["+logs 1|2026-01-05"]);
        reader.end().await;
    });
}

#[test]
fn what_was_not_confirmed_comes_again_and_the_rest_does_not() {
    run(|db| async move {
        db.execute("create table t (id int primary key); create publication feed for table t").await;
        let mut reader = Reader::new(&db).await;
        db.execute("insert into t values (1)").await;
        db.execute("insert into t values (2)").await;
        assert_eq!(reader.rows(2).await, ["+t 1", "+t 2"]);
        reader.stream.tell().await.unwrap();
        eventually("the first is confirmed, the second not", async || {
            let slot = reader.slots.find(&reader.slot).await.unwrap().unwrap();
            if slot.lag_bytes > 0 && slot.reader.is_some() { Ok(()) } else { Err(format!("{slot:?}")) }
        })
        .await;
        let Reader { slots, slot, stream } = reader;
        let taken = start(&db, &slot, Lsn::ZERO).await.unwrap_err();
        assert!(matches!(taken, store::Error::Statement(it) if it.code == "55006"), "one reader at a time");
        drop(stream);
        slots.free(&slot).await.unwrap();
        let deadline = Instant::now() + SOON;
        let stream = loop {
            match start(&db, &slot, Lsn::ZERO).await {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            sleep(Duration::from_millis(20)).await;
        };
        let mut reader = Reader { slots, slot, stream };
        assert_eq!(reader.rows(1).await, ["+t 2"]);
        reader.end().await;
    });
}

#[test]
fn an_idle_reader_confirms_what_others_write() {
    run(|db| async move {
        db.execute(
            "create table t (id int); create table other (id int); create publication feed for table t",
        )
        .await;
        let mut reader = Reader::new(&db).await;
        db.execute("insert into other select generate_series(1, 20000)").await;
        let deadline = Instant::now() + SOON;
        loop {
            match timeout(Duration::from_millis(500), reader.stream.next()).await {
                Ok(Ok(Event::Reached { end } | Event::Commit { end })) => reader.stream.confirm(end, false),
                Ok(event) => drop(event.unwrap()),
                Err(_elapsed) => {}
            }
            let slot = reader.slots.find(&reader.slot).await.unwrap().unwrap();
            if slot.lag_bytes < 10_000 {
                break;
            }
            assert!(Instant::now() < deadline, "{slot:?}");
        }
        reader.end().await;
    });
}

#[test]
fn a_large_transaction_and_a_large_row_arrive_whole() {
    run(|db| async move {
        db.execute("create table t (id int, body text); create publication feed for table t").await;
        let mut reader = Reader::new(&db).await;
        db.execute("insert into t select it, repeat('y', 50) from generate_series(1, 50000) it").await;
        db.execute("insert into t values (0, repeat('z', 20000000))").await;
        let rows = reader.rows(50_001).await;
        assert!(
            rows.iter().take(50_000).enumerate().all(|(idx, it)| it.starts_with(&format!("+t {}|", idx + 1)))
        );
        assert_eq!(rows.last().unwrap(), "+t 0|20000000 bytes");
        reader.end().await;
    });
}

#[test]
fn refusals_are_told_by_their_codes() {
    run(|db| async move {
        let slots = Slots::open(&db.server, &db.name).await.unwrap();
        let code = |it: store::Error| match it {
            store::Error::Statement(it) => it.code,
            other => panic!("{other:?}"),
        };
        assert_eq!(code(start(&db, &format!("{}_none", db.name), Lsn::ZERO).await.unwrap_err()), "42704");
        assert!(!slots.remove(&format!("{}_none", db.name)).await.unwrap());
        assert!(slots.publications(&["feed"]).await.unwrap().is_empty());
        db.execute("create publication feed").await;
        let [feed] = &*slots.publications(&["none", "feed"]).await.unwrap() else { panic!("not one") };
        assert_eq!(feed.name, "feed");
        // Made anew it is another one.
        assert!(slots.publish_via_root("feed").await.unwrap());
        assert!(!slots.publish_via_root("feed").await.unwrap());
        assert!(!slots.publish_via_root("none").await.unwrap());
        db.execute("drop publication feed").await;
        db.execute("create publication feed").await;
        assert_ne!(slots.publications(&["feed"]).await.unwrap(), std::slice::from_ref(feed));
        let name = format!("{}_slot", db.name);
        // Somebody writes and does not end: the slot must wait for it.
        let busy = db.admin().await;
        busy.batch_execute("begin; create table never (id int)").await.unwrap();
        let limit = Duration::from_millis(300);
        assert_eq!(code(slots.create(&name, limit).await.unwrap_err()), "57014");
        busy.batch_execute("rollback").await.unwrap();
        slots.create(&name, SOON).await.unwrap();
        assert_eq!(code(slots.create(&name, SOON).await.unwrap_err()), "42710");
        let listed = slots.list(&name).await.unwrap();
        assert_eq!(
            (listed.len(), listed[0].database.as_str(), listed[0].is_lost),
            (1, db.name.as_str(), false)
        );
        assert!(slots.remove(&name).await.unwrap());
    });
}
