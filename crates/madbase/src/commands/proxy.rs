//! `madbase proxy`: the public door of a cluster.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use common::Pillar;
use gateway::{Cores, Load, WorkerSettings, Workers};

use super::site::{self, Banner, Site};
use crate::banner::http_url;
use crate::cli::Proxy;
use crate::node::{self, follow};
use crate::output::Output;
use crate::ports::Port;
use crate::progress::Steps;
use crate::roles::{self, Installation};
use crate::run_file::RunFile;
use crate::server::{Life, Server, serve_on};
use crate::settings::Environment;
use crate::telemetry;

/// How many times [`Steps::next`] is called.
const STEPS: u32 = 3;

/// Serve until told to stop.
pub(crate) async fn run(args: Proxy, output: Output, environment: Environment) -> Result<ExitCode> {
    site::serve(&environment, "madbase-proxy", start(&args, output, &environment)).await
}

async fn start(args: &Proxy, output: Output, environment: &Environment) -> Result<Server> {
    let reader = &args.reader;
    let mut steps = Steps::new(STEPS);
    steps.next("Check data directory, secrets and ports");
    let site = Site::take(&reader.data.path(), environment).await?;
    let port = Port::take(reader.door.bind, args.port, "--port")?;
    let tls = args.tls.take(reader.door.bind)?;
    let installation = Installation {
        public_url: args.public_url.clone(),
        rate_limits: Some(args.limits.rate_limits.clone()),
        tls: tls.as_ref().map(|it| it.1.clone()),
        ..site.installation(reader, environment, port.address().port())?
    };
    let member = site.member()?;
    steps.next("Wait for the control database");
    let tls_to_workers = match &member {
        Some((credentials, _)) => {
            Some(credentials.client(&[Pillar::Worker]).context("prepare TLS to workers")?)
        }
        None => None,
    };
    let workers = Workers::new(WorkerSettings { tls: tls_to_workers, ..WorkerSettings::default() });
    workers.set(args.worker_upstream_urls.clone());
    let parts = roles::proxy(installation, workers.clone(), reader.patience(), telemetry::metrics()?).await?;
    if let Some((credentials, _)) = &member {
        node::admit(&parts.control_plane, credentials).await?;
    }
    steps.next("Open the port");
    let place = reader.place(port.address());
    let api_url = http_url(port.address());
    let banner = Banner { api_url: Some(api_url.clone()), ..Banner::new("proxy", &site.layout) };
    let (life, settings, load) = (Life::default(), reader.drain.settings(0), Load::default());
    let api = parts.api.counted(&load);
    let cores = Cores::start().context("start a thread for each core")?;
    let mut listeners = vec![serve_on(&cores, port.listen()?, api.clone(), settings, &life)];
    if let Some((port, secure)) = tls {
        listeners.push(serve_on(&cores, (port.listen()?, secure.open()), api, settings, &life));
    }
    if args.worker_upstream_urls.is_empty() {
        if member.is_none() {
            tracing::warn!("there are no workers: name them in WORKER_UPSTREAM_URLS, or --join a cluster");
        }
        let following = follow(parts.control_plane.clone(), parts.redis, workers);
        let ended = life.ended.clone();
        life.background.spawn(async move { ended.run_until_cancelled_owned(following).await });
    }
    site.beat(member, (parts.control_plane, place), load, &life)?;
    RunFile::now(Some(api_url), None, None).write(&site.layout)?;
    steps.done();
    banner.show(output);
    let Site { layout, lock, postgres } = site;
    Ok(Server { layout, lock, postgres, databases: parts.databases, listeners, cores: Some(cores), life })
}
