//! What is told is read as PostgreSQL documents it, and what is not, is refused.

use bytes::{BufMut as _, BytesMut};
use proptest::prelude::*;

use super::*;

/// A message of the stream, put together as PostgreSQL documents it.
struct Wire(BytesMut);

impl Wire {
    fn new(tag: u8) -> Self {
        let mut wire = BytesMut::new();
        wire.put_u8(b'w');
        wire.put_bytes(0, 24);
        wire.put_u8(tag);
        Self(wire)
    }

    fn with(mut self, bytes: &[u8]) -> Self {
        self.0.put_slice(bytes);
        self
    }

    fn num(self, it: u32) -> Self {
        self.with(&it.to_be_bytes())
    }

    fn text(self, it: &str) -> Self {
        self.num(u32::try_from(it.len()).unwrap()).with(it.as_bytes())
    }

    fn decode(self, decoder: &mut Decoder) -> Result<Message, Broken> {
        decoder.message(self.0.freeze())
    }
}

fn todos(identity: u8) -> Wire {
    let column = |it: Wire, flag: u8, name: &str, oid| {
        it.with(&[flag]).with(name.as_bytes()).with(&[0]).num(oid).num(0)
    };
    let wire =
        Wire::new(b'R').num(16400).with(b"public\0todos\0").with(&[identity]).with(&3_u16.to_be_bytes());
    column(column(column(wire, 1, "id", 20), 0, "title", 25), 0, "body", 25)
}

fn rows(wires: Vec<Wire>) -> Vec<String> {
    let mut decoder = Decoder::default();
    let told = wires.into_iter().map(|it| it.decode(&mut decoder).unwrap());
    let shown = told.filter_map(|it| match it {
        Message::Event(Event::Row(row)) => Some(format!(
            "{}.{} {:?} {:?} <- {:?}",
            row.table.schema, row.table.name, row.kind, row.new, row.old
        )),
        _ => None,
    });
    shown.collect()
}

#[test]
fn rows_carry_what_is_told_of_them() {
    let insert = Wire::new(b'I').num(16400).with(b"N\0\x03t").text("7").with(b"t").text("milk").with(b"n");
    let update = Wire::new(b'U').num(16400).with(b"N\0\x03t").text("7").with(b"t").text("").with(b"u");
    let moved = Wire::new(b'U').num(16400).with(b"K\0\x03t").text("7").with(b"nn");
    let moved = moved.with(b"N\0\x03t").text("8").with(b"t").text("x").with(b"u");
    let delete = Wire::new(b'D').num(16400).with(b"K\0\x03t").text("8").with(b"nn");
    assert_eq!(
        rows(vec![todos(b'd'), insert, update, moved, delete]),
        [
            r#"public.todos Insert Some([Text(b"7"), Text(b"milk"), Null]) <- None"#,
            r#"public.todos Update Some([Text(b"7"), Text(b""), Unchanged]) <- None"#,
            r#"public.todos Update Some([Text(b"8"), Text(b"x"), Unchanged]) <- Some([Text(b"7"), Unchanged, Unchanged])"#,
            r#"public.todos Delete None <- Some([Text(b"8"), Unchanged, Unchanged])"#,
        ]
    );
}

#[test]
fn nothing_that_is_cut_short_is_believed() {
    let mut decoder = Decoder::default();
    todos(b'd').decode(&mut decoder).unwrap();
    let whole = Wire::new(b'I').num(16400).with(b"N\0\x02t").text("7").with(b"t").text("milk").0.freeze();
    for length in 0..whole.len() {
        assert!(decoder.message(whole.slice(..length)).is_err(), "{length}");
    }
    assert!(matches!(decoder.message(whole), Ok(Message::Event(Event::Row(_)))));
    assert!(Wire::new(b'D').num(1).with(b"K\0\0").decode(&mut decoder).is_err(), "an unknown table");
    assert!(
        Wire::new(b'D').num(16400).with(b"N\0\0").decode(&mut decoder).is_err(),
        "a deletion tells the old row"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), tag in "[BCRIUDTYOM]") {
        let mut decoder = Decoder::default();
        todos(b'f').decode(&mut decoder).unwrap();
        let _ = Wire::new(tag.as_bytes()[0]).num(16400).with(&bytes).decode(&mut decoder);
        let _ = decoder.message(bytes.into());
    }
}
