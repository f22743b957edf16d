//! Answers of workers as they stand on the wire: HTTP/1.1 (RFC 9112), read from a buffer that grows. Pure.
//!
//! Heads are split by `httparse`; what this adds is where a body ends. Whatever is not beyond doubt, such as two different
//! lengths, is malformed: the connection is closed then, and no byte behind it is taken for the next answer.

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, StatusCode, header};
use httparse::{ParserConfig, Status};

use crate::http1::{Copied, is_of_the_connection, lists, number};

/// The largest head of an answer, and the largest trailer section, in bytes.
const MAX_HEAD_BYTES: usize = 128 * 1024;
/// Headers of one answer.
const MAX_HEADERS: usize = 128;
/// The longest line before a chunk: its size, and extensions that nobody reads.
const MAX_CHUNK_LINE_BYTES: usize = 1024;
/// Room for the headers that a gateway adds to an answer.
const ADDED_HEADERS: usize = 8;

/// An answer that is no HTTP/1.x, or whose end cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed answer: {0}")]
pub(super) struct Malformed(&'static str);

/// The head of an answer.
#[derive(Debug)]
pub(super) struct AnswerHead {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
    /// Whether another answer may follow on the connection.
    pub(super) keeps: bool,
    /// Whether it says that the connection ends.
    pub(super) says_close: bool,
}

/// What is still to come of an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Ended,
    /// So many bytes.
    Length(u64),
    Chunked(Chunk),
    /// All until the connection's end.
    UntilClose,
}

/// Where in a chunked body the next byte stands (RFC 9112 §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    Size,
    Data(u64),
    DataEnd,
    /// Behind the last chunk; so many bytes of trailers were thrown away.
    Trailers(usize),
}

impl AnswerHead {
    /// The head at the beginning of `input`, which it is taken from; `None` if it is not complete. Informational ones
    /// (1xx) are skipped, but for 101, which ends HTTP on the connection.
    pub(super) fn take(input: &mut BytesMut, to_head: bool) -> Result<Option<Self>, Malformed> {
        loop {
            let Some(head) = Self::take_any(input, to_head)? else { return Ok(None) };
            if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some(head));
            }
        }
    }

    fn take_any(input: &mut BytesMut, to_head: bool) -> Result<Option<Self>, Malformed> {
        if input.is_empty() {
            return Ok(None);
        }
        let mut lines = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut []);
        let parsed =
            ParserConfig::default().parse_response_with_uninit_headers(&mut response, input, &mut lines);
        let length = match parsed.map_err(|_| Malformed("its head"))? {
            Status::Complete(length) => length,
            Status::Partial if input.len() < MAX_HEAD_BYTES => return Ok(None),
            Status::Partial => return Err(Malformed("its head is too large")),
        };
        let is_1_1 = response.version == Some(1);
        let status =
            response.code.and_then(|it| StatusCode::from_u16(it).ok()).ok_or(Malformed("its status"))?;
        // A copy, which all values are parts of: the buffer stays the connection's own.
        let head = Bytes::copy_from_slice(input.get(..length).unwrap_or_default());
        let ends_http = status == StatusCode::SWITCHING_PROTOCOLS;
        let mut headers = HeaderMap::with_capacity(response.headers.len() + ADDED_HEADERS);
        let mut said = Said::default();
        for line in response.headers.iter() {
            let (name, value) = Copied { input, copy: &head }.header(line).ok_or(Malformed("a header"))?;
            let is_for_us = said.hear(&name, value.as_bytes())?;
            // What a tunnel is called is between its ends.
            if !is_for_us || ends_http {
                headers.append(name, value);
            }
        }
        input.advance(length);
        let framing = said.framing(status, to_head)?;
        let keeps = is_1_1 && !ends_http && framing != Framing::UntilClose && !said.closes;
        Ok(Some(Self { status, headers, framing, keeps, says_close: said.closes }))
    }
}

/// What a head says about its own framing and connection.
#[derive(Debug, Default)]
struct Said {
    length: Option<u64>,
    codings: u32,
    chunked: bool,
    closes: bool,
}

