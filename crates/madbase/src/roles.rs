//! Wires the services of a process together: one function for each role.
//!
//! Every role reads projects straight from the control database, so that traffic goes on while the control plane is away.

mod all;
mod proxy;
mod system;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use common::{Configured, Dependence, Directory, DirectoryError, Finding, Inbox, Project, ProjectRef};
use control_plane::{ControlPlane, ServiceMigrations};
use data_api::DataApi;
use gateway::{
    Endpoint, Gateway, RateLimitConfig, RateLimitMiddleware, ResponseCache, ResponseCacheSettings,
};
use realtime::Realtime;
use secrecy::SecretString;
use store::{Databases, Notification, PoolSettings, Redis, RedisSettings, ReplicaSettings, Spool};

pub(crate) use self::all::all;
pub(crate) use self::proxy::proxy;
pub(crate) use self::system::system;
pub(crate) use self::worker::worker;
use crate::telemetry::Render;
use crate::tls::Secure;

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
    /// The longest that a cache keeps a value.
    pub(crate) cache_ttl: Duration,
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
    /// How many requests clients may send; `None` where they do not come in.
    pub(crate) rate_limits: Option<RateLimitConfig>,
    /// Connections to PostgreSQL that this process may have.
    pub(crate) database_connections: u32,
    /// Bounds of sockets and streams, where they are served.
    pub(crate) realtime: realtime::Config,
    /// The encrypted door, where there is one.
    pub(crate) tls: Option<Secure>,
    /// Host and port of PostgreSQL for people.
    pub(crate) database: (String, u16),
}

/// What every role has below its services.
struct Base {
    databases: Databases,
    redis: Redis,
    inbox: Inbox,
    control_plane: ControlPlane,
}

impl Base {
    /// Creates and migrates databases.
    async fn prepare(installation: &Installation) -> Result<Self> {
        let (databases, redis) = below(installation)?;
        let (config, inbox) = (control_config(installation), Inbox::new(MAX_MAILS));
        let control_plane = ControlPlane::start(config, databases.clone(), inbox.clone(), migrations());
        let control_plane = control_plane.await.context("prepare the databases")?;
        Ok(Self { databases, redis, inbox, control_plane })
    }

    /// Waits at most `patience` until another process has prepared them.
    async fn read(installation: &Installation, patience: Duration) -> Result<Self> {
        let (databases, redis) = below(installation)?;
        let config = control_config(installation);
        let control_plane = ControlPlane::read_only(config, &databases, migrations(), patience);
        let control_plane = control_plane.await.map_err(with_next).context("read the control database")?;
        Ok(Self { databases, redis, inbox: Inbox::new(MAX_MAILS), control_plane })
    }

    fn auth(&self) -> auth::Auth {
        let config = auth::Config { redis: self.redis.clone(), ..auth::Config::default() };
        auth::Auth::new(config, self.databases.clone(), self.inbox.clone())
    }

    fn data_api(&self) -> DataApi {
        DataApi::new(data_api::Config::default(), self.databases.clone())
    }

    /// Realtime within `bounds`, which asks `auth` for sessions.
    fn realtime(&self, bounds: &realtime::Config, auth: &auth::Auth) -> Realtime {
        let control = &self.control_plane;
        let (locks, versions) = (control.locks(&self.redis), Some(control.versions()));
        let realtime = Realtime::new(bounds.clone(), self.databases.clone(), &self.redis, locks, versions);
        realtime.check_sessions(Arc::new(auth.clone()));
        realtime
    }

    /// Where a gateway keeps answers of the data API; not on workers, whose proxies do.
    fn responses(&self) -> ResponseCache {
        let settings =
            ResponseCacheSettings { max_ttl: self.redis.cache_ttl(), ..ResponseCacheSettings::default() };
        ResponseCache::new(settings, self.control_plane.versions())
    }

    /// The gateway before `services`, which hears of changes of projects and of ended sessions.
    fn gateway(
        &self,
        installation: Installation,
        services: gateway::Services,
        (auth, data_api): (auth::Auth, DataApi),
        render: Render,
    ) -> Gateway {
        let config = gateway::Config {
            base_domain: Some(installation.base_domain),
            local_url: format!("http://localhost:{}", installation.public_port),
            public_url: installation.public_url,
            trusted_proxies: installation.trusted_proxies,
            ..gateway::Config::default()
        };
        let directory = Arc::new(Projects { control_plane: self.control_plane.clone(), data_api });
        let gateway = Gateway::new(config, directory, services, gateway::Metrics(render));
        gateway.check_sessions(Arc::new(auth));
        if let Some(limits) = installation.rate_limits {
            gateway.limit_rates(RateLimitMiddleware::new(&self.redis, limits));
        }
        if let Some(secure) = installation.tls {
            secure.attach(&gateway, &self.control_plane, &self.redis);
        }
        tokio::spawn(follow_changes(self.control_plane.clone(), gateway.clone()));
        gateway
    }
}

/// What went wrong, and what to do next.
fn with_next(error: control_plane::Error) -> anyhow::Error {
    let next = error.next();
    anyhow::Error::new(error).context(next)
}

fn below(installation: &Installation) -> Result<(Databases, Redis)> {
    let spool = Spool::new(&installation.spool, Spool::MAX_BYTES);
    let max_connections = usize::try_from(installation.database_connections).unwrap_or(usize::MAX);
    let pools = PoolSettings { spool, max_connections, ..PoolSettings::default() };
    let (server, replicas) = (installation.server.clone(), installation.replicas.clone());
    let (url, cache_ttl) = (installation.redis_url.clone(), installation.cache_ttl);
    let settings = RedisSettings { url, cache_ttl, ..RedisSettings::default() };
    let redis = Redis::open(settings).context("read REDIS_URL")?;
    let databases = Databases::with_replicas(server, replicas, pools);
    databases.share_writes(&redis);
    Ok((databases, redis))
}

fn control_config(installation: &Installation) -> control_plane::Config {
    control_plane::Config {
        default_database: installation.default_database.clone(),
        base_domain: installation.base_domain.clone(),
        public_port: installation.public_port,
        public_tls_port: installation.tls.as_ref().map(|it| it.port),
        database_host: installation.database.0.clone(),
        database_port: installation.database.1,
        ..control_plane::Config::new(installation.master_key, installation.admin_token.clone())
    }
}

/// The data API as the gateway calls it.
pub(crate) fn serve_data(api: DataApi) -> Endpoint {
    Endpoint::new(move |request| api.clone().answer(request))
}

/// Realtime as the gateway calls it.
pub(crate) fn serve_realtime(realtime: Realtime) -> Endpoint {
    Endpoint::new(move |request| realtime.clone().answer(request))
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

    fn dependence(&self, project: &Project) -> Option<Dependence> {
        self.data_api.dependence(project)
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
    vec![
        ServiceMigrations { schema: "auth", owner: "supabase_auth_admin", runner: auth::migrations },
        ServiceMigrations {
            schema: "realtime",
            owner: "supabase_realtime_admin",
            runner: realtime::migrations,
        },
    ]
}

async fn default_project(control_plane: &ControlPlane) -> Result<Arc<Project>> {
    let reference: ProjectRef = ProjectRef::of_default();
    let found = control_plane.find(&reference).await.context("read the default project")?;
    found.context("the default project is missing from the control database")
}

/// How long borrowed connections may take to come back when the server stops.
pub(crate) const CLOSE_LIMIT: Duration = Duration::from_secs(10);
