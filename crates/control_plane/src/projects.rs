//! What can be done with projects: create, find, change, rotate keys, delete. The REST routes and start-up call this.
//!
//! Creating and deleting hold the cluster's lock; whatever is cut off half-way is finished by the next start.

use std::sync::Arc;

use common::{Project, ProjectId, ProjectRef};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::lock::ClusterLock;
use crate::queries::{Deed, NewRow, ProjectRow};
use crate::secrets::{Algorithm, Secrets};
use crate::settings::{Change, Settings};
use crate::{ControlPlane, Error, events, provision, queries};

/// How often a change is tried again when another one came first.
const ATTEMPTS: u32 = 5;

/// What a new project needs to be told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewProject {
    /// Short name: part of host, database and role names.
    #[serde(rename = "ref")]
    pub reference: ProjectRef,
    /// Name for people, 1 to 200 characters; the reference when empty.
    #[serde(default)]
    pub name: String,
}

impl ControlPlane {
    /// The project `reference` if it is ready to serve. Costs one round trip: cache the answer.
    ///
    /// # Errors
    /// [`Error::Store`] or [`Error::Timeout`] when the control database does not answer, [`Error::MasterKey`].
    pub async fn project(&self, reference: &ProjectRef) -> Result<Option<Arc<Project>>, Error> {
        let row = queries::find(&self.inner.db, reference).await?;
        let Some(row) = row.filter(|it| it.is_ready() && !it.deleted) else { return Ok(None) };
        self.assemble(&row).map(Some)
    }

    /// Create a project with its own database, logins and keys. Takes about a second.
    ///
    /// # Errors
    /// [`Error::ProjectExists`], [`Error::ProjectGoing`], [`Error::DatabaseTaken`], [`Error::TooManyProjects`],
    /// [`Error::Body`] for a name out of bounds; [`Error::Store`] when PostgreSQL refuses: nothing is left then.
    pub async fn create(&self, new: NewProject, who: &str) -> Result<Arc<Project>, Error> {
        let new = NewProject { name: checked_name(&new.name, &new.reference)?, ..new };
        let (plane, who) = (self.clone(), who.to_owned());
        // A task of its own: a client that goes away must not leave half a project.
        let work = tokio::spawn(async move { plane.create_now(&new, &who).await });
        work.await.map_err(|it| Error::Broken(it.into()))?
    }

    async fn create_now(&self, new: &NewProject, who: &str) -> Result<Arc<Project>, Error> {
        let inner = &*self.inner;
        self.check_absent(&new.reference).await?;
        let lock = inner.queue.lock(&inner.provisioner.server).await?;
        self.check_absent(&new.reference).await?;
        let database = format!("project_{}", new.reference.as_str().replace('-', "_"));
        if provision::database_exists(&lock.client, &database).await? {
            return Err(Error::DatabaseTaken(database));
        }
        let row = self.register(&lock, new, &database, who).await?;
        if let Err(error) = self.bring_up_project(&lock, &row).await {
            let deed = Deed { who, action: "project.abandon", detail: json!({}) };
            queries::mark_deleted(&inner.db, row.id, &deed).await?;
            self.finish_deletion(&lock, &row).await;
            return Err(error);
        }
        self.assemble(&row)
    }

    async fn check_absent(&self, reference: &ProjectRef) -> Result<(), Error> {
        match queries::find(&self.inner.db, reference).await? {
            Some(row) if row.deleted => Err(Error::ProjectGoing(reference.clone())),
            Some(_) => Err(Error::ProjectExists(reference.clone())),
            None => Ok(()),
        }
    }

    /// Write the row of a new project, with new secrets; nothing of it is in the cluster yet.
    pub(crate) async fn register(
        &self,
        lock: &ClusterLock,
        new: &NewProject,
        database: &str,
        who: &str,
    ) -> Result<ProjectRow, Error> {
        let inner = &*self.inner;
        let count = queries::list(&inner.db).await?.len();
        if count >= usize::try_from(inner.config.max_projects).unwrap_or(usize::MAX) {
            return Err(Error::TooManyProjects(inner.config.max_projects));
        }
        let id = ProjectId(Uuid::now_v7());
        let names = provision::free_names(&lock.client, &new.reference).await?;
        let secrets = Secrets::generate(&new.reference, names, Timestamp::now().as_second())?;
        let sealed = secrets.seal(&inner.seal, id)?;
        let row = NewRow { id, reference: &new.reference, name: &new.name, database, secrets: &sealed };
        let deed = Deed { who, action: "project.create", detail: json!({"name": new.name}) };
        queries::insert(&inner.db, &row, &deed).await?;
        let row = queries::find(&inner.db, &new.reference).await?;
        row.ok_or_else(|| Error::UnknownProject(new.reference.clone()))
    }

