//! What is known about each project's database: its own settings and its catalog. Loaded on first use, once however many
//! requests wait, and again when the schema or the settings change.
//!
//! A listener per project hears `NOTIFY pgrst, 'reload schema' | 'reload config'`; requests go on with what was known
//! meanwhile. One task loads, so however many notifications come, one load runs at a time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use common::{Dependence, Project, ProjectRef};
use moka::sync::Cache;
use store::{Databases, Notification, Notifications, Recent};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::{Catalog, Uses, load};
use crate::error::Error;
use crate::events::Event;
use crate::{Config, settings};

/// The channel that tells of changes.
const CHANNEL: &str = "pgrst";
/// How long the first load waits for the listener, so that no change between the two is missed.
const LISTENER_LIMIT: Duration = Duration::from_secs(1);
/// The first wait after a failed reload; doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(32);

/// What is known about the databases of all projects. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Catalogs {
    databases: Databases,
    slots: Cache<ProjectRef, Arc<Slot>>,
    /// The slots whose version is at least that of the project that was asked for.
    recent: Arc<Recent<Arc<Slot>>>,
    config: Arc<Config>,
}

/// What is known about a project's database.
#[derive(Debug)]
pub(crate) struct Known {
    /// The project, with the settings that its database makes over the stored ones.
    pub(crate) project: Arc<Project>,
    /// What exists there.
    pub(crate) catalog: Catalog,
    /// Another one for each time that it was read in this process.
    generation: u64,
}

/// The next [`Known::generation`].
static GENERATIONS: AtomicU64 = AtomicU64::new(0);

impl Known {
    fn new(project: Arc<Project>, catalog: Catalog) -> Self {
        Self { project, catalog, generation: GENERATIONS.fetch_add(1, Ordering::Relaxed) }
    }

    /// What answers depend on besides the request and the rows; `None` when nobody tells of changes of the code.
    pub(crate) fn dependence(&self) -> Option<Dependence> {
        let Uses { request, watched, .. } = self.catalog.uses;
        watched.then_some(Dependence { generation: self.generation, on_whole_request: request })
    }
}

/// A project's place, perhaps not filled yet.
#[derive(Debug)]
struct Slot {
    /// The version of the project that it was made for.
    version: i64,
    first: OnceCell<()>,
    current: RwLock<Option<Arc<Known>>>,
    /// A change was told and is not read yet.
    is_old: AtomicBool,
    listener: OnceCell<Abort>,
}

/// Ends the listener when the slot is dropped.
#[derive(Debug)]
struct Abort(tokio::task::AbortHandle);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Slot {
    fn new(version: i64) -> Self {
        let (first, current, listener) = (OnceCell::new(), RwLock::new(None), OnceCell::new());
        Self { version, first, current, is_old: AtomicBool::new(false), listener }
    }

    fn get(&self) -> Option<Arc<Known>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, known: Known) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(known));
    }
}

impl Catalogs {
    /// None is loaded yet.
    pub(crate) fn new(databases: Databases, config: Arc<Config>) -> Self {
        Self { databases, slots: Cache::new(config.max_catalogs), recent: Arc::default(), config }
    }

    /// What is known about the database of `project`, if it was loaded.
    pub(crate) fn known(&self, project: &Project) -> Option<Arc<Known>> {
        let now = Instant::now();
        if let Some(slot) = self.recent.get(&project.reference, project.version, now) {
            return slot.get();
        }
        let slot = self.slots.get(&project.reference).filter(|it| it.version >= project.version)?;
        self.recent.put(&project.reference, project.version, Arc::clone(&slot), now);
        slot.get()
    }

    /// What answers about `project` depend on; `None` while that may be changing.
    pub(crate) fn dependence(&self, project: &Project) -> Option<Dependence> {
        let slot = self.slots.get(&project.reference)?;
        if slot.version < project.version || slot.is_old.load(Ordering::Acquire) {
            return None;
        }
        slot.get()?.dependence()
    }

    /// What is known about the database of `project`; loaded if it was not.
    ///
    /// # Errors
    /// [`Error::NoCatalog`] when it was never loaded and cannot be now.
    pub(crate) async fn of(&self, project: &Arc<Project>) -> Result<Arc<Known>, Error> {
        if let Some(known) = self.known(project) {
            return Ok(known);
        }
        let slot = self.slot(project);
        self.fill(&slot, project).await
    }

    /// As [`Self::of`], but requests go on with what was known about an older version of `project` until the new one is.
    ///
    /// # Errors
    /// As [`Self::of`]; then everything stays as it was.
    pub(crate) async fn renew(&self, project: &Arc<Project>) -> Result<(), Error> {
        let slot = Arc::new(Slot::new(project.version));
        match self.slots.get(&project.reference) {
            Some(old) if old.version < project.version && old.get().is_some() => {
                self.fill(&slot, project).await?;
                self.slots.insert(project.reference.clone(), slot);
                self.recent.forget(&project.reference);
                Ok(())
            }
            _ => self.of(project).await.map(drop),
        }
    }

