//! The areas of the data API's contract that the gateway answers for it: JWT and roles, CORS, timing and trace headers.
//!
//! Served alone, as PostgREST is. Cases are rows of a table, and their answers one snapshot per area: a case taken away
//! is a difference, as is a changed answer. The other areas are in `crates/data_api/tests/it/areas`.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use common::jwt::{Key, KeyRing};
use common::{Project, RestSettings};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::direct::world;
use crate::world::{World, now, token};

/// Who a request is taken for, or why it is refused.
async fn outcome(request: RequestBuilder) -> String {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let told = answer.headers().get("www-authenticate").map(|it| it.to_str().unwrap().to_owned());
    let body: Value = answer.json().await.unwrap();
    if status == 200 {
        return format!("200 {}", body["caller"]["role"].as_str().unwrap_or("?"));
    }
    let (code, message) = (body["code"].as_str().unwrap(), body["message"].as_str().unwrap());
    format!("{status} {code} {message} | {}", told.unwrap_or_else(|| "-".into()))
}

/// `header.payload.` without a signature.
fn unsigned(header: &Value, payload: &str) -> String {
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.", part(&header.to_string()), part(payload))
}

/// A case: what it shows, and the `Authorization` header made with the project's keys.
type TokenCase<'c> = (&'c str, Box<dyn Fn(&Project) -> String>);

fn claims(name: &'static str, claims: Value) -> TokenCase<'static> {
    (name, Box::new(move |project| format!("Bearer {}", token(project, &claims))))
}

fn text(name: &'static str, text: impl Into<String>) -> TokenCase<'static> {
    let text = text.into();
    (name, Box::new(move |_| text.clone()))
}

async fn table(rest: RestSettings, cases: Vec<TokenCase<'_>>) -> String {
    let (world, project) = world(rest).await;
    let mut text = String::new();
    for (name, header) in cases {
        let request = world.client.get(world.url("/x")).header("authorization", header(&project));
        writeln!(text, "{name}: {}", outcome(request).await).unwrap();
    }
    text
}

/// Forms of the header and of the token.
fn forms() -> Vec<TokenCase<'static>> {
    let member = json!({ "role": "member" });
    let signed = |scheme: &'static str| -> Box<dyn Fn(&Project) -> String> {
        Box::new(move |project| format!("{scheme} {}", token(project, &json!({ "role": "member" }))))
    };
    let legacy = move |project: &Project| {
        format!("Bearer {}", project.jwt.sign_hs256(member.as_object().unwrap()).unwrap())
    };
    let foreign = |_: &Project| {
        let ring = KeyRing::new(vec![Key::from_secret(b"another secret of thirty-two bytes and more")]);
        format!("Bearer {}", ring.sign_hs256(json!({ "role": "member" }).as_object().unwrap()).unwrap())
    };
    let tampered = |project: &Project| {
        let token = token(project, &json!({ "role": "member" }));
        let (head, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = head.split_once('.').unwrap();
        let payload = BASE64_URL_SAFE_NO_PAD.encode(r#"{"role":"service_role"}"#);
        format!("Bearer {header}.{payload}.{signature}")
    };
    vec![
        ("scheme", signed("Bearer")),
        ("scheme in lower case", signed("bearer")),
        ("scheme in upper case", signed("BEARER")),
        ("another scheme", signed("Basic")),
        ("signed by the shared secret", Box::new(legacy)),
        ("signed by another secret", Box::new(foreign)),
        ("another payload under the signature", Box::new(tampered)),
        text("no token behind the scheme", "Bearer "),
        text("one part", "Bearer a"),
        text("two parts", "Bearer a.b"),
        text("four parts", "Bearer a.b.c.d"),
        text("three parts of nonsense", "Bearer a.b.c"),
        text("algorithm none", format!("Bearer {}", unsigned(&json!({ "alg": "none" }), "{}"))),
        text("unknown algorithm", format!("Bearer {}", unsigned(&json!({ "alg": "XS1" }), "{}"))),
        text("no algorithm", format!("Bearer {}", unsigned(&json!({ "typ": "JWT" }), "{}"))),
        text("unknown key", format!("Bearer {}", unsigned(&json!({ "alg": "ES256", "kid": "k" }), "{}"))),
    ]
}

/// Claims about time and role.
fn times() -> Vec<TokenCase<'static>> {
    vec![
        claims("a role", json!({ "role": "member" })),
        claims("no role", json!({ "sub": "1" })),
        claims("a role that is no text", json!({ "role": 1 })),
        claims("exp to come", json!({ "role": "member", "exp": now() + 60 })),
        claims("exp just gone, within the skew", json!({ "role": "member", "exp": now() - 15 })),
        claims("exp gone", json!({ "role": "member", "exp": now() - 60 })),
        claims("exp with a fraction", json!({ "role": "member", "exp": 4_102_444_800.5 })),
        claims("exp that is no number", json!({ "role": "member", "exp": "soon" })),
        claims("nbf gone", json!({ "role": "member", "nbf": now() - 60 })),
        claims("nbf about to come, within the skew", json!({ "role": "member", "nbf": now() + 15 })),
        claims("nbf to come", json!({ "role": "member", "nbf": now() + 60 })),
        claims("nbf that is no number", json!({ "role": "member", "nbf": [1] })),
        claims("iat gone", json!({ "role": "member", "iat": now() - 60 })),
        claims("iat about to come, within the skew", json!({ "role": "member", "iat": now() + 15 })),
        claims("iat to come", json!({ "role": "member", "iat": now() + 60 })),
        claims("iat that is no number", json!({ "role": "member", "iat": {} })),
    ]
}

fn audiences() -> Vec<TokenCase<'static>> {
    let cases = [
        ("aud as it must be", json!("us")),
        ("aud of others", json!("them")),
        ("aud among several", json!(["them", "us"])),
        ("aud not among several", json!(["them"])),
        ("aud that is empty", json!([])),
        ("aud null", json!(null)),
        ("aud that is no text", json!(1)),
        ("aud with a number in it", json!(["us", 1])),
    ];
    let mut rows: Vec<_> =
        cases.map(|(name, aud)| claims(name, json!({ "role": "member", "aud": aud }))).into();
    rows.push(claims("no aud", json!({ "role": "member" })));
    rows
}

