//! The body of an answer: whole, or in pieces as the store gets it from PostgreSQL; in the form that clients get.
//!
//! Made by `run`, sent by `response`. Its length is known before its first byte in any case, so that an answer which
//! is cut never looks complete.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use store::{Cut, Database, Tail};

use crate::events::Event;

/// What the body of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The body itself.
    Text,
    /// Bytes in hexadecimal.
    Binary,
    /// `jsonb` of a handler: its version goes before it.
    Jsonb,
    /// The lines of `explain`.
    Plan,
    /// The only row there can be, and nothing beside it.
    Row,
    /// As [`Form::Row`], sent as an array of it.
    RowInArray,
}

impl Form {
    /// Whether a row is all there is: no columns tell of it.
    pub(crate) fn is_row(self) -> bool {
        matches!(self, Self::Row | Self::RowInArray)
    }
}

/// What `jsonb_send` begins with.
const JSONB_VERSION: &[u8] = &[1];
/// What makes an array of a value.
const BRACKETS: [&[u8]; 2] = [b"[", b"]"];

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Content {
    /// All of it.
    Whole(Bytes),
    /// What comes.
    Pieces(Box<Pieces>),
}

impl Default for Content {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl<T: Into<Bytes>> From<T> for Content {
    fn from(it: T) -> Self {
        Self::Whole(it.into())
    }
}

impl Content {
    /// A body that came whole, as PostgreSQL's text.
    pub(crate) fn of(body: Option<&Bytes>, form: Form) -> Self {
        Self::Whole(match (body, form) {
            (None, Form::RowInArray) => Bytes::from_static(b"[]"),
            (None, _) => Bytes::new(),
            (Some(body), Form::Binary) => {
                let mut bytes = Vec::with_capacity(body.len() / 2);
                Hexadecimal::default().decode(body, &mut bytes);
                bytes.into()
            }
            (Some(body), Form::Jsonb) => [JSONB_VERSION, body].concat().into(),
            (Some(body), Form::RowInArray) => {
                let [before, after] = BRACKETS;
                [before, body.as_ref(), after].concat().into()
            }
            (Some(body), Form::Text | Form::Plan | Form::Row) => body.clone(),
        })
    }

    /// A body that comes in pieces from `database`, which stays open until it is here.
    pub(crate) fn pieces(tail: Tail, form: Form, database: &Arc<Database>) -> Self {
        let length = tail.left() as u64;
        let [open, close] = BRACKETS;
        let (left, before, after) = match form {
            Form::Text | Form::Plan | Form::Row => (length, &[][..], &[][..]),
            Form::Binary => (length.saturating_sub(Hexadecimal::PREFIX as u64) / 2, &[][..], &[][..]),
            Form::Jsonb => (length + 1, JSONB_VERSION, &[][..]),
            Form::RowInArray => (length + 2, open, close),
        };
        let hexadecimal = (form == Form::Binary).then(Hexadecimal::default);
        let database = Arc::clone(database);
        Self::Pieces(Box::new(Pieces { tail, left, before, after, hexadecimal, _database: database }))
    }

    /// Bytes.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Pieces(it) => it.left,
        }
    }

    pub(crate) fn into_body(self) -> Body {
        match self {
            Self::Whole(bytes) => Body::from(bytes),
            Self::Pieces(it) => Body::new(it),
        }
    }
}

/// A body that comes in pieces.
#[derive(Debug)]
pub(crate) struct Pieces {
    tail: Tail,
    /// Bytes that the client has yet to get.
    left: u64,
    /// What goes before the first piece.
    before: &'static [u8],
    /// What comes behind the last piece.
    after: &'static [u8],
    hexadecimal: Option<Hexadecimal>,
    _database: Arc<Database>,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = &mut *self;
        loop {
            let piece = match std::mem::take(&mut this.before) {
                [] => match ready!(this.tail.poll_next(cx)) {
                    None => match std::mem::take(&mut this.after) {
                        [] => return Poll::Ready(None),
                        after => Bytes::from_static(after),
                    },
                    Some(Ok(piece)) => this.decoded(piece),
                    Some(Err(cut)) => {
                        Event::Cut { error: &cut }.emit();
                        this.after = &[];
                        return Poll::Ready(Some(Err(cut)));
                    }
                },
                before => Bytes::from_static(before),
            };
            this.left = this.left.saturating_sub(piece.len() as u64);
            if !piece.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl Pieces {
    fn decoded(&mut self, piece: Bytes) -> Bytes {
        let Some(hexadecimal) = &mut self.hexadecimal else { return piece };
        let mut bytes = Vec::with_capacity(piece.len() / 2 + 1);
        hexadecimal.decode(&piece, &mut bytes);
        bytes.into()
    }
}

/// The bytes behind PostgreSQL's `\x…`, which may come in pieces.
#[derive(Debug, Default)]
struct Hexadecimal {
    /// Characters seen, up to the first digit.
    seen: usize,
    /// The first digit of a byte whose second one has not come.
    half: Option<u8>,
}

impl Hexadecimal {
    /// How long `\x` is.
    const PREFIX: usize = 2;

    fn decode(&mut self, text: &[u8], bytes: &mut Vec<u8>) {
        let skipped = (Self::PREFIX - self.seen).min(text.len());
        self.seen += skipped;
        for it in text.iter().skip(skipped) {
            let digit = char::from(*it).to_digit(16).and_then(|it| u8::try_from(it).ok()).unwrap_or_default();
            match self.half.take() {
                None => self.half = Some(digit),
                Some(half) => bytes.push(half << 4 | digit),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_may_be_split_anywhere() {
        let text = b"\\x00ff10Ab";
        for split in 0..=text.len() {
            let (mut hexadecimal, mut bytes) = (Hexadecimal::default(), Vec::new());
            let (first, second) = text.split_at(split);
            hexadecimal.decode(first, &mut bytes);
            hexadecimal.decode(second, &mut bytes);
            assert_eq!(bytes, [0, 0xff, 0x10, 0xab], "split at {split}");
        }
    }

    #[test]
    fn forms_become_what_clients_get() {
        let check =
            |form, text: &'static str| match Content::of(Some(&Bytes::from_static(text.as_bytes())), form) {
                Content::Whole(bytes) => bytes,
                Content::Pieces(_) => panic!("whole stays whole"),
            };
        assert_eq!(check(Form::Text, "[1]"), "[1]");
        assert_eq!(check(Form::Jsonb, "[1]"), "\u{1}[1]");
        assert_eq!(check(Form::Binary, "\\x6162"), "ab");
        assert_eq!(check(Form::Binary, ""), "");
        assert_eq!(Content::of(None, Form::Jsonb).len(), 0);
    }
}
