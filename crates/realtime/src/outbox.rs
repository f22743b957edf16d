//! What waits to be written to one socket: bounded, so that a slow consumer is closed instead of slowing others.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::event::Event;

/// The way to one socket. Cheap to clone; never waits.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    queue: mpsc::Sender<Arc<Event>>,
}

impl Outbox {
    /// Put `event` into the queue. A full queue closes the socket, with a reason; then, and when it is closed already, the
    /// answer is `false`.
    pub(crate) fn send(&self, event: &Arc<Event>) -> bool {
        self.queue.try_send(Arc::clone(event)).is_ok()
    }
}
