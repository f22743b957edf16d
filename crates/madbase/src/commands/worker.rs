//! `madbase worker`: the data API and realtime of a cluster, on a private address.

use std::process::ExitCode;

use anyhow::{Result, bail};
use axum::Json;
use axum::body::Body;
use axum::response::IntoResponse as _;
use common::Pillar;
use gateway::{Endpoint, Listener, Load, Peer, Tls, TlsSettings};
use http::{Response, StatusCode};
use serde_json::json;
use store::mtls::{Clients, Credentials};

use super::site::{self, Banner, Site};
use crate::banner::http_url;
use crate::cli::Worker;
use crate::node;
use crate::output::Output;
use crate::ports::Port;
use crate::progress::Steps;
use crate::roles::{self, Installation};
use crate::run_file::RunFile;
use crate::server::{Life, Server, drain_sockets, serve};
use crate::settings::Environment;
use crate::telemetry;

/// How many times [`Steps::next`] is called.
const STEPS: u32 = 3;

/// Serve until told to stop.
pub(crate) async fn run(args: Worker, output: Output, environment: Environment) -> Result<ExitCode> {
    site::serve(&environment, "madbase-worker", start(&args, output, &environment)).await
}

async fn start(args: &Worker, output: Output, environment: &Environment) -> Result<Server> {
    let reader = &args.reader;
    let mut steps = Steps::new(STEPS);
    steps.next("Check data directory, secrets and ports");
    let site = Site::take(&reader.data.path(), environment).await?;
    let port = Port::take(reader.door.bind, args.worker_port, "--worker-port")?;
    let member = site.member()?;
    if member.is_none() && !args.plain && !reader.door.bind.is_loopback() {
        bail!(
            "this worker has joined no cluster, so it would serve {} without TLS. Join one (--join), listen on this \
             machine only (--bind 127.0.0.1), or say that the network is yours alone (--plain)",
            reader.door.bind
        );
    }
    let installation = Installation {
        realtime: args.realtime.config(),
        ..site.installation(reader, environment, args.worker_port)?
    };
    steps.next("Wait for the control database");
    let parts = roles::worker(installation, reader.patience(), telemetry::metrics()?).await?;
    if let Some((credentials, _)) = &member {
        node::admit(&parts.control_plane, credentials).await?;
    }
    steps.next("Open the port");
    let place = reader.place(port.address());
    let (life, settings, load) = (Life::default(), reader.drain.settings(2), Load::default());
    let (listener, api_url, api): (Listener, _, _) = match &member {
        Some((credentials, _)) => {
            let url = http_url(port.address()).replacen("http", "https", 1);
            // Whoever runs the machine asks for /health, /ready and /metrics without a certificate.
            let tls = credentials.server(Clients::optional(&[Pillar::Proxy, Pillar::System]))?;
            let tls = Tls::between_nodes(tls, TlsSettings::default());
            ((port.listen()?, tls).into(), url, only_nodes(parts.api, credentials.clone()).counted(&load))
        }
        None => {
            let url = http_url(port.address());
            (port.listen()?.into(), url, parts.api.counted(&load))
        }
    };
    let banner = Banner { api_url: Some(api_url.clone()), ..Banner::new("worker", &site.layout) };
    let mut listeners = vec![serve(listener, api, settings, &life)];
    listeners.extend(parts.realtime.map(|it| drain_sockets(it, settings, &life)));
    site.beat(member, (parts.control_plane, place), load, &life)?;
    RunFile::now(Some(api_url), None, None).write(&site.layout)?;
    steps.done();
    banner.show(output);
    let Site { layout, lock, postgres } = site;
    Ok(Server { layout, lock, postgres, databases: parts.databases, listeners, cores: None, life })
}

/// Requests of users come by proxies of the cluster; anybody else may ask how the process is.
fn only_nodes(endpoint: Endpoint, credentials: Credentials) -> Endpoint {
    Endpoint::new(move |request| {
        // A connection may be older than the removal of its node.
        let node = request.extensions().get::<Peer>().and_then(|it| it.node.as_ref());
        let is_node = node.is_some_and(|it| !credentials.refuses(&it.id));
        let open = is_node || ["/health", "/ready", "/metrics"].contains(&request.uri().path());
        let answer = open.then(|| endpoint.answer(request));
        async move {
            match answer {
                Some(answer) => answer.await,
                None => refused(),
            }
        }
    })
}

fn refused() -> Response<Body> {
    let body = json!({
        "code": "forbidden",
        "message": "workers answer nodes of their cluster only",
        "hint": "Ask a proxy.",
    });
    (StatusCode::FORBIDDEN, Json(body)).into_response()
}
