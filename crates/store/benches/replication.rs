//! How fast a stream of changes is read: rows per second, beside PostgreSQL's own decoding of the same changes, which is the
//! floor (nothing is sent, nothing is read).
//!
//! `cargo bench -p store --bench replication` starts a PostgreSQL of its own.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on must stop, and says what it found"
)]

use std::time::Duration;

use store::replication::{Event, Lsn, Slots, Start, Stream, Value};
use tokio::time::Instant;

const ROWS: u32 = 300_000;
const LIMIT: Duration = Duration::from_secs(30);

fn main() {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(measure());
}

async fn measure() {
    let server = testkit::server().await.store();
    let admin = server.admin("postgres").await.unwrap();
    let text = "create table notes (id int8 primary key, owner uuid, title text, body text, done bool, at timestamptz, \
        rank float8, more jsonb); create publication feed for table notes";
    admin.batch_execute(text).await.unwrap();
    let slots = Slots::open(&server, "postgres").await.unwrap();
    for slot in ["ours", "floor"] {
        slots.create(slot, LIMIT).await.unwrap();
    }
    // Transactions of ten rows.
    let text = format!(
        "do $$ begin for idx in 1..{} loop \
            insert into notes select idx * 10 + it, gen_random_uuid(), 'title ' || it, repeat('x', 60), true, now(), 1.5, \
            '{{\"a\": 1}}' from generate_series(1, 10) it; commit; \
         end loop; end $$",
        ROWS / 10
    );
    admin.batch_execute(&text).await.unwrap();

    let began = Instant::now();
    let text = "select count(*) from pg_logical_slot_peek_binary_changes('floor', null, null, \
        'proto_version', '1', 'publication_names', 'feed')";
    let messages: i64 = admin.query_one(text, &[]).await.unwrap().get(0);
    let floor = began.elapsed();

    let start = Start { slot: "ours".to_owned(), publications: vec!["feed".to_owned()], from: Lsn::ZERO };
    let began = Instant::now();
    let mut stream = Stream::start(&server, "postgres", &start).await.unwrap();
    let (mut rows, mut bytes) = (0, 0);
    while rows < ROWS {
        match stream.next().await.unwrap() {
            Event::Row(row) => {
                rows += 1;
                let length = |it: &Value| if let Value::Text(it) = it { it.len() } else { 0 };
                bytes += row.new.iter().flatten().map(length).sum::<usize>();
            }
            Event::Commit { end } => stream.confirm(end, false),
            _ => {}
        }
    }
    let ours = began.elapsed();
    let per_second = |it: Duration| f64::from(ROWS) / it.as_secs_f64();
    println!("{ROWS} rows, {bytes} bytes of values, {messages} messages");
    println!("read by the stream:       {:>9.0} rows/s", per_second(ours));
    println!("decoded by PostgreSQL:    {:>9.0} rows/s", per_second(floor));
    println!("the stream takes {:.2} times as long", ours.as_secs_f64() / floor.as_secs_f64());
    std::process::exit(0);
}
