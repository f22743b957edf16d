//! A socket that notices when PostgreSQL says something that makes the connection useless.
//!
//! A commit that was not replicated breaks it at once, so that nobody takes it for done.
//!
//! SQLSTATE 25006 (the server became a standby) and 57P0x (it goes down) come as answers to some service's statement;
//! nobody who merely borrows a connection has to know that. A mark is set before the borrower sees the answer, and the
//! pool does not hand a marked connection out again.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::notice;
use crate::socket::Socket;

/// An error's code stands within its first bytes: after the severity.
const ERROR_HEAD: usize = 128;
/// Who says a notice stands at its end; the notices that we look for are shorter.
const NOTICE_HEAD: usize = 1024;

/// A watched socket, or the reason why there is none.
#[derive(Debug)]
pub(super) struct Watched {
    socket: Result<Socket, Option<io::Error>>,
    watch: Watch,
}

impl Watched {
    pub(super) fn new(socket: Socket) -> Self {
        Self { socket: Ok(socket), watch: Watch::default() }
    }

    /// A stream whose first use fails with `error`: how a failure to connect reaches the driver's error type.
    pub(super) fn failed(error: io::Error) -> Self {
        Self { socket: Err(Some(error)), watch: Watch::default() }
    }

    /// Becomes true when the connection is useless.
    pub(super) fn mark(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.watch.useless)
    }

    fn socket(&mut self) -> io::Result<Pin<&mut Socket>> {
        match &mut self.socket {
            Ok(socket) => Ok(Pin::new(socket)),
            Err(error) => Err(error.take().unwrap_or_else(|| io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(self.socket()?.poll_read(cx, buffer))?;
        self.watch.pass(buffer.filled().get(before..).unwrap_or_default());
        if self.watch.unreplicated {
            return Poll::Ready(Err(io::Error::other("a commit was not replicated")));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.socket()?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket()?.poll_shutdown(cx)
    }
}

/// Follows the messages that pass: where they begin, and what errors say.
#[derive(Debug, Default)]
struct Watch {
    /// Tag and length of the message that passes, as far as they are known.
    header: Vec<u8>,
    /// Bytes of its body still to come.
    rest: usize,
    /// The head of an error's or notice's body.
    head: Vec<u8>,
    useless: Arc<AtomicBool>,
    unreplicated: bool,
}

impl Watch {
    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.header.len() < 5 {
                let (head, tail) = bytes.split_at(bytes.len().min(5 - self.header.len()));
                self.header.extend_from_slice(head);
                bytes = tail;
                if let [_, length @ ..] = self.header.as_slice()
                    && let Ok(length) = <[u8; 4]>::try_from(length)
                {
                    self.rest = usize::try_from(u32::from_be_bytes(length)).unwrap_or(0).saturating_sub(4);
                }
            } else {
                let (body, tail) = bytes.split_at(bytes.len().min(self.rest));
                self.rest -= body.len();
                bytes = tail;
                let length = match self.header.first() {
                    Some(b'E') => ERROR_HEAD,
                    Some(b'N') => NOTICE_HEAD,
                    _ => 0,
                };
                let room = length.saturating_sub(self.head.len()).min(body.len());
                self.head.extend_from_slice(body.get(..room).unwrap_or_default());
            }
            if self.header.len() == 5 && self.rest == 0 {
                self.end_message();
            }
        }
    }

    fn end_message(&mut self) {
        let mut codes = self.head.split(|it| *it == 0).filter_map(|it| it.strip_prefix(b"C"));
        let concerns_us = |it: &[u8]| it == b"25006" || it.starts_with(b"57P0");
        match self.header.first() {
            Some(b'E') if codes.any(concerns_us) => self.useless.store(true, Ordering::Release),
            Some(b'N') => self.unreplicated |= notice::is_unreplicated(&self.head),
            _ => {}
        }
        self.head.clear();
        self.header.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[tag], &length[..], body].concat()
    }

    /// Whether `messages`, arriving in pieces of `piece` bytes, make the connection useless.
    fn check(messages: &[Vec<u8>], piece: usize) -> bool {
        let mut watch = Watch::default();
        messages.concat().chunks(piece).for_each(|it| watch.pass(it));
        watch.useless.load(Ordering::Acquire)
    }

    #[test]
    fn a_commit_that_is_not_replicated_is_noticed() {
        for piece in [1, 7, 100_000] {
            let mut watch = Watch::default();
            let hello = message(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mhello\0Rexec_stmt_raise\0\0");
            hello.chunks(piece).for_each(|it| watch.pass(it));
            assert!(!watch.unreplicated);
            message(b'N', notice::tests::BODY).chunks(piece).for_each(|it| watch.pass(it));
            assert!(watch.unreplicated, "{piece}");
        }
    }

    #[test]
    fn only_errors_that_concern_the_connection_make_it_useless() {
        let error = |code: &str| message(b'E', format!("SERROR\0VERROR\0C{code}\0Mx C25006\0\0").as_bytes());
        let row = || message(b'D', b"\0C25006\0".repeat(500).as_slice());
        for piece in [1, 3, 7, 100, 100_000] {
            assert!(!check(&[row(), error("23505"), message(b'Z', b"I"), row()], piece), "{piece}");
            for code in ["25006", "57P01", "57P03"] {
                assert!(check(&[row(), message(b'N', b""), error(code)], piece), "{code} {piece}");
            }
        }
    }
}
