//! One WebSocket, from its opening to its end: a single task reads, decides and writes.
//!
//! All frames that wait go out in one vectored write, shared with the other sockets that are sent the same. A socket at
//! rest holds no buffer. While a database is asked for a joining nothing more is read, and writing goes on.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::Inner;
use crate::frame::{Incoming, Malformed, Version};
use crate::outbox::Outbox;
use crate::session::{Connection, Session};
use crate::websocket::{self, Fault, Message, Reader};

/// Read at once, into memory of the stack.
const READ_BYTES: usize = 8192;
/// Frames in one write.
const WRITE_PARTS: usize = 64;
/// Copied into one piece where parts cannot be written together.
const PIECE_BYTES: usize = 16 * 1024;
/// A client that does not take its answers is not asked for more.
const MAX_UNTAKEN_BYTES: usize = 256 * 1024;
/// How long a close frame may take, and be answered.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

const MALFORMED: Fault = Fault { code: 1003, reason: "the message is none of Phoenix's protocol" };
const UNFINISHED: Fault = Fault { code: 1008, reason: "a message took too long" };
const CROWDED: Fault = Fault { code: 1013, reason: "too many messages are unfinished" };
const SILENT: Fault = Fault { code: 1001, reason: "heartbeats stopped" };
const LEFT: Fault = Fault { code: 1000, reason: "" };

/// An open WebSocket.
pub(crate) struct Socket {
    stream: TokioIo<Upgraded>,
    reader: Reader,
    /// Since when a message is unfinished.
    begun: Option<Instant>,
    /// What of it is counted among all sockets'.
    counted: usize,
    session: Session,
    version: Version,
    outbox: Outbox,
    realtime: Arc<Inner>,
    timer: Pin<Box<Sleep>>,
    /// When the client said something.
    heard: Instant,
    /// Since when it takes nothing, while something is to be written.
    blocked: Option<Instant>,
    /// Until when the end may take; the close frame is written or on its way.
    closing: Option<Instant>,
    /// The client has said its last.
    left: bool,
}

/// What a look at the client's side brought.
enum Input {
    Moved,
    Waiting,
    Ended,
}

impl Socket {
    pub(crate) fn new(stream: Upgraded, connection: Connection) -> Self {
        let realtime = Arc::clone(&connection.realtime);
        let (version, outbox) = (connection.version, connection.outbox.clone());
        let now = Instant::now();
        Self {
            stream: TokioIo::new(stream),
            reader: Reader::new(realtime.config.max_message_bytes),
            begun: None,
            counted: 0,
            session: Session::new(connection),
            version,
            outbox,
            timer: Box::pin(sleep_until(now + realtime.config.idle_timeout)),
            realtime,
            heard: now,
            blocked: None,
            closing: None,
            left: false,
        }
    }

    /// Until its end.
    pub(crate) async fn run(mut self) {
        poll_fn(|context| self.poll(context)).await;
        self.count(0);
        self.session.end();
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.tick(context).is_break() {
                return Poll::Ready(());
            }
            let could_take = self.collect(context);
            if self.write(context).is_err() {
                return Poll::Ready(());
            }
            if self.closing.is_some() && self.left && self.session.out().is_empty() {
                return Poll::Ready(());
            }
            match self.input(context) {
                Input::Moved => {}
                Input::Ended => return Poll::Ready(()),
                // What was answered meanwhile is written first.
                Input::Waiting if self.blocked.is_none() && !self.session.out().is_empty() => {}
                // Nobody wakes us for what waited meanwhile.
                Input::Waiting if !could_take && self.session.out().is_empty() => {}
                Input::Waiting => break,
            }
        }
        if self.deadline() < self.timer.deadline() {
            // It registers the task; if it is due already, that wakes it.
            let deadline = self.deadline();
            self.timer.as_mut().reset(deadline);
            if self.timer.as_mut().poll(context).is_ready() {
                context.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }

    fn deadline(&self) -> Instant {
        let config = &self.realtime.config;
        let blocked = self.blocked.map(|it| it + config.write_timeout);
        let begun = self.begun.filter(|_| self.closing.is_none()).map(|it| it + config.idle_timeout);
        let heard = Some(self.heard + config.idle_timeout);
        let times = [heard, Some(self.session.next_check()), blocked, begun, self.closing];
        times.into_iter().flatten().min().unwrap_or(self.heard)
    }

    /// What time brings.
    fn tick(&mut self, context: &mut Context<'_>) -> std::ops::ControlFlow<()> {
        if self.timer.as_mut().poll(context).is_pending() {
            return std::ops::ControlFlow::Continue(());
        }
        let (now, config) = (Instant::now(), &self.realtime.config);
        let is_over = self.closing.is_some_and(|it| it <= now)
            || self.blocked.is_some_and(|it| it + config.write_timeout <= now);
        if is_over {
            return std::ops::ControlFlow::Break(());
        }
        let idle_timeout = config.idle_timeout;
        if self.closing.is_none() && self.heard + idle_timeout <= now {
            self.close(SILENT);
        }
        if self.begun.is_some_and(|it| it + idle_timeout <= now) {
            self.close(UNFINISHED);
        }
        if self.session.next_check() <= now && !self.session.is_busy() {
            self.session.check();
        }
        let next = self.deadline().max(now + Duration::from_millis(1));
        self.timer.as_mut().reset(next);
        if self.timer.as_mut().poll(context).is_ready() {
            context.waker().wake_by_ref();
        }
        std::ops::ControlFlow::Continue(())
    }

    /// Take what others sent, once all before it is written: whether it is.
    fn collect(&mut self, context: &Context<'_>) -> bool {
        if self.closing.is_some() {
            return true;
        }
        let wanted = self.session.out().is_empty();
        let (events, end) = self.outbox.take(context, wanted);
        if !events.is_empty() {
            self.realtime.measures.delivered.increment(events.len() as u64);
            self.session.push(&events);
        }
        if let Some(why) = end {
            self.close(why);
        }
        wanted
    }

    /// Write what can be written.
    fn write(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let out = self.session.out();
        let mut wrote = 0;
        while !out.is_empty() {
            let mut parts = [IoSlice::new(&[]); WRITE_PARTS];
            let count = out.fill(&mut parts);
            let parts = parts.get(..count).unwrap_or_default();
            let written = if self.stream.is_write_vectored() {
                Pin::new(&mut self.stream).poll_write_vectored(context, parts)
            } else {
                Pin::new(&mut self.stream).poll_write(context, &piece(parts))
            };
            match written {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(bytes)) => {
                    wrote += bytes;
                    out.advance(bytes);
                    self.blocked = None;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.blocked.get_or_insert_with(Instant::now);
                    break;
                }
            }
        }
        if wrote > 0 {
            self.realtime.measures.written_bytes.increment(wrote as u64);
            if let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_flush(context) {
                return Err(error);
            }
        }
        Ok(())
    }

