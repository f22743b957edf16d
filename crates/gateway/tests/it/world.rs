//! What the tests share: two projects with real keys, a directory in memory, services that echo, and a gateway on a port.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::{any, get, post};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use common::jwt::{Key, KeyRing};
use common::{
    ApiKeys, Caller, ClientAddress, Directory, DirectoryError, Finding, Login, Logins, Project, ProjectId,
    ProjectRef, PublicUrl, RequestId, StageTimes,
};
use gateway::{
    Config, Cores, Drained, Endpoint, Gateway, Metrics, ServeSettings, ServiceLimits, Services, Workers,
    serve_on,
};
use http::{HeaderMap, StatusCode, Uri};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A project whose keys derive from its name; its user tokens are ES256, its legacy keys HS256.
pub(crate) fn project(reference: &str, version: i64) -> Project {
    let secret = format!("the secret of {reference}, thirty-two bytes and more");
    let ring = KeyRing::new(vec![es256(reference), Key::from_secret(secret.as_bytes())]);
    let legacy = |role: &str| {
        let claims = json!({ "iss": "madbase", "ref": reference, "role": role, "exp": 4_102_444_800_u64 });
        ring.sign_hs256(claims.as_object().unwrap()).unwrap()
    };
    let login = Login { user: "nobody".into(), password: "none".to_owned().into() };
    Project {
        id: ProjectId(uuid::Uuid::from_u128(1)),
        reference: reference.parse().unwrap(),
        name: reference.into(),
        database: "none".into(),
        logins: Logins { owner: login.clone(), authenticator: login.clone(), services: login },
        keys: ApiKeys {
            anon: legacy("anon").into(),
            service_role: legacy("service_role").into(),
            publishable: format!("sb_publishable_{reference}").into(),
            secret: format!("sb_secret_{reference}").into(),
        },
        jwt: ring,
        vault: common::Vault::new(&[7; 32]).unwrap(),
        auth: common::AuthSettings::default(),
        rest: common::RestSettings::default(),
        limits: common::LimitSettings::default(),
        realtime: common::RealtimeSettings::default(),
        version,
    }
}

fn es256(kid: &str) -> Key {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let document = BASE64_STANDARD.encode(pair.to_pkcs8v1().unwrap().as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{document}\n-----END PRIVATE KEY-----\n");
    Key::from_es256(kid, &pem, pair.public_key().as_ref()).unwrap()
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token of `project` with `claims`, signed by its ES256 key.
pub(crate) fn token(project: &Project, claims: &Value) -> String {
    project.jwt.sign(claims.as_object().unwrap()).unwrap()
}

/// A directory in memory that counts questions and can fall silent.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    projects: Mutex<BTreeMap<String, Arc<Project>>>,
    pub(crate) questions: AtomicUsize,
    pub(crate) silent: AtomicBool,
    pub(crate) delay: Mutex<Duration>,
}

impl Shelf {
    pub(crate) fn put(&self, project: Project) {
        let reference = project.reference.to_string();
        self.projects.lock().unwrap().insert(reference, Arc::new(project));
    }

    pub(crate) fn remove(&self, reference: &str) {
        self.projects.lock().unwrap().remove(reference);
    }

    pub(crate) fn get(&self, reference: &str) -> Arc<Project> {
        Arc::clone(&self.projects.lock().unwrap()[reference])
    }
}

impl Directory for Shelf {
    fn find<'a>(&'a self, reference: &'a ProjectRef) -> Finding<'a> {
        Box::pin(async move {
            self.questions.fetch_add(1, Ordering::SeqCst);
            let delay = *self.delay.lock().unwrap();
            tokio::time::sleep(delay).await;
            if self.silent.load(Ordering::SeqCst) {
                return Err(DirectoryError("connection refused".into()));
            }
            Ok(self.projects.lock().unwrap().get(reference.as_str()).cloned())
        })
    }
}

/// A gateway on a port of its own.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) gateway: Gateway,
    pub(crate) address: SocketAddr,
    pub(crate) client: reqwest::Client,
    pub(crate) shutdown: CancellationToken,
    pub(crate) server: JoinHandle<Drained>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Config::default(), ServeSettings::default()).await
    }

    pub(crate) async fn with(config: Config, settings: ServeSettings) -> Self {
        let shelf = Arc::new(Shelf::default());
        shelf.put(project("default", 1));
        shelf.put(project("board", 1));
        let directory = Arc::clone(&shelf) as Arc<dyn Directory>;
        Self { shelf, ..Self::served(config, settings, directory).await }
    }

    /// Before a directory of the test's own.
    pub(crate) async fn of(directory: Arc<dyn Directory>) -> Self {
        Self::served(Config::default(), ServeSettings::default(), directory).await
    }

    /// A node of a cluster whose nodes share `shelf`: `data_api` answers `/rest/v1`.
    pub(crate) async fn node(shelf: &Arc<Shelf>, data_api: Endpoint, settings: ServeSettings) -> Self {
        let trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        let config = Config { trusted_proxies, ..Config::default() };
        let directory = Arc::clone(shelf) as Arc<dyn Directory>;
        Self { shelf: Arc::clone(shelf), ..Self::before(config, settings, directory, data_api).await }
    }

    /// A proxy before `workers`, with other bounds.
    pub(crate) async fn bounded(data_api: ServiceLimits, workers: &Workers) -> Self {
        let shelf = Arc::new(Shelf::default());
        shelf.put(project("default", 1));
        let config = Config { data_api, ..Config::default() };
        let directory = Arc::clone(&shelf) as Arc<dyn Directory>;
        Self::before(config, ServeSettings::default(), directory, workers.clone().into()).await
    }

    async fn served(config: Config, settings: ServeSettings, directory: Arc<dyn Directory>) -> Self {
        Self::before(config, settings, directory, Endpoint::behind(service("data_api"))).await
    }

    async fn before(
        config: Config,
        settings: ServeSettings,
        directory: Arc<dyn Directory>,
        data_api: Endpoint,
    ) -> Self {
        let realtime = Endpoint::behind(service("realtime"));
        let services = Services { auth: Endpoint::behind(service("auth")), data_api, realtime };
        let metrics = Metrics(Arc::new(|| "madbase_up 1\n".into()));
        let gateway = Gateway::new(config, directory, services, metrics);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        // As proxies do. Tests of other crates serve on the runtime itself.
        let (cores, endpoint) = (Cores::start().unwrap(), gateway::endpoint(gateway.clone()));
        let server = tokio::spawn(serve_on(Some(cores), listener, endpoint, settings, shutdown.clone()));
        Self { shelf: Arc::default(), gateway, address, client: reqwest::Client::new(), shutdown, server }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A `GET` of `path` with the default project's publishable key.
    pub(crate) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(self.url(path)).header("apikey", "sb_publishable_default")
    }

    /// A `POST` to `path` with the default project's publishable key.
    pub(crate) fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.post(self.url(path)).header("apikey", "sb_publishable_default")
    }
}

