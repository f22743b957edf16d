//! A hook as a function of the project's database: `function(event jsonb) returns jsonb`, called as
//! `supabase_auth_admin` with two seconds for an answer.
//!
//! On connections of its own, at most a few per project: flows hold one of the services' pool while they ask, and two
//! pools that wait for each other would stand still.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::{Project, ProjectRef};
use moka::sync::Cache;
use serde_json::Value;
use store::postgres::error::SqlState;
use store::postgres::types::Json;
use store::postgres::{Client, Error as PgError};
use tokio::sync::Semaphore;

use crate::error::GuardError;
use crate::{Auth, Error};

/// What a function has; PostgreSQL ends it then.
const LIMIT_SECS: u64 = 2;
/// The same, for a server that does not answer any more.
const WHOLE: Duration = Duration::from_secs(4);
const PREPARE: &str =
    "set role supabase_auth_admin; set statement_timeout = '2s'; set application_name = 'madbase hooks'";
/// Calls of one project at once.
const MAX_CALLS: usize = 4;
const MAX_PROJECTS: u64 = 100;

/// Connections for hooks, by project.
#[derive(Debug)]
pub(crate) struct Functions(Cache<ProjectRef, Arc<Connections>>);

#[derive(Debug)]
struct Connections {
    places: Semaphore,
    idle: Mutex<Vec<Client>>,
}

impl Functions {
    pub(crate) fn new() -> Self {
        let cache = Cache::builder().max_capacity(MAX_PROJECTS).time_to_idle(Duration::from_secs(300));
        Self(cache.build())
    }

    fn of(&self, project: &Project) -> Arc<Connections> {
        self.0.get_with_by_ref(&project.reference, || {
            Arc::new(Connections { places: Semaphore::new(MAX_CALLS), idle: Mutex::default() })
        })
    }
}

/// Call the function that `path` (`postgres/schema/function`) names.
pub(super) async fn call(
    auth: &Auth,
    project: &Project,
    path: &str,
    payload: &Value,
) -> Result<Value, Error> {
    let late = || GuardError::HookTimeout(LIMIT_SECS);
    let calling = run(auth, project, path, payload);
    tokio::time::timeout(WHOLE, calling).await.map_err(|_| late())?
}

async fn run(auth: &Auth, project: &Project, path: &str, payload: &Value) -> Result<Value, Error> {
    let statement = statement(path)?;
    let connections = auth.functions().of(project);
    let _place = connections.places.acquire().await.map_err(Error::internal)?;
    let idle = connections.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let client = match idle.filter(|it| !it.is_closed()) {
        Some(client) => client,
        None => {
            let server = auth.databases().server();
            let client = server.login(&project.database, &project.logins.services).await?;
            client.batch_execute(PREPARE).await?;
            client
        }
    };
    let answer = client.query_one(&statement, &[&Json(payload)]).await;
    if !client.is_closed() {
        connections.idle.lock().unwrap_or_else(PoisonError::into_inner).push(client);
    }
    let row = answer.map_err(|it| failed(path, &it))?;
    let answer: Option<Json<Value>> = row.try_get(0).map_err(|it| failed(path, &it))?;
    Ok(answer.map_or(Value::Null, |it| it.0))
}

/// Names are quoted; nothing else of the path reaches the statement.
fn statement(path: &str) -> Result<String, GuardError> {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [_, schema, function] => Ok(format!("select {}.{}($1::jsonb)", quoted(schema), quoted(function))),
        _ => Err(GuardError::HookFailed(format!("Error running hook URI: pg-functions://{path}"))),
    }
}

fn failed(path: &str, error: &PgError) -> Error {
    match error.as_db_error() {
        Some(db) if *db.code() == SqlState::QUERY_CANCELED => GuardError::HookTimeout(LIMIT_SECS).into(),
        // What the function says may name rows: it goes to the log only.
        Some(db) => {
            tracing::warn!(code = db.code().code(), error = db.message(), "a hook's function failed");
            GuardError::HookFailed(format!("Error running hook URI: pg-functions://{path}")).into()
        }
        None => Error::Store(store::Error::Connect(error.to_string().into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_names() {
        assert_eq!(statement("postgres/public/f").unwrap(), r#"select "public"."f"($1::jsonb)"#);
        assert_eq!(statement("x/a\"b/f()").unwrap(), r#"select "a""b"."f()"($1::jsonb)"#);
        assert!(statement("public/f").is_err());
    }
}
