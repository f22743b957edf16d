//! WebSocket frames (RFC 6455), the server's side: bytes of a client become messages, and messages become frames.
//!
//! What is sent to many is framed once and written to each socket as it is, and a socket that rests holds no buffer: a
//! library that frames into a buffer of each socket, and keeps the largest that a client ever filled, does neither.
//! Refused as the RFC says: frames without a mask, reserved bits, fragmented or long control frames, and text that is no
//! UTF-8; and messages over a limit, before they are read.

mod handshake;

use bytes::{Buf as _, Bytes, BytesMut};

pub(crate) use self::handshake::Handshake;

/// The longest payload of a control frame.
const MAX_CONTROL_BYTES: usize = 125;
/// A buffer with more room than this is given back as soon as it is empty.
const KEPT_BYTES: usize = 512;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// Valid UTF-8.
    Text(Bytes),
    Binary(Bytes),
    Ping(Bytes),
    Pong,
    Close,
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

impl Fault {
    const fn protocol(reason: &'static str) -> Self {
        Self { code: 1002, reason }
    }
}

/// Reads the messages of one client.
#[derive(Debug)]
pub(crate) struct Reader {
    /// What came and was not read yet.
    input: BytesMut,
    /// The beginning of a fragmented message.
    message: Vec<u8>,
    /// What that message is.
    kind: Option<u8>,
    max_bytes: usize,
}

struct Head {
    is_last: bool,
    kind: u8,
    mask: [u8; 4],
    head_bytes: usize,
    payload_bytes: usize,
}

impl Reader {
    /// `max_bytes` bounds a message.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { input: BytesMut::new(), message: Vec::new(), kind: None, max_bytes }
    }

    /// What of an unfinished message is held.
    pub(crate) fn held_bytes(&self) -> usize {
        self.input.len() + self.message.len()
    }

    /// These bytes came.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The next message, if it is here as a whole.
    ///
    /// # Errors
    /// [`Fault`] when this is no WebSocket; nothing more can be read then.
    pub(crate) fn next(&mut self) -> Result<Option<Message>, Fault> {
        loop {
            let Some(head) = self.head()? else { return Ok(None) };
            if self.input.len() < head.head_bytes + head.payload_bytes {
                return Ok(None);
            }
            self.input.advance(head.head_bytes);
            let mut payload = self.input.split_to(head.payload_bytes);
            if self.input.is_empty() && self.input.capacity() > KEPT_BYTES {
                self.input = BytesMut::new();
            }
            unmask(&mut payload, head.mask);
            if let Some(message) = self.take(&head, payload.freeze())? {
                return Ok(Some(message));
            }
        }
    }

    fn head(&self) -> Result<Option<Head>, Fault> {
        let Some((&[first, second], rest)) = self.input.split_first_chunk() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Fault::protocol("reserved bits are set"));
        }
        if second & 0x80 == 0 {
            return Err(Fault::protocol("frames of clients are masked"));
        }
        let (kind, is_last) = (first & 0x0f, first & 0x80 != 0);
        let (length, rest, head_bytes) = match second & 0x7f {
            126 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest, 8),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest, 14),
                None => return Ok(None),
            },
            short => (u64::from(short), rest, 6),
        };
        let payload_bytes = usize::try_from(length).unwrap_or(usize::MAX);
        let allowed = match kind {
            CONTINUATION | TEXT | BINARY => self.max_bytes.saturating_sub(self.message.len()),
            CLOSE | PING | PONG if !is_last => return Err(Fault::protocol("a control frame is fragmented")),
            CLOSE | PING | PONG if payload_bytes > MAX_CONTROL_BYTES => {
                return Err(Fault::protocol("a control frame is too long"));
            }
            CLOSE | PING | PONG => MAX_CONTROL_BYTES,
            _ => return Err(Fault::protocol("the frame is of an unknown kind")),
        };
        if payload_bytes > allowed {
            return Err(Fault { code: 1009, reason: "the message is too large" });
        }
        let Some(mask) = rest.first_chunk() else { return Ok(None) };
        Ok(Some(Head { is_last, kind, mask: *mask, head_bytes, payload_bytes }))
    }

    fn take(&mut self, head: &Head, payload: Bytes) -> Result<Option<Message>, Fault> {
        match (head.kind, self.kind) {
            (CLOSE, _) => Ok(Some(Message::Close)),
            (PING, _) => Ok(Some(Message::Ping(payload))),
            (PONG, _) => Ok(Some(Message::Pong)),
            (CONTINUATION, None) => Err(Fault::protocol("there is nothing to continue")),
            (CONTINUATION, Some(kind)) => {
                self.message.extend_from_slice(&payload);
                if !head.is_last {
                    return Ok(None);
                }
                self.kind = None;
                complete(kind, std::mem::take(&mut self.message).into()).map(Some)
            }
            (_, Some(_)) => Err(Fault::protocol("a message begins within another one")),
            (kind, None) if head.is_last => complete(kind, payload).map(Some),
            (kind, None) => {
                self.kind = Some(kind);
                self.message.extend_from_slice(&payload);
                Ok(None)
            }
        }
    }
}

fn complete(kind: u8, payload: Bytes) -> Result<Message, Fault> {
    if kind == BINARY {
        return Ok(Message::Binary(payload));
    }
    match std::str::from_utf8(&payload) {
        Ok(_) => Ok(Message::Text(payload)),
        Err(_) => Err(Fault { code: 1007, reason: "the text is no UTF-8" }),
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let (words, rest) = payload.as_chunks_mut::<8>();
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

/// A frame that holds all of a text.
pub(crate) fn text(parts: &[&[u8]]) -> Bytes {
    framed(TEXT, parts)
}

/// A frame that holds all of a message of bytes.
pub(crate) fn binary(parts: &[&[u8]]) -> Bytes {
    framed(BINARY, parts)
}

/// The answer to a ping.
pub(crate) fn pong(payload: &[u8]) -> Bytes {
    framed(PONG, &[payload])
}

/// The last frame. `reason` is cut where a control frame ends.
pub(crate) fn close(code: u16, reason: &str) -> Bytes {
    let end = (0..=reason.len().min(MAX_CONTROL_BYTES - 2)).rev().find(|it| reason.is_char_boundary(*it));
    let reason = end.and_then(|it| reason.get(..it)).unwrap_or_default();
    framed(CLOSE, &[&code.to_be_bytes(), reason.as_bytes()])
}

fn framed(kind: u8, parts: &[&[u8]]) -> Bytes {
    let length: usize = parts.iter().map(|it| it.len()).sum();
    let mut frame = Vec::with_capacity(length + 10);
    frame.push(0x80 | kind);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => frame.push(short),
        (_, Ok(medium)) => {
            frame.push(126);
            frame.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    for part in parts {
        frame.extend_from_slice(part);
    }
    frame.into()
}

#[cfg(test)]
mod tests;
