//! Several gateways: a write by one is seen through the others as soon as PostgreSQL has told them, and who cannot hear
//! keeps nothing. And a write whose end nobody knows.

use std::time::Duration;

use common::ResponseCache as Mode;
use gateway::{ResponseCache, ResponseCacheSettings};
use serde_json::json;
use store::Versions;
use tokio::time::{Instant, sleep};

use super::board::{Ask, Board, Gate};

/// Two gateways that tell each other through `database`.
async fn pair(board: &Board, database: &str) -> [Gate; 2] {
    let shared = || async {
        let server = board.test.databases.server();
        let versions = Versions::shared(server, database);
        let deadline = Instant::now() + Duration::from_secs(30);
        while versions.of(&board.test.project.reference).is_none() {
            assert!(Instant::now() < deadline, "nobody listens");
            sleep(Duration::from_millis(5)).await;
        }
        let cache = ResponseCache::new(ResponseCacheSettings::default(), versions);
        Gate::open(&[&board.test], Mode::On, cache).await
    };
    [shared().await, shared().await]
}

fn counter() -> Ask {
    Ask::get("/rest/v1/counters?select=value&id=eq.1")
}

fn set(value: u32) -> Ask {
    Ask::write("PATCH", "/rest/v1/counters?id=eq.1", &json!({ "value": value }).to_string())
}

async fn until(what: &str, limit: Duration, mut done: impl AsyncFnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !done().await {
        assert!(started.elapsed() < limit, "not in time: {what}");
        sleep(Duration::from_millis(1)).await;
    }
    started.elapsed()
}

