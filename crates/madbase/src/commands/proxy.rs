//! `madbase proxy`: the public door of a cluster.

use std::process::ExitCode;

use anyhow::Result;
use gateway::{WorkerSettings, Workers};

use super::site::{Banner, Site};
use crate::banner::http_url;
use crate::cli::Proxy;
use crate::output::Output;
use crate::ports::Port;
use crate::progress::Steps;
use crate::roles::{self, Installation};
use crate::run_file::RunFile;
use crate::server::{Life, Server, serve};
use crate::settings::Environment;
use crate::signals::Signals;
use crate::telemetry;

/// How many times [`Steps::next`] is called.
const STEPS: u32 = 3;

/// Serve until told to stop.
pub(crate) async fn run(args: Proxy, output: Output, environment: Environment) -> Result<ExitCode> {
    telemetry::log(environment.log.as_deref())?;
    let mut signals = Signals::listen()?;
    let server = tokio::select! {
        it = start(&args, output, &environment) => it?,
        () = signals.next() => anyhow::bail!("interrupted"),
    };
    server.run(signals).await
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
        tls: tls.as_ref().map(|it| it.1.clone()),
        ..site.installation(reader, environment, port.address().port())?
    };
    steps.next("Wait for the control database");
    let workers = Workers::new(WorkerSettings::default());
    workers.set(args.worker_upstream_urls.clone());
    let parts = roles::proxy(installation, workers, reader.patience(), telemetry::metrics()?).await?;
    steps.next("Open the port");
    let api_url = http_url(port.address());
    let banner = Banner { api_url: Some(api_url.clone()), ..Banner::new("proxy", &site.layout) };
    let life = Life::default();
    let mut listeners = vec![serve(port.listen()?, parts.api.clone(), reader.drain.settings(), &life)];
    if let Some((port, secure)) = tls {
        listeners.push(serve((port.listen()?, secure.open()), parts.api, reader.drain.settings(), &life));
    }
    RunFile::now(Some(api_url), None, None).write(&site.layout)?;
    steps.done();
    banner.show(output);
    let Site { layout, lock, postgres } = site;
    Ok(Server { layout, lock, postgres, databases: parts.databases, listeners, life })
}
