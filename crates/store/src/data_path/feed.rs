//! The writing end of a large answer: bytes as they come from PostgreSQL go to the client, or to the spool.
//!
//! A connection waits a little for the client that it serves, and not at all when other jobs are in flight on it: what
//! the client has not taken by then goes to disk. So a slow client never keeps a connection, and of an answer only
//! [`QUEUE`] pieces are in memory.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::PollSender;

use crate::PgError;
use crate::spool::Spool;
use crate::tail::{Cut, Part, Sources, Tail};

/// A piece is at least this long, but for the last one.
pub(super) const CHUNK: usize = 64 * 1024;
/// Pieces that wait in memory for the client, or for the disk.
const QUEUE: usize = 4;
/// How long a connection waits for a client, over a whole answer.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);

/// The writing end of a [`Tail`].
#[derive(Debug)]
pub(super) struct Feed {
    /// Bytes that PostgreSQL has yet to send.
    left: usize,
    /// To the client or to the spool; `None` when nobody wants it.
    sender: Option<PollSender<Bytes>>,
    /// There is room for a piece in `sender`.
    has_room: bool,
    /// Where the rest would go; `None` when it goes there.
    spool: Option<(Spool, mpsc::UnboundedSender<io::Result<Part>>)>,
    outcome: Option<oneshot::Sender<Result<Bytes, Cut>>>,
    last: Bytes,
    patience: Duration,
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
}

/// Both ends of an answer of `length` bytes, whose connection waits at most `patience` for the reader.
pub(super) fn channel(length: usize, spool: Spool, patience: Duration) -> (Feed, Tail) {
    let (sender, memory) = mpsc::channel(QUEUE);
    let (told, parts) = mpsc::unbounded_channel();
    let (outcome, ended) = oneshot::channel();
    let feed = Feed {
        left: length,
        sender: Some(PollSender::new(sender)),
        has_room: false,
        spool: Some((spool, told)),
        outcome: Some(outcome),
        last: Bytes::new(),
        patience,
        timer: None,
    };
    (feed, Tail::new(length, Sources { memory, parts, outcome: ended }))
}

impl Feed {
    /// A feed that throws away what comes.
    pub(super) fn discard(length: usize) -> Self {
        Self {
            left: length,
            sender: None,
            has_room: false,
            spool: None,
            outcome: None,
            last: Bytes::new(),
            patience: Duration::ZERO,
            timer: None,
        }
    }

    /// Whether bytes are still to come.
    pub(super) fn is_hungry(&self) -> bool {
        self.left > 0
    }

    /// Wait for room for a piece: for the client only while nobody else is kept waiting, for the disk in any case.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>, others_wait: bool) -> Poll<()> {
        // The last piece stays here until the transaction has ended.
        while self.left > CHUNK {
            let Some(sender) = &mut self.sender else { return Poll::Ready(()) };
            match sender.poll_reserve(cx) {
                Poll::Ready(Ok(())) => {
                    self.has_room = true;
                    if let Some((since, _)) = self.timer.take() {
                        self.patience = self.patience.saturating_sub(since.elapsed());
                    }
                    return Poll::Ready(());
                }
                Poll::Ready(Err(_)) => self.sender = None,
                Poll::Pending => {
                    let may_wait =
                        self.spool.is_none() || !(others_wait || self.poll_patience(cx).is_ready());
                    if may_wait {
                        return Poll::Pending;
                    }
                    self.begin_spooling();
                }
            }
        }
        Poll::Ready(())
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.patience.is_zero() {
            return Poll::Ready(());
        }
        let patience = self.patience;
        let (_, timer) = self.timer.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(patience))));
        timer.as_mut().poll(cx)
    }

    /// From now on to the spool.
    fn begin_spooling(&mut self) {
        self.timer = None;
        let Some((spool, told)) = self.spool.take() else { return };
        let (sender, inbox) = mpsc::channel(QUEUE);
        self.sender = Some(PollSender::new(sender));
        tracing::debug!(left_bytes = self.left, "a large answer goes to the spool");
        tokio::task::spawn_blocking(move || {
            if let Err(error) = write(&spool, inbox, &told) {
                let _nobody_reads = told.send(Err(error));
            }
        });
    }

    /// Whether `input` holds a piece, and somebody takes it.
    pub(super) fn has_piece(&self, input: &BytesMut) -> bool {
        if self.sender.is_none() {
            return !input.is_empty();
        }
        input.len() >= self.left.min(CHUNK) && (self.has_room || self.left <= CHUNK)
    }

    /// Take a piece off `input`.
    pub(super) fn take(&mut self, input: &mut BytesMut) {
        let length = self.left.min(input.len());
        self.left -= length;
        let Some(sender) = &mut self.sender else { return input.advance(length) };
        let piece = input.split_to(length).freeze();
        if self.left == 0 {
            self.last = piece;
        } else if std::mem::take(&mut self.has_room) && sender.send_item(piece).is_err() {
            self.sender = None;
        }
    }

    /// The transaction has ended: the last piece, or why it does not come.
    pub(super) fn finish(self, failure: Option<&PgError>) {
        let Some(outcome) = self.outcome else { return };
        drop((self.sender, self.spool));
        let _nobody_reads = outcome.send(match failure {
            None => Ok(self.last),
            Some(error) => Err(Cut::Statement(error.clone())),
        });
    }
}

/// Write what comes to a file, and tell where it is. Ends when nothing more comes, or nobody wants it.
fn write(
    spool: &Spool,
    mut inbox: mpsc::Receiver<Bytes>,
    told: &mpsc::UnboundedSender<io::Result<Part>>,
) -> io::Result<()> {
    let Some(mut piece) = inbox.blocking_recv() else { return Ok(()) };
    let file = spool.create()?;
    loop {
        let offset = file.append(&piece)?;
        let part = Part { file: Arc::clone(&file), offset, length: piece.len() };
        let is_wanted = told.send(Ok(part)).is_ok();
        match inbox.blocking_recv().filter(|_| is_wanted) {
            Some(next) => piece = next,
            None => return Ok(()),
        }
    }
}
