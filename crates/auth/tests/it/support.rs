//! A project with an auth service in front, a clock of its own, and answers that can be compared.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use auth::{Auth, Clock, Config};
use axum::Router;
use axum::body::Body;
use common::{AuthSettings, Caller, CapturedMail, ClientAddress, Inbox, Project, PublicUrl, RequestId};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testkit::TestProject;
use tower::ServiceExt as _;

pub(crate) const PASSWORD: &str = "correct horse battery";

pub(crate) struct Api {
    pub(crate) project: Arc<Project>,
    pub(crate) test: TestProject,
    pub(crate) inbox: Inbox,
    router: Router,
    ahead_secs: Arc<AtomicI64>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Api {
    pub(crate) async fn new(name: &str, settings: AuthSettings) -> Self {
        Self::configured(name, settings, Vec::new()).await
    }

    /// A service that sends a mail again at once when it failed.
    pub(crate) async fn retrying(name: &str, settings: AuthSettings) -> Self {
        Self::configured(name, settings, vec![Duration::from_millis(10)]).await
    }

    /// A service with real hashes and so many threads for them.
    pub(crate) async fn hashing(name: &str, hashing_threads: usize) -> Self {
        let config = Config { hashing_threads, ..Config::default() };
        Self::of(name, AuthSettings::default(), config).await
    }

    /// A service whose projects may define providers anywhere.
    pub(crate) async fn trusting(name: &str, settings: AuthSettings) -> Self {
        let private =
            Config { private_providers: true, argon2_memory_kib: 64, argon2_passes: 1, ..Config::default() };
        Self::of(name, settings, private).await
    }

    /// A service in which one mail waits or is on its way, and no other.
    pub(crate) async fn narrow(name: &str, settings: AuthSettings) -> Self {
        let config = Config { mail_queue: 1, argon2_memory_kib: 64, argon2_passes: 1, ..Config::default() };
        Self::of(name, settings, config).await
    }

    async fn configured(name: &str, settings: AuthSettings, mail_retries: Vec<Duration>) -> Self {
        // Cheap hashes and quick answers: what they cost is not the matter here.
        let config = Config {
            argon2_memory_kib: 64,
            argon2_passes: 1,
            mail_retries,
            answer_grid: Duration::from_millis(1),
            ..Config::default()
        };
        Self::of(name, settings, config).await
    }

    /// A service whose answers leave at multiples of `answer_grid`, with real hashes.
    pub(crate) async fn even(name: &str, settings: AuthSettings, answer_grid: Duration) -> Self {
        Self::of(name, settings, Config { answer_grid, ..Config::default() }).await
    }

    async fn of(name: &str, settings: AuthSettings, config: Config) -> Self {
        let test = testkit::project(name).await;
        let ahead_secs = Arc::new(AtomicI64::new(0));
        let ahead = Arc::clone(&ahead_secs);
        let clock =
            Clock::new(move || Timestamp::now() + SignedDuration::from_secs(ahead.load(Ordering::Relaxed)));
        let config = Config { clock, ..config };
        let inbox = Inbox::new(50);
        let router = auth::router(Auth::new(config, test.databases.clone(), inbox.clone()));
        let project = Arc::new(Project { auth: settings, ..(*test.project).clone() });
        Self { project, test, inbox, router, ahead_secs }
    }

    /// Another process, asked for the same project.
    pub(crate) fn restarted(&self, settings: AuthSettings) -> Self {
        let ahead = Arc::clone(&self.ahead_secs);
        let clock =
            Clock::new(move || Timestamp::now() + SignedDuration::from_secs(ahead.load(Ordering::Relaxed)));
        let config = Config { argon2_memory_kib: 64, argon2_passes: 1, clock, ..Config::default() };
        let router = auth::router(Auth::new(config, self.test.databases.clone(), self.inbox.clone()));
        Self { router, ..self.with(settings) }
    }

    /// The same service, asked for the same project with other settings.
    pub(crate) fn with(&self, settings: AuthSettings) -> Self {
        let test = TestProject {
            project: Arc::clone(&self.test.project),
            databases: self.test.databases.clone(),
            control_plane: self.test.control_plane.clone(),
        };
        let project = Arc::new(Project { auth: settings, ..(*self.project).clone() });
        let (inbox, router) = (self.inbox.clone(), self.router.clone());
        Self { project, test, inbox, router, ahead_secs: Arc::clone(&self.ahead_secs) }
    }

    /// The service's time, in seconds since 1970.
    pub(crate) fn now_secs(&self) -> i64 {
        Timestamp::now().as_second() + self.ahead_secs.load(Ordering::Relaxed)
    }

    /// Let time pass.
    pub(crate) fn wait(&self, secs: i64) {
        self.ahead_secs.fetch_add(secs, Ordering::Relaxed);
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = match serde_json::from_slice(&bytes) {
            Ok(value) => value,
            Err(_) => String::from_utf8(bytes.to_vec()).unwrap().into(),
        };
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// A request as the gateway passes it on.
    pub(crate) fn request(
        &self,
        method: &Method,
        path: &str,
        bearer: Option<&str>,
    ) -> http::request::Builder {
        let caller = self.test.caller("anon");
        self.request_of(method, path, bearer, caller)
    }

    fn request_of(
        &self,
        method: &Method,
        path: &str,
        bearer: Option<&str>,
        caller: Caller,
    ) -> http::request::Builder {
        let mut builder = Request::builder()
            .method(method)
            .uri(path)
            .extension(Arc::clone(&self.project))
            .extension(caller)
            .extension(RequestId("request-1".into()))
            .extension(ClientAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)))
            .extension(PublicUrl("http://api.test".into()));
        if let Some(bearer) = bearer {
            builder = builder.header("authorization", format!("Bearer {bearer}"));
        }
        builder
    }

