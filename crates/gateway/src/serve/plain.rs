//! Requests of the usual kind, by HTTP/1.1: read whole, answered and written, one after the other.
//!
//! Nearly all requests are of that kind, and cost much less here than in a server for everything: a connection that waits
//! has no buffers, and nothing is prepared for bodies that come piece by piece. The first request that is more than that
//! goes to such a server, hyper, from its first byte on, and with it the rest of the connection (decision 0016).

mod request;
mod response;

use std::cell::{Cell, RefCell};
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::{Buf as _, Bytes, BytesMut};
use http::{Method, Request, Response};
use http_body::{Body as _, Frame};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Sleep, sleep};

use self::request::{MAX_REQUEST_BYTES, Unfit};
use self::response::{Framing, To};
use super::Peer;
use super::activity::{MAX_JOINED_BYTES, Watched};
use crate::Endpoint;

/// Pieces in which a head may come: its end is looked for in all that came, each time.
const MAX_PIECES: usize = 8;
/// How long a body may come later than its head: many clients write the two one after the other.
const BODY_LATE: Duration = Duration::from_millis(100);
/// What is read at once.
const READ_BYTES: usize = 16 * 1024;
/// Empty lines before a request, in bytes.
const MAX_EMPTY_BYTES: usize = 4096;
/// The most that is kept for the next head.
const WRITE_BYTES: usize = 16 * 1024;

thread_local! {
    /// What was just read, until it is a request: connections that wait need no memory for that.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
    /// Memory for the next head.
    static WRITTEN: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A connection whose requests were of the usual kind so far.
#[derive(Debug)]
pub(super) struct Plain<'a, S> {
    stream: Watched<S>,
    endpoint: &'a Arc<Endpoint>,
    peer: &'a Arc<Peer>,
    /// Set from outside, before a poll: take nothing new.
    ending: &'a AtomicBool,
    /// Read, and not used yet.
    input: BytesMut,
    /// In how many pieces it came.
    pieces: usize,
    /// How long the request is whose body is still coming.
    wanted: usize,
    /// Empty lines before it.
    skipped: usize,
    /// Runs while the rest of a body is waited for.
    late: Option<Pin<Box<Sleep>>>,
    /// Whether anything of the answer was written.
    began: bool,
}

type Next = Result<Request<Body>, Stop>;

/// Why there is no next request.
enum Stop {
    /// What comes is not of the usual kind.
    Unusual,
    End,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Plain<'a, S> {
    pub(super) fn new(
        stream: Watched<S>,
        (endpoint, peer): (&'a Arc<Endpoint>, &'a Arc<Peer>),
        ending: &'a AtomicBool,
    ) -> Self {
        Self {
            stream,
            endpoint,
            peer,
            ending,
            input: BytesMut::new(),
            pieces: 0,
            wanted: 0,
            skipped: 0,
            late: None,
            began: false,
        }
    }

    /// Answer requests until the connection ends, or one comes that is not of the usual kind: then the connection is
    /// returned, with that request unread.
    ///
    /// # Errors
    /// The connection failed, or the body of an answer did.
    pub(super) async fn run(mut self) -> io::Result<Option<Watched<S>>> {
        let mut answered = false;
        loop {
            match poll_fn(|context| self.poll_next(context)).await? {
                Ok(request) => {
                    answered = true;
                    if !self.answer(request).await? {
                        break;
                    }
                }
                Err(Stop::End) => break,
                // HTTP/2 begins with a connection, or not at all.
                Err(Stop::Unusual) if answered && self.input.starts_with(b"PRI ") => break,
                Err(Stop::Unusual) => {
                    self.stream.unread = self.input.freeze();
                    return Ok(Some(self.stream));
                }
            }
        }
        // TLS says good-bye; the other end may be gone.
        let _gone = self.stream.shutdown().await;
        Ok(None)
    }

