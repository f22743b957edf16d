//! Joining a cluster: a key of our own, a certificate for it by token, and the settings of the cluster.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use control_plane::JoinToken;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use store::mtls::{Identity, SigningRequest, joining_client};
use tokio::time::{Instant, sleep};
use url::Url;

use super::Kept;
use crate::cli::{Command, Reader};
use crate::layout::Layout;
use crate::output;
use crate::settings::{Environment, Loaded};

const LIMIT: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(1);

/// What the system node answers.
#[derive(Deserialize)]
struct Welcome {
    id: String,
    chain: String,
    authority: String,
    master_key: SecretString,
    settings: BTreeMap<String, String>,
}

/// Join when `--join` says so and this node has not joined yet; `true` when it has joined now.
///
/// # Errors
/// When no token is there, or the system node does not answer in time or refuses.
pub(crate) async fn join_if_asked(loaded: &Loaded) -> Result<bool> {
    let (reader, role, port) = match &loaded.cli.command {
        Command::Proxy(args) => (&args.reader, "proxy", args.port),
        Command::Worker(args) => (&args.reader, "worker", args.worker_port),
        _ => return Ok(false),
    };
    let layout = Layout::at(reader.data.path());
    let kept = Kept::of(&layout);
    let Some(system) = &reader.cluster.join else { return Ok(false) };
    if kept.read()?.is_some() {
        return Ok(false);
    }
    let token = token(reader, &loaded.environment())?;
    layout.make()?;
    output::note(&format!("joining the cluster at {system} as {role}"));
    // The first heartbeat tells the real address.
    let address = reader.cluster.address(reader.door.bind, port.max(1));
    let request = SigningRequest::new().context("make a key")?;
    let body = json!({
        "token": token.reveal().expose_secret(),
        "csr": request.csr,
        "node": {
            "address": address,
            "zone": reader.cluster.zone,
            "version": env!("CARGO_PKG_VERSION"),
            "state": "left",
        },
    });
    let welcome = ask(system, &token, &body, reader.patience()).await?;
    if !welcome.id.starts_with(role) {
        bail!("the token is for another role than {role}: it made us {}. Make one for {role}", welcome.id);
    }
    kept.write_gifts(&welcome.master_key, &welcome.settings)?;
    let identity = Identity { chain: welcome.chain, key: request.key, authority: welcome.authority };
    // Last: from now on we have joined.
    kept.write(&identity, system)?;
    output::note(&format!("joined as {}", welcome.id));
    Ok(true)
}

fn token(reader: &Reader, environment: &Environment) -> Result<JoinToken> {
    let text = match (&reader.cluster.join_token_file, &environment.join_token) {
        (Some(path), _) => read_token(path)?,
        (None, Some(token)) => token.clone(),
        (None, None) => bail!(
            "--join needs a token: make one by `madbase cluster join-token` on the system node, and name its file by \
             --join-token-file, or set MADBASE_JOIN_TOKEN"
        ),
    };
    Ok(text.expose_secret().parse::<JoinToken>()?)
}

fn read_token(path: &Path) -> Result<SecretString> {
    let text = std::fs::read_to_string(path).with_context(|| {
        format!("cannot read the join token {}: check its owner and mode", path.display())
    })?;
    Ok(text.trim().into())
}

/// Ask until the system node answers, for `patience` at most.
async fn ask(system: &Url, token: &JoinToken, body: &Value, patience: Duration) -> Result<Welcome> {
    let tls = joining_client(token.authority()).context("prepare TLS")?;
    let client = client(std::sync::Arc::unwrap_or_clone(tls))?;
    let url = system.join("/node/v1/join").context("--join")?;
    let deadline = Instant::now() + patience;
    let answer = loop {
        match client.post(url.clone()).json(body).send().await {
            Ok(answer) => break answer,
            Err(error) if error.is_connect() && !is_foreign(&error) && Instant::now() < deadline => {
                sleep(RETRY).await;
            }
            Err(error) if is_foreign(&error) => {
                return Err(error).context(format!(
                    "{system} is not the system node that the token is of: check --join, or make a new token"
                ));
            }
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("the system node at {system} does not answer. Is it running, and is its --node-port open?")
                });
            }
        }
    };
    let status = answer.status();
    let answer: Value = answer.json().await.context("read the system node's answer")?;
    if !status.is_success() {
        let text =
            |name: &str| answer.pointer(&format!("/error/{name}")).and_then(Value::as_str).unwrap_or("");
        bail!("the system node refused: {}. {}", text("message"), text("next"));
    }
    serde_json::from_value(answer).context("read the system node's answer")
}

/// Whether the other end is somebody else: its certificate is not the one that the token names.
fn is_foreign(error: &reqwest::Error) -> bool {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(it) = source {
        if it.to_string().contains("invalid peer certificate") {
            return true;
        }
        source = it.source();
    }
    false
}

/// A client that speaks TLS as `tls` says, to nobody in between.
pub(super) fn client(tls: rustls::ClientConfig) -> Result<reqwest::Client> {
    let builder = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().timeout(LIMIT);
    builder.connect_timeout(Duration::from_secs(2)).build().context("make an HTTPS client")
}
