//! `madbase start`: from nothing to a server with everything in it, and back to nothing in order.

mod detach;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::banner::{Addresses, Banner, http_url};
use crate::cli::Start;
use crate::layout::Layout;
use crate::lock::Lock;
use crate::output::{self, Output};
use crate::ports::Port;
use crate::postgres::{self, Postgres};
use crate::progress::Steps;
use crate::roles::{self, Installation};
use crate::run_file::RunFile;
use crate::secrets::Secrets;
use crate::server::{Life, Server, drain_sockets, serve};
use crate::settings::Environment;
use crate::signals::Signals;
use crate::telemetry;
use crate::tls::Secure;

/// How many times [`Steps::next`] is called.
const STEPS: u32 = 5;

/// Start, serve until told to stop, stop.
pub(crate) async fn run(args: Start, output: Output, environment: Environment) -> Result<ExitCode> {
    if args.detach && !args.background {
        return detach::run(output, &Layout::at(args.data.path())).await;
    }
    if args.background {
        // Out of the terminal's session: its end must not be ours.
        let _ = nix::unistd::setsid();
    }
    let traces = telemetry::begin(&environment, "madbase")?;
    let mut signals = Signals::listen()?;
    let layout = Layout::at(args.data.path());
    let mut steps = if args.background { Steps::piped(STEPS) } else { Steps::new(STEPS) };
    steps.next("Check data directory, secrets and ports");
    let ground = Ground::take(&args, &layout).await?;
    let started = tokio::select! {
        it = bring_up(&args, &environment, ground, &mut steps) => it,
        () = signals.next() => Err(anyhow::anyhow!("interrupted; everything that was started is stopped")),
    };
    let (server, banner) = match started {
        Ok(it) => it,
        Err(error) => {
            postgres::abandon(&layout, &environment).await;
            return Err(error);
        }
    };
    output.show(&banner, Banner::people);
    if !output.is_json() {
        output::note("Press Ctrl-C to stop.");
    }
    drop(banner);
    let code = server.run(signals).await;
    traces.flush().await;
    code
}

/// What a start takes before anything slow: the data directory for itself, its secrets, its ports.
struct Ground {
    layout: Layout,
    lock: Lock,
    secrets: Secrets,
    api: Port,
    control: Port,
    tls: Option<(Port, Secure)>,
}

impl Ground {
    async fn take(args: &Start, layout: &Layout) -> Result<Self> {
        layout.make()?;
        let lock = Lock::take(layout).await?;
        if args.port == args.control_port && args.port != 0 {
            bail!("--port and --control-port are both {}: choose two ports", args.port);
        }
        let api = Port::take(args.door.bind, args.port, "--port")?;
        let control = Port::take(args.door.bind, args.control_port, "--control-port")?;
        let tls = args.tls.take(args.door.bind)?;
        let secrets = Secrets::open(layout)?;
        Ok(Self { layout: layout.clone(), lock, secrets, api, control, tls })
    }
}

async fn bring_up(
    args: &Start,
    environment: &Environment,
    ground: Ground,
    steps: &mut Steps,
) -> Result<(Server, Banner)> {
    let password = ground.secrets.postgres_password.clone();
    let postgres = Postgres::open(environment, &ground.layout, password, args.postgres_port, steps).await?;
    steps.next("Prepare the databases");
    let addresses = addresses(&ground, &postgres)?;
    let parts =
        roles::all(installation(args, environment, &ground, &postgres)?, telemetry::metrics()?).await?;
    steps.next("Open the ports");
    let banner = Banner::new(&parts.default_project, &addresses);
    RunFile::now(Some(addresses.api_url), Some(addresses.control_url), postgres.described())
        .write(&ground.layout)?;
    let (life, settings) = (Life::default(), args.drain.settings(0));
    let mut listeners = vec![
        serve(ground.api.listen()?, parts.api.clone(), settings, &life),
        serve(ground.control.listen()?, parts.control, settings, &life),
    ];
    if let Some((port, secure)) = ground.tls {
        listeners.push(serve((port.listen()?, secure.open()), parts.api, settings, &life));
    }
    listeners.push(drain_sockets(parts.realtime, settings, &life));
    let (layout, lock, databases) = (ground.layout, ground.lock, parts.databases);
    let server = Server { layout, lock, postgres, databases, listeners, cores: None, life };
    steps.done();
    Ok((server, banner))
}

fn installation(
    args: &Start,
    environment: &Environment,
    ground: &Ground,
    postgres: &Postgres,
) -> Result<Installation> {
    let server = postgres.server()?;
    Ok(Installation {
        master_key: ground.secrets.master_key,
        replicas: environment.replicas(&args.replicas, &server)?,
        redis_url: environment.redis_url.clone(),
        cache_ttl: environment.cache_ttl()?,
        spool: ground.layout.spool(),
        default_database: postgres.default_database()?,
        base_domain: args.door.base_domain.clone(),
        public_port: ground.api.address().port(),
        public_url: args.public_url.clone(),
        trusted_proxies: args.door.trusted_proxies.clone(),
        rate_limits: Some(args.limits.rate_limits.clone()),
        database_connections: args.bounds.database_connections,
        realtime: args.realtime.config(),
        tls: ground.tls.as_ref().map(|it| it.1.clone()),
        admin_token: ground.secrets.admin_token.clone(),
        database: postgres.shown_address()?,
        server,
    })
}

fn addresses(ground: &Ground, postgres: &Postgres) -> Result<Addresses> {
    let (database_host, database_port) = postgres.shown_address()?;
    Ok(Addresses {
        api_url: http_url(ground.api.address()),
        control_url: http_url(ground.control.address()),
        database_host,
        database_port,
        data_dir: ground.layout.shown(),
    })
}
