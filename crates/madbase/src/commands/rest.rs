//! `madbase rest`: the data API alone, on any PostgreSQL, with PostgREST's settings: a drop-in replacement for it.
//!
//! Settings come from `PGRST_*`, from a file, and from the database, which may change them while the server runs
//! (`NOTIFY pgrst, 'reload config'`, or SIGUSR2).

mod admin;
mod database;
mod file;
mod listen;
mod options;
mod project;
mod settings;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use data_api::DataApi;
use gateway::{Drained, Endpoint, Gateway, ServeSettings, ServiceLimits};
use store::{Databases, PoolSettings, Spool};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::listen::Opened;
use self::options::Options;
use self::project::Sole;
use self::settings::Settings;
use crate::cli::Rest;
use crate::output;
use crate::roles::{self, CLOSE_LIMIT};
use crate::settings::Environment;
use crate::signals::Signals;
use crate::telemetry;

/// Where Supabase's clients look for the data API.
const REST_V1: &str = "/rest/v1";
/// PostgREST has no bound; ours keeps one request from taking all memory.
const MAX_BODY_BYTES: usize = 100 * 1024 * 1024;
/// PostgREST leaves slow statements to `statement_timeout`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3600);
/// The pool of the only project is never idle enough to close.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Serve until told to stop.
pub(crate) async fn run(args: Rest, environment: Environment) -> Result<ExitCode> {
    let settings = Settings::new(args.file);
    let options = settings.read(None)?;
    telemetry::log(environment.log.as_deref().or(Some(&options.log)), environment.log_format.as_deref())?;
    let traces = telemetry::Traces::begin(&environment.traces, "madbase-rest")?;
    let metrics = telemetry::metrics()?;
    let mut signals = Signals::listen()?;
    let api = listen::open(&options.api, "PGRST_SERVER_PORT", options.server_reuseport).await?;
    let admin = match &options.admin {
        Some(place) => Some(listen::open(place, "PGRST_ADMIN_SERVER_PORT", false).await?),
        None => None,
    };
    let server = settings.server(&options)?;
    let replicas = environment.replicas(&args.replicas, &server)?;
    let databases = Databases::with_replicas(server, replicas, pools(&options));
    let (sole, endpoint) = build(settings, &options, &databases, Arc::clone(&metrics), args.rest_v1)?;
    sole.begin().await?;
    let shutdown = CancellationToken::new();
    let keeper = tokio::spawn(Arc::clone(&sole).keep(options.db_channel.clone()));
    let path = if args.rest_v1 { REST_V1 } else { "" };
    output::note(&format!("The data API of database {} answers at {}{path}", sole.database(), api.shown));
    let mut listeners = vec![serve(api, endpoint, &shutdown)];
    if let Some(opened) = admin {
        output::note(&format!("The admin server answers at {}", opened.shown));
        listeners.push(serve(opened, admin::router(sole, metrics).into(), &shutdown));
    }
    signals.next().await;
    tracing::info!("stopping: requests in flight finish first");
    tokio::spawn(async move {
        signals.next().await;
        std::process::exit(130);
    });
    keeper.abort();
    shutdown.cancel();
    for listener in listeners {
        listener.await.context("drain a listener")?;
    }
    databases.close(CLOSE_LIMIT).await;
    traces.flush().await;
    Ok(ExitCode::SUCCESS)
}

fn pools(options: &Options) -> PoolSettings {
    PoolSettings {
        data_connections: options.db_pool,
        acquire_timeout: options.db_pool_acquisition_timeout,
        idle_timeout: NEVER,
        spool: Spool::new(std::env::temp_dir(), Spool::MAX_BYTES),
        ..PoolSettings::default()
    }
}

/// The services of one project, wired together.
fn build(
    settings: Settings,
    options: &Options,
    databases: &Databases,
    metrics: telemetry::Render,
    rest_v1: bool,
) -> Result<(Arc<Sole>, Endpoint)> {
    let config = data_api::Config {
        max_body_bytes: MAX_BODY_BYTES,
        base_path: if rest_v1 { REST_V1.into() } else { String::new() },
        reads_settings: false,
        ..data_api::Config::default()
    };
    let data_api = DataApi::new(config, databases.clone());
    let services = gateway::Services {
        auth: Router::new().into(),
        data_api: roles::serve_data(data_api.clone()),
        realtime: Router::new().into(),
    };
    let sole = Arc::new(Sole::new(settings, options, databases.clone(), data_api)?);
    let config = gateway::Config {
        direct: !rest_v1,
        require_api_key: false,
        data_api: ServiceLimits { max_body_bytes: MAX_BODY_BYTES, timeout: REQUEST_TIMEOUT },
        max_tokens: options.rest.jwt_cache_max_entries,
        ..gateway::Config::default()
    };
    let directory: Arc<dyn common::Directory> = Arc::clone(&sole) as _;
    let gateway = Gateway::new(config, directory, services, gateway::Metrics(metrics));
    Ok((sole, gateway::endpoint(gateway)))
}

fn serve(opened: Opened, endpoint: Endpoint, shutdown: &CancellationToken) -> JoinHandle<Drained> {
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        let drained = gateway::serve(opened.listener, endpoint, ServeSettings::default(), shutdown).await;
        drop(opened.socket);
        drained
    })
}
