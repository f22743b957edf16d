//! A project's three logins: who they are, what they may become, and that they are nobody else's.
//!
//! On PostgreSQL 15 `CREATEROLE` reaches every role that is no superuser, hence other projects' logins; there only the
//! default project's owner, who runs the installation, gets it. From 16 on it reaches only roles granted with
//! `ADMIN`, so every owner gets it together with the authenticator of the project.

use common::ProjectRef;
use store::postgres::Client;

use crate::ddl::{Literal, Name};
use crate::secrets::{LoginNames, Secrets, StoredLogin};
use crate::{Error, scram};

/// PostgREST's in-database configuration (`alter role authenticator set pgrst.…`), without what holds a secret:
/// everybody in the cluster can read such settings. From PostgreSQL 15 on, storing a setting that no loaded library
/// knows takes a grant.
pub(super) const PARAMETERS: &str = "\
    pgrst.client_error_verbosity, pgrst.db_aggregates_enabled, pgrst.db_anon_role, pgrst.db_extra_search_path, pgrst.db_hoisted_tx_settings, \
    pgrst.db_max_rows, pgrst.db_plan_enabled, pgrst.db_pre_config, pgrst.db_pre_request, \
    pgrst.db_prepared_statements, pgrst.db_root_spec, pgrst.db_schemas, pgrst.db_timezone_enabled, pgrst.db_tx_end, \
    pgrst.jwt_aud, pgrst.jwt_role_claim_key, pgrst.openapi_mode, pgrst.openapi_security_active, \
    pgrst.openapi_server_proxy_uri, pgrst.server_cors_allowed_origins, pgrst.server_timing_enabled, \
    pgrst.server_trace_header, pgrst.url_use_legacy_target_names";

/// The first names that no role has: those of the contract, else with the project's name, else numbered.
///
/// # Errors
/// [`Error::Store`].
pub(crate) async fn free_names(client: &Client, reference: &ProjectRef) -> Result<LoginNames, Error> {
    let suffix = format!("_{}", reference.as_str().replace('-', "_"));
    let first = reference.is_default().then(String::new);
    let numbered = (2_u32..).map(|idx| format!("{suffix}_{idx}"));
    for candidate in first.into_iter().chain([suffix.clone()]).chain(numbered) {
        let names = LoginNames::with_suffix(&candidate);
        let taken = client
            .query_one(
                "select exists (select from pg_catalog.pg_roles where rolname = any($1))",
                &[&names.all().as_slice()],
            )
            .await?;
        if !taken.try_get::<_, bool>(0)? {
            return Ok(names);
        }
    }
    Ok(LoginNames::with_suffix(&suffix))
}

/// The logins exist, with the recorded passwords and memberships.
///
/// The services' login may become whatever the authenticator may, to ask what a caller is allowed; it inherits none of it,
/// because the authenticator inherits nothing.
pub(super) async fn ensure(client: &Client, reference: &ProjectRef, secrets: &Secrets) -> Result<(), Error> {
    let modern = client
        .query_one("select current_setting('server_version_num')::int >= 160000", &[])
        .await?
        .try_get::<_, bool>(0)?;
    let rights = if modern || reference.is_default() { "createrole" } else { "nocreaterole" };
    ensure_login(client, &secrets.owner, &format!("inherit bypassrls {rights}")).await?;
    if ensure_login(client, &secrets.authenticator, "noinherit").await? {
        // Only at first: later it is the owner's to change.
        let name = Name(&secrets.authenticator.user);
        let limits = format!(
            "alter role {name} set statement_timeout = '8s'; alter role {name} set lock_timeout = '8s';"
        );
        client.batch_execute(&limits).await?;
    }
    ensure_login(client, &secrets.services, "inherit").await?;
    let names = secrets.names();
    let (owner, authenticator) = (Name(&names.owner), Name(&names.authenticator));
    let services = Name(&names.services);
    let admin = if modern { "with admin option" } else { "" };
    client
        .batch_execute(&format!(
            "grant anon, authenticated, service_role to {authenticator}, {owner};
             grant supabase_auth_admin, supabase_storage_admin, supabase_realtime_admin to {services}, {owner};
             grant {authenticator} to {owner} {admin};
             grant {authenticator} to {services};
             grant set on parameter {PARAMETERS} to {owner}, {authenticator};"
        ))
        .await?;
    Ok(())
}

/// The logins are gone.
pub(super) async fn drop(client: &Client, names: &LoginNames) -> Result<(), Error> {
    for name in names.all() {
        let found =
            client.query_opt("select from pg_catalog.pg_roles where rolname = $1", &[&name]).await?.is_some();
        if found {
            // Takes back what the role was granted or granted itself outside its own database.
            let name = Name(name);
            client.batch_execute(&format!("drop owned by {name}; drop role {name};")).await?;
        }
    }
    Ok(())
}

/// Create or correct one login; `true` when it was created.
async fn ensure_login(client: &Client, login: &StoredLogin, attributes: &str) -> Result<bool, Error> {
    let found = client
        .query_opt("select from pg_catalog.pg_roles where rolname = $1", &[&login.user])
        .await?
        .is_some();
    let verb = if found { "alter" } else { "create" };
    let verifier = scram::verifier(&login.password)?;
    let (name, verifier) = (Name(&login.user), Literal(&verifier));
    let attributes = format!("login nosuperuser nocreatedb noreplication {attributes}");
    client.batch_execute(&format!("{verb} role {name} {attributes} password {verifier}")).await?;
    Ok(!found)
}
