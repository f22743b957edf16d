//! What lives outside any one database: the rights of our own login, databases, and who may connect to them.

use std::time::Duration;

use store::postgres::Client;
use tokio::time::sleep;

use crate::Error;
use crate::ddl::Name;
use crate::secrets::LoginNames;

/// How often slots are tried; a reader that was told to end needs a moment.
const SLOT_ATTEMPTS: usize = 50;
const SLOT_PAUSE: Duration = Duration::from_millis(100);

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
    drop_slots(client, database).await?;
    client.batch_execute(&format!("drop database if exists {} with (force)", Name(database))).await?;
    Ok(())
}

/// The streams of changes of a database that takes no connections any more are gone: PostgreSQL drops none that has them.
async fn drop_slots(client: &Client, database: &str) -> Result<(), Error> {
    const END: &str = "select pg_terminate_backend(active_pid) from pg_catalog.pg_replication_slots \
        where database = $1 and active_pid is not null";
    const DROP: &str = "select pg_drop_replication_slot(slot_name) from pg_catalog.pg_replication_slots \
        where database = $1 and active_pid is null";
    const COUNT: &str = "select count(*) from pg_catalog.pg_replication_slots where database = $1";
    for _ in 0..SLOT_ATTEMPTS {
        client.execute(END, &[&database]).await?;
        // One that ends by itself meanwhile is no failure.
        let _gone_already = client.execute(DROP, &[&database]).await;
        if client.query_one(COUNT, &[&database]).await?.try_get::<_, i64>(0)? == 0 {
            break;
        }
        sleep(SLOT_PAUSE).await;
    }
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
