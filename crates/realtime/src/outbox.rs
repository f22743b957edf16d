//! What waits to be written to one socket: bounded, so that a slow consumer is closed instead of slowing others.
//!
//! The socket's task takes what waits in pieces; only the first event after that wakes it. Who can hold back what comes
//! (the stream of changes, whose log PostgreSQL keeps) [offers](Outbox::offer) instead of sending, fills half of the room
//! and waits while the client takes: as long as its patience lasts, so that a client that reads is not closed because much
//! happens at once, and one that does not holds the others up for seconds in all, not for each event.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::event::Event;
use crate::websocket::Fault;

/// Taken at once, at most, but for a single event that is larger: what a slow client has taken shows in such steps.
const PIECE_BYTES: usize = 256 * 1024;
/// How long others wait for a client in all. What it takes gives it more again: a second for each megabyte.
const PATIENCE: Duration = Duration::from_secs(3);
const PATIENCE_PER_BYTE: Duration = Duration::from_micros(1);

/// The way to one socket. Cheap to clone; only [`Outbox::room`] waits.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    id: u64,
    max_bytes: usize,
    state: Mutex<State>,
    /// Something was taken while somebody waited for that, or the socket ends.
    taken: Notify,
}

#[derive(Debug)]
struct State {
    waiting: Vec<Arc<Event>>,
    bytes: usize,
    /// How long others still wait for this client.
    patience: Duration,
    /// Until when that is reckoned, while they do.
    waited: Option<Instant>,
    /// Why the socket is to close.
    end: Option<Fault>,
    /// The socket's task, when it waits.
    task: Option<Waker>,
}

/// What became of an event that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It waits to be written, or never will be.
    Done,
    /// Not taken; there may be [room](Outbox::room) soon.
    Crowded,
}

/// Closed for taking too long.
const SLOW: Fault = Fault { code: 1013, reason: "messages came faster than they were taken" };

impl Outbox {
    /// Of the socket `id`; more than `max_bytes` wait only if it is one event.
    pub(crate) fn new(id: u64, max_bytes: usize) -> Self {
        let (waiting, patience) = (Vec::new(), PATIENCE);
        let state = Mutex::new(State { waiting, bytes: 0, patience, waited: None, end: None, task: None });
        Self { queue: Arc::new(Queue { id, max_bytes, state, taken: Notify::new() }) }
    }

    /// The socket's number, which no other of the process has.
    pub(crate) fn id(&self) -> u64 {
        self.queue.id
    }

    /// Put `event` into the queue. A full queue closes the socket, with a reason; then, and when it is closed already, the
    /// answer is `false`.
    pub(crate) fn send(&self, event: &Arc<Event>) -> bool {
        self.put(self.state(), event)
    }

    /// As [`Outbox::send`], but leave half of the queue to those who cannot wait, as long as it makes sense to wait.
    pub(crate) fn offer(&self, event: &Arc<Event>) -> Offered {
        let state = self.state();
        if state.has_room(event.size_bytes(), self.queue.max_bytes) || state.patience.is_zero() {
            self.put(state, event);
            return Offered::Done;
        }
        Offered::Crowded
    }

    /// Until an event of `size` bytes would be taken: when the client has taken enough, when the socket ends, or when others
    /// have waited long enough for it.
    pub(crate) async fn room(&self, size: usize) {
        loop {
            let taken = self.queue.taken.notified();
            let left = {
                let mut state = self.state();
                state.reckon();
                if state.has_room(size, self.queue.max_bytes) || state.patience.is_zero() {
                    state.waited = None;
                    return;
                }
                state.waited.get_or_insert_with(Instant::now);
                state.patience
            };
            let _ = timeout(left, taken).await;
        }
    }

    fn put(&self, mut state: MutexGuard<'_, State>, event: &Arc<Event>) -> bool {
        let size = event.size_bytes();
        if state.end.is_some() {
            return false;
        }
        let is_first = state.waiting.is_empty();
        let fits = is_first || state.bytes.saturating_add(size) <= self.queue.max_bytes;
        if fits {
            state.bytes = state.bytes.saturating_add(size);
            state.waiting.push(Arc::clone(event));
        } else {
            (state.waiting, state.bytes) = (Vec::new(), 0);
            state.end = Some(SLOW);
        }
        let task = if is_first || !fits { state.task.take() } else { None };
        self.wake(state, task);
        fits
    }

    /// Close the socket, after what waits was written.
    pub(crate) fn end(&self, why: Fault) {
        let mut state = self.state();
        state.end.get_or_insert(why);
        let task = state.task.take();
        self.wake(state, task);
    }

    fn wake(&self, state: MutexGuard<'_, State>, task: Option<Waker>) {
        let is_awaited = state.waited.is_some() && state.end.is_some();
        drop(state);
        if is_awaited {
            self.queue.taken.notify_waiters();
        }
        if let Some(task) = task {
            task.wake();
        }
    }

