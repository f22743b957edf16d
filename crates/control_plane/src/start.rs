//! Start-up: one query when the installation is current; otherwise everything is brought up under the cluster's lock.

use std::time::Duration;

use common::{Inbox, ProjectRef};
use store::Databases;
use store::postgres::error::SqlState;
use tokio::time::Instant;

use crate::lock::ClusterLock;
use crate::queries::State;
use crate::secrets::Secrets;
use crate::{Config, ControlPlane, Error, NewProject, ServiceMigrations, events, provision, queries};

/// Between looks at a control database that another process prepares.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl ControlPlane {
    /// For reading projects only, as proxies and workers do: nothing is created or migrated. Waits at most `patience` until
    /// PostgreSQL answers and another process has prepared the control database.
    ///
    /// # Errors
    /// [`Error::NotPrepared`] after `patience`, [`Error::MasterKey`]; [`Error::Store`] or [`Error::Timeout`] when PostgreSQL
    /// did not answer until then.
    pub async fn read_only(
        config: Config,
        databases: &Databases,
        services: Vec<ServiceMigrations>,
        patience: Duration,
    ) -> Result<Self, Error> {
        let plane = Self::new(config, databases.server().clone(), Inbox::new(1), services)?;
        let deadline = Instant::now() + patience;
        loop {
            let outcome = plane.look().await;
            match outcome {
                Err(Error::NotPrepared | Error::Timeout | Error::Store(_)) if Instant::now() < deadline => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                other => return other.map(|()| plane),
            }
        }
    }

    /// Whether there is something to read, and our master key opens it.
    async fn look(&self) -> Result<(), Error> {
        let state = self.state().await?;
        self.check_master_key(&state)?;
        if self.project(&default_reference()?).await.ok().flatten().is_none() {
            return Err(Error::NotPrepared);
        }
        // While nodes are upgraded one after another, old code serves what new code has migrated, and the reverse.
        if !state.is_current {
            events::other_version();
        }
        Ok(())
    }

    /// Create or migrate the control database, the default project and all others; several nodes may start at once.
    ///
    /// When nothing changed since the last start: one connection, one query.
    ///
    /// # Errors
    /// [`Error::MasterKey`], [`Error::NotSuperuser`], [`Error::TooOld`], [`Error::ControlDatabase`] with the next step
    /// in [`Error::next`]; [`Error::Store`] when PostgreSQL does not answer.
    pub async fn start(
        config: Config,
        databases: Databases,
        inbox: Inbox,
        services: Vec<ServiceMigrations>,
    ) -> Result<Self, Error> {
        if config.control_database == config.default_database {
            return Err(Error::ControlDatabase(config.control_database));
        }
        let plane = Self::new(config, databases.server().clone(), inbox, services)?;
        let state = plane.state().await?;
        plane.check_master_key(&state)?;
        if !state.is_current {
            // Boxed: this future is large and seldom needed.
            Box::pin(plane.bring_up()).await?;
        }
        Ok(plane)
    }

    /// Where the installation stands; a control database that is missing or empty is not current.
    async fn state(&self) -> Result<State, Error> {
        match queries::state(&self.inner.db, &self.inner.fingerprint).await {
            Err(Error::Store(error)) if is_missing(&error) => Ok(State { is_current: false, default: None }),
            other => other,
        }
    }

    fn check_master_key(&self, state: &State) -> Result<(), Error> {
        match &state.default {
            Some((id, sealed)) => self.inner.seal.open(*id, sealed).map(drop),
            None => Ok(()),
        }
    }

    async fn bring_up(&self) -> Result<(), Error> {
        let inner = &*self.inner;
        let lock = inner.queue.lock(&inner.provisioner.server).await?;
        provision::check_rights(&lock.client).await?;
        self.ensure_control_database(&lock).await?;
        // Another node may have done the rest while this one waited.
        let state = self.state().await?;
        self.check_master_key(&state)?;
        if state.is_current {
            return Ok(());
        }
        if state.default.is_none() {
            let default = NewProject { reference: default_reference()?, name: "Default project".into() };
            self.register(&lock, &default, &inner.config.default_database, "system").await?;
        }
        for row in queries::list(&inner.db).await? {
            let outcome = if row.deleted {
                self.take_down(&lock, &row).await
            } else if row.fingerprint == inner.fingerprint {
                Ok(())
            } else {
                self.bring_up_project(&lock, &row).await
            };
            match outcome {
                Ok(()) => {}
                Err(error) if row.reference.is_default() => return Err(error),
                Err(error) => events::project_failed(&row.reference, &error),
            }
        }
        let open = provision::open_databases(&lock.client).await?;
        if !open.is_empty() {
            events::databases_open(&open);
        }
        queries::mark_installation(&inner.db, &inner.fingerprint).await
    }

    async fn ensure_control_database(&self, lock: &ClusterLock) -> Result<(), Error> {
        let inner = &*self.inner;
        let name = &inner.config.control_database;
        provision::ensure_control_database(&lock.client, name).await?;
        let mut client = inner.provisioner.server.admin(name).await?;
        client.batch_execute("create schema if not exists madbase").await?;
        store::migrate(&mut client, "madbase", provision::control_migrations()).await?;
        Ok(())
    }

    /// Bring one project up and note that it is.
    pub(crate) async fn bring_up_project(
        &self,
        lock: &ClusterLock,
        row: &queries::ProjectRow,
    ) -> Result<(), Error> {
        let inner = &*self.inner;
        let started = Instant::now();
        let secrets = Secrets::open(&inner.seal, row)?;
        inner.provisioner.bring_up(lock, row, &secrets).await?;
        queries::mark_current(&inner.db, row.id, &inner.fingerprint).await?;
        events::project_provisioned(&row.reference, started.elapsed());
        Ok(())
    }
}

fn default_reference() -> Result<ProjectRef, Error> {
    Ok(ProjectRef::DEFAULT.parse()?)
}

/// Whether the control database, its schema or its tables are not there yet.
fn is_missing(error: &store::Error) -> bool {
    let code = match error {
        store::Error::Statement(it) => it.code.as_str(),
        store::Error::Connect(it) => {
            let database = it.downcast_ref::<store::postgres::Error>();
            database.and_then(store::postgres::Error::code).map_or("", SqlState::code)
        }
        _ => "",
    };
    // No such database, no such schema, no such table.
    ["3D000", "3F000", "42P01"].contains(&code)
}