fn with(change: impl FnOnce(&mut RestSettings)) -> RestSettings {
    let mut rest = RestSettings::default();
    change(&mut rest);
    rest
}

#[tokio::test]
async fn tokens_and_roles_are_read_as_postgrest_reads_them() {
    let mut answers = String::new();
    let mut section = |title: &str, text: &str| write!(answers, "# {title}\n{text}").unwrap();
    section("forms", &table(RestSettings::default(), forms()).await);
    section("times and roles", &table(RestSettings::default(), times()).await);
    section("jwt-aud is us", &table(with(|it| it.jwt_aud = Some("us".into())), audiences()).await);
    section("no jwt-aud", &table(RestSettings::default(), audiences()).await);
    for path in ["$.app.role", "$.roles[1]", ".app.role", "$.roles[?(@ == \"b\")]"] {
        let rest = with(|it| it.jwt_role_claim_key = path.into());
        let cases = vec![
            claims("app and roles", json!({ "role": "x", "app": { "role": "deep" }, "roles": ["a", "b"] })),
            claims("neither", json!({ "role": "x" })),
        ];
        section(&format!("jwt-role-claim-key is {path}"), &table(rest, cases).await);
    }
    for (title, rest) in [
        ("no header", RestSettings::default()),
        ("no header, no db-anon-role", with(|it| it.db_anon_role = None)),
    ] {
        let (world, _) = world(rest).await;
        section(title, &format!("no token: {}\n", outcome(world.client.get(world.url("/x"))).await));
    }
    insta::assert_snapshot!("jwt_and_roles", answers);
}

/// One line per header of interest.
async fn marks(request: RequestBuilder) -> String {
    let answer = request.send().await.unwrap();
    let mut text = format!("{}\n", answer.status().as_u16());
    for name in
        ["allow-origin", "allow-credentials", "allow-methods", "allow-headers", "max-age", "expose-headers"]
    {
        if let Some(value) = answer.headers().get(format!("access-control-{name}")) {
            writeln!(text, "  {name}: {}", value.to_str().unwrap()).unwrap();
        }
    }
    text
}

fn preflight(world: &World, origin: &str) -> RequestBuilder {
    let request = world.client.request(http::Method::OPTIONS, world.url("/items"));
    request.header("origin", origin).header("access-control-request-method", "POST")
}

#[tokio::test]
async fn other_origins_are_answered_as_postgrest_answers_them() {
    let mut answers = String::new();
    let listed = vec!["https://a.example".into(), "https://b.example".into()];
    for (title, rest) in [
        ("any origin", RestSettings::default()),
        ("a list of origins", with(|it| it.server_cors_allowed_origins = listed)),
    ] {
        let (world, _) = world(rest).await;
        let get = || world.client.get(world.url("/items"));
        let bare = world.client.request(http::Method::OPTIONS, world.url("/items"));
        for (name, request) in [
            ("a preflight", preflight(&world, "https://a.example")),
            (
                "a preflight that asks for headers",
                preflight(&world, "https://a.example").header("access-control-request-headers", "Foo,Bar"),
            ),
            ("a preflight of another origin", preflight(&world, "https://c.example")),
            ("a request", get().header("origin", "https://b.example")),
            ("a request of another origin", get().header("origin", "https://c.example")),
            ("a request without origin", get()),
            ("a refused request", get().header("origin", "https://a.example").bearer_auth("a.b")),
            ("OPTIONS that is no preflight", bare.header("origin", "https://a.example")),
        ] {
            write!(answers, "{title}, {name}: {}", marks(request).await).unwrap();
        }
    }
    insta::assert_snapshot!("cors", answers);
}

#[tokio::test]
async fn stages_are_timed_and_traces_echoed_when_the_project_says_so() {
    let mut answers = String::new();
    for (title, rest) in [
        ("off", RestSettings::default()),
        ("timing", with(|it| it.server_timing_enabled = true)),
        ("trace", with(|it| it.server_trace_header = Some("X-Trace-Id".into()))),
    ] {
        let (world, _) = world(rest).await;
        for (name, path, trace) in [
            ("no trace", "/timed", None),
            ("a trace", "/timed", Some("t1")),
            ("an answer that was not timed", "/items", Some("t2")),
        ] {
            let mut request = world.client.get(world.url(path));
            if let Some(trace) = trace {
                request = request.header("x-trace-id", trace);
            }
            let answer = request.send().await.unwrap();
            let header =
                |name| answer.headers().get(name).map_or("-", |it: &http::HeaderValue| it.to_str().unwrap());
            let timing = header("server-timing");
            // The gateway's own share differs each time.
            let timing = timing.split_once(", ").map_or(timing.to_owned(), |(own, rest)| {
                format!("{}, {rest}", own.split_once('=').unwrap().0)
            });
            writeln!(answers, "{title}, {name}: server-timing {timing}; x-trace-id {}", header("x-trace-id"))
                .unwrap();
        }
    }
    insta::assert_snapshot!("timing_and_trace", answers);
}
