//! One catalog per project: loaded on first use, once however many requests wait, and again when the schema changes.
//!
//! A listener per project hears `NOTIFY pgrst, 'reload schema'`; requests go on with the old catalog meanwhile.

use std::sync::{Arc, RwLock, Weak};

use common::{Project, ProjectRef};
use moka::future::Cache;
use store::{Databases, Notification, Notifications};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::{Catalog, load};
use crate::Config;
use crate::error::Error;
use crate::events::Event;

/// The channel that tells of changes.
const CHANNEL: &str = "pgrst";

/// The catalogs of all projects. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Catalogs {
    databases: Databases,
    slots: Cache<ProjectRef, Arc<Slot>>,
    config: Arc<Config>,
}

/// A project's catalog, perhaps not loaded yet.
#[derive(Debug)]
struct Slot {
    /// The version of the project that it was made for.
    version: i64,
    first: OnceCell<()>,
    current: RwLock<Arc<Catalog>>,
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
        Self {
            version,
            first: OnceCell::new(),
            current: RwLock::new(Arc::default()),
            listener: OnceCell::new(),
        }
    }

    fn get(&self) -> Arc<Catalog> {
        Arc::clone(&self.current.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn set(&self, catalog: Catalog) {
        *self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(catalog);
    }
}

impl Catalogs {
    /// None is loaded yet.
    pub(crate) fn new(databases: Databases, config: Arc<Config>) -> Self {
        Self { databases, slots: Cache::new(config.max_catalogs), config }
    }

    /// The catalog of `project`.
    ///
    /// # Errors
    /// [`Error::NoCatalog`] when it was never loaded and cannot be now.
    pub(crate) async fn of(&self, project: &Arc<Project>) -> Result<Arc<Catalog>, Error> {
        let slot = self.slot(project).await;
        let load = || async {
            slot.set(self.load(project).await?);
            slot.listener.get_or_init(|| self.listen(project, &slot)).await;
            Ok::<(), store::Error>(())
        };
        slot.first.get_or_try_init(load).await.map_err(|error| Error::NoCatalog(Arc::new(error)))?;
        Ok(slot.get())
    }

    /// A changed project (other schemas, other login) starts anew.
    async fn slot(&self, project: &Arc<Project>) -> Arc<Slot> {
        if let Some(slot) = self.slots.get(&project.reference).await {
            if slot.version == project.version {
                return slot;
            }
            self.slots.invalidate(&project.reference).await;
        }
        let version = project.version;
        self.slots.get_with_by_ref(&project.reference, async { Arc::new(Slot::new(version)) }).await
    }

    async fn load(&self, project: &Project) -> Result<Catalog, store::Error> {
        let start = Instant::now();
        let database = self.databases.of(project).await;
        match load::load(&database, &project.rest).await {
            Ok(catalog) => {
                let (tables, functions) = catalog.size();
                let took = start.elapsed();
                Event::CatalogLoaded { project: &project.reference, tables, functions, took }.emit();
                Ok(catalog)
            }
            Err(error) => {
                Event::CatalogFailed { project: &project.reference, error: &error }.emit();
                Err(error)
            }
        }
    }

    /// Load again whenever the project says so; ends with the slot.
    async fn listen(&self, project: &Arc<Project>, slot: &Arc<Slot>) -> Abort {
        let notifications = self.databases.of(project).await.listen(CHANNEL);
        let this = self.clone();
        let project = Arc::clone(project);
        let slot = Arc::downgrade(slot);
        let task = tokio::spawn(async move { this.reload_when_told(&project, &slot, notifications).await });
        Abort(task.abort_handle())
    }

    async fn reload_when_told(&self, project: &Project, slot: &Weak<Slot>, mut notifications: Notifications) {
        while let Some(notification) = notifications.next().await {
            match notification {
                // The settings of roles are part of the catalog.
                Notification::Message(text)
                    if !matches!(text.as_str(), "" | "reload schema" | "reload config") =>
                {
                    continue;
                }
                Notification::Message(_) | Notification::Connected => {}
            }
            notifications.settle(self.config.reload_quiet).await;
            let loaded = self.load(project).await;
            let Some(slot) = slot.upgrade() else { return };
            if let Ok(catalog) = loaded {
                slot.set(catalog);
            }
        }
        self.forget(project, slot).await;
    }

    /// The project's connections were closed, for it was idle: nobody would tell of changes any more, so the next
    /// request loads anew.
    async fn forget(&self, project: &Project, slot: &Weak<Slot>) {
        let current = self.slots.get(&project.reference).await;
        if current.is_some_and(|it| std::ptr::eq(Arc::as_ptr(&it), slot.as_ptr())) {
            self.slots.invalidate(&project.reference).await;
        }
    }
}
