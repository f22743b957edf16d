//! Portions: what is left out, what is cut, what becomes a broadcast.

use std::time::Duration;

use store::replication::{Column, Table};

use super::*;

fn table(schema: &str, name: &str, columns: &[&str]) -> Arc<Table> {
    let column = |it: &&str| Column { name: (*it).to_owned(), type_oid: 25, is_key: false };
    let columns = columns.iter().map(column).collect();
    Arc::new(Table { oid: 1, schema: schema.to_owned(), name: name.to_owned(), is_full: false, columns })
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn text(it: impl Into<Bytes>) -> Value {
    Value::Text(it.into())
}

fn row(table: &Arc<Table>, new: Vec<Value>) -> Event {
    Event::Row(Row { table: Arc::clone(table), kind: Kind::Insert, new: Some(new), old: None })
}

fn xid(commit: u64) -> u32 {
    u32::try_from(commit).unwrap()
}

/// A transaction of `count` rows whose commit stands at `commit`.
fn transaction(commit: u64, count: usize) -> Vec<Event> {
    let todos = table("public", "todos", &["id"]);
    let mut events = vec![Event::Begin { commit: Lsn(commit), committed_at: at(commit), xid: xid(commit) }];
    events.extend((0..count).map(|it| row(&todos, vec![text(format!("{commit}.{it}"))])));
    events.push(Event::Commit { end: Lsn(commit + 5) });
    events
}

fn ids(portion: &Portion) -> Vec<String> {
    let id = |it: &Change| match it.new.as_deref() {
        Some([Value::Text(id), ..]) => String::from_utf8(id.to_vec()).unwrap(),
        _ => panic!("{it:?}"),
    };
    portion.changes.iter().map(id).collect()
}

#[test]
fn what_was_handed_on_before_is_left_out_row_by_row() {
    let before = Position { commit: Lsn(20), rows: 2 };
    let mut assembler = Assembler::new(before, None);
    transaction(10, 2).into_iter().for_each(|it| assembler.add(it));
    assert!(assembler.take().is_empty() && assembler.transactions().is_empty());
    assert_eq!((assembler.position(), assembler.safe()), (before, Lsn(15)), "never back");
    transaction(20, 4).into_iter().chain(transaction(30, 1)).for_each(|it| assembler.add(it));
    assert_eq!(ids(&assembler.take()), ["20.2", "20.3", "30.0"]);
    assert_eq!((assembler.position(), assembler.safe()), (Position { commit: Lsn(30), rows: 1 }, Lsn(35)));
}

#[test]
fn nothing_is_safe_before_its_commit_and_what_is_idle_moves_on() {
    let mut assembler = Assembler::new(Position::default(), None);
    assembler.add(Event::Reached { end: Lsn(8) });
    assert_eq!(assembler.safe(), Lsn(8));
    let mut events = transaction(20, 1);
    let commit = events.pop().unwrap();
    events.into_iter().for_each(|it| assembler.add(it));
    assembler.add(Event::Reached { end: Lsn(19) });
    assert_eq!((assembler.safe(), assembler.take().changes.len()), (Lsn(8), 1));
    assembler.add(commit);
    assert_eq!(assembler.safe(), Lsn(25));
}

#[test]
fn what_was_committed_too_long_ago_is_left_out() {
    let mut assembler = Assembler::new(Position::default(), Some(at(20)));
    transaction(19, 1).into_iter().chain(transaction(20, 1)).for_each(|it| assembler.add(it));
    assert_eq!(ids(&assembler.take()), ["20.0"]);
}

#[test]
fn a_portion_is_full_by_rows_or_bytes() {
    let mut assembler = Assembler::new(Position::default(), None);
    transaction(1, MAX_ROWS - 1).into_iter().for_each(|it| assembler.add(it));
    assert!(!assembler.is_full());
    transaction(2, 1).into_iter().for_each(|it| assembler.add(it));
    assert!(assembler.is_full());
    assembler.take();
    assert!(!assembler.is_full());
    let wide = table("public", "wide", &["body"]);
    assembler.add(Event::Begin { commit: Lsn(3), committed_at: at(3), xid: 3 });
    assembler.add(row(&wide, vec![text(vec![b'x'; MAX_BYTES])]));
    assert!(assembler.is_full());
}

#[test]
fn long_values_of_a_row_that_is_too_large_are_cut_and_short_ones_stay() {
    let long = |length: usize| text(vec![b'x'; length]);
    let fits = vec![text("id"), long(MAX_ROW_BYTES - 2)];
    assert_eq!(bounded(fits.clone()), fits);
    let cut = bounded(vec![long(MAX_ROW_BYTES / 2), text("id"), Value::Null, long(MAX_ROW_BYTES), long(100)]);
    assert_eq!(size(&cut), MAX_ROW_BYTES + 1, "so that it is seen to be too large");
    assert_eq!(cut.get(1), Some(&text("id")));
    assert_eq!(cut.last(), Some(&text("")));
}

#[test]
fn messages_become_broadcasts() {
    let columns =
        ["topic", "extension", "payload", "event", "private", "inserted_at", "id", "binary_payload"];
    let messages = table("realtime", "messages", &columns);
    let message = |extension: &str, payload: Value, binary: Value| {
        let at = text("2026-11-21 15:00:00");
        let extension = text(extension.to_owned());
        row(
            &messages,
            vec![text("room"), extension, payload, text("shout"), text("t"), at, text("1-2"), binary],
        )
    };
    let mut assembler = Assembler::new(Position::default(), None);
    assembler.add(Event::Begin { commit: Lsn(1), committed_at: at(1), xid: 1 });
    assembler.add(message("presence", text("{}"), Value::Null));
    assembler.add(message("broadcast", text("{\"a\": 1}"), Value::Null));
    assembler.add(message("broadcast", Value::Null, text("\\x00ff41")));
    assembler.add(message("broadcast", text(vec![b'1'; MAX_BROADCAST]), Value::Null));
    let portion = assembler.take();
    assert!(portion.changes.is_empty());
    let [json, binary] = portion.broadcasts.as_slice() else { panic!("{portion:?}") };
    assert_eq!((&*json.topic, &*json.event, json.is_private, json.is_json), ("room", "shout", true, true));
    assert_eq!((json.id.as_str(), json.inserted_at.as_str()), ("1-2", "2026-11-21 15:00:00"));
    assert_eq!((&*json.body, &*binary.body, binary.is_json), (&b"{\"a\": 1}"[..], &b"\x00\xffA"[..], false));
}

#[test]
fn a_portion_knows_whose_rows_it_holds() {
    let mut assembler = Assembler::new(Position::default(), None);
    for event in [transaction(10, 3), transaction(20, 0), transaction(30, 1)].into_iter().flatten() {
        assembler.add(event);
    }
    assert_eq!(assembler.transactions(), [10, 30]);
    assert_eq!(assembler.transactions(), [0; 0]);
}
