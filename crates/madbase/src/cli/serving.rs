//! The flags of the roles that serve: `start`, `system`, `proxy` and `worker`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use gateway::{Network, RateLimitConfig, ServeSettings, WorkerAddress};

use super::DataDir;
use super::realtime::RealtimeBounds;
use crate::node::Place;
use crate::tls;

#[derive(Debug, Args)]
pub(crate) struct Start {
    #[command(flatten)]
    pub(crate) data: DataDir,
    #[command(flatten)]
    pub(crate) file: File,
    /// Go to the background once everything is ready.
    #[arg(long)]
    pub(crate) detach: bool,
    /// Port of the API.
    #[arg(long, env = "MADBASE_PORT", default_value_t = 8000)]
    pub(crate) port: u16,
    /// Port of the control plane.
    #[arg(long, env = "MADBASE_CONTROL_PORT", default_value_t = 8001, value_name = "PORT")]
    pub(crate) control_port: u16,
    /// First port tried for MadBase's own PostgreSQL; the next free one is taken.
    #[arg(long, env = "MADBASE_POSTGRES_PORT", default_value_t = 54322, value_name = "PORT")]
    pub(crate) postgres_port: u16,
    #[command(flatten)]
    pub(crate) door: Door,
    /// The default project's address as the world sees it, for links in mails [default: the request's host when it is
    /// local, private or under the base domain].
    #[arg(long, env = "MADBASE_PUBLIC_URL", value_name = "URL", value_parser = web_address)]
    pub(crate) public_url: Option<String>,
    #[command(flatten)]
    pub(crate) tls: tls::Flags,
    #[command(flatten)]
    pub(crate) replicas: ReadReplicas,
    #[command(flatten)]
    pub(crate) bounds: Bounds,
    #[command(flatten)]
    pub(crate) realtime: RealtimeBounds,
    #[command(flatten)]
    pub(crate) limits: Limits,
    #[command(flatten)]
    pub(crate) drain: Drain,
    /// The background half of `--detach`: steps and banner go to a pipe.
    #[arg(long, hide = true)]
    pub(crate) background: bool,
}

#[derive(Debug, Args)]
pub(crate) struct System {
    #[command(flatten)]
    pub(crate) data: DataDir,
    #[command(flatten)]
    pub(crate) file: File,
    /// Port of the control plane.
    #[arg(long, env = "MADBASE_CONTROL_PORT", default_value_t = 8001, value_name = "PORT")]
    pub(crate) control_port: u16,
    /// Port that proxies and workers talk to.
    #[arg(long, env = "MADBASE_NODE_PORT", default_value_t = 8002, value_name = "PORT")]
    pub(crate) node_port: u16,
    /// Port of the API on the proxies, for the addresses of projects.
    #[arg(long, env = "MADBASE_PORT", default_value_t = 8000)]
    pub(crate) port: u16,
    #[command(flatten)]
    pub(crate) door: Door,
    #[command(flatten)]
    pub(crate) bounds: Bounds,
    #[command(flatten)]
    pub(crate) drain: Drain,
    #[command(flatten)]
    pub(crate) key: MasterKey,
}

#[derive(Debug, Args)]
pub(crate) struct Proxy {
    #[command(flatten)]
    pub(crate) reader: Reader,
    /// Port of the API.
    #[arg(long, env = "MADBASE_PORT", default_value_t = 8000)]
    pub(crate) port: u16,
    /// The default project's address as the world sees it, for links in mails [default: the request's host when it is
    /// local, private or under the base domain].
    #[arg(long, env = "MADBASE_PUBLIC_URL", value_name = "URL", value_parser = web_address)]
    pub(crate) public_url: Option<String>,
    #[command(flatten)]
    pub(crate) limits: Limits,
    #[command(flatten)]
    pub(crate) tls: tls::Flags,
    /// Workers that never change, separated by commas [default: those that joined the cluster].
    #[arg(long, env = "WORKER_UPSTREAM_URLS", value_name = "URL", value_delimiter = ',')]
    pub(crate) worker_upstream_urls: Vec<WorkerAddress>,
}

