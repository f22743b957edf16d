//! The control plane on a real PostgreSQL: start-up, provisioning, isolation, and the REST interface.
#![expect(clippy::unwrap_used, reason = "a test")]

mod authority;
mod certificates;
mod isolation;
mod nodes;
mod owner;
mod provisioning;
mod rest;
mod routes;
mod settings;
mod signing;
mod start;

use axum::Router;
use axum::body::Body;
use common::{Inbox, ProjectRef};
use control_plane::{Config, ControlPlane, Error, ServiceMigrations};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use store::postgres::Client;
use store::{Databases, PoolSettings};
use tower::ServiceExt as _;
use uuid::Uuid;

const TOKEN: &str = "an-admin-token-of-a-test";

/// An installation of its own on the test server: nobody else uses its control database.
struct Installation {
    config: Config,
    inbox: Inbox,
}

impl Installation {
    fn new() -> Self {
        let mark = Uuid::new_v4().simple();
        let config = Config {
            control_database: format!("control_{mark}"),
            default_database: format!("default_{mark}"),
            ..Config::new([1; 32], TOKEN.to_owned().into())
        };
        Self { config, inbox: Inbox::new(10) }
    }

    async fn start(&self, services: Vec<ServiceMigrations>) -> Result<ControlPlane, Error> {
        self.start_on(testkit::server().await.store(), services).await
    }

    async fn start_on(
        &self,
        server: store::Server,
        services: Vec<ServiceMigrations>,
    ) -> Result<ControlPlane, Error> {
        let databases = Databases::new(server, PoolSettings::default());
        ControlPlane::start(self.config.clone(), databases, self.inbox.clone(), services).await
    }

    /// The superuser in a database that no test drops.
    async fn maintenance(&self) -> Client {
        let server = testkit::server().await.store();
        server.admin(server.database().unwrap_or("postgres")).await.unwrap()
    }

    /// The superuser in the control database.
    async fn control(&self) -> Client {
        admin(&self.config.control_database).await
    }
}

/// The superuser in `database`.
async fn admin(database: &str) -> Client {
    testkit::server().await.store().admin(database).await.unwrap()
}

/// A reference that no other test of any process uses.
fn unique(name: &str) -> ProjectRef {
    let mark = Uuid::new_v4().simple().to_string();
    format!("{name}-{}", &mark[..8]).parse().unwrap()
}

/// The SQLSTATE with which `statement` fails, or `ok`.
async fn outcome(client: &Client, statement: &str) -> String {
    match client.batch_execute(statement).await {
        Ok(()) => "ok".into(),
        Err(error) => error.code().map_or_else(|| error.to_string(), |it| it.code().to_owned()),
    }
}

/// One value as text.
async fn text(client: &Client, query: &str) -> String {
    client.query_one(query, &[]).await.unwrap().get(0)
}

/// Send a request; `body` is sent as JSON.
async fn send(router: &Router, token: Option<&str>, call: (Method, &str), body: Option<&Value>) -> Reply {
    let mut request = Request::builder().method(call.0).uri(call.1);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let body = match body {
        Some(json) => {
            request = request.header("content-type", "application/json");
            Body::from(json.to_string())
        }
        None => Body::empty(),
    };
    reply(router, request.body(body).unwrap()).await
}

async fn reply(router: &Router, request: Request<Body>) -> Reply {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
    Reply { status, body }
}

#[derive(Debug)]
struct Reply {
    status: StatusCode,
    body: Value,
}

impl Reply {
    /// Status and error code: `404 CP302`; only the status when it is no error.
    fn short(&self) -> String {
        let code = self.body.pointer("/error/code").and_then(Value::as_str);
        code.map_or_else(|| self.status.as_u16().to_string(), |it| format!("{} {it}", self.status.as_u16()))
    }
}
