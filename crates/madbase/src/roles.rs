//! Wires the services of this process together. Pillars that run apart will each get a function beside [`all`].

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use common::{Configured, Directory, DirectoryError, Finding, Inbox, Project, ProjectRef};
use control_plane::{ControlPlane, ServiceMigrations};
use data_api::DataApi;
use gateway::{Endpoint, Gateway};
use secrecy::SecretString;
use store::{Databases, Notification, PoolSettings, Redis, RedisSettings, ReplicaSettings, Spool};

use crate::telemetry::Render;

/// Captured mails that are kept.
const MAX_MAILS: usize = 100;

/// What the services are made from.
#[derive(Debug)]
pub(crate) struct Installation {
    pub(crate) master_key: [u8; 32],
    pub(crate) admin_token: SecretString,
    /// PostgreSQL, as its administrator.
    pub(crate) server: store::Server,
    /// Where reads may go instead.
    pub(crate) replicas: ReplicaSettings,
    /// What processes share beside PostgreSQL; `None` shares nothing.
    pub(crate) redis_url: Option<SecretString>,
    /// Directory for large answers on their way to slow clients.
    pub(crate) spool: PathBuf,
    /// The default project's database.
    pub(crate) default_database: String,
    /// Projects answer at `{ref}.{base_domain}`.
    pub(crate) base_domain: String,
    /// Port of the gateway.
    pub(crate) public_port: u16,
    /// The default project's public address, when it is fixed.
    pub(crate) public_url: Option<String>,
    /// Whose `X-Forwarded-*` headers are believed.
    pub(crate) trusted_proxies: Vec<gateway::Network>,
    /// Host and port of PostgreSQL for people.
    pub(crate) database: (String, u16),
}

/// All services of a single node.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Served to everybody.
    pub(crate) api: Endpoint,
    /// Served to administrators.
    pub(crate) control: Router,
    /// The pools behind.
    pub(crate) databases: Databases,
    /// The project that exists from the first start on.
    pub(crate) default_project: Arc<Project>,
}

/// Every role in one process. Creates and migrates databases.
pub(crate) async fn all(installation: Installation, render: Render) -> Result<Parts> {
    let spool = Spool::new(installation.spool, Spool::MAX_BYTES);
    let pools = PoolSettings { spool, ..PoolSettings::default() };
    let databases = Databases::with_replicas(installation.server, installation.replicas, pools);
    let inbox = Inbox::new(MAX_MAILS);
    let config = control_plane::Config {
        default_database: installation.default_database,
        base_domain: installation.base_domain.clone(),
        public_port: installation.public_port,
        database_host: installation.database.0,
        database_port: installation.database.1,
        ..control_plane::Config::new(installation.master_key, installation.admin_token)
    };
    let control_plane = ControlPlane::start(config, databases.clone(), inbox.clone(), migrations())
        .await
        .context("prepare the databases")?;
    let default_project = default_project(&control_plane).await?;
    let redis = Redis::open(RedisSettings { url: installation.redis_url, ..RedisSettings::default() })
        .context("read REDIS_URL")?;
    let auth = auth::Auth::new(auth::Config { redis: redis.clone(), ..auth::Config::default() }, databases.clone(), inbox);
    auth.resume(&default_project);
    let data_api = data_api::DataApi::new(data_api::Config::default(), databases.clone());
    let services = gateway::Services {
        auth: Endpoint::behind(auth::router(auth.clone())),
        data_api: serve_data(data_api.clone()),
    };
    let config = gateway::Config {
        base_domain: Some(installation.base_domain),
        local_url: format!("http://localhost:{}", installation.public_port),
        public_url: installation.public_url,
        trusted_proxies: installation.trusted_proxies,
        redis,
        ..gateway::Config::default()
    };
    let directory = Arc::new(Projects { control_plane: control_plane.clone(), data_api });
    let gateway = Gateway::new(config, directory, services, gateway::Metrics(render));
    gateway.check_sessions(Arc::new(auth));
    tokio::spawn(follow_changes(control_plane.clone(), gateway.clone()));
    Ok(Parts {
        api: gateway::endpoint(gateway),
        control: control_plane::router(control_plane),
        databases,
        default_project,
    })
}

/// The data API as the gateway calls it.
pub(crate) fn serve_data(api: DataApi) -> Endpoint {
    Endpoint::new(move |request| api.clone().answer(request))
}

/// The gateway's directory: the control plane knows projects, the data API what their databases say about it.
#[derive(Debug)]
struct Projects {
    control_plane: ControlPlane,
    data_api: DataApi,
}

impl Directory for Projects {
    fn find<'a>(&'a self, reference: &'a ProjectRef) -> Finding<'a> {
        self.control_plane.find(reference)
    }

    fn configured<'a>(&'a self, project: &'a Arc<Project>) -> Configured<'a> {
        if let Some(project) = self.data_api.known(project) {
            return Configured::Known(project);
        }
        Configured::Asked(Box::pin(async {
            self.data_api.configured(project).await.map_err(|it| DirectoryError(it.into()))
        }))
    }
}

/// Let the gateway forget what changed, in this process or another, as long as this one runs.
async fn follow_changes(control_plane: ControlPlane, gateway: Gateway) {
    let mut changes = control_plane.changes();
    while let Some(change) = changes.next().await {
        match change {
            Notification::Connected => gateway.forget_projects(),
            Notification::Message(text) => match text.parse() {
                Ok(reference) => gateway.forget_project(&reference).await,
                Err(_) => gateway.forget_projects(),
            },
        }
    }
}

/// The schemas that services own in every project's database.
fn migrations() -> Vec<ServiceMigrations> {
    vec![ServiceMigrations { schema: "auth", owner: "supabase_auth_admin", runner: auth::migrations }]
}

async fn default_project(control_plane: &ControlPlane) -> Result<Arc<Project>> {
    let reference: ProjectRef = ProjectRef::DEFAULT.parse()?;
    let found = control_plane.find(&reference).await.context("read the default project")?;
    found.context("the default project is missing from the control database")
}

/// How long borrowed connections may take to come back when the server stops.
pub(crate) const CLOSE_LIMIT: Duration = Duration::from_secs(10);
