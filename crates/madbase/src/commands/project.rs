//! `madbase project`: the control plane's projects, for people and scripts.

mod import;
mod keys;
mod mail;
mod settings;

use std::process::ExitCode;

use anyhow::{Result, bail};
use common::ProjectRef;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::{Project, ProjectVerb};
use crate::client::Client;
use crate::output::{Answer, Output, table};
use crate::settings::Environment;

/// Run the verb.
pub(crate) async fn run(args: Project, output: Output, environment: Environment) -> Result<ExitCode> {
    let client = Client::open(&args.control, environment)?;
    match args.verb {
        ProjectVerb::Create { reference, name } => create(&client, output, &reference, name).await?,
        ProjectVerb::List => {
            let projects = client.call(Method::GET, "/api/v1/projects", None).await?;
            output.show(&projects, list);
        }
        ProjectVerb::Show { reference } => {
            let project = client.call(Method::GET, &path(&reference, "")?, None).await?;
            output.show(&project, fields);
        }
        ProjectVerb::Keys { verb: Some(verb), .. } => keys::run(&client, output, verb).await?,
        ProjectVerb::Import { reference, file } => import::run(&client, output, &reference, &file).await?,
        ProjectVerb::Settings { verb } => settings::run(&client, output, verb).await?,
        ProjectVerb::Mail { reference, name, subject, content } => {
            let draft = mail::Draft { subject, content };
            mail::preview(&client, output, (&reference, &name), draft).await?;
        }
        ProjectVerb::Keys { reference, env, verb: None } => {
            let reference = reference.unwrap_or_default();
            let keys = client.call(Method::GET, &path(&reference, "/keys")?, None).await?;
            // `localhost` resolves everywhere, `default.localhost` does not.
            let local = client.local_api().filter(|_| reference == ProjectRef::DEFAULT);
            output.show(&keys, |it| if env { variables(it, local) } else { fields(it) });
        }
        ProjectVerb::Delete { reference } => {
            let path = path(&reference, "")?;
            confirm(output, &reference)?;
            client.call(Method::DELETE, &path, None).await?;
            output.show(&json!({ "deleted": reference }), |_| format!("deleted {reference}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(client: &Client, output: Output, reference: &str, name: Option<String>) -> Result<()> {
    let reference: ProjectRef = reference.parse()?;
    let name = name.unwrap_or_else(|| reference.to_string());
    let body = json!({ "ref": reference, "name": name });
    let project = client.call(Method::POST, "/api/v1/projects", Some(&body)).await?;
    output.show(&project, fields);
    Ok(())
}

fn confirm(output: Output, reference: &str) -> Result<()> {
    match output.ask(&format!("Delete project {reference} with its database and all rows?")) {
        Answer::Yes => Ok(()),
        Answer::No => bail!("not deleted"),
        Answer::NobodyThere => {
            bail!(
                "deleting project {reference} loses its rows for good; without a terminal, confirm by --yes"
            )
        }
    }
}

/// The reference is checked first, so it cannot change the path.
fn path(reference: &str, rest: &str) -> Result<String> {
    let reference: ProjectRef = reference.parse()?;
    Ok(format!("/api/v1/projects/{reference}{rest}"))
}

fn list(projects: &Value) -> String {
    let heading = ["ref", "name", "status", "api url"];
    let columns = ["ref", "name", "status", "api_url"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let row = |it: &Value| columns.iter().map(|column| text_in(it, column)).collect();
    rows.extend(list_in(projects, "projects").iter().map(row));
    table(&rows)
}

/// `NAME=value` lines under the names that Supabase's examples use. No value needs quotes: keys and URLs are escaped.
fn variables(keys: &Value, local_api: Option<&str>) -> String {
    let names = [
        ("SUPABASE_URL", "api_url"),
        ("SUPABASE_PUBLISHABLE_KEY", "publishable"),
        ("SUPABASE_SECRET_KEY", "secret"),
        ("SUPABASE_ANON_KEY", "anon"),
        ("SUPABASE_SERVICE_ROLE_KEY", "service_role"),
        ("SUPABASE_DB_URL", "database_url"),
    ];
    let value = |field| match local_api {
        Some(url) if field == "api_url" => url.to_owned(),
        _ => text_in(keys, field),
    };
    names.iter().map(|(name, field)| format!("{name}={}\n", value(field))).collect()
}

/// One line per field, in the order of the answer; objects below are indented by their name.
fn fields(value: &Value) -> String {
    let mut rows = Vec::new();
    flatten("", value, &mut rows);
    table(&rows)
}

fn flatten(prefix: &str, value: &Value, rows: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&name, value, rows);
            }
        }
        Value::Null => {}
        Value::String(text) => rows.push(vec![prefix.to_owned(), text.clone()]),
        other => rows.push(vec![prefix.to_owned(), other.to_string()]),
    }
}

/// The answer is a list, or holds one under `name`.
pub(crate) fn list_in<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer.as_array().or_else(|| answer.get(name)?.as_array()).map_or(&[], Vec::as_slice)
}

/// A field as text; empty when absent.
pub(crate) fn text_in(object: &Value, name: &str) -> String {
    match object.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_cannot_change_the_path() {
        for bad in ["../inbox", "a/b", "", "a?b", "A"] {
            assert!(path(bad, "").is_err(), "{bad}");
        }
        assert_eq!(path("shop", "/keys").unwrap(), "/api/v1/projects/shop/keys");
    }

    #[test]
    fn keys_become_variables_with_an_address_that_resolves() {
        let keys = json!({ "api_url": "http://default.localhost:8000", "anon": "a.b-c_d" });
        assert!(variables(&keys, None).starts_with("SUPABASE_URL=http://default.localhost:8000\n"));
        let text = variables(&keys, Some("http://localhost:8000"));
        assert!(text.starts_with("SUPABASE_URL=http://localhost:8000\n"), "{text}");
        assert!(text.contains("\nSUPABASE_ANON_KEY=a.b-c_d\n"), "{text}");
    }

    #[test]
    fn nested_fields_are_told_by_their_path() {
        let text = fields(&json!({ "ref": "shop", "keys": { "anon": "x" }, "none": null, "version": 1 }));
        for line in ["keys.anon  x", "ref        shop", "version    1"] {
            assert!(text.contains(line), "{text}");
        }
    }
}
