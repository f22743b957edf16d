//! Threads of their own for connections, one for each core.
//!
//! A request of a proxy waits for other processes twice and computes little between. On threads that steal work from each
//! other it moves between cores meanwhile, with all that it touches, and cores sleep while work waits on another one. Here
//! a connection stays on one thread from its first byte to its last, and so do the connections to workers that it uses.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::{self, available_parallelism};

use store::Here;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Threads that connections are spread over. Cheap to clone; they end with the last clone.
#[derive(Debug, Clone)]
pub struct Cores {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    cores: Vec<Core>,
    _end: DropGuard,
}

#[derive(Debug)]
struct Core {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
}

/// A connection on a core, until it is dropped.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Cores {
    /// As many threads as this machine has cores.
    ///
    /// # Errors
    /// When the system gives no thread, or a thread no way to wait for connections.
    pub fn start() -> io::Result<Self> {
        let end = CancellationToken::new();
        let mut shared = Shared { cores: Vec::new(), _end: end.clone().drop_guard() };
        for idx in 0..available_parallelism().map_or(1, NonZeroUsize::get) {
            let (end, (tell, told)) = (end.clone(), mpsc::channel());
            thread::Builder::new().name(format!("core-{idx}")).spawn(move || work(&tell, &end))?;
            let runtime = told.recv().map_err(io::Error::other)??;
            shared.cores.push(Core { runtime, connections: Arc::default() });
        }
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Run `connection` on the core that has the fewest.
    pub(super) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let fewest = self.shared.cores.iter().min_by_key(|it| it.connections.load(Ordering::Relaxed));
        let Some(core) = fewest else { return };
        core.connections.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&core.connections));
        core.runtime.spawn(async move {
            connection.await;
            drop(place);
        });
    }
}

/// What a thread does until `end`; it tells where to give it work.
fn work(tell: &mpsc::Sender<io::Result<Handle>>, end: &CancellationToken) {
    Here::settle();
    let (made, runtime) = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => (Ok(runtime.handle().clone()), Some(runtime)),
        Err(error) => (Err(error), None),
    };
    let _nobody_waits_any_more = tell.send(made);
    if let Some(runtime) = runtime {
        runtime.block_on(end.cancelled());
        runtime.shutdown_background();
    }
}
