//! What a node of a cluster takes before anything slow, and what it tells once it serves.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use control_plane::ControlPlane;
use serde::Serialize;
use store::mtls::Credentials;
use url::Url;

use crate::cli::Reader;
use crate::layout::Layout;
use crate::lock::Lock;
use crate::node::{self, Beating, Kept, Place};
use crate::output::{self, Output};
use crate::postgres::Postgres;
use crate::roles::Installation;
use crate::secrets;
use crate::server::{Life, Server};
use crate::settings::Environment;
use crate::signals::Signals;
use crate::telemetry;
use gateway::Load;

/// Be `service`, which `start` makes, until told to stop; a signal may come before it is there.
pub(super) async fn serve(
    environment: &Environment,
    service: &'static str,
    start: impl Future<Output = Result<Server>>,
) -> Result<ExitCode> {
    let traces = telemetry::begin(environment, service)?;
    let mut signals = Signals::listen()?;
    let server = tokio::select! {
        it = start => it?,
        () = signals.next() => bail!("interrupted"),
    };
    let code = server.run(signals).await;
    traces.flush().await;
    code
}

/// The data directory for itself, and the PostgreSQL that `DATABASE_URL` names.
pub(super) struct Site {
    pub(super) layout: Layout,
    pub(super) lock: Lock,
    pub(super) postgres: Postgres,
}

impl Site {
    pub(super) async fn take(data: &Path, environment: &Environment) -> Result<Self> {
        let postgres = Postgres::external(environment)?;
        let layout = Layout::at(data.to_owned());
        layout.make()?;
        let lock = Lock::take(&layout).await?;
        Ok(Self { layout, lock, postgres })
    }

    /// Who this node is in its cluster, and where the system node is; `None` when it joined none.
    pub(super) fn member(&self) -> Result<Option<(Credentials, Url)>> {
        let Some((identity, system)) = Kept::of(&self.layout).read()? else { return Ok(None) };
        let credentials =
            Credentials::new(&identity).context("read secrets/node.json of the data directory")?;
        Ok(Some((credentials, system)))
    }

    /// Say every five seconds how a member of a cluster is, and heed who is one no longer, as long as `life` lasts.
    pub(super) fn beat(
        &self,
        member: Option<(Credentials, Url)>,
        (plane, place): (ControlPlane, Place),
        load: Load,
        life: &Life,
    ) -> Result<()> {
        let Some((credentials, system)) = member else { return Ok(()) };
        let heeding = node::heed(plane.clone(), credentials.clone(), life.clone());
        let ended = life.ended.clone();
        life.background.spawn(async move { ended.run_until_cancelled_owned(heeding).await });
        let kept = Kept::of(&self.layout);
        let beating = Beating::new((credentials, kept, system), plane, place, load)?;
        life.background.spawn(beating.run(life.clone()));
        Ok(())
    }

    /// What a proxy or a worker is made from; `public_port` is the one that clients see.
    pub(super) fn installation(
        &self,
        reader: &Reader,
        environment: &Environment,
        public_port: u16,
    ) -> Result<Installation> {
        let server = self.postgres.server()?;
        let key_file = reader.key.master_key_file.as_deref();
        Ok(Installation {
            master_key: secrets::master_key(&self.layout, environment, key_file)?,
            // The control plane's routes are not served here.
            admin_token: String::new().into(),
            replicas: environment.replicas(&reader.replicas, &server)?,
            server,
            redis_url: environment.redis_url.clone(),
            cache_ttl: environment.cache_ttl()?,
            spool: self.layout.spool(),
            default_database: self.postgres.default_database()?,
            base_domain: reader.door.base_domain.clone(),
            public_port,
            public_url: None,
            trusted_proxies: reader.door.trusted_proxies.clone(),
            rate_limits: None,
            database_connections: reader.bounds.database_connections,
            realtime: realtime::Config::default(),
            tls: None,
            database: self.postgres.shown_address()?,
        })
    }
}

/// Where a node is. No secrets in it.
#[derive(Debug, Serialize)]
pub(super) struct Banner {
    pub(super) version: &'static str,
    pub(super) pid: u32,
    pub(super) role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) api_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) control_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) node_url: Option<String>,
    pub(super) data_dir: String,
}

impl Banner {
    /// Of this process.
    pub(super) fn new(role: &'static str, layout: &Layout) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            role,
            api_url: None,
            control_url: None,
            node_url: None,
            data_dir: layout.shown(),
        }
    }

    pub(super) fn show(&self, output: Output) {
        output.show(self, Self::people);
        if !output.is_json() {
            output::note("Press Ctrl-C to stop.");
        }
    }

    fn people(&self) -> String {
        let rows = [
            ("API", self.api_url.as_ref()),
            ("Control plane", self.control_url.as_ref()),
            ("Nodes join at", self.node_url.as_ref()),
            ("Data", Some(&self.data_dir)),
        ];
        let rows = rows.iter().filter_map(|(name, value)| Some(format!("  {name:<14} {}\n", (*value)?)));
        format!("\nMadBase {}: the {} is ready.\n\n{}", self.version, self.role, rows.collect::<String>())
    }
}
