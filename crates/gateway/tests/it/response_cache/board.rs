//! A project with tables of many shapes under row-level security, behind gateways that differ in what they keep.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use common::{
    Configured, Dependence, Directory, DirectoryError, Finding, Project, ProjectRef, ResponseCache as Mode,
};
use data_api::DataApi;
use gateway::{
    Config, Endpoint, Gateway, Metrics, ResponseCache, ResponseCacheSettings, ServeSettings, Services,
    WorkerSettings, Workers,
};
use serde_json::{Value, json};
use store::Versions;
use testkit::TestProject;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const SCHEMA: &str = include_str!("schema.sql");

/// The project and its gateways.
pub(crate) struct Board {
    pub(crate) test: TestProject,
    /// Keeps answers.
    pub(crate) cached: Gate,
    /// Keeps none.
    pub(crate) plain: Gate,
    /// Keeps those to requests that want it.
    pub(crate) on_request: Gate,
}

/// A gateway on a port.
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    client: reqwest::Client,
    pub(crate) key: String,
    pub(crate) cache: ResponseCache,
    pub(crate) gateway: Gateway,
    _ends: tokio_util::sync::DropGuard,
}

impl Board {
    /// A seeded project.
    pub(crate) async fn new(name: &str) -> Self {
        let test = testkit::project(name).await;
        test.owner().await.batch_execute(SCHEMA).await.unwrap();
        let own = || ResponseCache::new(ResponseCacheSettings::default(), Versions::alone());
        let cached = Gate::open(&[&test], Mode::On, own()).await;
        let plain = Gate::open(&[&test], Mode::Off, own()).await;
        let on_request = Gate::open(&[&test], Mode::OnRequest, own()).await;
        Self { test, cached, plain, on_request }
    }

    /// The token of the user `number`, with more claims.
    pub(crate) fn user(&self, number: u32, more: &[(&str, Value)]) -> String {
        token(&self.test.project, number, more)
    }
}

/// A user's token.
pub(crate) fn token(project: &Project, number: u32, more: &[(&str, Value)]) -> String {
    let mut claims = json!({
        "sub": id(number), "role": "authenticated", "aud": "authenticated", "exp": crate::world::now() + 3600,
        "tenant": format!("t{}", number % 7),
        "app_metadata": { "teams": [number % 5, number % 3] },
    });
    for (name, value) in more {
        claims[*name] = value.clone();
    }
    project.jwt.sign(claims.as_object().unwrap()).unwrap()
}

/// The id of the user `number`.
pub(crate) fn id(number: u32) -> Uuid {
    Uuid::from_u128(u128::from(number))
}

/// Projects by name, as the data API knows them; the first one is the default project too.
#[derive(Debug)]
struct Shelf {
    projects: BTreeMap<String, Arc<Project>>,
    data_api: DataApi,
}

impl Directory for Shelf {
    fn find<'a>(&'a self, reference: &'a ProjectRef) -> Finding<'a> {
        Box::pin(async move { Ok(self.projects.get(reference.as_str()).cloned()) })
    }

    fn configured<'a>(&'a self, project: &'a Arc<Project>) -> Configured<'a> {
        Configured::Asked(Box::pin(async {
            self.data_api.configured(project).await.map_err(|it| DirectoryError(it.into()))
        }))
    }

    fn dependence(&self, project: &Project) -> Option<Dependence> {
        self.data_api.dependence(project)
    }
}

impl Gate {
    /// Before `tests`, the first of which is the default project.
    pub(crate) async fn open(tests: &[&TestProject], mode: Mode, cache: ResponseCache) -> Self {
        Self::changed(tests, cache, |project| project.rest.response_cache = mode).await
    }

    /// Before `tests` with settings of the test's own.
    pub(crate) async fn changed(
        tests: &[&TestProject],
        cache: ResponseCache,
        change: impl Fn(&mut Project),
    ) -> Self {
        Self::made(tests, Some(cache), change, None).await
    }

    /// A worker of a project that keeps answers: its proxy keeps them. It tells of writes by `versions`.
    pub(crate) async fn worker(test: &TestProject, versions: Option<Versions>) -> Self {
        let worker = Self::made(&[test], None, keep_and_trace, None).await;
        if let Some(versions) = versions {
            worker.gateway.tell_writes(versions);
        }
        worker
    }

