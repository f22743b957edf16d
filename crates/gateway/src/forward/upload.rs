//! The body of a request on its way to a worker: a slow client holds nothing of a worker's for long.
//!
//! A small body is read to its end before a worker is asked. Larger ones, and those of unknown length, pass as they come,
//! and must bring [`STEP_BYTES`] within the time that their client may let us wait. Time in which the worker does not take
//! what has come is not the client's.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, Sleep, sleep};

use crate::Error;

/// The largest body that is read before a worker is asked.
const SMALL_BYTES: u64 = 64 * 1024;
/// What a client must send to get its time anew.
const STEP_BYTES: usize = 4 * 1024;

/// How a body that is passed on stands.
#[derive(Debug)]
pub(super) struct Upload {
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// When the last piece came.
    last: Instant,
    /// Whether the client is to send the next piece; else the worker is to take it, or has all.
    owed: bool,
    fault: Option<Fault>,
}

/// What the client did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("the request body makes no progress")]
    Slow,
    #[error("the request body cannot be read")]
    Broken,
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Slow => Self::BodyTooSlow,
            Fault::Broken => Self::BodyBroken,
        }
    }
}

impl Upload {
    pub(super) fn new() -> Arc<Self> {
        let state = State { last: Instant::now(), owed: false, fault: None };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Since when the client owes nothing; `None` while it does, or when it failed.
    pub(super) fn complete_since(&self) -> Option<Instant> {
        let state = self.state();
        (!state.owed && state.fault.is_none()).then_some(state.last)
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        self.state().fault
    }

    fn came(&self) {
        let mut state = self.state();
        (state.last, state.owed) = (Instant::now(), false);
    }

    /// The next piece is the client's to send.
    pub(super) fn wait(&self) {
        self.state().owed = true;
    }

    fn fail(&self, fault: Fault) {
        self.state().fault.get_or_insert(fault);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of a request, before a worker is asked.
#[derive(Debug)]
pub(super) enum Received {
    /// There is none.
    Nothing,
    /// A small one, complete.
    Whole(Bytes),
    /// It is passed on while it comes, and what tells of it.
    Coming(Body, Arc<Upload>),
}

impl Received {
    /// What tells of a body that is still coming.
    pub(super) fn upload(&self) -> Option<Arc<Upload>> {
        match self {
            Self::Coming(_, upload) => Some(Arc::clone(upload)),
            Self::Nothing | Self::Whole(_) => None,
        }
    }
}

/// `body` as it goes to a worker. A client may let us wait for `patience`.
///
/// # Errors
/// [`Error::BodyTooSlow`] and [`Error::BodyBroken`], for small bodies.
pub(super) async fn receive(body: Body, patience: Duration) -> Result<Received, Error> {
    if body.is_end_stream() {
        return Ok(Received::Nothing);
    }
    let is_small = body.size_hint().exact().is_some_and(|it| it <= SMALL_BYTES);
    let upload = Upload::new();
    let paced = Paced { body, upload: Arc::clone(&upload), patience, left: patience, step: 0, timer: None };
    if !is_small {
        return Ok(Received::Coming(Body::new(paced), upload));
    }
    // On the heap: not part of every request's memory.
    match Box::pin(paced.collect()).await {
        Ok(whole) => Ok(Received::Whole(whole.to_bytes())),
        Err(_told_by_the_upload) => Err(upload.fault().unwrap_or(Fault::Broken).into()),
    }
}

/// A body whose client must not stop.
struct Paced {
    body: Body,
    upload: Arc<Upload>,
    patience: Duration,
    /// How long the client may still let us wait before the step is complete.
    left: Duration,
    /// Bytes of it so far.
    step: usize,
    /// Runs while we wait for the client.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    fn got(&mut self, bytes: usize) {
        if let Some(timer) = self.timer.take() {
            self.left = timer.deadline().saturating_duration_since(Instant::now());
        }
        self.step = self.step.saturating_add(bytes);
        if self.step >= STEP_BYTES {
            (self.step, self.left) = (0, self.patience);
        }
        self.upload.came();
    }
}

impl http_body::Body for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(frame) => {
                match &frame {
                    Some(Ok(frame)) => this.got(frame.data_ref().map_or(0, Bytes::len)),
                    Some(Err(_)) => this.upload.fail(Fault::Broken),
                    None => this.got(0),
                }
                Poll::Ready(frame)
            }
            Poll::Pending => {
                let left = this.left;
                let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(left)));
                if timer.as_mut().poll(context).is_ready() {
                    this.upload.fail(Fault::Slow);
                    return Poll::Ready(Some(Err(axum::Error::new(Fault::Slow))));
                }
                this.upload.wait();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Pieces of `bytes`, each after `pause`; what comes of them when the worker takes `taking` for each.
    async fn check(count: usize, (bytes, pause): (usize, u64), taking: u64) -> Result<usize, Fault> {
        let pieces = stream::iter(0..count).then(move |_| async move {
            sleep(Duration::from_secs(pause)).await;
            Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; bytes]))
        });
        let received = receive(Body::from_stream(pieces), PATIENCE).await.unwrap();
        let Received::Coming(mut body, upload) = received else { panic!("{received:?}") };
        let mut got = 0;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return Err(upload.fault().unwrap()) };
            got += frame.data_ref().unwrap().len();
            sleep(Duration::from_secs(taking)).await;
        }
        assert!(upload.complete_since().is_some());
        Ok(got)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_must_go_on_and_waits_for_workers_as_long_as_they_take() {
        assert_eq!(check(100, (STEP_BYTES, 9), 0).await, Ok(100 * STEP_BYTES));
        assert_eq!(check(9, (1, 1), 60).await, Ok(9));
        assert_eq!(check(2, (STEP_BYTES, 11), 0).await, Err(Fault::Slow));
        assert_eq!(check(100, (1, 1), 0).await, Err(Fault::Slow), "one byte at a time is no progress");
    }
}
