//! What the log says while people sign up, sign in, refresh and fail: no password, no code, no token, no address.

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

use http::Method;
use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::confirming;
use crate::smtp;
use crate::support::{Api, Session};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps every event and every span of this process, at every level.
struct Recorder;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write as _;
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

fn keep(metadata: &Metadata<'_>, record: impl FnOnce(&mut Line)) {
    let mut line = Line(format!("{} {}", metadata.target(), metadata.name()));
    record(&mut line);
    LINES.lock().unwrap_or_else(PoisonError::into_inner).push(line.0);
}

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        keep(span.metadata(), |it| span.record(it));
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = Line("span".to_owned());
        values.record(&mut line);
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(line.0);
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        keep(event.metadata(), |it| event.record(it));
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Record from now on; other tests of this process are recorded too, which harms nobody.
fn record() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| tracing::subscriber::set_global_default(Recorder).expect("nobody else listens"));
}

fn code_in(text: &str) -> String {
    let (_, after) = text.split_once("enter the code ").unwrap();
    after.chars().take(6).collect()
}

/// The words of a mail, its lines joined again.
fn plain(data: &str) -> String {
    data.replace("=\r\n", "").replace("=3D", "=")
}

#[test]
fn no_password_code_token_or_address_is_logged() {
    testkit::run(async {
        record();
        let (port, mut mails) = smtp::server(0).await;
        let api = Api::new(
            "hostile_logs",
            common::AuthSettings { smtp: smtp::settings(port).smtp, ..confirming() },
        )
        .await;
        let (address, password) = ("zebra-lamp@example.com", "a-password-that-no-log-holds");
        let body = json!({"email": address, "password": password});
        assert_eq!(api.post("/signup", body.clone()).await.status, 200);
        let code = code_in(&plain(&smtp::next(&mut mails).await.data));
        let wrong = json!({"type": "signup", "email": address, "token": "abcdef"});
        assert_eq!(api.post("/verify", wrong).await.status, 403);
        let verify = json!({"type": "signup", "email": address, "token": code});
        let session = Session::of(&api.post("/verify", verify).await);
        let signed_in = Session::of(&api.post("/token?grant_type=password", body).await);
        let mistyped = "a-password-that-is-wrong-and-not-logged";
        assert_eq!(api.sign_in(address, mistyped).await.status, 400);
        let refreshed = Session::of(&api.refresh(&signed_in.refresh).await);
        assert_eq!(api.post("/recover", json!({"email": address})).await.status, 200);
        let mail = plain(&smtp::next(&mut mails).await.data);
        let link = mail.split("token=").nth(1).unwrap().split('&').next().unwrap().to_owned();
        assert_eq!(link.len(), 56, "{mail}");
        let answer = api.get(&format!("/verify?type=recovery&token={link}"), None).await;
        let opened =
            answer.location().split("access_token=").nth(1).unwrap().split('&').next().unwrap().to_owned();
        let key = "sk-a-bearer-that-no-log-holds";
        assert_eq!(api.get("/user", Some(key)).await.status, 403);
        // A failure of the database is logged with its cause, which must not hold the row.
        api.test.owner().await.batch_execute(
            "create function public.fail() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$; \
             create trigger fail before update on auth.users for each row execute function public.fail()",
        ).await.unwrap();
        let body =
            json!({"data": {"pet": "a-cat-that-no-log-holds"}, "password": "another-one-that-no-log-holds"});
        let failed = api.call(Method::PUT, "/user", Some(&session.access), body).await;
        assert_eq!(failed.status, 500, "{}", failed.body);
        let keys = [api.project.keys.service_role.clone(), api.project.keys.secret.clone()];
        assert_eq!(api.admin(Method::GET, "/admin/users", Value::Null).await.status, 200);
        let mut secrets: Vec<String> =
            [password, mistyped, address, key, "a-cat-that-no-log-holds", "another-one-that-no-log-holds"]
                .map(str::to_owned)
                .to_vec();
        secrets.extend([link, opened, code]);
        for it in [&session, &signed_in, &refreshed] {
            secrets.extend([it.access.clone(), it.refresh.clone()]);
        }
        secrets.extend(keys.iter().map(|it| secrecy::ExposeSecret::expose_secret(it).to_owned()));
        check(&secrets);
    });
}

/// No line holds any of `secrets`, and there are lines.
fn check(secrets: &[String]) {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(lines.iter().any(|it| it.contains("auth refused")), "nothing was recorded");
    assert!(lines.iter().any(|it| it.contains("auth failed")), "the failure was not recorded");
    for secret in secrets {
        let held = |line: &&String| {
            line.match_indices(secret.as_str()).any(|(at, _)| {
                let joins = |it: Option<char>| it.is_some_and(|it| it.is_ascii_alphanumeric() || it == '.');
                let (before, after) = (&line[..at], &line[at + secret.len()..]);
                // Six digits stand in other numbers by accident.
                secret.len() > 6 || !(joins(before.chars().next_back()) || joins(after.chars().next()))
            })
        };
        assert_eq!(lines.iter().find(held), None, "a secret is logged");
    }
}
