//! One project's part of this process: its topics, its limits, and what its sockets share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use common::{Project, RealtimeSettings};

use crate::event::Event;
use crate::hub::{Hub, Watch};
use crate::limits::Rate;
use crate::rights::{Rights, RightsSettings};

/// A project that has sockets here.
#[derive(Debug)]
pub(crate) struct Tenant {
    /// As the newest request had it.
    project: RwLock<Arc<Project>>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) rights: Rights,
    pub(crate) joins: Rate,
    pub(crate) events: Rate,
    pub(crate) bytes: Rate,
    sockets: AtomicUsize,
}

impl Tenant {
    pub(crate) fn new(project: Arc<Project>, watch: Box<dyn Watch>) -> Arc<Self> {
        Arc::new(Self {
            project: RwLock::new(project),
            hub: Hub::new(watch),
            rights: Rights::new(&RightsSettings::default()),
            joins: Rate::new(),
            events: Rate::new(),
            bytes: Rate::new(),
            sockets: AtomicUsize::new(0),
        })
    }

    pub(crate) fn project(&self) -> Arc<Project> {
        Arc::clone(&self.project.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A request had it like this.
    pub(crate) fn meet(&self, project: &Arc<Project>) {
        if self.project().version != project.version {
            *self.project.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(project);
        }
    }

    pub(crate) fn settings(&self) -> RealtimeSettings {
        self.project().realtime
    }

    /// One more socket, if the project may have it.
    pub(crate) fn seat(self: &Arc<Self>) -> Option<Seat> {
        let most = usize::try_from(self.settings().max_concurrent_users).unwrap_or(usize::MAX);
        if self.sockets.fetch_add(1, Ordering::Relaxed) >= most {
            self.sockets.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Seat(Arc::clone(self)))
    }

    /// Whether nobody is here.
    pub(crate) fn is_empty(&self) -> bool {
        self.sockets.load(Ordering::Relaxed) == 0
    }

    /// Send `event` to who joined `key`, in all processes, but for the socket `except`.
    pub(crate) fn broadcast(&self, key: &str, event: &Arc<Event>, except: Option<u64>) {
        self.hub.deliver(key, event, except);
    }

    /// Whether a message of `bytes` keeps to the limits.
    pub(crate) fn admits(&self, settings: &RealtimeSettings, bytes: usize) -> bool {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.events.take(1, settings.max_events_per_second)
            && self.bytes.take(bytes, settings.max_bytes_per_second)
    }
}

/// A socket's place among those of its project.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Tenant>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.sockets.fetch_sub(1, Ordering::Relaxed);
    }
}
