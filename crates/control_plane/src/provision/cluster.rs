//! What lives outside any one database: the rights of our own login, databases, and who may connect to them.

use store::postgres::Client;

use crate::Error;
use crate::ddl::Name;
use crate::secrets::LoginNames;

const RIGHTS: &str = "\
    select current_user::text, rolsuper, current_setting('server_version_num')::int \
    from pg_catalog.pg_roles where rolname = current_user";

/// PostgreSQL is new enough and our login is a superuser.
///
/// # Errors
/// [`Error::TooOld`], [`Error::NotSuperuser`].
pub(crate) async fn check_rights(client: &Client) -> Result<(), Error> {
    let row = client.query_one(RIGHTS, &[]).await?;
    let (user, is_super, version): (String, bool, i32) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if version < 150_000 {
        return Err(Error::TooOld(version));
    }
    if !is_super {
        return Err(Error::NotSuperuser(user));
    }
    Ok(())
}

/// Whether the cluster has a database of that name.
pub(crate) async fn database_exists(client: &Client, database: &str) -> Result<bool, Error> {
    let row = client
        .query_one("select exists (select from pg_catalog.pg_database where datname = $1)", &[&database])
        .await?;
    Ok(row.try_get(0)?)
}

/// The control database exists, and only the superuser may enter it.
pub(crate) async fn ensure_control_database(client: &Client, database: &str) -> Result<(), Error> {
    ensure_database(client, database).await?;
    client.batch_execute(&format!("revoke all on database {} from public", Name(database))).await?;
    Ok(())
}

/// The project's database exists, belongs to its owner, and only its logins may enter it.
pub(super) async fn ensure_project_database(
    client: &Client,
    database: &str,
    names: &LoginNames,
) -> Result<(), Error> {
    ensure_database(client, database).await?;
    let (database, owner) = (Name(database), Name(&names.owner));
    let (authenticator, services) = (Name(&names.authenticator), Name(&names.services));
    client
        .batch_execute(&format!(
            "alter database {database} owner to {owner};
             revoke connect on database {database} from public;
             grant connect on database {database} to {owner}, {authenticator}, {services};
             grant create on database {database}
                to supabase_auth_admin, supabase_storage_admin, supabase_realtime_admin;
             alter database {database} set search_path to '$user', public, extensions;"
        ))
        .await?;
    Ok(())
}

/// The database is gone, with every connection to it.
pub(super) async fn drop_project_database(client: &Client, database: &str) -> Result<(), Error> {
    if !database_exists(client, database).await? {
        return Ok(());
    }
    // Closed first, so that no pool gets in again between the end of its connections and the drop.
    client.batch_execute(&format!("alter database {} allow_connections false", Name(database))).await?;
    client.batch_execute(&format!("drop database if exists {} with (force)", Name(database))).await?;
    Ok(())
}

/// Databases of somebody else that any login may enter, ours too; at most ten.
///
/// # Errors
/// [`Error::Store`].
pub(crate) async fn open_databases(client: &Client) -> Result<Vec<String>, Error> {
    let rows = client
        .query(
            "select datname::text from pg_catalog.pg_database \
             where datallowconn and has_database_privilege('public', oid, 'connect') order by 1 limit 10",
            &[],
        )
        .await?;
    Ok(rows.iter().map(|it| it.try_get(0)).collect::<Result<_, _>>()?)
}

async fn ensure_database(client: &Client, database: &str) -> Result<(), Error> {
    if !database_exists(client, database).await? {
        client.batch_execute(&format!("create database {}", Name(database))).await?;
    }
    Ok(())
}