    /// A changed project (other schemas, other login) starts anew; one whose change we know already stays.
    fn slot(&self, project: &Project) -> Arc<Slot> {
        if let Some(slot) = self.slots.get(&project.reference) {
            if slot.version >= project.version {
                return slot;
            }
            self.slots.invalidate(&project.reference);
            self.recent.forget(&project.reference);
        }
        self.slots.get_with_by_ref(&project.reference, || Arc::new(Slot::new(project.version)))
    }

    async fn fill(&self, slot: &Arc<Slot>, project: &Arc<Project>) -> Result<Arc<Known>, Error> {
        let load = || async {
            let mut notifications = self.databases.of(project).await.listen(CHANNEL);
            // What is told from here on is heard; without an answer in time, the listener's arrival is told later.
            let _connected = tokio::time::timeout(LISTENER_LIMIT, notifications.next()).await;
            slot.set(self.load(project).await?);
            slot.listener.get_or_init(async || self.listen(project, slot, notifications)).await;
            Ok::<(), store::Error>(())
        };
        let no_catalog = |error| Error::NoCatalog(Arc::new(error));
        slot.first.get_or_try_init(load).await.map_err(no_catalog)?;
        slot.get().ok_or_else(|| no_catalog(store::Error::PoolTimeout))
    }

    async fn load(&self, project: &Arc<Project>) -> Result<Known, store::Error> {
        let start = Instant::now();
        let database = self.databases.of(project).await;
        let known = async {
            let project = match self.config.reads_settings {
                true => with(project, settings::read(&database, project).await?),
                false => Arc::clone(project),
            };
            let catalog = load::load(&database, &project.rest).await?;
            Ok(Known::new(project, catalog))
        };
        match known.await {
            Ok(known) => {
                let (tables, functions) = known.catalog.size();
                let took = start.elapsed();
                Event::CatalogLoaded { project: &project.reference, tables, functions, took }.emit();
                Ok(known)
            }
            Err(error) => {
                Event::CatalogFailed { project: &project.reference, error: &error }.emit();
                Err(error)
            }
        }
    }

    /// Load again whenever the project says so; ends with the slot.
    fn listen(&self, project: &Arc<Project>, slot: &Arc<Slot>, notifications: Notifications) -> Abort {
        let this = self.clone();
        let project = Arc::clone(project);
        let slot = Arc::downgrade(slot);
        let task = tokio::spawn(async move { this.reload_when_told(&project, &slot, notifications).await });
        Abort(task.abort_handle())
    }

    async fn reload_when_told(
        &self,
        project: &Arc<Project>,
        slot: &Weak<Slot>,
        mut notifications: Notifications,
    ) {
        let mut retry = None;
        loop {
            let told = tokio::select! {
                told = notifications.next() => told,
                () = pass(retry) => Some(Notification::Connected),
            };
            match told {
                None => break,
                Some(Notification::Message(text)) if !self.concerns(&text) => continue,
                Some(Notification::Message(_) | Notification::Connected) => {}
            }
            if let Some(slot) = slot.upgrade() {
                slot.is_old.store(true, Ordering::Release);
            }
            notifications.settle(self.config.reload_quiet, self.config.reload_latest).await;
            let loaded = self.load(project).await;
            let Some(slot) = slot.upgrade() else { return };
            retry = match loaded {
                Ok(known) => {
                    slot.set(known);
                    slot.is_old.store(false, Ordering::Release);
                    None
                }
                Err(_told_already) => Some(retry.map_or(FIRST_WAIT, |it| LONGEST_WAIT.min(it * 2))),
            };
        }
        self.forget(project, slot);
    }

    /// Whether a message makes us load. The settings of roles are part of the catalog, ours of what is known.
    fn concerns(&self, text: &str) -> bool {
        match text {
            "" | "reload schema" => true,
            "reload config" => self.config.reads_settings,
            _ => false,
        }
    }

    /// The project's connections were closed, for it was idle: nobody would tell of changes any more, so the next
    /// request loads anew.
    fn forget(&self, project: &Project, slot: &Weak<Slot>) {
        let current = self.slots.get(&project.reference);
        if current.is_some_and(|it| std::ptr::eq(Arc::as_ptr(&it), slot.as_ptr())) {
            self.slots.invalidate(&project.reference);
            self.recent.forget(&project.reference);
        }
    }
}

/// `project` with `settings`.
fn with(project: &Arc<Project>, settings: common::RestSettings) -> Arc<Project> {
    if settings == project.rest {
        return Arc::clone(project);
    }
    Arc::new(Project { rest: settings, ..(**project).clone() })
}

async fn pass(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
