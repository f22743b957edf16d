//! Reads and writes at once: whoever asks after a write was answered sees it, also when reads overtake each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use gateway::{ResponseCache, ResponseCacheSettings};
use serde_json::{Value, json};
use store::Versions;

use super::board::{Ask, Board, Gate};

const WRITES: i64 = 300;

#[test]
fn nobody_reads_what_was_before_a_write_that_was_answered() {
    testkit::run(async {
        let board = Arc::new(Board::new("order").await);
        let answered = Arc::new(AtomicI64::new(0));
        let hits = Arc::new(AtomicUsize::new(0));
        let ada = board.user(1, &[]);
        let readers: Vec<_> = (0..8)
            .map(|number| {
                let (board, answered, hits) = (Arc::clone(&board), Arc::clone(&answered), Arc::clone(&hits));
                let token = if number % 2 == 0 { ada.clone() } else { board.user(number, &[]) };
                tokio::spawn(async move {
                    let ask = Ask::get("/rest/v1/counters?select=value&id=eq.1").by(&token);
                    while answered.load(Ordering::SeqCst) < WRITES {
                        let least = answered.load(Ordering::SeqCst);
                        let answer = board.cached.ask(&ask).await;
                        let rows: Value = serde_json::from_str(&answer.body).unwrap();
                        let seen = rows[0]["value"].as_i64().unwrap();
                        assert!(seen >= least, "{seen} after {least}: {answer:?}");
                        hits.fetch_add(usize::from(answer.header("x-cache") == "hit"), Ordering::SeqCst);
                    }
                })
            })
            .collect();
        for value in 1..=WRITES {
            let body = json!({ "value": value }).to_string();
            let ask = Ask::write("PATCH", "/rest/v1/counters?id=eq.1", &body).by(&ada);
            assert_eq!(board.cached.ask(&ask).await.status, 204);
            answered.store(value, Ordering::SeqCst);
            if value % 10 == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(3)).await;
            }
        }
        for reader in readers {
            reader.await.unwrap();
        }
        assert!(hits.load(Ordering::SeqCst) > 50, "{hits:?}");
    });
}

#[test]
fn those_who_ask_at_once_share_one_read() {
    testkit::run(async {
        let board = Board::new("flights").await;
        board
            .test
            .owner()
            .await
            .batch_execute(
                "create function public.slow() returns bigint language plpgsql stable as $$ \
             begin perform pg_sleep(0.3); return (select count(*) from public.feed); end $$; notify pgrst",
            )
            .await
            .unwrap();
        let (ada, bob) = (board.user(1, &[]), board.user(2, &[]));
        let ask = |token: &str| Ask::get("/rest/v1/rpc/slow").by(token);
        // Until the function is known.
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
        while board.cached.ask(&ask(&bob)).await.status != 200 {
            assert!(tokio::time::Instant::now() < deadline, "the function is not found");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let asks: Vec<Ask> = (0..30).map(|_| ask(&ada)).collect();
        let answers = futures_util::future::join_all(asks.iter().map(|it| board.cached.ask(it))).await;
        let misses = answers.iter().filter(|it| it.header("x-cache") == "miss").count();
        assert_eq!(misses, 1, "{misses} asked the database");
        assert!(answers.iter().all(|it| it.essence() == answers[0].essence()));
    });
}

/// A function that writes, refuses by itself, and claims to have written nothing.
const LIAR: &str = r#"create function public.liar() returns void language plpgsql security definer as $$ begin
    update public.counters set value = value + 1 where id = 1;
    perform set_config('response.status', '409', true);
    perform set_config('response.headers', '[{"x-madbase-repeatable": "nothing"}]', true);
end $$; notify pgrst"#;

#[test]
fn refused_writes_leave_answers_as_they_are_unless_something_was_written() {
    testkit::run(async {
        let board = Board::new("refused").await;
        let cache = || ResponseCache::new(ResponseCacheSettings::default(), Versions::alone());
        let telling = Gate::worker(&board.test, Some(Versions::alone())).await;
        let silent = Gate::worker(&board.test, None).await;
        let behind = [
            Gate::proxy(&board.test, cache(), &[&telling]).await,
            Gate::proxy(&board.test, cache(), &[&silent]).await,
        ];
        board.test.owner().await.batch_execute(LIAR).await.unwrap();
        let ada = board.user(1, &[]);
        let read = Ask::get("/rest/v1/counters?select=value&id=eq.1").by(&ada);
        let lie = Ask::write("POST", "/rest/v1/rpc/liar", "{}").by(&ada);
        let refused = [
            (400, Ask::write("POST", "/rest/v1/notes", "{nonsense")),
            (404, Ask::write("POST", "/rest/v1/nowhere", "{}")),
            (403, Ask::write("POST", "/rest/v1/secrets", r#"{"id":9,"value":"x"}"#)),
            (409, Ask::write("POST", "/rest/v1/counters", r#"{"id":1,"value":1}"#)),
        ];
        for (number, gate) in [&board.cached, &behind[0], &behind[1]].into_iter().enumerate() {
            let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
            while gate.ask(&lie).await.status != 409 {
                assert!(tokio::time::Instant::now() < deadline, "the function is not known");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            let before = gate.ask(&read).await;
            assert_eq!((before.header("x-cache"), gate.ask(&read).await.header("x-cache")), ("miss", "hit"));
            for (status, ask) in &refused {
                let answer = gate.ask(&ask.clone().by(&ada)).await;
                assert_eq!(
                    (answer.status, answer.header("x-madbase-repeatable")),
                    (*status, "-"),
                    "{answer:?}"
                );
                assert_eq!(gate.ask(&read).await.header("x-cache"), "hit", "{number} {status}");
            }
            let answer = gate.ask(&lie).await;
            assert_eq!(answer.status, 409, "{answer:?}");
            let after = gate.ask(&read).await;
            assert_eq!(after.header("x-cache"), "miss", "{number}: it has written");
            assert_ne!(after.body, before.body);
        }
    });
}
