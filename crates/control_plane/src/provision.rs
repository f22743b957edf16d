//! Brings what a project needs into being: logins, database, schemas, extensions, every service's migrations.
//!
//! Every step may be repeated, so a run that was cut off is finished by the next one. Callers hold the
//! [`ClusterLock`]. Nothing here decides whether a project should exist; that is `projects.rs` and `start.rs`.

mod cluster;
mod database;
mod logins;

use refinery::{Migration, Runner};
use store::Server;

use crate::lock::ClusterLock;
use crate::queries::ProjectRow;
use crate::secrets::{LoginNames, Secrets};
use crate::{Error, ServiceMigrations};

pub(crate) use cluster::{check_rights, database_exists, ensure_control_database, open_databases};
pub(crate) use logins::free_names;

/// What is needed to provision any project.
#[derive(Debug, Clone)]
pub(crate) struct Provisioner {
    pub(crate) server: Server,
    pub(crate) services: Vec<ServiceMigrations>,
}

impl Provisioner {
    /// Bring the project's part of the cluster up to date.
    ///
    /// # Errors
    /// [`Error::Store`] names the statement or migration that failed; repeat after mending the cause.
    pub(crate) async fn bring_up(
        &self,
        lock: &ClusterLock,
        row: &ProjectRow,
        secrets: &Secrets,
    ) -> Result<(), Error> {
        cluster::check_rights(&lock.client).await?;
        logins::ensure(&lock.client, &row.reference, secrets).await?;
        let names = secrets.names();
        cluster::ensure_project_database(&lock.client, &row.database, &names).await?;
        let mut client = self.server.admin(&row.database).await?;
        database::bootstrap(&mut client, &names).await?;
        for service in &self.services {
            database::ensure_schema(&client, service).await?;
        }
        // The owner's triggers may run in a migration; what they can climb to is the services' login, no further.
        let mut client = self.server.login(&row.database, &secrets.logins().services).await?;
        for service in &self.services {
            database::migrate_service(&mut client, service).await?;
        }
        Ok(())
    }

    /// Remove the database and the logins; connections to it are ended.
    ///
    /// # Errors
    /// [`Error::Store`]; repeat after mending the cause.
    pub(crate) async fn take_down(
        &self,
        lock: &ClusterLock,
        row: &ProjectRow,
        names: &LoginNames,
    ) -> Result<(), Error> {
        cluster::drop_project_database(&lock.client, &row.database).await?;
        logins::drop(&lock.client, names).await
    }
}

/// The control database's migrations, the cluster's roles first.
pub(crate) fn control_migrations() -> Runner {
    runner(&[
        ("V1__shared_roles", include_str!("../migrations/control/V1__shared_roles.sql")),
        ("V2__projects", include_str!("../migrations/control/V2__projects.sql")),
        ("V40__tell_changes", include_str!("../migrations/control/V40__tell_changes.sql")),
        ("V42__certificates", include_str!("../migrations/control/V42__certificates.sql")),
        ("V43__nodes", include_str!("../migrations/control/V43__nodes.sql")),
        ("V44__removed_nodes", include_str!("../migrations/control/V44__removed_nodes.sql")),
    ])
}

/// What every project's database is made of before the services come.
fn project_migrations() -> Runner {
    runner(&[
        ("V1__schemas", include_str!("../migrations/project/V1__schemas.sql")),
        ("V2__default_privileges", include_str!("../migrations/project/V2__default_privileges.sql")),
        ("V3__schema_watch", include_str!("../migrations/project/V3__schema_watch.sql")),
        ("V4__realtime_publication", include_str!("../migrations/project/V4__realtime_publication.sql")),
        ("V5__policy_watch", include_str!("../migrations/project/V5__policy_watch.sql")),
        ("V6__dropped_policy_watch", include_str!("../migrations/project/V6__dropped_policy_watch.sql")),
        ("V7__publication_roots", include_str!("../migrations/project/V7__publication_roots.sql")),
    ])
}

fn runner(files: &[(&str, &str)]) -> Runner {
    let read = |(name, sql): &(&str, &str)| Migration::unapplied(name, sql).expect("our own names parse");
    Runner::new(&files.iter().map(read).collect::<Vec<_>>())
}

/// One text for everything that a current installation has: equal text, nothing to do.
#[must_use]
pub(crate) fn fingerprint(services: &[ServiceMigrations]) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    context.update(logins::PARAMETERS.as_bytes());
    let mut add = |schema: &str, runner: &Runner| {
        for it in runner.get_migrations() {
            context.update(format!("{schema} {it} {};", it.checksum()).as_bytes());
        }
    };
    add("control", &control_migrations());
    add("project", &project_migrations());
    for service in services {
        add(service.schema, &(service.runner)());
    }
    let hash = context.finish();
    hash.as_ref().iter().take(16).map(|it| format!("{it:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(sql: &'static str) -> Vec<ServiceMigrations> {
        let runner = match sql {
            "" => || runner(&[]),
            _ => || runner(&[("V1__one", "select 1")]),
        };
        vec![ServiceMigrations { schema: "auth", owner: "supabase_auth_admin", runner }]
    }

    #[test]
    fn a_new_migration_changes_the_fingerprint() {
        assert_eq!(fingerprint(&with("")), fingerprint(&[]));
        assert_ne!(fingerprint(&with("select 1")), fingerprint(&[]));
        assert_eq!(fingerprint(&with("select 1")), fingerprint(&with("select 1")));
    }
}