/// A service that tells what it was given, and a few routes that misbehave.
pub(crate) fn service(name: &'static str) -> Router {
    let echo = move |uri: Uri, headers: HeaderMap, request: Request| async move {
        let extensions = request.extensions();
        let caller = extensions.get::<Caller>().map(
            |it| json!({ "role": it.role(), "authenticated": it.authenticated, "claims": it.claims.map }),
        );
        Json(json!({
            "service": name,
            "method": request.method().as_str(),
            "uri": uri.to_string(),
            "project": extensions.get::<Arc<Project>>().map(|it| it.reference.to_string()),
            "version": extensions.get::<Arc<Project>>().map(|it| it.version),
            "caller": caller,
            "url": extensions.get::<PublicUrl>().map(|it| it.0.to_string()),
            "id": extensions.get::<RequestId>().map(|it| it.0.to_string()),
            "client": extensions.get::<ClientAddress>().map(|it| it.0.to_string()),
            "headers": texts(&headers),
        }))
    };
    Router::new()
        .route("/panic", any(panic))
        .route("/sleep/{ms}", any(sleep))
        .route("/length", post(|body: axum::body::Bytes| async move { body.len().to_string() }))
        .route("/ignore", post(|| async { "read nothing" }))
        .route("/nothing", any(|| async { StatusCode::NO_CONTENT }))
        .route("/empty", any(|| async { StatusCode::CREATED }))
        .route("/rows", get(rows))
        .route("/rows/{bytes}", get(rows_of))
        .route("/events", get(events))
        .route("/timed", get(timed))
        .route("/framed/{status}", any(framed))
        .route("/own", get(|| async { [("x-frame-options", "SAMEORIGIN"), ("x-request-id", "mine")] }))
        .fallback(echo)
}

async fn panic() -> StatusCode {
    panic!("as the test wants")
}

/// The naps that were begun, by length.
static ASLEEP: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());

/// Until somebody has asked for a nap of `ms`.
pub(crate) async fn asleep(ms: u64) {
    for _ in 0..4000 {
        if ASLEEP.lock().unwrap().contains(&ms) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("nobody asked for {ms} ms");
}

async fn sleep(axum::extract::Path(ms): axum::extract::Path<u64>) -> &'static str {
    ASLEEP.lock().unwrap().insert(ms);
    tokio::time::sleep(Duration::from_millis(ms)).await;
    "slept"
}

/// A status of the caller's choice, and headers that lie about the answer's frame.
async fn framed(axum::extract::Path(status): axum::extract::Path<u16>) -> Response {
    let headers = [("content-length", "5"), ("transfer-encoding", "chunked"), ("connection", "upgrade")];
    (StatusCode::from_u16(status).unwrap(), headers, "12345678").into_response()
}

async fn rows() -> Response {
    rows_of(axum::extract::Path(4000)).await
}

/// JSON of that many bytes, with the data API's headers.
async fn rows_of(axum::extract::Path(bytes): axum::extract::Path<usize>) -> Response {
    let body = "[".to_owned() + &" ".repeat(bytes.saturating_sub(2)) + "]";
    let headers = [("content-type", "application/json; charset=utf-8"), ("content-range", "0-9/*")];
    (headers, body).into_response()
}

/// As the data API answers when its stages are measured.
async fn timed() -> Response {
    let ms = Duration::from_millis;
    let times = StageTimes { parse: ms(1), plan: Some(ms(2)), transaction: Some(ms(3)), response: ms(4) };
    let mut response = StatusCode::OK.into_response();
    response.extensions_mut().insert(times);
    response
}

async fn events() -> Response {
    ([("content-type", "text/event-stream")], "data: x\n\n".repeat(1000)).into_response()
}

fn texts(headers: &HeaderMap) -> Value {
    let pairs = headers.iter().map(|(name, value)| {
        (name.to_string(), Value::String(String::from_utf8_lossy(value.as_bytes()).into_owned()))
    });
    Value::Object(pairs.collect::<Map<_, _>>())
}

/// Status, the named headers and the body, for snapshots.
pub(crate) async fn show(response: reqwest::Response, headers: &[&str]) -> String {
    let mut text = format!("{}\n", response.status().as_u16());
    for name in headers {
        let value = response.headers().get(*name).map_or("-", |it| it.to_str().unwrap());
        writeln!(text, "{name}: {value}").unwrap();
    }
    text + &response.text().await.unwrap()
}
