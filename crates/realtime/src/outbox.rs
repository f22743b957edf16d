//! What waits to be written to one socket: bounded, so that a slow consumer is closed instead of slowing others.
//!
//! The socket's task takes all that waits at once; only the first event after that wakes it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use crate::event::Event;
use crate::websocket::Fault;

/// The way to one socket. Cheap to clone; never waits.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    id: u64,
    max_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Arc<Event>>,
    bytes: usize,
    /// Why the socket is to close.
    end: Option<Fault>,
    /// The socket's task, when it waits.
    task: Option<Waker>,
}

/// Closed for taking too long.
const SLOW: Fault = Fault { code: 1013, reason: "messages came faster than they were taken" };

impl Outbox {
    /// Of the socket `id`; more than `max_bytes` wait only if it is one event.
    pub(crate) fn new(id: u64, max_bytes: usize) -> Self {
        Self { queue: Arc::new(Queue { id, max_bytes, state: Mutex::default() }) }
    }

    /// The socket's number, which no other of the process has.
    pub(crate) fn id(&self) -> u64 {
        self.queue.id
    }

    /// Put `event` into the queue. A full queue closes the socket, with a reason; then, and when it is closed already, the
    /// answer is `false`.
    pub(crate) fn send(&self, event: &Arc<Event>) -> bool {
        let size = event.size_bytes();
        let mut state = self.state();
        if state.end.is_some() {
            return false;
        }
        let is_first = state.waiting.is_empty();
        let fits = is_first || state.bytes.saturating_add(size) <= self.queue.max_bytes;
        if fits {
            state.bytes = state.bytes.saturating_add(size);
            state.waiting.push(Arc::clone(event));
        } else {
            state.waiting = Vec::new();
            state.end = Some(SLOW);
        }
        let task = if is_first || !fits { state.task.take() } else { None };
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
        fits
    }

    /// Close the socket, after what waits was written.
    pub(crate) fn end(&self, why: Fault) {
        let mut state = self.state();
        state.end.get_or_insert(why);
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }

    /// All that waits, if it is wanted, and why the socket is to close if it is; the task is woken when something comes.
    pub(crate) fn take(&self, context: &Context<'_>, wanted: bool) -> (Vec<Arc<Event>>, Option<Fault>) {
        let mut state = self.state();
        if !state.task.as_ref().is_some_and(|it| it.will_wake(context.waker())) {
            state.task = Some(context.waker().clone());
        }
        if !wanted {
            return (Vec::new(), state.end);
        }
        state.bytes = 0;
        (std::mem::take(&mut state.waiting), state.end)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.queue.state.lock().unwrap_or_else(PoisonError::into_inner)
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
}
