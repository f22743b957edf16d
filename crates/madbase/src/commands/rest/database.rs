//! The settings that the database itself holds: `alter role … set pgrst.db_schemas = …`, and a function's `set_config`.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use store::postgres::Client;

/// The settings that may be made there; the others concern the process.
const NAMES: [&str; 25] = [
    "client_error_verbosity",
    "db_aggregates_enabled",
    "db_anon_role",
    "db_extra_search_path",
    "db_hoisted_tx_settings",
    "db_max_rows",
    "db_plan_enabled",
    "db_pre_config",
    "db_pre_request",
    "db_prepared_statements",
    "db_root_spec",
    "db_schemas",
    "db_tx_end",
    "jwt_aud",
    "jwt_cache_max_entries",
    "jwt_role_claim_key",
    "jwt_secret",
    "jwt_secret_is_base64",
    "openapi_mode",
    "openapi_security_active",
    "openapi_server_proxy_uri",
    "server_cors_allowed_origins",
    "server_timing_enabled",
    "server_trace_header",
    "url_use_legacy_target_names",
];

/// Of the login role, for this database or for all; the former later, so that it wins.
const OF_ROLE: &str = "select split_part(it, '=', 1), substr(it, strpos(it, '=') + 1)
    from pg_catalog.pg_db_role_setting s cross join unnest(s.setconfig) it
    where s.setrole = (select oid from pg_catalog.pg_roles where rolname = current_user)
      and s.setdatabase in (0, (select oid from pg_catalog.pg_database where datname = current_database()))
    order by s.setdatabase";

/// Read them; `function` (`schema.name`) is called before, and what it sets is taken where the role says nothing.
pub(crate) async fn settings(
    client: &mut Client,
    function: Option<&str>,
) -> Result<BTreeMap<String, String>> {
    let transaction = client.build_transaction().read_only(true).start().await.context("begin")?;
    let mut found = BTreeMap::new();
    if let Some(function) = function {
        let call = format!("select {}()", quoted(function));
        transaction.batch_execute(&call).await.context("call the function of db-pre-config")?;
        let names: Vec<String> = NAMES.iter().map(|it| format!("pgrst.{it}")).collect();
        let text = "select name, current_setting(name, true) from unnest($1::text[]) name";
        for row in transaction.query(text, &[&names]).await.context("read the settings that it made")? {
            if let (name, Some(value)) = (row.get::<_, String>(0), row.get::<_, Option<String>>(1)) {
                found.insert(name, value);
            }
        }
    }
    for row in transaction.query(OF_ROLE, &[]).await.context("read the settings of the role")? {
        found.insert(row.get(0), row.get(1));
    }
    let known = found.into_iter().filter_map(|(name, value)| {
        let name = name.strip_prefix("pgrst.").filter(|it| NAMES.contains(it))?;
        Some((name.to_owned(), value))
    });
    Ok(known.collect())
}

fn quoted(function: &str) -> String {
    let parts = function.splitn(2, '.').map(|it| format!("\"{}\"", it.replace('"', "\"\"")));
    parts.collect::<Vec<_>>().join(".")
}