    fn input(&mut self, context: &mut Context<'_>) -> Input {
        if self.session.poll(context).is_ready() {
            return Input::Moved;
        }
        if self.left || self.session.is_busy() || self.session.out().bytes() > MAX_UNTAKEN_BYTES {
            return Input::Waiting;
        }
        match self.reader.next() {
            Ok(Some(message)) => {
                self.receive(message);
                Input::Moved
            }
            Ok(None) => {
                self.note_unfinished();
                self.read(context)
            }
            Err(fault) => {
                // Nothing more can be read of this; the client is told, and gone.
                self.left = true;
                self.close(fault);
                Input::Moved
            }
        }
    }

    /// What was read is no whole message: how much it is, and since when, is bounded.
    fn note_unfinished(&mut self) {
        let held = self.reader.held_bytes();
        if held == 0 {
            self.begun = None;
        } else {
            self.begun.get_or_insert_with(Instant::now);
        }
        if held.max(self.counted) > READ_BYTES && self.count(held) > self.realtime.config.max_unread_bytes {
            self.left = true;
            self.close(CROWDED);
        }
    }

    /// Count `held` bytes as this socket's: how many there are of all.
    fn count(&mut self, held: usize) -> usize {
        let (counted, unread) = (std::mem::replace(&mut self.counted, held), &self.realtime.unread);
        unread.fetch_add(held, Relaxed);
        unread.fetch_sub(counted, Relaxed).saturating_sub(counted)
    }

    fn read(&mut self, context: &mut Context<'_>) -> Input {
        let mut memory = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut memory);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Input::Ended,
            Poll::Ready(Ok(())) => {
                self.heard = Instant::now();
                self.reader.feed(buffer.filled());
                Input::Moved
            }
            Poll::Ready(Err(_)) => Input::Ended,
            Poll::Pending => Input::Waiting,
        }
    }

    fn receive(&mut self, message: Message) {
        if self.closing.is_some() {
            self.left = message == Message::Close;
            return;
        }
        self.realtime.measures.received.increment(1);
        let incoming = match &message {
            Message::Text(text) => Incoming::text(self.version, text),
            Message::Binary(bytes) => Incoming::binary(self.version, bytes),
            Message::Ping(payload) => return self.session.out().push(websocket::pong(payload)),
            Message::Pong => return,
            Message::Close => {
                self.left = true;
                return self.close(LEFT);
            }
        };
        match incoming {
            Ok(incoming) => self.session.receive(&incoming),
            Err(Malformed) => self.close(MALFORMED),
        }
    }

    /// Say good-bye. What is on its way to a client that is too slow for it is given up.
    fn close(&mut self, why: Fault) {
        if self.closing.is_some() {
            return;
        }
        if why.code != LEFT.code {
            crate::events::refused(label(why.code));
        }
        self.closing = Some(Instant::now() + CLOSE_LIMIT);
        self.session.end();
        if self.blocked.is_some() {
            self.session.out().forget();
        }
        self.session.out().push(websocket::close(why.code, why.reason));
    }
}

/// The metric's label of a close code.
fn label(code: u16) -> &'static str {
    match code {
        1001 => "silent",
        1009 => "message_too_large",
        1008 => "unfinished",
        1012 => "restart",
        1013 => "slow",
        _ => "malformed",
    }
}

fn piece(parts: &[IoSlice<'_>]) -> Vec<u8> {
    let mut piece = Vec::new();
    for part in parts {
        let room = PIECE_BYTES.saturating_sub(piece.len());
        piece.extend_from_slice(part.get(..room).unwrap_or(part));
        if piece.len() >= PIECE_BYTES {
            break;
        }
    }
    piece
}