    /// Answer `request`. Whether another one may follow.
    async fn answer(&mut self, request: Request<Body>) -> io::Result<bool> {
        let in_flight = self.stream.activity.begin(false);
        let begun = self.endpoint.begin();
        let head = *request.method() == Method::HEAD;
        let (endpoint, peer) = (self.endpoint, self.peer);
        let mut answering = pin!(endpoint.answer_to(peer, request));
        let answer = poll_fn(|context| match answering.as_mut().poll(context) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => self.poll_left(context).map(|()| None),
        });
        let Some(response) = answer.await else { return Ok(false) };
        drop(begun);
        // Whoever keeps connections, such as a proxy before us, goes elsewhere at once.
        let last = self.ending.load(Relaxed) || self.peer.is_draining();
        let mut out = WRITTEN.take();
        self.began = false;
        let written = self.write(response, To { head, last }, &mut out).await;
        // Of a body that fails later the client has what there was, and sees that it is not all.
        if written.is_ok() || self.began {
            self.write_out(&mut out).await?;
        }
        if out.capacity() <= WRITE_BYTES {
            out.clear();
            WRITTEN.set(out);
        }
        drop(in_flight);
        Ok(!written?)
    }

    /// Write `response`, whose last bytes may still be in `out` then. Whether the connection ends with it.
    async fn write(&mut self, response: Response<Body>, to: To, out: &mut Vec<u8>) -> io::Result<bool> {
        if response.status().is_informational() {
            return Err(io::Error::other("an informational status is no answer"));
        }
        let (framing, closes) = response::write(&response, to, out);
        if framing != Framing::Nothing {
            self.write_body(response.into_body(), framing, out).await?;
        }
        Ok(closes || to.last)
    }

    /// Write `out`, and `body` behind it.
    async fn write_body(
        &mut self,
        mut body: Body,
        mut framing: Framing,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        while framing != Framing::Length(0) {
            let come = poll_fn(|context| Poll::Ready(Pin::new(&mut body).poll_frame(context))).await;
            let next = match come {
                Poll::Ready(next) => next,
                Poll::Pending => {
                    self.write_out(out).await?;
                    self.next_frame(&mut body).await?
                }
            };
            let Some(frame) = next.transpose().map_err(io::Error::other)? else { break };
            // Trailers are not passed on.
            if let Ok(bytes) = frame.into_data() {
                self.write_piece(bytes, &mut framing, out).await?;
            }
        }
        match framing {
            Framing::Chunked => out.extend_from_slice(b"0\r\n\r\n"),
            Framing::Nothing | Framing::Length(0) => {}
            Framing::Length(_) => return Err(io::Error::other("the body of an answer is too short")),
        }
        Ok(())
    }

    /// What comes next of `body`, unless the client leaves.
    async fn next_frame(&mut self, body: &mut Body) -> io::Result<Option<Result<Frame<Bytes>, axum::Error>>> {
        let next = poll_fn(|context| match Pin::new(&mut *body).poll_frame(context) {
            Poll::Ready(next) => Poll::Ready(Ok(next)),
            Poll::Pending => self.poll_left(context).map(|()| Err(io::ErrorKind::ConnectionReset.into())),
        });
        next.await
    }

    /// Write `bytes` of a body, framed; the last ones may still be in `out` then.
    async fn write_piece(
        &mut self,
        bytes: Bytes,
        framing: &mut Framing,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        // An empty chunk would be the last one.
        if bytes.is_empty() {
            return Ok(());
        }
        if let Framing::Length(left) = framing {
            let too_long = || io::Error::other("the body of an answer is too long");
            *left = left.checked_sub(bytes.len() as u64).ok_or_else(too_long)?;
        } else {
            out.extend_from_slice(format!("{:X}\r\n", bytes.len()).as_bytes());
        }
        if out.len() + bytes.len() <= MAX_JOINED_BYTES {
            out.extend_from_slice(&bytes);
        } else {
            self.began = true;
            self.stream.write_all_buf(&mut out.as_slice().chain(bytes)).await?;
            out.clear();
        }
        if *framing == Framing::Chunked {
            out.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    /// Write all of `out`, to the other end.
    async fn write_out(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.began = true;
        self.stream.write_all(out).await?;
        out.clear();
        self.stream.flush().await
    }

    /// The next request, as soon as all of it has come.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Next>> {
        loop {
            if !self.input.is_empty() && self.input.len() >= self.wanted {
                match request::find(&self.input) {
                    Ok((request, length)) => {
                        self.forget(length);
                        return Poll::Ready(Ok(Ok(request)));
                    }
                    Err(Unfit::BodyPart(length)) => self.wanted = length,
                    Err(Unfit::Part) if self.may_come() => {}
                    Err(_) => return Poll::Ready(Ok(Err(Stop::Unusual))),
                }
                // One byte may be the half of an empty line.
                if self.input.len() > 1 {
                    self.stream.activity.arrived();
                }
            }
            match self.poll_read(context) {
                Poll::Ready(Ok(None)) if self.skipped > MAX_EMPTY_BYTES => {
                    return Poll::Ready(Ok(Err(Stop::End)));
                }
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Ok(Some(next))) => return Poll::Ready(Ok(next)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if self.input.is_empty() && self.ending.load(Relaxed) => {
                    return Poll::Ready(Ok(Err(Stop::End)));
                }
                Poll::Pending if self.wanted > 0 && self.is_late(context) => {
                    return Poll::Ready(Ok(Err(Stop::Unusual)));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Whether the rest of a head is waited for.
    fn may_come(&self) -> bool {
        self.pieces < MAX_PIECES && self.input.len() < MAX_REQUEST_BYTES
    }

    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        let late = self.late.get_or_insert_with(|| Box::pin(sleep(BODY_LATE)));
        late.as_mut().poll(context).is_ready()
    }

    /// Read once: what comes of that at once, if anything does; else it is kept.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Next>>> {
        READ.with_borrow_mut(|memory| {
            let room = MAX_REQUEST_BYTES.saturating_sub(self.input.len());
            let mut buffer = ReadBuf::new(memory.split_at_mut(room.min(READ_BYTES)).0);
            ready!(Pin::new(&mut self.stream.stream).poll_read(context, &mut buffer))?;
            let read = buffer.filled();
            if read.is_empty() {
                // hyper tells that half of a request is none.
                let stop = if self.input.is_empty() { Stop::End } else { Stop::Unusual };
                return Poll::Ready(Ok(Some(Err(stop))));
            }
            if self.input.is_empty()
                && let Ok((request, length)) = request::find(read)
            {
                self.forget(0);
                self.keep(read.get(length..).unwrap_or_default());
                return Poll::Ready(Ok(Some(Ok(request))));
            }
            self.keep(read);
            Poll::Ready(Ok(None))
        })
    }

    /// Ready when the client has left. What it sends meanwhile is kept: one piece, and the rest stays with the system.
    fn poll_left(&mut self, context: &mut Context<'_>) -> Poll<()> {
        READ.with_borrow_mut(|memory| {
            while self.input.is_empty() && self.skipped <= MAX_EMPTY_BYTES {
                let mut buffer = ReadBuf::new(memory);
                let outcome = ready!(Pin::new(&mut self.stream.stream).poll_read(context, &mut buffer));
                if outcome.is_err() || buffer.filled().is_empty() {
                    return Poll::Ready(());
                }
                self.keep(buffer.filled());
            }
            Poll::Pending
        })
    }

    fn keep(&mut self, read: &[u8]) {
        let kept = if self.input.is_empty() { behind_empty_lines(read) } else { read };
        self.skipped += read.len() - kept.len();
        if !kept.is_empty() {
            self.pieces += 1;
            self.input.extend_from_slice(kept);
            self.skip_empty_lines();
        }
    }

    /// The first `length` bytes of what is kept are a request that was found.
    fn forget(&mut self, length: usize) {
        self.input.advance(length);
        (self.wanted, self.skipped, self.late) = (0, 0, None);
        self.skip_empty_lines();
        self.pieces = usize::from(!self.input.is_empty());
    }

    fn skip_empty_lines(&mut self) {
        let empty = self.input.len() - behind_empty_lines(&self.input).len();
        self.skipped += empty;
        self.input.advance(empty);
        if self.input.is_empty() {
            // Else it is still allocated, whatever its capacity says.
            self.input = BytesMut::new();
        }
    }
}

/// `bytes` without the empty lines that they begin with, which mean nothing (RFC 9112 §2.2).
fn behind_empty_lines(mut bytes: &[u8]) -> &[u8] {
    while let Some(rest) = bytes.strip_prefix(b"\r\n").or_else(|| bytes.strip_prefix(b"\n")) {
        bytes = rest;
    }
    bytes
}