// REQ C11
#[test]
fn a_write_through_one_gateway_is_seen_through_another() {
    testkit::run(async {
        let board = Board::new("nodes").await;
        let [one, other] = pair(&board, &board.test.project.database).await;
        let ada = board.user(1, &[]);
        let mut taken = Vec::new();
        for value in 1..50 {
            until("it is kept", Duration::from_secs(30), async || {
                other.ask(&counter().by(&ada)).await.header("x-cache") == "hit"
            })
            .await;
            assert_eq!(one.ask(&set(value).by(&ada)).await.status, 204);
            let body = format!(r#"[{{"value":{value}}}]"#);
            assert_eq!(one.ask(&counter().by(&ada)).await.body, body, "where it was written, at once");
            let seen = async || other.ask(&counter().by(&ada)).await.body == body;
            taken.push(until("the other sees it", Duration::from_secs(30), seen).await);
        }
        // Most of them, since the machine may be busy with other tests.
        taken.sort_unstable();
        println!("seen by the other after {:?} at most", taken.last().unwrap());
        assert!(taken[taken.len() * 3 / 4] < Duration::from_secs(1), "{taken:?}");
    });
}

#[test]
fn a_gateway_that_cannot_hear_keeps_nothing() {
    testkit::run(async {
        let board = Board::new("deaf").await;
        let name = format!("{}_control", board.test.project.database);
        let elsewhere = board.test.databases.server().admin("postgres").await.unwrap();
        elsewhere.batch_execute(&format!("create database \"{name}\"")).await.unwrap();
        let [one, other] = pair(&board, &name).await;
        let ada = board.user(1, &[]);
        let kept = async || other.ask(&counter().by(&ada)).await.header("x-cache") == "hit";
        until("it is kept", Duration::from_secs(30), async || kept().await).await;
        // The listeners are thrown out, and cannot come back for a while.
        let lock = format!("alter database \"{name}\" allow_connections false");
        elsewhere.batch_execute(&lock).await.unwrap();
        let kill = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1";
        elsewhere.query(kill, &[&name]).await.unwrap();
        let deaf = async || !kept().await && !kept().await;
        until("it keeps nothing", Duration::from_secs(30), async || deaf().await).await;
        let wrote = Instant::now();
        assert_eq!(one.ask(&set(77).by(&ada)).await.status, 204);
        assert!(wrote.elapsed() < Duration::from_secs(10), "writers do not wait for long");
        assert!(other.ask(&counter().by(&ada)).await.body.contains("77"));
        elsewhere.batch_execute(&lock.replace("false", "true")).await.unwrap();
        until("it is kept again", Duration::from_secs(30), async || kept().await).await;
        assert!(other.ask(&counter().by(&ada)).await.body.contains("77"));
        drop((one, other));
        elsewhere.batch_execute(&format!("drop database \"{name}\" with (force)")).await.unwrap();
    });
}

#[test]
fn after_a_write_that_its_client_gave_up_nothing_is_kept_for_a_while() {
    testkit::run(async {
        let board = Board::new("doubt").await;
        board.test.owner().await.batch_execute(
            "create function public.late() returns void language plpgsql as $$ \
             begin perform pg_sleep(2); update public.counters set value = 5 where id = 1; end $$; notify pgrst",
        ).await.unwrap();
        let ada = board.user(1, &[]);
        let late = Ask::write("POST", "/rest/v1/rpc/late", "{}").by(&ada);
        until("the function is found", Duration::from_secs(30), async || {
            board.cached.ask(&late).await.status == 204
        })
        .await;
        board.cached.ask(&counter().by(&ada)).await;
        assert_eq!(board.cached.ask(&counter().by(&ada)).await.header("x-cache"), "hit");
        let given_up = tokio::time::timeout(Duration::from_secs(1), board.cached.ask(&late)).await;
        assert!(given_up.is_err());
        sleep(Duration::from_millis(100)).await;
        for _ in 0..2 {
            assert_eq!(board.cached.ask(&counter().by(&ada)).await.header("x-cache"), "miss");
        }
        until("it is kept again", Duration::from_secs(30), async || {
            board.cached.ask(&counter().by(&ada)).await.header("x-cache") == "hit"
        })
        .await;
    });
}

#[test]
fn after_a_write_whose_service_failed_nothing_is_kept_for_a_while() {
    testkit::run(async {
        let board = Board::new("failed").await;
        board
            .test
            .owner()
            .await
            .batch_execute(
                "create function public.fail(status text) returns void language plpgsql as $$ \
             begin raise exception using errcode = 'PT' || status, message = 'no'; end $$; notify pgrst",
            )
            .await
            .unwrap();
        let ada = board.user(1, &[]);
        let fail = |status: u16| {
            Ask::write("POST", "/rest/v1/rpc/fail", &json!({ "status": status.to_string() }).to_string())
                .by(&ada)
        };
        until("the function is found", Duration::from_secs(30), async || {
            board.cached.ask(&fail(409)).await.status == 409
        })
        .await;
        let kept = async || board.cached.ask(&counter().by(&ada)).await.header("x-cache") == "hit";
        assert!(!kept().await && kept().await, "who refuses has written, or not, but has ended");
        assert_eq!(board.cached.ask(&fail(503)).await.status, 503);
        let since = Instant::now();
        // PostgreSQL looks every 10 s whether anybody waits for a statement.
        while since.elapsed() < Duration::from_secs(11) {
            assert!(!kept().await, "after {:?}", since.elapsed());
            sleep(Duration::from_millis(100)).await;
        }
        until("it is kept again", Duration::from_secs(30), async || kept().await).await;
    });
}

#[test]
fn a_proxy_keeps_what_its_workers_answer() {
    testkit::run(async {
        let board = Board::new("workers").await;
        let (one, other) = (Gate::worker(&board.test, None).await, Gate::worker(&board.test, None).await);
        let cache = ResponseCache::new(ResponseCacheSettings::default(), Versions::alone());
        let proxy = Gate::proxy(&board.test, cache, &[&one, &other]).await;
        let (ada, bob) = (board.user(1, &[]), board.user(2, &[]));
        until("it is kept", Duration::from_secs(30), async || {
            proxy.ask(&counter().by(&ada)).await.header("x-cache") == "hit"
        })
        .await;
        assert_eq!(proxy.ask(&counter().by(&ada)).await.header("x-madbase-repeatable"), "-");
        assert_eq!(one.ask(&counter().by(&ada)).await.header("x-madbase-repeatable"), "part");
        for value in 1..20 {
            assert_eq!(proxy.ask(&set(value).by(&bob)).await.status, 204);
            let body = format!(r#"[{{"value":{value}}}]"#);
            for how in ["miss", "hit"] {
                let seen = proxy.ask(&counter().by(&ada)).await;
                assert_eq!((seen.body.as_str(), seen.header("x-cache")), (body.as_str(), how), "{value}");
            }
        }
        // What a worker would compress for one client comes plain, and each gets it in its own way.
        let feed = Ask::get("/rest/v1/notes?select=*&order=id").by(&ada);
        let zipped = proxy.ask(&feed.clone().header("accept-encoding", "gzip")).await;
        let plain = proxy.ask(&feed).await;
        assert_eq!((zipped.header("x-cache"), plain.header("x-cache")), ("miss", "hit"));
        assert_eq!(plain.essence(), board.plain.ask(&feed).await.essence());
        let dice = Ask::get("/rest/v1/rpc/dice").by(&ada);
        for _ in 0..2 {
            assert_eq!(proxy.ask(&dice).await.header("x-cache"), "miss");
        }
        // A function that says so by itself is not believed.
        let forged = r#"create function public.forged() returns int language plpgsql volatile as $$ begin
            perform set_config('response.headers', '[{"x-madbase-repeatable": "part"}]', true); return 1; end $$;
            notify pgrst"#;
        board.test.owner().await.batch_execute(forged).await.unwrap();
        let forged = Ask::get("/rest/v1/rpc/forged").by(&ada);
        until("the function is found", Duration::from_secs(30), async || {
            proxy.ask(&forged).await.status == 200 && proxy.ask(&forged).await.status == 200
        })
        .await;
        for _ in 0..4 {
            let answer = proxy.ask(&forged).await;
            assert_eq!((answer.header("x-cache"), answer.header("x-madbase-repeatable")), ("miss", "-"));
        }
    });
}