#[derive(Debug, Args)]
pub(crate) struct Worker {
    #[command(flatten)]
    pub(crate) reader: Reader,
    #[command(flatten)]
    pub(crate) realtime: RealtimeBounds,
    /// Port that proxies call.
    #[arg(long, env = "MADBASE_WORKER_PORT", default_value_t = 8010, value_name = "PORT")]
    pub(crate) worker_port: u16,
    /// Serve without TLS beyond this machine, for proxies that name this worker in `WORKER_UPSTREAM_URLS`: on a network
    /// that is yours alone.
    #[arg(
        long, env = "MADBASE_PLAIN", default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1,
        default_missing_value = "true", value_name = "BOOL", hide_default_value = true
    )]
    pub(crate) plain: bool,
}

/// What proxies and workers have in common: they read what the system node has prepared.
#[derive(Debug, Args)]
pub(crate) struct Reader {
    #[command(flatten)]
    pub(crate) data: DataDir,
    #[command(flatten)]
    pub(crate) file: File,
    #[command(flatten)]
    pub(crate) door: Door,
    #[command(flatten)]
    pub(crate) replicas: ReadReplicas,
    #[command(flatten)]
    pub(crate) bounds: Bounds,
    #[command(flatten)]
    pub(crate) drain: Drain,
    #[command(flatten)]
    pub(crate) key: MasterKey,
    #[command(flatten)]
    pub(crate) cluster: Membership,
    /// Seconds to wait for the control database, when PostgreSQL or the system node start at the same time.
    #[arg(
        long, env = "MADBASE_WAIT", default_value_t = 60, value_name = "SECONDS",
        value_parser = clap::value_parser!(u32).range(0..=3600)
    )]
    pub(crate) wait: u32,
}

impl Reader {
    /// Where others find a node that listens at `listening`.
    pub(crate) fn place(&self, listening: SocketAddr) -> Place {
        let address = self.cluster.address(listening.ip(), listening.port());
        Place { address, zone: self.cluster.zone.clone() }
    }

    /// [`Self::wait`].
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.wait.into())
    }
}

/// How a node joins a cluster, and how it is known there.
#[derive(Debug, Args)]
pub(crate) struct Membership {
    /// Join the cluster of this system node, once: `https://host:8002`.
    #[arg(long, env = "MADBASE_JOIN", value_name = "URL", value_parser = system_node)]
    pub(crate) join: Option<url::Url>,
    /// File with the token of `madbase cluster join-token`; `MADBASE_JOIN_TOKEN` holds the token itself.
    #[arg(long, env = "MADBASE_JOIN_TOKEN_FILE", value_name = "FILE")]
    pub(crate) join_token_file: Option<PathBuf>,
    /// How other nodes reach this one, HOST or HOST:PORT [default: --bind and the port].
    #[arg(long, env = "MADBASE_ADDRESS", value_name = "HOST")]
    pub(crate) address: Option<String>,
    /// Where this node stands, in your own words.
    #[arg(long, env = "MADBASE_ZONE", default_value = "", value_name = "NAME", hide_default_value = true)]
    pub(crate) zone: String,
}

impl Membership {
    /// `host:port` as others reach a node that listens at `bind` and `port`.
    pub(crate) fn address(&self, bind: IpAddr, port: u16) -> String {
        let Some(host) = &self.address else { return SocketAddr::new(bind, port).to_string() };
        let has_port =
            host.rsplit_once(':').is_some_and(|(head, _)| !head.contains(':') || head.ends_with(']'));
        if has_port { host.clone() } else { format!("{host}:{port}") }
    }
}

