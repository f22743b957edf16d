//! Who gets which connection, without a server: the clock is an argument and connections are channels.

use tokio::sync::mpsc::{Receiver, channel};
use tokio::sync::oneshot;

use super::*;
use crate::data_path::job::Mode;
use crate::data_path::request::Request;
use crate::{Answer, End, Error, Session, Statement};

type Caller = oneshot::Receiver<Result<Answer, Error>>;

/// A roster with a clock of its own; answers are thrown away.
struct Desk {
    roster: Roster,
    now: Instant,
    callers: Vec<Caller>,
    links: Vec<(u64, Receiver<Job>)>,
}

impl Desk {
    fn new(most: usize) -> Self {
        let (callers, links) = (Vec::new(), Vec::new());
        Self { roster: Roster::new(most, usize::MAX), now: Instant::now(), callers, links }
    }

    fn wait_ms(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    fn job(&mut self, mode: Mode, name: &str) -> Job {
        let statement = Statement { text: name.into(), params: vec![] };
        let request = Request::encode(&Session::default(), &statement, false).unwrap();
        let (reply, caller) = oneshot::channel();
        self.callers.push(caller);
        let mut job = Job::new(request, mode, reply);
        job.waiting_since = self.now;
        job
    }

    /// Submit a read (or a write, by a name in capitals); where it went: a link's number or "waits".
    fn submit(&mut self, name: &str) -> String {
        let write = name.chars().all(char::is_uppercase);
        let job = self.job(if write { Mode::Write(End::Commit) } else { Mode::Read }, name);
        match self.roster.place(job, self.now) {
            None => {
                let got = self.links.iter_mut().find_map(|(id, jobs)| jobs.try_recv().ok().map(|_| *id));
                got.unwrap().to_string()
            }
            Some(job) => {
                assert!(self.roster.wait(job).is_none());
                "waits".to_owned()
            }
        }
    }

    /// Admit one more connection; what it gets.
    fn admit(&mut self) -> String {
        let (sender, receiver) = channel(DEPTH);
        let mut jobs = Vec::new();
        let id = self.roster.admit(sender, self.now, &mut jobs);
        self.links.push((id, receiver));
        names(&jobs)
    }

    /// Link `id` has done `done` jobs; what it gets next.
    fn settle(&mut self, id: u64, done: usize) -> String {
        let mut jobs = Vec::new();
        self.roster.settle(id, done, self.now, &mut jobs);
        names(&jobs)
    }
}

fn names(jobs: &[Job]) -> String {
    jobs.iter().map(|it| &*it.request.text).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_idle_connection_used_last_comes_first() {
    let mut desk = Desk::new(3);
    for _ in 0..3 {
        assert_eq!(desk.admit(), "");
        desk.wait_ms(1);
    }
    assert_eq!([desk.submit("a"), desk.submit("b"), desk.submit("c")], ["3", "2", "1"]);
    desk.wait_ms(1);
    desk.settle(2, 1);
    desk.wait_ms(1);
    desk.settle(3, 1);
    assert_eq!([desk.submit("d"), desk.submit("e")], ["3", "2"]);
}

#[test]
fn reads_share_a_quick_connection_and_avoid_a_slow_one() {
    let mut desk = Desk::new(2);
    desk.admit();
    desk.admit();
    desk.submit("slow");
    desk.wait_ms(50);
    let other = desk.submit("a");
    assert_eq!(desk.submit("b"), other, "sent just now");
    assert_eq!(desk.submit("c"), "waits", "deep enough, and the other one is slow");
    desk.wait_ms(1);
    assert_eq!(desk.settle(other.parse().unwrap(), 2), "c");
}

#[test]
fn connections_are_opened_for_those_who_wait_and_no_more() {
    let mut desk = Desk::new(3);
    assert_eq!(desk.roster.openings(false), 0);
    assert_eq!([desk.submit("a"), desk.submit("b")], ["waits", "waits"]);
    assert_eq!((desk.roster.openings(false), desk.roster.openings(false)), (2, 0));
    assert_eq!(desk.admit(), "a", "nobody queues up while connections come");
    assert_eq!(desk.submit("c"), "waits");
    assert_eq!(desk.roster.openings(false), 1);
    for name in ["d", "e", "f", "g"] {
        desk.submit(name);
    }
    assert_eq!(desk.roster.openings(false), 0, "no more than allowed");
    let mut desk = Desk::new(3);
    desk.submit("a");
    desk.submit("b");
    assert_eq!(
        (desk.roster.openings(true), desk.roster.openings(true)),
        (1, 0),
        "one at a time while it fails"
    );
}

#[test]
fn a_write_is_alone_and_one_connection_is_left_to_reads() {
    let mut desk = Desk::new(2);
    desk.admit();
    desk.wait_ms(1);
    desk.admit();
    assert_eq!(desk.submit("A"), "2");
    assert_eq!(desk.submit("B"), "waits", "the other connection is left to reads");
    assert_eq!([desk.submit("a"), desk.submit("b"), desk.submit("c")], ["1", "1", "waits"]);
    assert_eq!(desk.settle(1, 1), "c", "reads are not behind the waiting write");
    assert_eq!(desk.settle(2, 1), "B");
    assert_eq!(desk.settle(2, 1), "");
}

#[test]
fn a_write_among_endless_reads_gets_a_connection_reserved() {
    let mut desk = Desk::new(1);
    desk.admit();
    assert_eq!(
        [desk.submit("a"), desk.submit("b"), desk.submit("A"), desk.submit("c")],
        ["1", "1", "waits", "waits"]
    );
    assert_eq!(desk.settle(1, 1), "", "reserved: no more reads");
    assert_eq!(desk.submit("d"), "waits");
    assert_eq!(desk.settle(1, 1), "A");
    desk.wait_ms(1);
    assert_eq!(desk.submit("B"), "waits");
    assert_eq!(desk.settle(1, 1), "c d", "who waits longer comes first");
    assert_eq!(desk.settle(1, 2), "B");
}

#[test]
fn callers_that_left_are_skipped_and_do_not_hold_a_reservation() {
    let mut desk = Desk::new(1);
    desk.admit();
    for name in ["a", "b", "A", "c", "d"] {
        desk.submit(name);
    }
    desk.callers.drain(2..4);
    assert_eq!(desk.settle(1, 1), "d");
}

#[test]
fn a_long_queue_is_shared_out_in_bundles() {
    let mut desk = Desk::new(2);
    desk.admit();
    desk.admit();
    for number in 0..40 {
        desk.submit(&format!("r{number}"));
    }
    let bundle = desk.settle(1, 2);
    assert_eq!(bundle.split(' ').count(), BUNDLE, "{bundle}");
    assert!(bundle.starts_with("r4 r5"), "in order: {bundle}");
}

#[test]
fn who_waits_too_long_is_found_and_the_next_look_is_known() {
    let mut desk = Desk::new(1);
    let limit = Duration::from_millis(100);
    desk.submit("a");
    desk.wait_ms(60);
    desk.submit("A");
    desk.submit("left");
    desk.callers.pop();
    assert_eq!(desk.roster.expire(limit, desk.now).1, Some(desk.now + Duration::from_millis(40)));
    desk.wait_ms(50);
    let (late, next) = desk.roster.expire(limit, desk.now);
    assert_eq!((names(&late).as_str(), next), ("a", Some(desk.now + Duration::from_millis(50))));
    desk.wait_ms(50);
    let (late, next) = desk.roster.expire(limit, desk.now);
    assert_eq!((names(&late).as_str(), next, desk.roster.waiting_count()), ("A", None, 0));
}

#[test]
fn draining_ends_connections_once_nobody_needs_them() {
    let mut desk = Desk::new(2);
    desk.admit();
    desk.wait_ms(1);
    desk.admit();
    desk.submit("a");
    desk.roster.drain();
    assert_eq!(desk.roster.open_count(), 1, "the idle one ends at once");
    desk.settle(2, 1);
    assert_eq!(desk.roster.open_count(), 0);
    let (id, limit) = (1, Duration::from_millis(100));
    let mut desk = Desk::new(1);
    desk.admit();
    desk.wait_ms(99);
    desk.roster.retire(id, limit, desk.now);
    assert_eq!(desk.roster.open_count(), 1);
    desk.wait_ms(1);
    desk.roster.retire(id, limit, desk.now);
    assert_eq!(desk.roster.open_count(), 0, "unused for long");
}

#[test]
fn quick_reads_keep_each_other_company_and_slow_ones_stay_alone() {
    let mut desk = Desk::new(4);
    desk.roster.spread = 2;
    (0..4).for_each(|_| assert_eq!(desk.admit(), ""));
    let learn = |desk: &mut Desk, name: &str, micros| {
        let key = desk.job(Mode::Read, name).key;
        desk.roster.paces.of(key).record(Duration::from_micros(micros));
    };
    learn(&mut desk, "quick", 100);
    learn(&mut desk, "slow", 50_000);
    let first: [String; 2] = std::array::from_fn(|_| desk.submit("quick"));
    assert_ne!(first[0], first[1], "as many connections as there are processors");
    for _ in 0..10 {
        assert!(first.contains(&desk.submit("quick")), "then in company");
    }
    let (unknown, slow) = (desk.submit("unknown"), desk.submit("slow"));
    assert!(!first.contains(&unknown) && !first.contains(&slow) && unknown != slow, "{unknown} {slow}");
    for _ in 0..10 {
        assert!(first.contains(&desk.submit("quick")), "not behind an unknown or a slow one");
    }
    for _ in 0..100 {
        desk.submit("quick");
    }
    let depth = |id: &String| desk.roster.links.iter().find(|it| it.id.to_string() == *id).unwrap().in_flight;
    assert_eq!([depth(&first[0]), depth(&first[1])], [DEPTH, DEPTH], "bounded");
    assert_eq!((depth(&unknown), depth(&slow)), (2, 2), "as ever when all are busy");
}

#[test]
fn a_connection_that_does_not_move_gets_no_company() {
    let mut desk = Desk::new(2);
    desk.roster.spread = 1;
    desk.admit();
    desk.admit();
    let key = desk.job(Mode::Read, "quick").key;
    desk.roster.paces.of(key).record(Duration::from_micros(100));
    let stuck = desk.submit("quick");
    desk.wait_ms(6);
    assert_ne!(desk.submit("quick"), stuck);
}