    /// What waits, a piece of it if it is much, if it is wanted; and why the socket is to close if it is. The task is woken
    /// when something comes, and when more is left.
    pub(crate) fn take(&self, context: &Context<'_>, wanted: bool) -> (Vec<Arc<Event>>, Option<Fault>) {
        let mut state = self.state();
        if !state.task.as_ref().is_some_and(|it| it.will_wake(context.waker())) {
            state.task = Some(context.waker().clone());
        }
        if !wanted || state.waiting.is_empty() {
            return (Vec::new(), state.end);
        }
        let before = state.bytes;
        let events = state.piece();
        // It closes only after what waits was written.
        let end = state.end.filter(|_| state.waiting.is_empty());
        let is_more = !state.waiting.is_empty();
        let taken = u32::try_from(before - state.bytes).unwrap_or(u32::MAX);
        state.reckon();
        state.patience = (state.patience + PATIENCE_PER_BYTE * taken).min(PATIENCE);
        let is_awaited = state.waited.is_some();
        drop(state);
        if is_awaited {
            self.queue.taken.notify_waiters();
        }
        if is_more {
            context.waker().wake_by_ref();
        }
        (events, end)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.queue.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether an event of `size` bytes leaves half of `max_bytes` free, or is the only one, or will never be written.
    fn has_room(&self, size: usize, max_bytes: usize) -> bool {
        self.end.is_some() || self.waiting.is_empty() || self.bytes.saturating_add(size) <= max_bytes / 2
    }

    /// Take what others have waited off the client's account.
    fn reckon(&mut self) {
        if let Some(since) = self.waited {
            let now = Instant::now();
            self.patience = self.patience.saturating_sub(now.saturating_duration_since(since));
            self.waited = Some(now);
        }
    }

    /// The first events, of [`PIECE_BYTES`] together or a little more.
    fn piece(&mut self) -> Vec<Arc<Event>> {
        if self.bytes <= PIECE_BYTES {
            self.bytes = 0;
            return std::mem::take(&mut self.waiting);
        }
        let (mut bytes, mut count) = (0, 0);
        for event in &self.waiting {
            if bytes >= PIECE_BYTES {
                break;
            }
            (bytes, count) = (bytes + event.size_bytes(), count + 1);
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        self.waiting.drain(..count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(bytes: usize) -> Arc<Event> {
        Event::json(&"t".into(), "e", vec![b'x'; bytes])
    }

    #[test]
    fn a_full_queue_ends_the_socket_and_holds_nothing() {
        let outbox = Outbox::new(1, 100);
        let context = Context::from_waker(Waker::noop());
        assert!(outbox.send(&event(500)), "one event may be larger than the bound");
        assert_eq!(outbox.take(&context, true).0.len(), 1);
        assert!(outbox.send(&event(60)) && !outbox.send(&event(60)) && !outbox.send(&event(1)));
        let (waiting, end) = outbox.take(&context, true);
        assert_eq!((waiting.len(), end), (0, Some(SLOW)));
    }

    #[test]
    fn much_is_taken_in_pieces_and_the_end_comes_last() {
        let outbox = Outbox::new(1, 4 * PIECE_BYTES);
        let context = Context::from_waker(Waker::noop());
        for _ in 0..5 {
            assert!(outbox.send(&event(PIECE_BYTES / 2)));
        }
        outbox.end(SLOW);
        let taken: Vec<_> =
            (0..3).map(|_| outbox.take(&context, true)).map(|it| (it.0.len(), it.1)).collect();
        assert_eq!(taken, [(2, None), (2, None), (1, Some(SLOW))]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_is_waited_for_and_who_does_not_only_once() {
        let outbox = Outbox::new(1, 1_000_000);
        let context = Context::from_waker(Waker::noop());
        // Half of the room is filled, then a reader of a million bytes in a second gives the pace.
        let reader = outbox.clone();
        let began = Instant::now();
        let reading = tokio::spawn(async move {
            let mut count = 0;
            while count < 200 {
                tokio::time::sleep(Duration::from_millis(250)).await;
                count += reader.take(&Context::from_waker(Waker::noop()), true).0.len();
            }
        });
        for _ in 0..200 {
            while outbox.offer(&event(100_000)) == Offered::Crowded {
                outbox.room(100_001).await;
            }
        }
        reading.await.unwrap();
        assert!(began.elapsed() > Duration::from_secs(10), "{:?}", began.elapsed());
        // One that takes nothing is closed when it was waited for once.
        let began = Instant::now();
        while outbox.take(&context, false).1.is_none() {
            while outbox.offer(&event(100_000)) == Offered::Crowded {
                outbox.room(100_001).await;
            }
        }
        assert_eq!(began.elapsed().as_secs(), PATIENCE.as_secs());
    }
}
