//! What the operator may set about the gateway; every bound has its default here.
//!
//! Read by the `madbase` crate from settings and handed to [`crate::Gateway::new`].

use std::time::Duration;

use crate::Network;

/// Settings of the gateway.
#[derive(Debug, Clone)]
pub struct Config {
    /// The domain whose first label names the project (`{ref}.{base_domain}`); `None` knows `{ref}.localhost` only.
    pub base_domain: Option<String>,
    /// The public address of the default project (`https://api.example.com`), wherever a request seems to come from.
    ///
    /// Without it the address is taken from the request's `Host`, as long as that is a loopback or private address,
    /// under `localhost` or the base domain, or passed on by a trusted proxy: links in mails start with it, and whoever
    /// asks for a mail chooses the `Host` header. A server with a name of its own sets it.
    pub public_url: Option<String>,
    /// The address for links when the request's `Host` cannot be believed: how this machine reaches the gateway.
    pub local_url: String,
    /// Serve the data API alone, as PostgREST does: on every path, for the default project, without API keys. The
    /// directory is asked for every request, so it must answer from memory.
    pub direct: bool,
    /// Whether a request needs an API key; without one the caller is the project's anonymous role.
    pub require_api_key: bool,
    /// Peers whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Vec<Network>,
    /// Origins that browsers may call from; empty means any.
    pub cors_origins: Vec<String>,
    /// Whether `/metrics` answers everybody, not only loopback and trusted peers that ask directly.
    pub metrics_open: bool,
    /// Bounds of requests to `/auth/v1`: 1 MiB, 30 s.
    pub auth: ServiceLimits,
    /// Bounds of requests to `/rest/v1`: 10 MiB, 60 s.
    pub data_api: ServiceLimits,
    /// Bounds of requests to `/realtime/v1` before they become websockets: 5 MiB, 30 s.
    pub realtime: ServiceLimits,
    /// How long a project's configuration is used before it is asked for again (REQ H8: 60 s).
    pub project_ttl: Duration,
    /// How long a project that does not exist, or whose configuration is stale, is not asked for again.
    pub project_retry: Duration,
    /// For how long a configuration still serves while the directory does not answer.
    pub project_stale: Duration,
    /// How long one question to the directory may take.
    pub directory_timeout: Duration,
    /// How many projects' configurations are kept (REQ H8: 100).
    pub max_projects: u64,
    /// How many verified tokens are remembered; about 1 kB each.
    pub max_tokens: u64,
    /// The longest that a verified token is remembered; never longer than its `exp`.
    pub token_ttl: Duration,
}

/// Bounds of the requests to one service.
#[derive(Debug, Clone, Copy)]
pub struct ServiceLimits {
    /// The largest request body; a larger one is 413.
    pub max_body_bytes: usize,
    /// From the request's head to the answer's head, the body's arrival included; longer is 504.
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base_domain: None,
            public_url: None,
            local_url: "http://localhost:8000".into(),
            direct: false,
            require_api_key: true,
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
            metrics_open: false,
            auth: ServiceLimits { max_body_bytes: 1024 * 1024, timeout: Duration::from_secs(30) },
            data_api: ServiceLimits { max_body_bytes: 10 * 1024 * 1024, timeout: Duration::from_secs(60) },
            realtime: ServiceLimits { max_body_bytes: 5 * 1024 * 1024, timeout: Duration::from_secs(30) },
            project_ttl: Duration::from_secs(60),
            project_retry: Duration::from_secs(5),
            project_stale: Duration::from_secs(3600),
            directory_timeout: Duration::from_secs(2),
            max_projects: 100,
            max_tokens: 10_000,
            token_ttl: Duration::from_secs(300),
        }
    }
}
