//! The gateway's state: one handle, cheap to clone, built by the `madbase` crate.

use std::fmt;
use std::sync::{Arc, OnceLock};

use common::{Directory, ProjectRef, SessionCheck};
use store::Versions;

use crate::events::Measures;
use crate::https::Https;
use crate::operations::Readiness;
use crate::projects::Projects;
use crate::request_id::RequestIds;
use crate::response_cache::{Caching, Teller, Telling};
use crate::strict::Check;
use crate::tokens::Tokens;
use crate::{Config, Endpoint, Network, RateLimitMiddleware, ResponseCache, Tls};

/// The services, which see paths without their prefixes.
#[derive(Debug, Clone)]
pub struct Services {
    /// Answers `/auth/v1`.
    pub auth: Endpoint,
    /// Answers `/rest/v1`.
    pub data_api: Endpoint,
    /// Answers `/realtime/v1`, by WebSocket too.
    pub realtime: Endpoint,
}

/// Gives the metrics of the process as Prometheus text.
#[derive(Clone)]
pub struct Metrics(pub Arc<dyn Fn() -> String + Send + Sync>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics(..)")
    }
}

/// The gateway. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Gateway {
    pub(crate) inner: Arc<Inner>,
}

/// What all clones of a gateway share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) services: Services,
    pub(crate) metrics: Metrics,
    pub(crate) projects: Projects,
    /// Whom a request asks for that names nobody.
    pub(crate) default_project: ProjectRef,
    pub(crate) tokens: Tokens,
    pub(crate) measures: Arc<Measures>,
    pub(crate) readiness: Readiness,
    pub(crate) request_ids: RequestIds,
    pub(crate) sessions: Check,
    pub(crate) https: OnceLock<Https>,
    pub(crate) responses: Caching,
    pub(crate) tells: Telling,
    pub(crate) rates: OnceLock<RateLimitMiddleware>,
}

impl Gateway {
    /// A gateway before `services`, that finds projects in `directory`.
    #[must_use]
    pub fn new(config: Config, directory: Arc<dyn Directory>, services: Services, metrics: Metrics) -> Self {
        let projects = Projects::new(&config, directory);
        let measures = Arc::new(Measures::new());
        let tokens = Tokens::new(&config, Arc::clone(&measures));
        let (readiness, request_ids) = (Readiness::default(), RequestIds::default());
        let sessions = Check::new();
        let inner = Inner {
            config,
            services,
            metrics,
            projects,
            default_project: ProjectRef::of_default(),
            tokens,
            measures,
            readiness,
            request_ids,
            sessions,
            https: OnceLock::new(),
            responses: Caching::new(),
            tells: Telling::new(),
            rates: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Ask `sessions` whether a token's session stands, for projects with strict sessions. Only the first call counts.
    pub fn check_sessions(&self, sessions: Arc<dyn SessionCheck>) {
        let _ = self.inner.sessions.set(sessions);
    }

    /// Keep answers of the data API in `cache`, for projects that want it. Only the first call counts.
    pub fn keep_responses(&self, cache: ResponseCache) {
        let _ = self.inner.responses.set(cache);
    }

    /// Tell others by `versions` of writes, as a worker does: whoever keeps answers must hear of them even when the proxy
    /// that the write came through cannot tell. Only the first call counts.
    pub fn tell_writes(&self, versions: Versions) {
        let _ = self.inner.tells.set(Teller::new(versions));
    }

    /// Limit requests, as the operator and the projects want it; not on workers, whose proxies do. Only the first call
    /// counts.
    pub fn limit_rates(&self, limits: RateLimitMiddleware) {
        let _ = self.inner.rates.set(limits);
    }

    /// What comes unencrypted is sent to `port`, where `tls` is spoken, as soon as that has a certificate; questions of
    /// authorities are answered (REQ H9). Only the first call counts.
    pub fn encrypt(&self, tls: Tls, port: u16) {
        let _ = self.inner.https.set(Https { tls, port });
    }

    /// The configuration of `reference` changed: the next request asks for it again.
    pub async fn forget_project(&self, reference: &ProjectRef) {
        self.inner.projects.forget(reference).await;
    }

    /// Any configuration may have changed.
    pub fn forget_projects(&self) {
        self.inner.projects.forget_all();
    }
}

impl Inner {
    pub(crate) fn trusted_proxies(&self) -> &[Network] {
        &self.config.trusted_proxies
    }
}