impl Said {
    /// Hear one header; whether it is for the next hop alone, and is not passed on (RFC 9110 §7.6.1).
    fn hear(&mut self, name: &HeaderName, value: &[u8]) -> Result<bool, Malformed> {
        match *name {
            header::CONTENT_LENGTH => {
                let length = number(value).ok_or(Malformed("its length"))?;
                if self.length.replace(length).is_some_and(|it| it != length) {
                    return Err(Malformed("two lengths"));
                }
            }
            header::TRANSFER_ENCODING => {
                self.codings += 1;
                self.chunked = value.eq_ignore_ascii_case(b"chunked");
            }
            header::CONNECTION => self.closes |= lists(value, "close"),
            _ => {}
        }
        Ok(is_of_the_connection(name))
    }

    /// How the body of an answer ends (RFC 9112 §6.3).
    fn framing(&self, status: StatusCode, to_head: bool) -> Result<Framing, Malformed> {
        if to_head || status.is_informational() || matches!(status.as_u16(), 204 | 304) {
            return Ok(Framing::Ended);
        }
        match (self.codings, self.length) {
            (1.., Some(_)) => Err(Malformed("a length and a transfer coding")),
            (1, None) if self.chunked => Ok(Framing::Chunked(Chunk::Size)),
            (1.., None) => Err(Malformed("its transfer coding")),
            (0, Some(0)) => Ok(Framing::Ended),
            (0, Some(length)) => Ok(Framing::Length(length)),
            (0, None) => Ok(Framing::UntilClose),
        }
    }
}

impl Framing {
    pub(super) fn is_ended(self) -> bool {
        self == Self::Ended
    }

    /// Take the next bytes of the body from `input`; `None` when it has ended, or more must be read first.
    pub(super) fn take(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
        loop {
            match self {
                Self::Ended => return Ok(None),
                Self::UntilClose => return Ok((!input.is_empty()).then(|| input.split().freeze())),
                Self::Length(left) => {
                    let taken = take_up_to(left, input);
                    if *left == 0 {
                        *self = Self::Ended;
                    }
                    return Ok(taken);
                }
                Self::Chunked(Chunk::Data(left)) => {
                    let taken = take_up_to(left, input);
                    if *left == 0 {
                        *self = Self::Chunked(Chunk::DataEnd);
                    }
                    return Ok(taken);
                }
                Self::Chunked(chunk) => match chunk.step(input)? {
                    Step::More => return Ok(None),
                    Step::On(next) => *self = Self::Chunked(next),
                    Step::End => *self = Self::Ended,
                },
            }
        }
    }
}

/// At most `left` bytes, by which it shrinks.
fn take_up_to(left: &mut u64, input: &mut BytesMut) -> Option<Bytes> {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    *left -= count as u64;
    (count > 0).then(|| input.split_to(count).freeze())
}

/// What comes of the bytes between chunks.
enum Step {
    /// More must be read.
    More,
    On(Chunk),
    End,
}

impl Chunk {
    /// Over one line between chunks.
    fn step(self, input: &mut BytesMut) -> Result<Step, Malformed> {
        let max = if matches!(self, Self::Trailers(_)) { MAX_HEAD_BYTES } else { MAX_CHUNK_LINE_BYTES };
        let Some(end) = input.iter().take(max).position(|it| *it == b'\n') else {
            return if input.len() < max { Ok(Step::More) } else { Err(Malformed("a line of its chunks")) };
        };
        let taken = input.split_to(end + 1);
        let line = taken.strip_suffix(b"\r\n").ok_or(Malformed("a line of its chunks"))?;
        match self {
            Self::Size | Self::Data(_) => match chunk_size(line).ok_or(Malformed("the size of a chunk"))? {
                0 => Ok(Step::On(Self::Trailers(0))),
                size => Ok(Step::On(Self::Data(size))),
            },
            Self::DataEnd if line.is_empty() => Ok(Step::On(Self::Size)),
            Self::DataEnd => Err(Malformed("the end of a chunk")),
            Self::Trailers(_) if line.is_empty() => Ok(Step::End),
            Self::Trailers(before) if before + taken.remaining() <= MAX_HEAD_BYTES => {
                Ok(Step::On(Self::Trailers(before + taken.remaining())))
            }
            Self::Trailers(_) => Err(Malformed("its trailers are too large")),
        }
    }
}

/// The size before a chunk: hexadecimal digits, then extensions if any.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let (digits, rest) = line.split_at(line.iter().take_while(|it| it.is_ascii_hexdigit()).count());
    let rest = rest.trim_ascii_start();
    if !(1..=16).contains(&digits.len()) || !(rest.is_empty() || rest.starts_with(b";")) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests;
