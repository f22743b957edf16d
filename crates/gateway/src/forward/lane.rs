//! One connection to a worker, and one exchange on it.
//!
//! Whoever waits for the answer, or for its body, drives the connection: no request wakes another task, and what the client
//! does not take is not read from the worker. A connection that rests in the pool is driven by nobody.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::{Buf as _, Bytes, BytesMut};
use http::StatusCode;
use http_body::Body as _;
use store::Here;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tokio::time::Instant;

use super::outgoing::Outgoing;
use super::transport::Transport;
use super::wire::{AnswerHead, Framing, Malformed};
use super::{WorkerAddress, WorkerSettings};

/// What is read at once, at least.
const READ_BYTES: usize = 8 * 1024;
/// As much of a large body.
const LARGE_READ_BYTES: usize = 64 * 1024;

/// A connection to a worker.
#[derive(Debug)]
pub(super) struct Lane {
    transport: Transport,
    /// Read, and not used yet.
    input: BytesMut,
    /// What is still to be written of a request; its head comes first.
    output: Bytes,
    /// The body behind `output`, if it comes piece by piece.
    upload: Option<Upload>,
    /// Whether anything of the request was written, or may have been.
    touched: bool,
    /// Whether the transport keeps some of what was written, as TLS does.
    unflushed: bool,
    /// What is still to be read of the answer's body.
    framing: Framing,
    /// Whether the worker lets another request follow.
    keeps: bool,
    to_head: bool,
    /// Where the runtime is that waits for it.
    pub(super) home: Here,
    /// When it last had a request.
    pub(super) rested: Instant,
    /// Whether it has had one at all.
    used: bool,
}

/// A body that is sent while it comes.
#[derive(Debug)]
struct Upload {
    body: Body,
    /// What is still to come of the length that the head tells; without it the body goes in chunks.
    left: Option<u64>,
}

/// What comes of sending a request.
#[derive(Debug)]
pub(super) enum Exchange {
    /// The head of an answer.
    Answered(AnswerHead),
    /// The connection was closed before anything was written: the request is as it was.
    Unsent,
    /// The connection, which had rested, was closed before an answer came. Only of requests that dare.
    Stale(io::Error),
    /// The connection was lost before an answer came; what became of the request is unknown.
    Lost(io::Error),
    /// What came is no answer that can be passed on.
    Malformed(Malformed),
    /// The request's own body failed.
    Broken,
}

/// Why an exchange failed.
enum Failure {
    Connection(io::Error),
    Answer(Malformed),
    /// The body of the request cannot be read.
    Upload,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Connection(error)
    }
}

impl Lane {
    /// A new connection to `worker`.
    pub(super) async fn open(worker: &WorkerAddress, settings: &WorkerSettings) -> io::Result<Self> {
        Ok(Self {
            transport: Transport::open(worker, settings).await?,
            input: BytesMut::new(),
            output: Bytes::new(),
            upload: None,
            touched: false,
            unflushed: false,
            framing: Framing::Ended,
            keeps: true,
            to_head: false,
            home: Here::now(),
            rested: Instant::now(),
            used: false,
        })
    }

    /// Send `request` and wait for the head of its answer. Its body is taken from it as soon as anything is sent.
    ///
    /// `dares` for one that may be sent again: then the system is not asked whether the connection still stands, which
    /// would cost as much as all else here.
    pub(super) async fn exchange(&mut self, request: &mut Outgoing, dares: bool) -> Exchange {
        let rested = self.used;
        if rested && if dares { self.transport.seems_stale() } else { self.transport.is_stale() } {
            return Exchange::Unsent;
        }
        (self.used, self.touched, self.to_head) = (true, self.transport.is_encrypted(), request.to_head);
        self.output = request.head.clone();
        self.upload = request.body.take().map(|body| Upload { body, left: request.length });
        match poll_fn(|context| self.poll_answer(context)).await {
            // Said to the connection, and not to this request, which it may not even have had.
            Ok(head) if rested && dares && head.says_close && head.status == StatusCode::REQUEST_TIMEOUT => {
                Exchange::Stale(io::ErrorKind::ConnectionAborted.into())
            }
            Ok(head) => {
                (self.framing, self.keeps) = (head.framing, head.keeps);
                Exchange::Answered(head)
            }
            Err(Failure::Upload) => Exchange::Broken,
            Err(Failure::Answer(error)) => Exchange::Malformed(error),
            Err(Failure::Connection(_)) if !self.touched => {
                request.body = self.upload.take().map(|it| it.body);
                Exchange::Unsent
            }
            // Closed while it rested, or by this very request: whoever sends it again finds out.
            Err(Failure::Connection(error)) if rested && dares && self.input.is_empty() => {
                Exchange::Stale(error)
            }
            Err(Failure::Connection(error)) => Exchange::Lost(error),
        }
    }

    /// Whether the worker has closed it while it rested.
    pub(super) fn is_stale(&mut self) -> bool {
        self.transport.is_stale()
    }

    /// Whether another request may follow: this one is written, and its answer read to the end and no further.
    pub(super) fn is_free(&self) -> bool {
        self.keeps && self.framing.is_ended() && self.input.is_empty() && self.is_sent()
    }

    fn is_sent(&self) -> bool {
        self.output.is_empty() && self.upload.is_none() && !self.unflushed
    }

    /// It has nothing to do from now on, and needs little memory for that.
    pub(super) fn rest(&mut self) {
        self.rested = Instant::now();
        self.output = Bytes::new();
        if self.input.capacity() > READ_BYTES {
            self.input = BytesMut::new();
        }
    }

