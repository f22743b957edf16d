//! How many connections to one server this process may have, all projects together: a server has so many for everybody.
//!
//! Every socket to PostgreSQL takes a place and gives it back when it closes. Who finds none asks for one: the project that
//! was not used for longest closes its connections then ([`crate::Databases`]).

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{interval, timeout};

/// Longest wait for a place.
const PATIENCE: Duration = Duration::from_millis(2500);
/// Between one project that is asked to close and the next.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// Fewer would let a project's own connections wait for each other.
const SMALLEST: usize = 4;

/// The connections to one server. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    places: Arc<Semaphore>,
    wanted: Arc<Notify>,
}

/// A connection's place.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Budget {
    /// `size` connections at once, at least four.
    pub(crate) fn new(size: usize) -> Self {
        let size = size.clamp(SMALLEST, Semaphore::MAX_PERMITS);
        metrics::gauge!("madbase_connections_max").set(f64::from(u32::try_from(size).unwrap_or(u32::MAX)));
        Self { places: Arc::new(Semaphore::new(size)), wanted: Arc::default() }
    }

    /// As many for another server; whoever lacks a place is heard together.
    pub(crate) fn another(&self, size: usize) -> Self {
        Self { wanted: Arc::clone(&self.wanted), ..Self::new(size) }
    }

    /// A place, as soon as there is one.
    pub(crate) async fn place(&self) -> io::Result<Place> {
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(Place::new(permit));
        }
        metrics::counter!("madbase_connections_waits_total").increment(1);
        let waiting = async {
            let mut acquiring = pin!(Arc::clone(&self.places).acquire_owned());
            let mut again = interval(ASK_EVERY);
            loop {
                tokio::select! {
                    biased;
                    permit = &mut acquiring => return permit.ok(),
                    _ = again.tick() => self.wanted.notify_one(),
                }
            }
        };
        let permit = timeout(PATIENCE, waiting).await.ok().flatten();
        let failed = || io::Error::other("all connections that this process may have are in use");
        permit.map(Place::new).ok_or_else(failed)
    }

    /// Until somebody lacks a place.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }
}

impl Place {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        metrics::gauge!("madbase_connections_open").increment(1.0);
        Self { _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        metrics::gauge!("madbase_connections_open").decrement(1.0);
    }
}
