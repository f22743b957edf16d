//! A seeded project with the data API in front, and answers as text that can be compared whole.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use common::{Caller, Project, RestSettings};
use data_api::{Config, DataApi};
use http::Request;
use http_body_util::BodyExt as _;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use store::{Databases, PoolSettings, ReplicaSettings};
use testkit::{TestProject, TestStandby};
use tokio::sync::OnceCell;
use tower::ServiceExt as _;

const SEED: &str = include_str!("seed.sql");

/// What a request line cannot hold as it is.
pub(crate) const UNFIT: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'{').add(b'}');

static SHARED: OnceCell<Api> = OnceCell::const_new();

/// A project behind a router.
pub(crate) struct Api {
    pub(crate) test: TestProject,
    project: Arc<Project>,
    router: Router,
}

/// The project that tests share: what they write is rolled back.
pub(crate) async fn shared() -> &'static Api {
    SHARED.get_or_init(|| Api::new("shared", "rollback-allow-override")).await
}

impl Api {
    /// A seeded project of one test; `tx_end` says how its transactions end.
    pub(crate) async fn new(name: &str, tx_end: &str) -> Self {
        let settings = RestSettings {
            db_schemas: vec!["public".into(), "other".into()],
            db_max_rows: Some(50),
            db_tx_end: tx_end.into(),
            db_aggregates_enabled: true,
            ..RestSettings::default()
        };
        Self::of(testkit::project(name).await, settings, Config::default()).await
    }

    /// A seeded project whose connections are closed after `idle`.
    pub(crate) async fn idling(name: &str, idle: Duration) -> Self {
        let mut test = testkit::project(name).await;
        let pools = PoolSettings { idle_timeout: idle, ..PoolSettings::default() };
        test.databases = Databases::new(test.databases.server().clone(), pools);
        Self::of(test, RestSettings::default(), Config::default()).await
    }

    /// A project with nothing in it.
    pub(crate) async fn empty(name: &str) -> Self {
        let settings = RestSettings { db_tx_end: "commit-allow-override".into(), ..RestSettings::default() };
        Self::around(testkit::project(name).await, settings, Config::default())
    }

    /// A project with `schema` in it, whose reads `standby` may answer.
    pub(crate) async fn replicated(name: &str, standby: &TestStandby, schema: &str) -> Self {
        let mut test = testkit::replicated_project(name).await;
        test.owner().await.batch_execute(schema).await.unwrap();
        standby.catch_up().await;
        let server = test.databases.server().clone();
        let servers = vec![server.replica(standby.url()).unwrap()];
        let replicas = ReplicaSettings { servers, max_lag: ReplicaSettings::MAX_LAG };
        test.databases = Databases::with_replicas(server, replicas, PoolSettings::default());
        Self::around(test, RestSettings::default(), Config::default())
    }

    async fn of(test: TestProject, settings: RestSettings, config: Config) -> Self {
        test.owner().await.batch_execute(SEED).await.unwrap();
        Self::around(test, settings, config)
    }

    fn around(test: TestProject, settings: RestSettings, config: Config) -> Self {
        let project = Arc::new(Project { rest: settings, ..(*test.project).clone() });
        let router = router(DataApi::new(config, test.databases.clone()));
        Self { test, project, router }
    }

    /// Change the project's settings.
    pub(crate) fn set(&mut self, change: impl FnOnce(&mut RestSettings)) {
        let mut project = (*self.project).clone();
        change(&mut project.rest);
        project.version += 1;
        self.project = Arc::new(project);
    }

    /// Ask as `caller`. `head` is a method, a path and headers, one a line; the answer is rendered whole, as far as
    /// it says more than that it is JSON.
    pub(crate) async fn ask(&self, caller: Caller, head: &str, body: &str) -> String {
        let mut lines = head.lines().map(str::trim);
        let (method, uri) = lines.next().unwrap().split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(utf8_percent_encode(uri, UNFIT).to_string());
        for (name, value) in lines.filter_map(|it| it.split_once(": ")) {
            request = request.header(name, value);
        }
        let request = request.extension(Arc::clone(&self.project)).extension(caller);
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let mut text = response.status().as_u16().to_string();
        let mut headers: Vec<_> = response.headers().iter().collect();
        headers.sort_by_key(|(name, _)| name.as_str());
        for (name, value) in headers {
            let value = value.to_str().unwrap();
            let is_usual = matches!(
                (name.as_str(), value),
                ("content-type", "application/json; charset=utf-8")
                    | ("vary", "Accept, Prefer, Range")
                    | ("content-profile", "public")
                    | ("content-length" | "content-location" | "proxy-status", _)
            );
            if !is_usual {
                write!(text, "\n{name}: {value}").unwrap();
            }
        }
        let body = response.into_body().collect().await.unwrap().to_bytes();
        if !body.is_empty() {
            write!(text, "\n\n{}", String::from_utf8_lossy(&body)).unwrap();
        }
        text
    }
}

/// Ask the shared project as the service role.
pub(crate) fn ask(head: &str, body: &str) -> String {
    let (head, body) = (head.to_owned(), body.to_owned());
    testkit::run(async move {
        let api = shared().await;
        api.ask(api.test.caller("service_role"), &head, &body).await
    })
}

/// The body of an answer.
pub(crate) fn body(answer: &str) -> &str {
    answer.split_once("\n\n").map_or("", |(_, body)| body)
}

/// `api` as a service that tests call without a listener.
pub(crate) fn router(api: DataApi) -> Router {
    Router::new().fallback(move |request: axum::extract::Request| api.clone().answer(request))
}
