//! `madbase project import`: users and what hangs on them, from a dump of Supabase's schema `auth`.
//!
//! Rows go into temporary tables of text, then into ours: columns and tables that we do not have are left out and said,
//! rows that exist already stay as they are. All of it is one transaction, as the project's owner.

mod dump;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use reqwest::Method;
use serde_json::{Value, json};
use store::postgres::{NoTls, Transaction};

use super::{path, text_in};
use crate::client::Client;
use crate::output::Output;
use dump::{Dump, Item};

/// Tables in an order that foreign keys allow. `schema_migrations` is each server's own.
const TABLES: [&str; 19] = [
    "instances",
    "users",
    "sso_providers",
    "sso_domains",
    "saml_providers",
    "oauth_clients",
    "custom_oauth_providers",
    "identities",
    "sessions",
    "refresh_tokens",
    "mfa_factors",
    "mfa_challenges",
    "mfa_amr_claims",
    "webauthn_credentials",
    "one_time_tokens",
    "flow_state",
    "oauth_consents",
    "oauth_authorizations",
    "audit_log_entries",
];
/// Rows sent at once.
const BATCH: usize = 500;

const COLUMNS: &str = "select attname, format_type(atttypid, atttypmod) from pg_attribute \
    where attrelid = to_regclass('auth.' || quote_ident($1)) and attnum > 0 and not attisdropped and attgenerated = ''";

/// Import `file` into the project `reference`.
pub(super) async fn run(client: &Client, output: Output, reference: &str, file: &Path) -> Result<()> {
    let keys = client.call(Method::GET, &path(reference, "/keys")?, None).await?;
    let url = text_in(&keys, "database_url");
    let (mut database, connection) =
        store::postgres::connect(&url, NoTls).await.context("connect to the project's database")?;
    tokio::spawn(connection);
    let transaction = database.transaction().await?;
    let staged = stage(&transaction, open(file)?).await?;
    let report = load(&transaction, &staged).await?;
    transaction.commit().await.context("commit")?;
    output.show(&report, people);
    Ok(())
}

fn open(file: &Path) -> Result<Box<dyn BufRead>> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let opened = File::open(file).with_context(|| format!("open {}", file.display()))?;
    Ok(Box::new(BufReader::new(opened)))
}

/// A table of the dump: its columns, and its rows in `pg_temp.import_<name>`.
type Staged = BTreeMap<String, Vec<String>>;

/// Read the dump into temporary tables.
async fn stage(transaction: &Transaction<'_>, reader: Box<dyn BufRead>) -> Result<Staged> {
    let mut dump = Dump::new(reader);
    let mut staged = Staged::new();
    let mut rows: Vec<Vec<Option<String>>> = Vec::new();
    let mut current = String::new();
    while let Some(item) = dump.next()? {
        match item {
            Item::Table { name, columns } => {
                send(transaction, &current, &staged, &mut rows).await?;
                current = if TABLES.contains(&name.as_str()) { name } else { String::new() };
                if !current.is_empty() && !staged.contains_key(&current) {
                    create(transaction, &current, &columns).await?;
                    staged.insert(current.clone(), columns);
                } else if staged.get(&current).is_some_and(|it| *it != columns) {
                    bail!("the dump holds auth.{current} twice, with different columns");
                }
            }
            Item::Row(_) if current.is_empty() => {}
            Item::Row(row) => {
                rows.push(row);
                if rows.len() >= BATCH {
                    send(transaction, &current, &staged, &mut rows).await?;
                }
            }
        }
    }
    send(transaction, &current, &staged, &mut rows).await?;
    if staged.is_empty() {
        bail!(
            "there are no rows of schema auth in it. A plain dump is needed: pg_dump --schema=auth --data-only"
        );
    }
    Ok(staged)
}

async fn create(transaction: &Transaction<'_>, table: &str, columns: &[String]) -> Result<()> {
    let columns: Vec<String> = columns.iter().map(|it| format!("{} text", quoted(it))).collect();
    let text = format!(
        "create temporary table {} ({}) on commit drop",
        quoted(&format!("import_{table}")),
        columns.join(", ")
    );
    transaction.batch_execute(&text).await.with_context(|| format!("stage {table}"))
}

/// Rows travel as one JSON parameter: no text of the dump becomes a statement.
async fn send(
    transaction: &Transaction<'_>,
    table: &str,
    staged: &Staged,
    rows: &mut Vec<Vec<Option<String>>>,
) -> Result<()> {
    let Some(columns) = staged.get(table).filter(|_| !rows.is_empty()) else {
        rows.clear();
        return Ok(());
    };
    let objects: Vec<Value> = rows
        .drain(..)
        .map(|row| columns.iter().cloned().zip(row.into_iter().map(Value::from)).collect())
        .collect();
    let name = quoted(&format!("import_{table}"));
    let text =
        format!("insert into {name} select * from json_populate_recordset(null::{name}, $1::text::json)");
    let json = Value::Array(objects).to_string();
    transaction.execute(&text, &[&json]).await.with_context(|| format!("stage rows of {table}"))?;
    Ok(())
}

/// From the temporary tables into ours; how many rows of which table, and what was left out.
async fn load(transaction: &Transaction<'_>, staged: &Staged) -> Result<Value> {
    let mut tables = Vec::new();
    for table in TABLES {
        let Some(columns) = staged.get(table) else { continue };
        let ours: BTreeMap<String, String> =
            transaction.query(COLUMNS, &[&table]).await?.iter().map(|it| (it.get(0), it.get(1))).collect();
        let (known, unknown): (Vec<&String>, Vec<&String>) =
            columns.iter().partition(|it| ours.contains_key(*it));
        let imported = if known.is_empty() {
            0
        } else {
            let names: Vec<String> = known.iter().map(|it| quoted(it)).collect();
            let values: Vec<String> = known.iter().map(|it| cast(it, &ours)).collect();
            let text = format!(
                "insert into auth.{} ({}) select {} from {} on conflict do nothing",
                quoted(table),
                names.join(", "),
                values.join(", "),
                quoted(&format!("import_{table}"))
            );
            transaction.execute(&text, &[]).await.with_context(|| format!("import auth.{table}"))?
        };
        tables.push(json!({"table": table, "imported": imported, "columns_left_out": unknown}));
    }
    // Numbers of tokens to come follow those that came.
    let follow =
        "select setval('auth.refresh_tokens_id_seq', greatest((select max(id) from auth.refresh_tokens), 1))";
    transaction.execute(follow, &[]).await.context("follow the numbers of refresh tokens")?;
    Ok(json!({"tables": tables}))
}

fn cast(column: &str, ours: &BTreeMap<String, String>) -> String {
    // The type's name comes from the catalog.
    let kind = ours.get(column).map_or("text", String::as_str);
    format!("{}::{kind}", quoted(column))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn people(report: &Value) -> String {
    let mut text = String::new();
    for table in super::list_in(report, "tables") {
        let left_out: Vec<&str> =
            super::list_in(table, "columns_left_out").iter().filter_map(Value::as_str).collect();
        let more = if left_out.is_empty() {
            String::new()
        } else {
            format!(" (without the columns {})", left_out.join(", "))
        };
        let _ = writeln!(
            text,
            "{:>8} rows of auth.{}{more}",
            text_in(table, "imported"),
            text_in(table, "table")
        );
    }
    text
}
