//! The pool of the services' login: `tokio-postgres` connections for everything off the data path.

mod client;
mod connect;
mod watched;

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime,
    StatementCache, TimeoutType, Timeouts,
};
use tokio::time::{Instant, sleep_until};

use crate::config::Config;
use crate::{Error, PoolSettings};
use connect::{FRESH, Mark, WatchedConnect};

pub use client::{Prepared, Question, ServiceClient};

/// Longest time to make a connection, all hosts tried.
const CREATE_TIMEOUT: Duration = Duration::from_secs(3);
/// Between two attempts to connect: the first wait, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Longest time to look a returned connection over.
const RECYCLE_TIMEOUT: Duration = Duration::from_secs(1);

/// The services' connections of one project.
#[derive(Debug)]
pub(crate) struct Services {
    pool: Pool,
    database: Arc<str>,
    /// How long to try again while PostgreSQL does not answer.
    patience: Duration,
}

impl Services {
    /// No connection is made yet.
    pub(crate) fn new(config: Config, settings: &PoolSettings) -> Self {
        // Fast: a round trip for each use would find out no more than the watched socket tells by itself.
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let (known, looked_up) = {
            let marks = Arc::new(Marks::default());
            (Arc::clone(&marks), marks)
        };
        let database = config.get_dbname().unwrap_or_default().into();
        let manager = Manager::from_connect(config.clone_driver(), WatchedConnect(config), recycling);
        let pool = Pool::builder(manager)
            .max_size(settings.service_connections.max(1))
            .timeouts(Timeouts {
                wait: Some(settings.acquire_timeout),
                create: Some(CREATE_TIMEOUT),
                recycle: Some(RECYCLE_TIMEOUT),
            })
            .post_create(Hook::sync_fn(move |client, _| {
                known.add(client);
                Ok(())
            }))
            .pre_recycle(Hook::sync_fn(move |client, _| {
                let useless = looked_up.is_useless(client);
                if useless { Err(HookError::message("the server went down or is read-only")) } else { Ok(()) }
            }))
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a runtime is set, and nothing else can be missing");
        Self { pool, database, patience: settings.acquire_timeout }
    }

    /// A connection of its own until it is dropped. Nothing was sent yet, so while a standby becomes the primary, or
    /// PostgreSQL starts again, the caller waits: as long as for a free connection.
    pub(crate) async fn get(&self) -> Result<ServiceClient, Error> {
        let deadline = Instant::now() + self.patience;
        let mut pause = FIRST_PAUSE;
        loop {
            let failure = match FRESH.scope(RefCell::new(None), self.pool.get()).await {
                Ok(client) => return Ok(ServiceClient::new(client, Arc::clone(&self.database))),
                Err(failure) => failure,
            };
            let again = Instant::now() + pause;
            if !may_pass(&failure) || again > deadline {
                return Err(failure.into());
            }
            sleep_until(again).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// No new borrower; returned connections end.
    pub(crate) fn drain(&self) {
        self.pool.close();
    }

    /// End the connections that nobody has borrowed.
    pub(crate) fn end_idle(&self) {
        self.pool.retain(|_, _| false);
    }

    /// Connections still open.
    pub(crate) fn open(&self) -> usize {
        self.pool.status().size
    }
}

/// Whether trying again shortly may help: not with a wrong password, nor without the role or database, nor where the
/// database takes no connections.
fn may_pass(failure: &PoolError) -> bool {
    match failure {
        PoolError::Backend(error) => error.code().is_none_or(|it| {
            !it.code().starts_with("28") && !matches!(it.code(), "3D000" | "42501" | "42704" | "55000")
        }),
        PoolError::Timeout(TimeoutType::Create) => true,
        _ => false,
    }
}

/// The marks of the pool's connections. A connection is known by its statement cache, the one thing of it that has
/// an identity.
#[derive(Debug, Default)]
struct Marks(Mutex<Vec<(Weak<StatementCache>, Mark)>>);

impl Marks {
    fn add(&self, client: &ClientWrapper) {
        let fresh = FRESH.try_with(RefCell::take).ok().flatten();
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        marks.retain(|(it, _)| it.strong_count() > 0);
        marks.extend(fresh.map(|mark| (Arc::downgrade(&client.statement_cache), mark)));
    }

    fn is_useless(&self, client: &ClientWrapper) -> bool {
        let wanted = Arc::as_ptr(&client.statement_cache);
        let marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        marks.iter().any(|(it, mark)| it.as_ptr() == wanted && mark.load(Ordering::Acquire))
    }
}
