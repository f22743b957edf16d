//! `madbase system`: the control plane of a cluster, on a PostgreSQL that exists.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use control_plane::Offer;
use store::ReplicaSettings;

use super::site::{self, Banner, Site};
use crate::banner::http_url;
use crate::cli::System;
use crate::node::{self, Door};
use crate::output::Output;
use crate::ports::Port;
use crate::progress::Steps;
use crate::roles::{self, Installation};
use crate::run_file::RunFile;
use crate::secrets::SystemSecrets;
use crate::server::{Life, Server, serve};
use crate::settings::Environment;
use crate::telemetry;

/// How many times [`Steps::next`] is called.
const STEPS: u32 = 3;

/// Serve until told to stop.
pub(crate) async fn run(args: System, output: Output, environment: Environment) -> Result<ExitCode> {
    site::serve(&environment, "madbase-system", start(&args, output, &environment)).await
}

async fn start(args: &System, output: Output, environment: &Environment) -> Result<Server> {
    let mut steps = Steps::new(STEPS);
    steps.next("Check data directory, secrets and ports");
    let site = Site::take(&args.data.path(), environment).await?;
    let port = Port::take(args.door.bind, args.control_port, "--control-port")?;
    let node_port = Port::take(args.door.bind, args.node_port, "--node-port")?;
    let installation = installation(args, environment, &site)?;
    steps.next("Prepare the databases");
    site.postgres.reach().await?;
    let parts = roles::system(installation, telemetry::metrics()?).await?;
    let address = node_port.address();
    let door = Door::prepare(&parts.control_plane, offer(args, environment), &site.layout, address).await?;
    steps.next("Open the ports");
    let control_url = http_url(port.address());
    let banner = Banner {
        control_url: Some(control_url.clone()),
        node_url: Some(http_url(address).replacen("http", "https", 1)),
        ..Banner::new("system node", &site.layout)
    };
    let (life, settings) = (Life::default(), args.drain.settings(0));
    life.background.spawn(node::keep(parts.control_plane, parts.redis, door.credentials(), life.clone()));
    let listeners = vec![
        serve(port.listen()?, parts.control, settings, &life),
        serve((node_port.listen()?, door.tls), door.endpoint, settings, &life),
    ];
    RunFile::now(None, Some(control_url), None).write(&site.layout)?;
    steps.done();
    banner.show(output);
    let Site { layout, lock, postgres } = site;
    Ok(Server { layout, lock, postgres, databases: parts.databases, listeners, cores: None, life })
}

/// What nodes are given that join.
fn offer(args: &System, environment: &Environment) -> Offer {
    let given = [
        ("database-url", environment.database_url.clone()),
        ("redis-url", environment.redis_url.clone()),
        ("read-replica-url", environment.read_replica_url.clone()),
        ("base-domain", Some(args.door.base_domain.clone().into())),
    ];
    Offer { settings: given.into_iter().filter_map(|(key, value)| Some((key, value?))).collect() }
}

fn installation(args: &System, environment: &Environment, site: &Site) -> Result<Installation> {
    let key_file = args.key.master_key_file.as_deref();
    let secrets = SystemSecrets::open(&site.layout, environment, key_file)?;
    Ok(Installation {
        master_key: secrets.master_key,
        admin_token: secrets.admin_token,
        server: site.postgres.server()?,
        replicas: ReplicaSettings { servers: Vec::new(), max_lag: Duration::ZERO },
        redis_url: environment.redis_url.clone(),
        cache_ttl: environment.cache_ttl()?,
        spool: site.layout.spool(),
        default_database: site.postgres.default_database()?,
        base_domain: args.door.base_domain.clone(),
        public_port: args.port,
        public_url: None,
        trusted_proxies: args.door.trusted_proxies.clone(),
        rate_limits: None,
        database_connections: args.bounds.database_connections,
        realtime: realtime::Config::default(),
        tls: None,
        database: site.postgres.shown_address()?,
    })
}