    pub(crate) async fn call(&self, method: Method, path: &str, bearer: Option<&str>, body: Value) -> Answer {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        self.send(self.request(&method, path, bearer).body(body).unwrap()).await
    }

    /// A request from `address`.
    pub(crate) async fn from(&self, address: [u8; 4], path: &str, body: &Value) -> Answer {
        let request = self.request(&Method::POST, path, None).extension(ClientAddress(address.into()));
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, None, body).await
    }

    pub(crate) async fn get(&self, path: &str, bearer: Option<&str>) -> Answer {
        self.call(Method::GET, path, bearer, Value::Null).await
    }

    /// A request with the service key.
    pub(crate) async fn admin(&self, method: Method, path: &str, body: Value) -> Answer {
        let key = self.project.keys.service_role.expose_secret().to_owned();
        self.call(method, path, Some(&key), body).await
    }

    /// A request as the gateway passes it on when the client sent an opaque key.
    pub(crate) async fn opaque(&self, method: Method, path: &str, role: &str) -> Answer {
        let caller = self.test.caller(role);
        let request = self.request_of(&method, path, Some("sb_secret_x"), caller);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// Sign up, with confirmations off.
    pub(crate) async fn sign_up(&self, email: &str) -> Session {
        let answer = self.post("/signup", json!({"email": email, "password": PASSWORD})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        Session::of(&answer)
    }

    pub(crate) async fn sign_in(&self, email: &str, password: &str) -> Answer {
        self.post("/token?grant_type=password", json!({"email": email, "password": password})).await
    }

    pub(crate) async fn refresh(&self, token: &str) -> Answer {
        self.post("/token?grant_type=refresh_token", json!({"refresh_token": token})).await
    }

    /// The newest mail.
    pub(crate) fn mail(&self) -> CapturedMail {
        self.inbox.list().into_iter().next().expect("a mail was sent")
    }
}

/// What a client keeps of a session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) user_id: String,
}

impl Session {
    pub(crate) fn of(answer: &Answer) -> Self {
        let text = |value: &Value| {
            value.as_str().unwrap_or_else(|| panic!("no session in {}", answer.body)).to_owned()
        };
        Self {
            access: text(&answer.body["access_token"]),
            refresh: text(&answer.body["refresh_token"]),
            user_id: text(&answer.body["user"]["id"]),
        }
    }
}

impl Answer {
    /// Status and code of a refusal.
    pub(crate) fn refusal(&self) -> (u16, &str) {
        let code = self.headers.get("x-sb-error-code").map_or("", |it| it.to_str().unwrap());
        (self.status.as_u16(), code)
    }

    /// Status and body, with what differs from run to run replaced by its shape.
    pub(crate) fn redacted(&self) -> String {
        let body = serde_json::to_string_pretty(&redact(&self.body)).unwrap();
        format!("{} {body}", self.status.as_u16())
    }

    pub(crate) fn location(&self) -> String {
        self.headers["location"].to_str().unwrap().to_owned()
    }
}

/// The S256 challenge of a PKCE verifier.
pub(crate) fn s256(verifier: &str) -> String {
    use base64::Engine as _;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(digest)
}

/// The six digits and the link's token of a mail.
pub(crate) fn code_of(mail: &CapturedMail) -> String {
    let (_, after) = mail.html.split_once("letter-spacing:2px\">").unwrap();
    after.chars().take(6).collect()
}

/// The code of a captured SMS.
pub(crate) fn sms_of(sms: &CapturedMail) -> String {
    sms.subject.chars().filter(char::is_ascii_digit).collect()
}

/// A code that is not `code`.
pub(crate) fn other_code(code: &str) -> String {
    let first = if code.starts_with('1') { "2" } else { "1" };
    format!("{first}{}", &code[1..])
}

pub(crate) fn token_of(mail: &CapturedMail) -> String {
    let link = url::Url::parse(mail.link.as_ref().unwrap()).unwrap();
    link.query_pairs().find(|(name, _)| name == "token").unwrap().1.into_owned()
}

/// The link of a mail as the router sees it.
pub(crate) fn path_of(mail: &CapturedMail) -> String {
    mail.link.as_ref().unwrap().strip_prefix("http://api.test/auth/v1").unwrap().to_owned()
}

fn redact(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            map.iter().map(|(name, value)| (name.clone(), redact_field(name, value))).collect()
        }
        Value::Array(items) => items.iter().map(redact).collect(),
        Value::String(_) => redact_field("", value),
        other => other.clone(),
    }
}

fn redact_field(name: &str, value: &Value) -> Value {
    match value {
        Value::String(text) if uuid::Uuid::parse_str(text).is_ok() => "[id]".into(),
        Value::String(text) if text.len() > 15 && text.parse::<Timestamp>().is_ok() => "[time]".into(),
        Value::String(_)
            if matches!(
                name,
                "access_token" | "refresh_token" | "hashed_token" | "action_link" | "email_otp"
            ) =>
        {
            format!("[{name}]").into()
        }
        Value::Number(_) if matches!(name, "expires_at" | "exp" | "iat" | "timestamp") => "[seconds]".into(),
        Value::String(_) => value.clone(),
        other => redact(other),
    }
}
