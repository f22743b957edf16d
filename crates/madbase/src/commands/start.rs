//! `madbase start`: from nothing to a server with everything in it, and back to nothing in order.

mod detach;
mod postgres;
mod serve;
mod signals;

use std::process::ExitCode;

use anyhow::{Result, bail};

use self::postgres::Postgres;
use self::serve::Server;
pub(super) use self::signals::Signals;
use crate::banner::{Addresses, Banner, http_url};
use crate::cli::Start;
use crate::layout::Layout;
use crate::lock::Lock;
use crate::output::{self, Output};
use crate::ports::Port;
use crate::progress::Steps;
use crate::roles::{self, Installation};
use crate::run_file::RunFile;
use crate::secrets::Secrets;
use crate::settings::Environment;
use crate::telemetry;

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
    telemetry::log(environment.log.as_deref())?;
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
    server.run(signals).await
}

/// What a start takes before anything slow: the data directory for itself, its secrets, its ports.
struct Ground {
    layout: Layout,
    lock: Lock,
    secrets: Secrets,
    api: Port,
    control: Port,
}

impl Ground {
    async fn take(args: &Start, layout: &Layout) -> Result<Self> {
        layout.make()?;
        let lock = Lock::take(layout).await?;
        if args.port == args.control_port && args.port != 0 {
            bail!("--port and --control-port are both {}: choose two ports", args.port);
        }
        let api = Port::take(args.bind, args.port, "--port")?;
        let control = Port::take(args.bind, args.control_port, "--control-port")?;
        let secrets = Secrets::open(layout)?;
        Ok(Self { layout: layout.clone(), lock, secrets, api, control })
    }
}

async fn bring_up(
    args: &Start,
    environment: &Environment,
    ground: Ground,
    steps: &mut Steps,
) -> Result<(Server, Banner)> {
    let postgres = Postgres::open(args, environment, &ground, steps).await?;
    steps.next("Prepare the databases");
    let addresses = addresses(&ground, &postgres)?;
    let server = postgres.server()?;
    let installation = Installation {
        master_key: ground.secrets.master_key,
        admin_token: ground.secrets.admin_token.clone(),
        replicas: environment.replicas(&args.replicas, &server)?,
        server,
        redis_url: environment.redis_url.clone(),
        spool: ground.layout.spool(),
        default_database: postgres.default_database()?,
        base_domain: args.base_domain.clone(),
        public_port: ground.api.address().port(),
        public_url: args.public_url.clone(),
        trusted_proxies: args.trusted_proxies.clone(),
        database: (addresses.database_host.clone(), addresses.database_port),
    };
    let parts = roles::all(installation, telemetry::metrics()?).await?;
    steps.next("Open the ports");
    let banner = Banner::new(&parts.default_project, &addresses);
    let run_file = RunFile {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at_secs: super::status::unix_now(),
        api_url: addresses.api_url,
        control_url: addresses.control_url,
        postgres: postgres.described(),
    };
    let server = Server::open(ground, postgres, parts)?;
    run_file.write(server.layout())?;
    steps.done();
    Ok((server, banner))
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
