//! What a project's database says about its own data API, over the stored settings: `alter role authenticator set
//! pgrst.db_max_rows = 100` (for all databases or for one), and what the function of `db-pre-config` sets.
//!
//! Read with the catalog. Only what concerns the project itself may be set there: keys, caches and connections belong to
//! the operator. A setting that cannot be meant is told in the log and left as it is stored.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{Project, RestSettings};
use store::{Database, Session, Statement};

use crate::events::Event;

/// The settings that a database may make, as it spells them behind `pgrst.`.
const NAMES: [&str; 21] = [
    "client_error_verbosity",
    "db_aggregates_enabled",
    "db_anon_role",
    "db_extra_search_path",
    "db_hoisted_tx_settings",
    "db_max_rows",
    "db_plan_enabled",
    "db_pre_config",
    "db_pre_request",
    "db_root_spec",
    "db_schemas",
    "db_tx_end",
    "jwt_aud",
    "jwt_role_claim_key",
    "openapi_mode",
    "openapi_security_active",
    "openapi_server_proxy_uri",
    "server_cors_allowed_origins",
    "server_timing_enabled",
    "server_trace_header",
    "url_use_legacy_target_names",
];
/// The longest value.
const MAX_VALUE_BYTES: usize = 8 * 1024;
/// The most schemas, as the control plane has it.
const MAX_SCHEMAS: usize = 50;
/// How long the function of `db-pre-config` may take, in the database and with the way there.
const STATEMENT_LIMIT: &str = "5s";
const LIMIT: Duration = Duration::from_secs(10);

/// The stored settings of `project`, with what its database says over them.
///
/// # Errors
/// [`store::Error`] when the database does not answer.
pub(crate) async fn read(database: &Database, project: &Project) -> Result<RestSettings, store::Error> {
    let mut settings = project.rest.clone();
    if !settings.db_config {
        return Ok(settings);
    }
    let mut found = ask(database, None).await?;
    let named = found.iter().rev().find(|(name, _)| name == "db_pre_config").map(|(_, value)| value.clone());
    if let Some(function) = named.or_else(|| settings.db_pre_config.clone()).filter(|it| !it.is_empty()) {
        match tokio::time::timeout(LIMIT, ask(database, Some(&function))).await {
            Ok(Ok(more)) => found = more,
            Ok(Err(error @ store::Error::Statement(_))) => {
                Event::PreConfigFailed { project: &project.reference, error: Some(&error) }.emit();
            }
            Ok(Err(error)) => return Err(error),
            Err(_elapsed) => Event::PreConfigFailed { project: &project.reference, error: None }.emit(),
        }
    }
    for (name, value) in &found {
        if let Err(error) = take(&mut settings, name, value) {
            Event::SettingRefused { project: &project.reference, name, error: &error }.emit();
        }
    }
    Ok(settings)
}

/// Make one setting; those that are not the database's to make change nothing.
fn take(settings: &mut RestSettings, name: &str, value: &str) -> Result<(), String> {
    if !NAMES.contains(&name) {
        return Ok(());
    }
    if value.len() > MAX_VALUE_BYTES {
        return Err(format!("longer than {MAX_VALUE_BYTES} bytes"));
    }
    if name == "db_schemas" && value.split(',').count() > MAX_SCHEMAS {
        return Err(format!("more than {MAX_SCHEMAS} schemas"));
    }
    settings.set(&name.replace('_', "-"), value).map_err(|it| it.to_string())
}

/// Names and values; what counts more comes later. `function` is called before.
async fn ask(database: &Database, function: Option<&str>) -> Result<Vec<(String, String)>, store::Error> {
    let mut session = Session::default();
    let mut names = Vec::new();
    if let Some(function) = function {
        // A connection has the values of its login; what the function leaves empty, it did not set.
        session.settings = NAMES.iter().map(|it| (format!("pgrst.{it}").into(), String::new())).collect();
        session.settings.push(("statement_timeout".into(), STATEMENT_LIMIT.into()));
        session.before = Some(crate::sql::call_of(function));
        names = NAMES.to_vec();
    }
    let names = crate::sql::array_literal(names);
    let text = Arc::from(include_str!("settings/in_database.sql"));
    let statement = Statement { text, params: vec![Some(Bytes::from(names.into_bytes()))] };
    let answer = database.read(&session, &statement).await?;
    let pair = |row: &store::Row| Some((row.text(0)?.to_owned(), row.text(1)?.to_owned()));
    Ok(answer.rows.iter().filter_map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_s_settings_are_not_the_database_s() {
        let mut settings = RestSettings::default();
        for (name, value) in [
            ("jwt_cache_max_entries", "0"),
            ("db_config", "false"),
            ("jwt_secret", "x"),
            ("app_settings", "{}"),
        ] {
            assert_eq!(take(&mut settings, name, value), Ok(()), "{name}");
        }
        assert_eq!(settings, RestSettings::default());
        take(&mut settings, "db_max_rows", "7").unwrap();
        assert_eq!(settings.db_max_rows, Some(7));
    }

    #[test]
    fn functions_are_quoted() {
        assert_eq!(&*crate::sql::call_of("public.a\"b"), r#"select "public"."a""b"()"#);
    }

    #[test]
    fn values_are_bounded() {
        let mut settings = RestSettings::default();
        assert!(take(&mut settings, "db_root_spec", &"x".repeat(MAX_VALUE_BYTES + 1)).is_err());
        assert!(take(&mut settings, "db_schemas", &",".repeat(MAX_SCHEMAS)).is_err());
        assert!(take(&mut settings, "db_tx_end", "never").is_err());
        assert_eq!(settings, RestSettings::default());
    }
}
