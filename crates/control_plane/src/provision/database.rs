//! Inside a project's database: schemas and privileges, extensions, and each service's migrations.

use store::postgres::Client;

use crate::ddl::Name;
use crate::secrets::LoginNames;
use crate::{Error, ServiceMigrations, events};

/// The extensions that Supabase's projects have; a missing package is a warning, not a failure.
const EXTENSIONS: &[&str] = &["pgcrypto", "uuid-ossp"];

const NAME_LOGINS: &str = "\
    select set_config('madbase.owner', $1, false), set_config('madbase.authenticator', $2, false), \
    set_config('madbase.services', $3, false)";

/// Schemas, privileges, extensions, event triggers, publication.
///
/// Runs as the superuser, so these migrations may never write to a table that the owner can put a trigger on, nor
/// call a function that he can replace.
pub(super) async fn bootstrap(client: &mut Client, names: &LoginNames) -> Result<(), Error> {
    // Names without a schema mean the system's, so that nothing in the database can stand in their way.
    client
        .batch_execute("set search_path to pg_catalog, pg_temp; set client_min_messages to warning")
        .await?;
    client.execute(NAME_LOGINS, &[&names.owner, &names.authenticator, &names.services]).await?;
    client
        .batch_execute("create schema if not exists madbase; revoke all on schema madbase from public")
        .await?;
    store::migrate(client, "madbase", super::project_migrations()).await?;
    for extension in EXTENSIONS {
        ensure_extension(client, extension).await?;
    }
    Ok(())
}

async fn ensure_extension(client: &Client, extension: &'static str) -> Result<(), Error> {
    let found = client
        .query_opt("select from pg_catalog.pg_available_extensions where name = $1", &[&extension])
        .await?;
    if found.is_none() {
        events::extension_missing(extension);
        return Ok(());
    }
    let text = format!("create extension if not exists {} with schema extensions", Name(extension));
    Ok(client.batch_execute(&text).await?)
}

/// The service's schema exists.
pub(super) async fn ensure_schema(client: &Client, service: &ServiceMigrations) -> Result<(), Error> {
    let (schema, owner) = (Name(service.schema), Name(service.owner));
    let text = format!("create schema if not exists {schema} authorization {owner}");
    Ok(client.batch_execute(&text).await?)
}

/// The service's migrations, as the role that owns its schema; `client` is the services' login.
pub(super) async fn migrate_service(client: &mut Client, service: &ServiceMigrations) -> Result<(), Error> {
    let (schema, owner) = (Name(service.schema), Name(service.owner));
    client
        .batch_execute(&format!(
            "reset role;
             set client_min_messages to warning;
             set search_path to {schema}, public, extensions;
             set role {owner}"
        ))
        .await?;
    store::migrate(client, service.schema, (service.runner)()).await?;
    Ok(())
}
