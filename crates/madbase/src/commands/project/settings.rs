//! `madbase project settings get|set`.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{fields, path};
use crate::cli::SettingsVerb;
use crate::client::Client;
use crate::output::Output;

/// Run the verb.
pub(super) async fn run(client: &Client, output: Output, verb: SettingsVerb) -> Result<()> {
    match verb {
        SettingsVerb::Get { reference, name } => {
            let settings = client.call(Method::GET, &path(&reference, "/settings")?, None).await?;
            let shown = match &name {
                Some(name) => pick(&settings, name).with_context(|| format!("there is no setting {name}"))?,
                None => settings,
            };
            output.show(&shown, |it| match it {
                Value::Object(_) => fields(it),
                Value::String(text) => format!("{text}\n"),
                other => format!("{other}\n"),
            });
        }
        SettingsVerb::Set { reference, fields: pairs, file } => {
            let change = match file {
                Some(file) => serde_json::from_str(&read(&file)?).context("the change is no JSON")?,
                None => change(&pairs)?,
            };
            let path = path(&reference, "/settings")?;
            let project = client.call(Method::PATCH, &path, Some(&change)).await?;
            let settings = project.get("settings").cloned().unwrap_or_default();
            output.show(&settings, fields);
        }
    }
    Ok(())
}

/// `smtp.host` and `rest.db-max-rows` alike; what names no service is auth's.
fn pick(settings: &Value, name: &str) -> Option<Value> {
    let (service, rest) = service(name);
    let mut found = settings.get(service)?;
    for part in rest.split('.').filter(|it| !it.is_empty()) {
        found = found.get(part)?;
    }
    Some(found.clone())
}

fn service(name: &str) -> (&str, &str) {
    match name.split_once('.') {
        Some((service @ ("auth" | "rest" | "limits" | "realtime"), rest)) => (service, rest),
        _ if matches!(name, "auth" | "rest" | "limits" | "realtime") => (name, ""),
        _ => ("auth", name),
    }
}

fn change(pairs: &[String]) -> Result<Value> {
    let mut services = Map::new();
    for pair in pairs {
        let Some((name, value)) = pair.split_once('=') else {
            bail!("{pair}: settings are given as name=value");
        };
        let (service, name) = service(name);
        let value = match value.strip_prefix('@') {
            Some(file) => read(Path::new(file))?.trim_end().to_owned(),
            None => value.to_owned(),
        };
        let value = serde_json::from_str(&value).unwrap_or(Value::String(value));
        let entry = services.entry(service).or_insert_with(|| json!({}));
        if let Some(fields) = entry.as_object_mut() {
            fields.insert(name.to_owned(), value);
        }
    }
    Ok(Value::Object(services))
}

/// What a file holds; `-` is standard input.
pub(super) fn read(file: &Path) -> Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_become_a_change_by_service() {
        let pairs = ["disable_signup=true", "site_url=https://a.b", "rest.db-max-rows=7", "smtp=null"];
        let change = change(&pairs.map(str::to_owned)).unwrap();
        let expected = json!({
            "auth": {"disable_signup": true, "site_url": "https://a.b", "smtp": null}, "rest": {"db-max-rows": 7},
        });
        assert_eq!(change, expected);
        assert!(super::change(&["nonsense".to_owned()]).is_err());
    }

    #[test]
    fn one_setting_is_picked_by_its_path() {
        let settings = json!({"auth": {"smtp": {"host": "mail"}}, "rest": {"db-max-rows": 7}});
        assert_eq!(pick(&settings, "smtp.host"), Some(json!("mail")));
        assert_eq!(pick(&settings, "rest.db-max-rows"), Some(json!(7)));
        assert_eq!(pick(&settings, "auth"), Some(json!({"smtp": {"host": "mail"}})));
        assert_eq!(pick(&settings, "nothing"), None);
    }
}