/// The settings file; read before the other flags, for which it gives defaults.
#[derive(Debug, Args)]
pub(crate) struct File {
    /// Take settings from this TOML file; flags and variables win over it.
    #[arg(long = "config", env = "MADBASE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Where a role listens, and whom it believes.
#[derive(Debug, Args)]
pub(crate) struct Door {
    /// Address to listen on; 0.0.0.0 for every interface.
    #[arg(long, env = "MADBASE_BIND", default_value = "127.0.0.1", value_name = "ADDR")]
    pub(crate) bind: IpAddr,
    /// Projects answer at {ref}.DOMAIN.
    #[arg(long, env = "MADBASE_BASE_DOMAIN", default_value = "localhost", value_name = "DOMAIN", value_parser = domain)]
    pub(crate) base_domain: String,
    /// Networks whose X-Forwarded-* headers are believed, separated by commas.
    #[arg(long, env = "MADBASE_TRUSTED_PROXIES", value_name = "CIDR", value_delimiter = ',')]
    pub(crate) trusted_proxies: Vec<Network>,
}

/// What a role may use of what all share.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Bounds {
    /// Connections to PostgreSQL that this process may have, all projects together; the server has `max_connections` for
    /// all processes.
    #[arg(
        long, env = "MADBASE_DATABASE_CONNECTIONS", default_value_t = 150, value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(4..=100_000)
    )]
    pub(crate) database_connections: u32,
}

/// How many requests clients may send.
#[derive(Debug, Args)]
pub(crate) struct Limits {
    /// Requests a minute: `ip=600,user=300,data.project=100000,bypass=10.0.0.0/8` [default: no limits].
    #[arg(
        long,
        env = "MADBASE_RATE_LIMITS",
        default_value = "",
        hide_default_value = true,
        value_name = "LIMITS"
    )]
    pub(crate) rate_limits: RateLimitConfig,
}

/// How long a stop may take (REQ H5).
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Drain {
    /// Seconds from the signal to stop, when /ready turns 503, until new connections are refused: give a balancer in
    /// front the time to look.
    /// [default: 2 for workers, else 0].
    #[arg(
        long, env = "MADBASE_DRAIN_DELAY", value_name = "SECONDS",
        value_parser = clap::value_parser!(u32).range(0..=300)
    )]
    pub(crate) drain_delay: Option<u32>,
    /// Seconds that requests in flight may take after that; what is left then is cut.
    #[arg(
        long, env = "MADBASE_DRAIN_DEADLINE", default_value_t = 30, value_name = "SECONDS",
        value_parser = clap::value_parser!(u32).range(0..=3600)
    )]
    pub(crate) drain_deadline: u32,
}

impl Drain {
    /// The bounds of a listener, whose delay is `usual` seconds when nobody said another one.
    pub(crate) fn settings(self, usual: u32) -> ServeSettings {
        ServeSettings {
            drain_delay: Duration::from_secs(self.drain_delay.unwrap_or(usual).into()),
            drain_deadline: Duration::from_secs(self.drain_deadline.into()),
            ..ServeSettings::default()
        }
    }
}

/// Where the master key is, when it is not in the data directory; `MADBASE_MASTER_KEY` holds the key itself.
#[derive(Debug, Args)]
pub(crate) struct MasterKey {
    /// File with the master key [default: `secrets/master_key` in the data directory].
    #[arg(long, env = "MADBASE_MASTER_KEY_FILE", value_name = "FILE")]
    pub(crate) master_key_file: Option<PathBuf>,
}

/// Servers that reads may go to.
#[derive(Debug, Args)]
pub(crate) struct ReadReplicas {
    /// Standbys of the database that reads may go to, separated by commas; `READ_REPLICA_URL` says it with passwords.
    #[arg(long, value_name = "URL", value_delimiter = ',', value_parser = replica_url)]
    pub(crate) read_replica_url: Vec<String>,
    /// Seconds that a replica may lag; one that lags more is not read from.
    #[arg(
        long, env = "MADBASE_REPLICA_MAX_LAG", default_value_t = 10, value_name = "SECONDS",
        value_parser = clap::value_parser!(u32).range(1..=86_400)
    )]
    pub(crate) replica_max_lag: u32,
}

