//! Runs the cases of an area against the railway, and compares answers whole.
//!
//! What nearly every answer carries is checked and left out of the text: JSON's `Content-Type`, the usual `Vary` and
//! profile, a `Content-Length` that is the body's, a `Proxy-Status` that names the error of the body.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use common::{Caller, Project, RestSettings};
use data_api::{Config, DataApi};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use percent_encoding::utf8_percent_encode;
use serde_json::Value;
use tower::ServiceExt as _;
use uuid::Uuid;

use super::case::{Area, Exchange, Terms};
use super::railway::{self, Railway};
use crate::support::UNFIT;

/// How many cases did what.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) run: usize,
    pub(super) skipped: usize,
}

/// Run all cases of `file`.
pub(super) async fn run(file: &Path) -> Counts {
    let mut area = Area::parse(&fs::read_to_string(file).unwrap());
    let railway = railway::shared().await;
    let mut doors = Doors { railway, open: HashMap::new() };
    let (mut counts, mut differences, mut is_skipped) = (Counts::default(), Vec::new(), false);
    for exchange in &mut area.exchanges {
        if exchange.is_first {
            is_skipped = exchange.terms.needs.as_ref().is_some_and(|it| !railway.extensions.contains(it));
            *(if is_skipped { &mut counts.skipped } else { &mut counts.run }) += 1;
            if is_skipped {
                eprintln!("skipped: {}: the extension it needs is not installed", exchange.case);
            }
        }
        if is_skipped {
            continue;
        }
        let answer = doors.ask(exchange).await;
        if answer != exchange.expected {
            differences.push(format!(
                "# {}\n{}\nexpected:\n{}\nanswered:\n{answer}",
                exchange.case, exchange.target, exchange.expected
            ));
            exchange.expected = answer;
        }
    }
    if !differences.is_empty() && wants_update() {
        fs::write(file, area.print()).unwrap();
    } else {
        assert!(differences.is_empty(), "{}:\n{}", file.display(), differences.join("\n"));
    }
    counts
}

#[expect(clippy::disallowed_methods, reason = "insta's variable, read by the test process as insta does")]
fn wants_update() -> bool {
    std::env::var("INSTA_UPDATE").is_ok_and(|it| it == "always")
}

/// The data API with different settings; each loads a catalog of its own.
struct Doors {
    railway: &'static Railway,
    open: HashMap<String, (Router, Arc<Project>)>,
}

impl Doors {
    fn door(&mut self, terms: &Terms) -> (Router, Arc<Project>) {
        let settings = railway::settings(&terms.settings);
        let key = serde_json::to_string(&settings).unwrap();
        let test = &self.railway.test;
        let (router, project) = self.open.entry(key).or_insert_with(|| {
            let config = Config { base_path: String::new(), ..Config::default() };
            let project = Arc::new(Project { rest: settings, ..(*test.project).clone() });
            (crate::support::router(DataApi::new(config, test.databases.clone())), project)
        });
        (router.clone(), Arc::clone(project))
    }

    fn caller(&self, terms: &Terms) -> Caller {
        match terms.caller.as_deref().unwrap_or("service_role") {
            "user" => self.railway.test.user(Uuid::from_u128(1)),
            role => self.railway.test.caller(role),
        }
    }

    async fn ask(&mut self, exchange: &Exchange) -> String {
        let (router, project) = self.door(&exchange.terms);
        let (method, uri) = exchange.target.split_once(' ').expect("a method and a path");
        let mut request = Request::builder().method(method).uri(utf8_percent_encode(uri, UNFIT).to_string());
        for (name, value) in &exchange.headers {
            request = request.header(name, value);
        }
        let profile = project.rest.db_schemas.first().cloned().unwrap_or_default();
        let request = request.extension(project).extension(self.caller(&exchange.terms));
        let response =
            router.oneshot(request.body(Body::from(exchange.body.clone())).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap_or_else(|it| format!("{:02x?}", it.as_bytes()));
        let headers = headers(&exchange.terms, &parts.headers, (method, parts.status, &body, &profile));
        let mut text = format!("{}\n{headers}", parts.status.as_u16());
        if !body.is_empty() {
            write!(text, "\n{}\n", picked(&body, exchange.terms.pick.as_deref())).unwrap();
        }
        text
    }
}

/// What of the headers is not as it always is.
fn headers(terms: &Terms, map: &HeaderMap, about: (&str, StatusCode, &str, &str)) -> String {
    let (method, status, body, profile) = about;
    let mut lines: Vec<String> = Vec::new();
    for (name, value) in map {
        let value = value.to_str().unwrap_or("?");
        let is_usual = match name.as_str() {
            "content-type" => value == "application/json; charset=utf-8",
            "vary" => value == "Accept, Prefer, Range",
            "content-profile" => value == profile,
            // Of answers that cannot have a body, the server leaves it out.
            "content-length" if method == "HEAD" || status == StatusCode::NO_CONTENT => value == "0",
            "content-length" => value == body.len().to_string() && !body.is_empty(),
            "content-location" => !terms.show.iter().any(|it| it == "content-location"),
            "proxy-status" => value.strip_prefix("PostgREST; error=").is_some_and(|it| is_code(body, it)),
            _ => false,
        };
        if !is_usual {
            lines.push(format!("{name}: {value}\n"));
        }
    }
    let is_plain = !body.is_empty() || (method == "HEAD" && status.is_success());
    let expected = [
        ("content-type", is_plain),
        ("content-profile", is_plain && status.is_success() && terms.settings.get("db-schemas").is_none()),
        ("content-length", !body.is_empty()),
        ("proxy-status", body.starts_with("{\"code\":")),
        ("vary", status.as_u16() < 300),
    ];
    let absent = expected.into_iter().filter(|(name, is_expected)| *is_expected && !map.contains_key(*name));
    lines.extend(absent.map(|(name, _)| format!("{name}: none\n")));
    lines.sort_unstable();
    lines.concat()
}

fn is_code(body: &str, code: &str) -> bool {
    serde_json::from_str::<Value>(body).is_ok_and(|it| it.get("code").is_some_and(|it| it == code))
}

/// The part of a JSON body that a case is about.
fn picked(body: &str, pointer: Option<&str>) -> String {
    let Some(pointer) = pointer else { return body.to_owned() };
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    let part = value.pointer(pointer).unwrap_or(&Value::Null);
    let text = part.to_string();
    if text.len() < 120 { text } else { serde_json::to_string_pretty(part).unwrap() }
}

/// The railway's settings with `change` laid over them.
pub(super) fn laid_over(settings: &RestSettings, change: &serde_json::Map<String, Value>) -> RestSettings {
    let Value::Object(mut object) = serde_json::to_value(settings).unwrap() else { return settings.clone() };
    object.extend(change.clone());
    serde_json::from_value(Value::Object(object)).unwrap()
}
