//! `madbase project keys …`: the keys that sign tokens, from standby to revoked.

use anyhow::{Context as _, Result};
use reqwest::Method;
use serde_json::{Value, json};

use super::settings::read;
use super::{fields, list_in, path, text_in};
use crate::cli::KeysVerb;
use crate::client::Client;
use crate::output::{self, Output, table};

/// How long others may keep the key set (`Cache-Control` of `/auth/v1/.well-known/jwks.json`).
const KEPT_MINUTES: u32 = 10;

/// Run the verb.
pub(super) async fn run(client: &Client, output: Output, verb: KeysVerb) -> Result<()> {
    match verb {
        KeysVerb::List { reference } => {
            let keys = client.call(Method::GET, &path(&reference, "/signing-keys")?, None).await?;
            output.show(&keys, list);
        }
        KeysVerb::Prepare { reference, algorithm, jwk } => {
            let key = match jwk {
                Some(file) => json!({ "jwk": first(&read(&file)?)? }),
                None => json!({ "algorithm": algorithm }),
            };
            output.show(&prepare(client, &reference, &key).await?, list);
        }
        KeysVerb::Rotate { reference, now } => rotate(client, output, &reference, now).await?,
        KeysVerb::Revoke { reference, kid } => {
            let kid: uuid::Uuid = kid.parse()?;
            let path = path(&reference, &format!("/signing-keys/{kid}/revoke"))?;
            output.show(&client.call(Method::POST, &path, None).await?, list);
        }
        KeysVerb::Replace { reference, jwt_secret, from } => {
            let which = if jwt_secret { "/keys/replace-jwt-secret" } else { "/keys/rotate" };
            let given = from.map(|it| read(&it)).transpose()?;
            let given = given.map(|it| json!({ "jwt_secret": it.trim_end() }));
            let keys = client.call(Method::POST, &path(&reference, which)?, given.as_ref()).await?;
            output.show(&keys, fields);
        }
    }
    Ok(())
}

async fn rotate(client: &Client, output: Output, reference: &str, now: bool) -> Result<()> {
    let keys = client.call(Method::GET, &path(reference, "/signing-keys")?, None).await?;
    let waits = list_in(&keys, "keys").iter().any(|it| text_in(it, "status") == "standby");
    if !waits {
        let prepared = prepare(client, reference, &json!({ "algorithm": "ES256" })).await?;
        if !now {
            output.show(&prepared, list);
            output::note(&format!(
                "a standby key is published. Rotate again in {KEPT_MINUTES} minutes, when everybody knows it: \
                 madbase project keys rotate {reference} (or at once, with --now)"
            ));
            return Ok(());
        }
    }
    let rotated = client.call(Method::POST, &path(reference, "/signing-keys/rotate")?, None).await?;
    output.show(&rotated, list);
    Ok(())
}

async fn prepare(client: &Client, reference: &str, key: &Value) -> Result<Value> {
    client.call(Method::POST, &path(reference, "/signing-keys")?, Some(key)).await
}

/// The key of a file that holds one, or a list: `supabase gen signing-key` writes either.
fn first(text: &str) -> Result<Value> {
    let parsed: Value = serde_json::from_str(text).context("the file holds no JSON")?;
    let keys = parsed.as_array().or_else(|| parsed.get("keys")?.as_array());
    keys.map_or(Some(&parsed), |it| it.first()).cloned().context("the file holds no key")
}

fn list(keys: &Value) -> String {
    let columns = ["kid", "algorithm", "status", "created_at", "changed_at"];
    let mut rows = vec![columns.map(str::to_owned).to_vec()];
    let row = |it: &Value| columns.iter().map(|column| text_in(it, column)).collect();
    rows.extend(list_in(keys, "keys").iter().map(row));
    table(&rows)
}
