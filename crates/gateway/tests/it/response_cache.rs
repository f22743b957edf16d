//! Answers that are kept: the real data API on a real PostgreSQL, behind gateways with a cache and without.
//!
//! What the cache gives must be what the database would have said, to whomever asks and whatever is written meanwhile.

mod board;
mod differential;
mod hostile;
mod nodes;
mod proxies;
mod writers;

use board::{Ask, Board};

#[test]
fn an_answer_is_given_again_until_something_is_written() {
    testkit::run(async {
        let board = Board::new("again").await;
        let (ada, path) = (board.user(1, &[]), "/rest/v1/notes?select=body&order=id");
        let first = board.cached.ask(&Ask::get(path).by(&ada)).await;
        assert_eq!((first.status, first.header("x-cache"), first.header("age")), (200, "miss", "-"));
        let again = board.cached.ask(&Ask::get(path).by(&ada)).await;
        assert_eq!((again.header("x-cache"), again.header("age")), ("hit", "0"));
        assert_eq!((&first.body, first.header("content-type")), (&again.body, again.header("content-type")));
        assert_eq!(again.header("cache-control"), "private, max-age=0, must-revalidate");
        assert!(again.header("vary").contains("Authorization"), "{}", again.header("vary"));
        let written = Ask::write("POST", "/rest/v1/notes", r#"{"body":"new"}"#).by(&ada);
        assert_eq!(board.cached.ask(&written).await.status, 201);
        let fresh = board.cached.ask(&Ask::get(path).by(&ada)).await;
        assert_eq!(fresh.header("x-cache"), "miss");
        assert!(fresh.body.contains("new"), "{}", fresh.body);
    });
}

#[test]
fn who_has_the_answer_already_hears_so() {
    testkit::run(async {
        let board = Board::new("etag").await;
        let (ada, bob) = (board.user(1, &[]), board.user(2, &[]));
        let path = "/rest/v1/notes?select=body&order=id";
        let first = board.cached.ask(&Ask::get(path).by(&ada)).await;
        let tag = first.header("etag").to_owned();
        assert!(tag.starts_with('"') && tag.len() == 34, "{tag}");
        let known = |tag: &str| Ask::get(path).header("if-none-match", tag);
        let same = board.cached.ask(&known(&tag).by(&ada)).await;
        assert_eq!((same.status, same.body.as_str(), same.header("etag")), (304, "", tag.as_str()));
        assert_eq!(same.header("x-cache"), "hit");
        let others = board.cached.ask(&known(&tag).by(&bob)).await;
        assert_eq!(others.status, 200, "another one's rows are another answer");
        let written = Ask::write("POST", "/rest/v1/notes", r#"{"body":"new"}"#).by(&ada);
        board.cached.ask(&written).await;
        assert_eq!(board.cached.ask(&known(&tag).by(&ada)).await.status, 200);
        // Compressed, it is no longer the same bytes, but still the same answer.
        let large = "/rest/v1/feed?select=*&limit=100";
        let zipped = board.cached.ask(&Ask::get(large).header("accept-encoding", "gzip").by(&ada)).await;
        assert_eq!(zipped.header("content-encoding"), "gzip");
        let weak = zipped.header("etag").to_owned();
        assert!(weak.starts_with("W/\""), "{weak}");
        let same = board.cached.ask(&Ask::get(large).header("if-none-match", &weak).by(&ada)).await;
        assert_eq!(same.status, 304);
    });
}

#[test]
fn projects_and_requests_say_whether_answers_are_kept() {
    testkit::run(async {
        let board = Board::new("modes").await;
        let ada = board.user(1, &[]);
        let path = "/rest/v1/notes?select=body";
        let ask = async |gateway: &board::Gate, says: Option<&str>| {
            let ask = Ask::get(path).by(&ada);
            let ask = says.map_or(ask.clone(), |it| ask.header("cache-control", it));
            gateway.ask(&ask).await.header("x-cache").to_owned()
        };
        for _ in 0..2 {
            assert_eq!(ask(&board.plain, Some("max-age=60")).await, "-", "off is off");
            assert_eq!(ask(&board.on_request, None).await, "miss");
            assert_eq!(ask(&board.cached, Some("no-store")).await, "miss");
            assert_eq!(ask(&board.cached, Some("no-cache")).await, "miss");
        }
        assert_eq!(ask(&board.cached, None).await, "hit", "what a careful client fetched serves others");
        assert_eq!(ask(&board.on_request, Some("max-age=60")).await, "miss");
        assert_eq!(ask(&board.on_request, Some("max-age=60")).await, "hit");
        assert_eq!(ask(&board.on_request, None).await, "miss");
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        assert_eq!(ask(&board.cached, Some("max-age=60")).await, "hit");
        assert_eq!(ask(&board.cached, Some("max-age=1")).await, "miss");
    });
}

#[test]
fn what_may_be_another_answer_the_next_time_is_not_kept() {
    testkit::run(async {
        let board = Board::new("unfit").await;
        let ada = board.user(1, &[]);
        let long = format!("/rest/v1/rpc/repeat?times={}", 200_000);
        for (path, header) in [
            ("/rest/v1/rpc/dice", ("accept", "*/*")),
            ("/rest/v1/notes?select=body", ("prefer", "count=planned")),
            ("/rest/v1/notes?select=body", ("prefer", "count=estimated")),
            ("/rest/v1/notes?select=nothing", ("accept", "*/*")),
            ("/rest/v1/nowhere", ("accept", "*/*")),
            ("/rest/v1/", ("accept", "*/*")),
            ("/rest/v1/rpc/own_caching", ("accept", "*/*")),
            (&long, ("accept", "*/*")),
        ] {
            for _ in 0..2 {
                let answer = board.cached.ask(&Ask::get(path).header(header.0, header.1).by(&ada)).await;
                assert_eq!(answer.header("x-cache"), "miss", "{path} {header:?}: {}", answer.status);
            }
        }
        let kept = "/rest/v1/rpc/own_total";
        board.cached.ask(&Ask::get(kept).by(&ada)).await;
        assert_eq!(board.cached.ask(&Ask::get(kept).by(&ada)).await.header("x-cache"), "hit");
    });
}