    /// Delete a project: its database with all data, its logins, its keys.
    ///
    /// # Errors
    /// [`Error::DefaultProject`], [`Error::UnknownProject`]; [`Error::Store`] when it could not be finished: the next
    /// start does.
    pub(crate) async fn delete(&self, reference: &ProjectRef, who: &str) -> Result<(), Error> {
        if reference.is_default() {
            return Err(Error::DefaultProject);
        }
        let row = self.row(reference).await?;
        let deed = Deed { who, action: "project.delete", detail: json!({}) };
        if !queries::mark_deleted(&self.inner.db, row.id, &deed).await? {
            return Err(Error::UnknownProject(reference.clone()));
        }
        let plane = self.clone();
        let work = tokio::spawn(async move {
            let lock = plane.inner.queue.lock(&plane.inner.provisioner.server).await?;
            plane.take_down(&lock, &row).await
        });
        work.await.map_err(|it| Error::Broken(it.into()))?
    }

    /// Remove what is left of a project that is marked as deleted.
    pub(crate) async fn take_down(&self, lock: &ClusterLock, row: &ProjectRow) -> Result<(), Error> {
        let inner = &*self.inner;
        let secrets = Secrets::open(&inner.seal, row)?;
        inner.provisioner.take_down(lock, row, &secrets.names()).await?;
        queries::mark_dropped(&inner.db, row.id).await?;
        events::project_deleted(&row.reference);
        Ok(())
    }

    async fn finish_deletion(&self, lock: &ClusterLock, row: &ProjectRow) {
        if let Err(error) = self.take_down(lock, row).await {
            events::deletion_unfinished(&row.reference, &error);
        }
    }

    /// The row of a project that is there for clients; deleted ones are not.
    pub(crate) async fn row(&self, reference: &ProjectRef) -> Result<ProjectRow, Error> {
        let row = queries::find(&self.inner.db, reference).await?.filter(|it| !it.deleted);
        row.ok_or_else(|| Error::UnknownProject(reference.clone()))
    }

    /// The row and its opened secrets.
    pub(crate) async fn opened(&self, reference: &ProjectRef) -> Result<(ProjectRow, Secrets), Error> {
        let row = self.row(reference).await?;
        let secrets = Secrets::open(&self.inner.seal, &row)?;
        Ok((row, secrets))
    }

    /// Give a project another name for people.
    pub(crate) async fn rename(
        &self,
        reference: &ProjectRef,
        name: &str,
        who: &str,
    ) -> Result<ProjectRow, Error> {
        let name = checked_name(name, reference)?;
        self.change(reference, who, |row, _| {
            row.name.clone_from(&name);
            Ok(("project.rename", json!({"name": name})))
        })
        .await
    }

    /// Change settings; see [`Change`] for how they are merged.
    pub(crate) async fn configure(
        &self,
        reference: &ProjectRef,
        change: &Change,
        who: &str,
    ) -> Result<ProjectRow, Error> {
        self.change(reference, who, |row, secrets| {
            row.settings = change.apply(&row.settings, secrets)?;
            Ok(("project.configure", change.described()))
        })
        .await
    }

    /// New opaque keys.
    pub(crate) async fn rotate(&self, reference: &ProjectRef, who: &str) -> Result<ProjectRow, Error> {
        self.change(reference, who, |_, secrets| {
            secrets.rotate_opaque_keys()?;
            Ok(("keys.rotate", json!({"keys": ["publishable", "secret"]})))
        })
        .await
    }

    /// Another shared secret, made or `given`, with new legacy keys; what the old secret signed is refused from now on.
    pub(crate) async fn replace_jwt_secret(
        &self,
        reference: &ProjectRef,
        given: Option<&str>,
        who: &str,
    ) -> Result<ProjectRow, Error> {
        self.change(reference, who, |row, secrets| {
            secrets.replace_jwt_secret(&row.reference, given, Timestamp::now().as_second())?;
            let keys = ["anon", "service_role", "jwt_secret"];
            Ok(("keys.replace_jwt_secret", json!({"keys": keys, "given": given.is_some()})))
        })
        .await
    }