    /// A proxy before `workers`, which keeps answers.
    pub(crate) async fn proxy(test: &TestProject, cache: ResponseCache, workers: &[&Self]) -> Self {
        let before = Workers::new(WorkerSettings::default());
        let url = |it: &&Self| format!("http://{}", it.address).parse().unwrap();
        before.set(workers.iter().map(url).collect());
        Self::made(&[test], Some(cache), keep_and_trace, Some(before.into())).await
    }

    async fn made(
        tests: &[&TestProject],
        cache: Option<ResponseCache>,
        change: impl Fn(&mut Project),
        elsewhere: Option<Endpoint>,
    ) -> Self {
        let data_api = DataApi::new(data_api::Config::default(), tests[0].databases.clone());
        let mut projects = BTreeMap::new();
        for (idx, test) in tests.iter().enumerate() {
            let mut project = (*test.project).clone();
            change(&mut project);
            let project = Arc::new(project);
            if idx == 0 {
                projects.insert("default".to_owned(), Arc::clone(&project));
            }
            projects.insert(project.reference.to_string(), project);
        }
        let key = {
            use secrecy::ExposeSecret as _;
            tests[0].project.keys.publishable.expose_secret().to_owned()
        };
        let answering = data_api.clone();
        let services = Services {
            auth: Endpoint::behind(Router::new().fallback(sign_in)),
            data_api: elsewhere
                .unwrap_or_else(|| Endpoint::new(move |request| answering.clone().answer(request))),
            realtime: Router::new().into(),
        };
        let directory = Arc::new(Shelf { projects, data_api });
        let gateway = Gateway::new(Config::default(), directory, services, Metrics(Arc::new(String::new)));
        if let Some(cache) = &cache {
            gateway.keep_responses(cache.clone());
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ends = CancellationToken::new();
        let endpoint = gateway::endpoint(gateway.clone());
        tokio::spawn(gateway::serve(listener, endpoint, ServeSettings::default(), ends.clone()));
        let client = reqwest::Client::new();
        let cache =
            cache.unwrap_or_else(|| ResponseCache::new(ResponseCacheSettings::default(), Versions::alone()));
        Self { address, client, key, cache, gateway, _ends: ends.drop_guard() }
    }

    /// The answer to `ask` from another address of ours.
    pub(crate) async fn ask_from(&self, address: IpAddr, ask: &Ask) -> Answer {
        let client = reqwest::Client::builder().local_address(address).build().unwrap();
        self.ask_by(&client, ask).await
    }

    /// The answer to `ask`.
    pub(crate) async fn ask(&self, ask: &Ask) -> Answer {
        self.ask_by(&self.client, ask).await
    }

    async fn ask_by(&self, client: &reqwest::Client, ask: &Ask) -> Answer {
        let url = format!("http://{}{}", self.address, ask.path);
        let mut request = client.request(ask.method.parse().unwrap(), url);
        if !ask.headers.iter().any(|(name, _)| name == "apikey") && !ask.path.contains("apikey=") {
            request = request.header("apikey", &self.key);
        }
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        if let Some(body) = &ask.body {
            request = request.header("content-type", "application/json").body(body.clone());
        }
        let response = request.send().await.unwrap();
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers =
            response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let status = response.status().as_u16();
        let body = String::from_utf8_lossy(&response.bytes().await.unwrap()).into_owned();
        Answer { status, headers, body }
    }
}

fn keep_and_trace(project: &mut Project) {
    project.rest.response_cache = Mode::On;
    project.rest.server_timing_enabled = true;
    project.rest.server_trace_header = Some("X-Trace".into());
}

/// A service that knows nothing of `?a`.
async fn sign_in(uri: http::Uri) -> http::StatusCode {
    if uri.query() == Some("a") { http::StatusCode::BAD_REQUEST } else { http::StatusCode::OK }
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

impl Ask {
    pub(crate) fn get(path: &str) -> Self {
        Self { method: "GET", path: path.to_owned(), headers: Vec::new(), body: None }
    }

    pub(crate) fn head(path: &str) -> Self {
        Self { method: "HEAD", ..Self::get(path) }
    }

    pub(crate) fn write(method: &'static str, path: &str, body: &str) -> Self {
        Self { method, body: Some(body.to_owned()), ..Self::get(path) }
    }

    pub(crate) fn by(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    /// A header, `-` where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("-", String::as_str)
    }

    /// What must not depend on whether it was kept.
    pub(crate) fn essence(&self) -> (u16, &str, [&str; 5]) {
        let told = ["content-type", "content-range", "preference-applied", "content-profile", "x-seen"];
        (self.status, &self.body, told.map(|it| self.header(it)))
    }
}