    /// What is still to be read of the answer's body.
    pub(super) fn framing(&self) -> Framing {
        self.framing
    }

    /// The answer's body, if it has come already.
    pub(super) fn whole(&mut self) -> Option<Bytes> {
        match self.framing {
            Framing::Length(length) if length <= self.input.len() as u64 => {
                self.framing.take(&mut self.input).ok().flatten()
            }
            _ => None,
        }
    }

    /// The connection itself, after an answer that ends HTTP on it (101), and what was read behind that answer. `None` if
    /// that came before the request was sent to its end.
    pub(super) fn into_transport(self) -> Option<(Transport, Bytes)> {
        // A copy: websockets stay for days, and what is read is read into more memory than that.
        self.is_sent().then(|| (self.transport, Bytes::copy_from_slice(&self.input)))
    }

    /// The next bytes of the answer's body; `None` at its end. The rest of the request's body is sent meanwhile.
    pub(super) fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        match self.poll_send(context) {
            // The worker must not take a part of the body for the whole: its connection ends now.
            Poll::Ready(Err(Failure::Upload)) => {
                return Poll::Ready(Some(Err(io::ErrorKind::InvalidData.into())));
            }
            // The worker may answer without taking all of the body; its connection ends with the answer.
            Poll::Ready(Err(Failure::Connection(_) | Failure::Answer(_))) => {
                (self.upload, self.output, self.keeps) = (None, Bytes::new(), false);
            }
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        loop {
            match self.framing.take(&mut self.input) {
                Ok(Some(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                Ok(None) if self.framing.is_ended() => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(io::Error::other(error)))),
            }
            match ready!(self.poll_fill(context)) {
                Ok(0) if self.framing == Framing::UntilClose => {
                    self.framing = Framing::Ended;
                    return Poll::Ready(None);
                }
                Ok(0) => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// Send what can be sent of the request, and read what came of its answer.
    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Result<AnswerHead, Failure>> {
        let sent = match self.poll_send(context) {
            Poll::Ready(Err(Failure::Upload)) => return Poll::Ready(Err(Failure::Upload)),
            Poll::Ready(Err(failure)) if !self.touched => return Poll::Ready(Err(failure)),
            // The worker may have said why before it closed.
            Poll::Ready(Err(failure)) => Some(failure),
            Poll::Ready(Ok(())) | Poll::Pending => None,
        };
        loop {
            match AnswerHead::take(&mut self.input, self.to_head) {
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(Failure::Answer(error))),
            }
            match self.poll_fill(context) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0)) => {
                    let closed = Failure::Connection(io::ErrorKind::UnexpectedEof.into());
                    return Poll::Ready(Err(sent.unwrap_or(closed)));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => return sent.map_or(Poll::Pending, |it| Poll::Ready(Err(it))),
            }
        }
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let large = matches!(self.framing, Framing::Length(left) if left > LARGE_READ_BYTES as u64);
        let wanted = if large { LARGE_READ_BYTES } else { READ_BYTES };
        // Several answers fit into one piece of memory.
        if self.input.capacity() - self.input.len() < wanted / 8 {
            self.input.reserve(wanted);
        }
        pin!(self.transport.read_buf(&mut self.input)).poll(context)
    }

    /// Write the request as far as its body has come.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if self.is_sent() {
            return Poll::Ready(Ok(()));
        }
        loop {
            while !self.output.is_empty() {
                let written = ready!(Pin::new(&mut self.transport).poll_write(context, &self.output))?;
                if written == 0 {
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into()));
                }
                (self.touched, self.unflushed) = (true, true);
                self.output.advance(written);
            }
            let Some(upload) = &mut self.upload else { break };
            match upload.poll_next(context) {
                Poll::Ready(Ok(Some(bytes))) => self.output = bytes,
                Poll::Ready(Ok(None)) => {
                    let upload = self.upload.take();
                    self.output = upload.map_or_else(Bytes::new, |it| it.end());
                }
                Poll::Ready(Err(failure)) => return Poll::Ready(Err(failure)),
                Poll::Pending => {
                    let _resumed_with_the_next_bytes = self.poll_flush(context)?;
                    return Poll::Pending;
                }
            }
        }
        self.poll_flush(context).map_err(Failure::from)
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(&mut self.transport).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl Upload {
    /// The next bytes as they go to the worker; `None` behind the last ones. A body of another length than the head tells
    /// would be taken for the next request, or eat a part of it.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        // Its end may be told later than its last byte comes.
        if self.left == Some(0) {
            return Poll::Ready(Ok(None));
        }
        loop {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None if self.left.is_none() => return Poll::Ready(Ok(None)),
                None | Some(Err(_)) => return Poll::Ready(Err(Failure::Upload)),
                // An empty chunk would be the last one. Trailers are not passed on.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) if !bytes.is_empty() => {
                        return Poll::Ready(self.framed(bytes).map(Some).ok_or(Failure::Upload));
                    }
                    Ok(_) | Err(_) => {}
                },
            }
        }
    }

    fn framed(&mut self, bytes: Bytes) -> Option<Bytes> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(bytes.len() as u64)?;
            return Some(bytes);
        }
        let mut chunk = BytesMut::with_capacity(bytes.len() + 20);
        chunk.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
        chunk.extend_from_slice(&bytes);
        chunk.extend_from_slice(b"\r\n");
        Some(chunk.freeze())
    }

    /// What ends the body.
    fn end(self) -> Bytes {
        if self.left.is_none() { Bytes::from_static(b"0\r\n\r\n") } else { Bytes::new() }
    }
}