    /// A signing key that waits to be used; its name.
    pub(crate) async fn prepare_signing_key(
        &self,
        reference: &ProjectRef,
        algorithm: Algorithm,
        who: &str,
    ) -> Result<ProjectRow, Error> {
        self.change(reference, who, |_, secrets| {
            let kid = secrets.signing_keys.prepare(algorithm, Timestamp::now())?;
            Ok(("signing_keys.prepare", json!({"kid": kid, "algorithm": algorithm})))
        })
        .await
    }

    /// A signing key from elsewhere that waits to be used.
    pub(crate) async fn import_signing_key(
        &self,
        reference: &ProjectRef,
        jwk: &Map<String, Value>,
        who: &str,
    ) -> Result<ProjectRow, Error> {
        self.change(reference, who, |_, secrets| {
            let kid = secrets.signing_keys.import(jwk, Timestamp::now())?;
            Ok(("signing_keys.import", json!({"kid": kid})))
        })
        .await
    }

    /// The standby key signs from now on.
    pub(crate) async fn rotate_signing_key(
        &self,
        reference: &ProjectRef,
        who: &str,
    ) -> Result<ProjectRow, Error> {
        self.change(reference, who, |_, secrets| {
            let kid = secrets.signing_keys.rotate(Timestamp::now())?;
            Ok(("signing_keys.rotate", json!({"kid": kid})))
        })
        .await
    }

    /// What the key `kid` signed is refused from now on.
    pub(crate) async fn revoke_signing_key(
        &self,
        reference: &ProjectRef,
        kid: &str,
        who: &str,
    ) -> Result<ProjectRow, Error> {
        self.change(reference, who, |_, secrets| {
            secrets.signing_keys.revoke(kid, Timestamp::now())?;
            Ok(("signing_keys.revoke", json!({"kid": kid})))
        })
        .await
    }

    /// Read, change, store; again when somebody else came first.
    async fn change(
        &self,
        reference: &ProjectRef,
        who: &str,
        edit: impl Fn(&mut ProjectRow, &mut Secrets) -> Result<(&'static str, Value), Error>,
    ) -> Result<ProjectRow, Error> {
        let inner = &*self.inner;
        for _ in 0..ATTEMPTS {
            let (mut row, mut secrets) = self.opened(reference).await?;
            let (action, detail) = edit(&mut row, &mut secrets)?;
            row.secrets = secrets.seal(&inner.seal, row.id)?;
            match queries::update(&inner.db, &row, &Deed { who, action, detail }).await {
                Ok(_) => return self.row(reference).await,
                Err(Error::Contended(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Contended(reference.clone()))
    }

    fn assemble(&self, row: &ProjectRow) -> Result<Arc<Project>, Error> {
        let secrets = Secrets::open(&self.inner.seal, row)?;
        let settings = Settings::read(&row.settings, &secrets)?;
        Ok(Arc::new(Project {
            id: row.id,
            reference: row.reference.clone(),
            name: row.name.clone(),
            database: row.database.clone(),
            logins: secrets.logins(),
            keys: secrets.api_keys(),
            jwt: secrets.key_ring()?,
            vault: self.inner.seal.vault(row.id)?,
            auth: settings.auth,
            rest: settings.rest,
            limits: settings.limits,
            realtime: settings.realtime,
            version: row.version,
        }))
    }
}

fn checked_name(name: &str, reference: &ProjectRef) -> Result<String, Error> {
    let name = if name.trim().is_empty() { reference.as_str() } else { name.trim() };
    if name.chars().count() > 200 || name.chars().any(char::is_control) {
        return Err(Error::Body("name must be 1 to 200 characters without control characters".into()));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_bounded_and_default_to_the_reference() {
        let reference: ProjectRef = "team".parse().unwrap();
        let check = |name: &str| checked_name(name, &reference).ok();
        assert_eq!(check(" Team board ").as_deref(), Some("Team board"));
        assert_eq!(check(" ").as_deref(), Some("team"));
        assert_eq!(check(&"ü".repeat(200)).map(|it| it.chars().count()), Some(200));
        assert_eq!(check(&"ü".repeat(201)), None);
        assert_eq!(check("a\0b"), None);
    }
}
