//! The same requests, with answers kept and without: nobody can tell, however many ask for whatever.

use futures_util::future::join_all;
use proptest::test_runner::{RngAlgorithm, TestRng};
use serde_json::json;

use super::board::{Ask, Board};

const USERS: u32 = 50;
const REQUESTS: usize = 10_000;
/// Reads between two writes.
const BATCH: usize = 40;

/// A seeded source of choices.
struct Dice(TestRng);

impl Dice {
    fn up_to(&mut self, limit: u32) -> u32 {
        use proptest::prelude::Rng as _;
        self.0.next_u32() % limit
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.up_to(u32::try_from(all.len()).unwrap()) as usize]
    }
}

/// What is read.
const READS: [&str; 22] = [
    "/rest/v1/notes?select=id,body,shared&order=id",
    "/rest/v1/notes?select=body&shared=is.true&order=id.desc&limit=5",
    "/rest/v1/notes?select=body&owner=eq.00000000-0000-0000-0000-000000000001&order=id",
    "/rest/v1/notes?select=id&id=gt.100&order=id&limit=3&offset=2",
    "/rest/v1/teams?select=name,tasks(title,done)&order=id&tasks.order=id",
    "/rest/v1/tasks?select=id,title,teams(name)&order=id&limit=7",
    "/rest/v1/tasks?select=title&done=is.true&order=id",
    "/rest/v1/members?select=team&order=team",
    "/rest/v1/documents?select=id,tenant&order=id",
    "/rest/v1/documents?select=text&id=lt.9&order=id",
    "/rest/v1/posts?select=*&order=id",
    "/rest/v1/posts?select=title&published=is.false&order=id",
    "/rest/v1/secrets?select=*&order=id",
    "/rest/v1/own_tasks?select=*&order=title",
    "/rest/v1/totals",
    "/rest/v1/feed?select=event&order=id.desc&limit=10",
    "/rest/v1/rpc/own_total",
    "/rest/v1/rpc/is_admin",
    "/rest/v1/counters?select=value&id=eq.1",
    "/rest/v1/notes?select=nothing",
    "/rest/v1/posts?select=id&id=eq.1&limit=1",
    "/rest/v1/notes?id=eq.7&select=body",
];

/// Headers that make it another answer.
const SHAPES: [(&str, &str); 8] = [
    ("x-nothing", "1"),
    ("prefer", "count=exact"),
    ("accept", "text/csv"),
    ("accept", "application/vnd.pgrst.object+json"),
    ("range", "0-1"),
    ("range", "2-4"),
    ("accept-encoding", "gzip"),
    ("prefer", "timezone=Asia/Tokyo"),
];

fn read(dice: &mut Dice, tokens: &[String]) -> Ask {
    let path = *dice.one_of(&READS);
    let ask = if dice.up_to(20) == 0 { Ask::head(path) } else { Ask::get(path) };
    let ask = match dice.up_to(3) {
        0 => {
            let (name, value) = *dice.one_of(&SHAPES);
            ask.header(name, value)
        }
        _ => ask,
    };
    match dice.up_to(15) {
        0 => ask,
        // Some ask more than others do.
        1..=7 => ask.by(&tokens[dice.up_to(5) as usize]),
        _ => ask.by(dice.one_of::<String>(tokens)),
    }
}

fn write(dice: &mut Dice, tokens: &[String]) -> Ask {
    let (number, key) = (dice.up_to(USERS), dice.up_to(220));
    let ask = match dice.up_to(9) {
        0 | 1 => Ask::write("POST", "/rest/v1/notes", &json!({"body": format!("new {key}")}).to_string()),
        2 => Ask::write("PATCH", &format!("/rest/v1/notes?id=eq.{key}"), r#"{"shared": true}"#),
        3 => Ask::write("DELETE", &format!("/rest/v1/notes?id=eq.{key}"), ""),
        4 => Ask::write("POST", "/rest/v1/rpc/join_team", &json!({"team": key % 6}).to_string()),
        5 => Ask::write("DELETE", &format!("/rest/v1/members?team=eq.{}", key % 6), ""),
        6 => Ask::write("PATCH", &format!("/rest/v1/tasks?id=eq.{}", key % 60), r#"{"done": true}"#),
        7 => Ask::write("PATCH", &format!("/rest/v1/posts?id=eq.{}", key % 20), r#"{"published": true}"#),
        _ => Ask::write("PATCH", "/rest/v1/counters?id=eq.1", &json!({"value": key}).to_string()),
    };
    ask.by(&tokens[number as usize])
}

// REQ C1
#[test]
fn ten_thousand_requests_of_fifty_users_are_answered_alike_with_the_cache_and_without() {
    testkit::run(async {
        let board = Board::new("alike").await;
        let tokens: Vec<String> = (1..=USERS).map(|it| board.user(it, &[])).collect();
        let mut dice = Dice(TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]));
        let (mut asked, mut hits, mut written) = (0, 0, 0);
        while asked < REQUESTS {
            let batch: Vec<Ask> = (0..BATCH).map(|_| read(&mut dice, &tokens)).collect();
            let kept = join_all(batch.iter().map(|it| board.cached.ask(it)));
            let fresh = join_all(batch.iter().map(|it| board.plain.ask(it)));
            let (kept, fresh) = tokio::join!(kept, fresh);
            for ((ask, kept), fresh) in batch.iter().zip(&kept).zip(&fresh) {
                assert_eq!(kept.essence(), fresh.essence(), "{ask:?}");
                hits += usize::from(kept.header("x-cache") == "hit");
            }
            asked += batch.len();
            let ask = write(&mut dice, &tokens);
            let status = board.cached.ask(&ask).await.status;
            assert!(status < 300 || status == 404 || status == 403, "{status} {ask:?}");
            written += 1;
        }
        assert!(hits > REQUESTS / 50 && written >= REQUESTS / BATCH, "{hits} hits, {written} writes");
        hot_set(&board, &tokens, &mut dice).await;
    });
}

/// What everybody asks for all the time is nearly always here.
async fn hot_set(board: &Board, tokens: &[String], dice: &mut Dice) {
    let hot: Vec<Ask> = (0..60)
        .map(|_| Ask::get(dice.one_of::<&str>(&READS[..16])).by(dice.one_of::<String>(tokens)))
        .collect();
    let mut hits = 0;
    for round in 0..60 {
        for ask in &hot {
            hits += usize::from(board.cached.ask(ask).await.header("x-cache") == "hit");
        }
        if round == 30 {
            board.cached.ask(&write(dice, tokens)).await;
        }
    }
    let ratio = f64::from(u32::try_from(hits).unwrap()) / (60.0 * 60.0);
    assert!(ratio >= 0.95, "{ratio}");
}
