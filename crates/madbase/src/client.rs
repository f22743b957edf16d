//! The control plane's REST interface, as the commands use it.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::cli::Control;
use crate::layout::Layout;
use crate::run_file::RunFile;
use crate::settings::Environment;
use crate::{lock, secrets};

/// Creating a project makes a database and runs migrations.
const LIMIT: Duration = Duration::from_secs(120);

/// A control plane and who asks it.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: SecretString,
    local_api: Option<String>,
}

impl Client {
    /// For the server that `control` names, or the one that runs on its data directory.
    pub(crate) fn open(control: &Control, environment: Environment) -> Result<Self> {
        let layout = Layout::at(control.data.path());
        let (base, local_api) = match &control.control_url {
            Some(url) => (url.trim_end_matches('/').to_owned(), None),
            None => running(&layout)?,
        };
        let token = environment.admin_token.map_or_else(|| secrets::admin_token(&layout), Ok)?;
        // The token goes nowhere but there: no proxy in between.
        let http =
            reqwest::Client::builder().timeout(LIMIT).no_proxy().build().context("make an HTTP client")?;
        Ok(Self { http, base, token, local_api })
    }

    /// Where the default project answers, when the server runs on this machine.
    pub(crate) fn local_api(&self) -> Option<&str> {
        self.local_api.as_deref()
    }

    /// `method` on `path`; the answer's body, null when it is empty.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let url = format!("{}{path}", self.base);
        let mut request = self.http.request(method, &url).bearer_auth(self.token.expose_secret());
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.with_context(|| {
            format!("the control plane at {} does not answer. Is it running? madbase status", self.base)
        })?;
        let status = answer.status();
        let bytes = answer.bytes().await.context("read the control plane's answer")?;
        let value: Value = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes)
                .with_context(|| format!("{url} is no control plane of MadBase: its answer is no JSON"))?
        };
        if status.is_success() { Ok(value) } else { Err(refused(status, &value)) }
    }
}

/// The control plane that runs here, and the API beside it.
fn running(layout: &Layout) -> Result<(String, Option<String>)> {
    let data = layout.shown();
    if lock::holder(layout)?.is_none() {
        bail!(
            "madbase is not running on {data}. Start it (madbase start --data-dir {data}), \
             choose another --data-dir, or name the control plane by --control-url"
        );
    }
    let run = RunFile::read(layout)
        .with_context(|| format!("madbase on {data} is still starting; try again when it is ready"))?;
    let control = run.control_url.with_context(|| {
        format!("the madbase on {data} is no control plane; name the one of the cluster by --control-url")
    })?;
    Ok((control, run.api_url))
}

fn refused(status: StatusCode, body: &Value) -> anyhow::Error {
    let message = ["/message", "/msg", "/error/message", "/error"]
        .iter()
        .find_map(|it| body.pointer(it)?.as_str())
        .map_or_else(|| format!("the control plane answered {status}"), str::to_owned);
    let next = body.pointer("/error/next").and_then(Value::as_str);
    anyhow!("{message}{}", next.map_or_else(String::new, |it| format!(". {it}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_control_plane_refuses_is_said_in_its_words() {
        let cases = [
            (
                json!({"error": {"message": "no such project", "next": "list them"}}),
                "no such project. list them",
            ),
            (json!({"message": "flat"}), "flat"),
            (Value::Null, "the control plane answered 404 Not Found"),
        ];
        for (body, text) in cases {
            assert_eq!(refused(StatusCode::NOT_FOUND, &body).to_string(), text);
        }
    }
}
