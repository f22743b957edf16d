//! The end of a large answer, which comes in pieces while PostgreSQL sends it, or from the spool.
//!
//! Made by the data path, read by services. The last piece comes only once the transaction has ended well, so that a
//! failure always shows as an answer that is too short.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::PgError;
use crate::spool::Spooled;

/// Why an answer that has begun does not end.
#[derive(Debug, thiserror::Error)]
pub enum Cut {
    /// PostgreSQL refused the statement or the commit after it had sent the row.
    #[error("the statement failed after its answer had begun")]
    Statement(#[source] PgError),
    /// The connection broke.
    #[error("the connection to the database was lost while the answer came")]
    Lost,
    /// The spool could not keep what the client did not take.
    #[error("the answer could not be kept for its client")]
    Spool(#[source] io::Error),
}

/// Bytes in a file of the spool.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) file: Arc<Spooled>,
    pub(crate) offset: u64,
    pub(crate) length: usize,
}

/// Where the pieces come from, one source after the other.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) memory: mpsc::Receiver<Bytes>,
    pub(crate) parts: mpsc::UnboundedReceiver<io::Result<Part>>,
    /// The last piece.
    pub(crate) outcome: oneshot::Receiver<Result<Bytes, Cut>>,
}

/// The last column of a large row. Dropping it is safe at any time.
#[derive(Debug)]
pub struct Tail {
    left: usize,
    /// `None` once all was told.
    sources: Option<Sources>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Tail {
    pub(crate) fn new(length: usize, sources: Sources) -> Self {
        Self { left: length, sources: Some(sources), reading: None }
    }

    /// Bytes still to come.
    #[must_use]
    pub fn left(&self) -> usize {
        self.left
    }

    /// The next piece, never empty; `None` after the last one and after an error.
    ///
    /// # Errors
    /// [`Cut`] when the rest does not come.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        if self.sources.is_none() {
            return Poll::Ready(None);
        }
        let piece = ready!(self.poll_piece(cx)).and_then(|it| match self.left.checked_sub(it.len()) {
            Some(left) => {
                self.left = left;
                Ok(it)
            }
            None => Err(Cut::Lost),
        });
        if piece.is_err() || self.left == 0 {
            self.sources = None;
        }
        Poll::Ready(Some(piece))
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Cut>> {
        let Some(sources) = &mut self.sources else { return Poll::Ready(Err(Cut::Lost)) };
        if self.reading.is_none() {
            if let Some(piece) = ready!(sources.memory.poll_recv(cx)) {
                return Poll::Ready(Ok(piece));
            }
            match ready!(sources.parts.poll_recv(cx)) {
                Some(Ok(Part { file, offset, length })) => {
                    // Made here: memory is given back best by the thread that took it.
                    let mut bytes = BytesMut::zeroed(length);
                    let read = move || file.read(offset, &mut bytes).map(|()| bytes.freeze());
                    self.reading = Some(spawn_blocking(read));
                }
                Some(Err(error)) => return Poll::Ready(Err(Cut::Spool(error))),
                None => {
                    let last = ready!(Pin::new(&mut sources.outcome).poll(cx)).unwrap_or(Err(Cut::Lost));
                    // Less than is missing: the pieces before were lost.
                    return Poll::Ready(
                        last.and_then(|it| if it.len() == self.left { Ok(it) } else { Err(Cut::Lost) }),
                    );
                }
            }
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(Err(Cut::Lost)) };
        let piece = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        Poll::Ready(piece.unwrap_or_else(|it| Err(io::Error::other(it))).map_err(Cut::Spool))
    }
}
