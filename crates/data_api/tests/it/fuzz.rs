//! Random requests of legal words against the railway: whatever they ask, the SQL written for them is SQL.
//!
//! PostgreSQL may refuse values and types; it must never say that it cannot read a statement, that a name in it is
//! ambiguous or missing, or that something broke. A few hundred requests here; `./madbase test --long` sends many more.

mod request;

use axum::Router;
use axum::body::Body;
use common::{Caller, Project};
use data_api::{Config, DataApi};
use http::Request;
use http_body_util::BodyExt as _;
use percent_encoding::utf8_percent_encode;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt as _;

use self::request::{Asked, Tape};
use crate::areas::railway;
use crate::support::UNFIT;

/// SQLSTATEs that only a wrong statement causes. A column selected twice below a spread is the client's doing (42702).
const OURS: [&str; 5] = ["42601", "42P01", "42P02", "42P18", "42611"];

struct Bench {
    router: Router,
    project: Arc<Project>,
    caller: Caller,
}

impl Bench {
    async fn new() -> Self {
        let railway = railway::shared().await;
        let change = json!({ "db-aggregates-enabled": true, "db-plan-enabled": true, "db-max-rows": 20,
            "db-extra-search-path": [] });
        let rest = railway::settings(change.as_object().unwrap());
        let project = Arc::new(Project { rest, ..(*railway.test.project).clone() });
        let router = crate::support::router(DataApi::new(Config::default(), railway.test.databases.clone()));
        Self { router, project, caller: railway.test.caller("service_role") }
    }

    /// What is wrong with the answer, if anything is.
    async fn fault(&self, asked: &Asked) -> Option<String> {
        let uri = utf8_percent_encode(&asked.uri, UNFIT).to_string();
        let mut request = Request::builder().method(asked.method).uri(uri);
        for (name, value) in &asked.headers {
            request = request.header(*name, value);
        }
        let request = request.extension(Arc::clone(&self.project)).extension(self.caller.clone());
        let request = request.body(Body::from(asked.body.clone())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let is_json = response
            .headers()
            .get("content-type")
            .is_some_and(|it| it.as_bytes().starts_with(b"application/json"));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        if !is_json || body.is_empty() {
            return None;
        }
        let Ok(body) = serde_json::from_slice::<Value>(&body) else {
            return Some(format!("{status}, no JSON: {}", String::from_utf8_lossy(&body)));
        };
        if status < 300 {
            return None;
        }
        let word = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        let (code, message) = (word("code"), word("message"));
        // Of values that are searched for.
        let is_value = ["tsquery", "tsvector", "no escaped character"].iter().any(|it| message.contains(it));
        let is_ours = OURS.contains(&code) && !is_value;
        let is_broken = ["XX", "54", "58", "PGRSTX"].iter().any(|it| code.starts_with(it));
        (code.is_empty() || is_ours || is_broken).then(|| format!("{status}: {body}"))
    }
}

#[test]
fn no_request_makes_sql_that_postgresql_cannot_read() {
    let bench = testkit::run(Bench::new());
    let mut runner =
        TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() });
    let tapes = prop::collection::vec(any::<u8>(), 0..200);
    let outcome = runner.run(&tapes, |bytes| {
        let asked = Asked::from(Tape::new(&bytes));
        let fault = testkit::run(bench.fault(&asked));
        prop_assert!(fault.is_none(), "{asked:#?}\n{}", fault.unwrap_or_default());
        Ok(())
    });
    outcome.unwrap();
}