/// What links in mails can start with.
fn web_address(text: &str) -> Result<String, &'static str> {
    let refusal = "an address is https://host or http://host, perhaps with a port and a path";
    let url = url::Url::parse(text).map_err(|_| refusal)?;
    let web = matches!(url.scheme(), "http" | "https") && text.contains("://") && url.has_host();
    let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if web && bare && url.password().is_none() { Ok(text.to_owned()) } else { Err(refusal) }
}

/// A replica's URL that may stand in an argument, where every list of processes shows it.
fn replica_url(text: &str) -> Result<String, &'static str> {
    let config: store::postgres::Config = text
        .parse()
        .map_err(|_| "a replica is postgres://host:port, and user and database are the primary's")?;
    if config.get_password().is_some() {
        return Err(
            "a password belongs into the variable READ_REPLICA_URL; without one the primary's is used",
        );
    }
    Ok(text.to_owned())
}

/// Where the system node is.
fn system_node(text: &str) -> Result<url::Url, &'static str> {
    let refusal = "a system node is https://host:port; the port is its --node-port";
    let url = url::Url::parse(text.trim()).map_err(|_| refusal)?;
    let bare = url.path() == "/" && url.query().is_none() && url.username().is_empty();
    if url.scheme() == "https" && url.has_host() && bare { Ok(url) } else { Err(refusal) }
}

/// What can stand behind a project's reference in a host name.
fn domain(text: &str) -> Result<String, &'static str> {
    let is_label = |it: &str| {
        (1..=63).contains(&it.len()) && it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-')
    };
    if text.len() <= 220 && text.split('.').all(is_label) {
        Ok(text.to_owned())
    } else {
        Err("a domain is letters, digits and '-' between dots, such as example.com, without a port")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_one_that_links_can_start_with() {
        for good in ["https://api.example.com", "http://localhost:8000/", "https://example.com/base"] {
            assert!(web_address(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "nope",
            "api.example.com",
            "//x",
            "ftp://x",
            "http:",
            "http:x",
            "https://x?y",
            "https://u:p@x",
            "https://x#y",
        ] {
            assert!(web_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_node_s_address_has_a_port() {
        let check = |address: Option<&str>| {
            let member = Membership {
                join: None,
                join_token_file: None,
                address: address.map(str::to_owned),
                zone: String::new(),
            };
            member.address("10.0.0.5".parse().unwrap(), 8010)
        };
        assert_eq!(check(None), "10.0.0.5:8010");
        assert_eq!(check(Some("worker-1")), "worker-1:8010");
        assert_eq!(check(Some("worker-1:80")), "worker-1:80");
        assert_eq!(check(Some("[fd00::1]")), "[fd00::1]:8010");
        assert_eq!(check(Some("[fd00::1]:80")), "[fd00::1]:80");
    }

    #[test]
    fn a_system_node_is_reached_by_https() {
        assert!(system_node("https://10.0.0.1:8002").is_ok());
        for bad in ["10.0.0.1:8002", "http://10.0.0.1:8002", "https://x:8002/path", "https://ada@x:8002"] {
            assert!(system_node(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_replica_s_password_stays_out_of_the_arguments() {
        for good in ["postgres://near:5433", "postgres://ada@near/app", "host=/run/near port=5433"] {
            assert!(replica_url(good).is_ok(), "{good}");
        }
        for bad in ["postgres://ada:secret@near", "host=near password=secret", "near"] {
            assert!(replica_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_base_domain_is_a_domain() {
        for good in ["localhost", "example.com", "Api.Example.COM"] {
            assert!(domain(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a..b", ".a", "a.", "example.com:80", "https://example.com", "*.example.com"] {
            assert!(domain(bad).is_err(), "{bad}");
        }
    }
}
