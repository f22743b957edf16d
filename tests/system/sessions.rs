//! Two processes on one PostgreSQL and one Redis, as two proxies are: sessions, changes and ends count in both at once,
//! with Redis, without it, and when it comes back.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use state::postgres::{Ephemeral, Search};
use testkit::RedisServer;
use tokio::time::{Instant, sleep};

use crate::server::{Home, Server, read};

/// "Within a second" (REQ C3): of all ends most must be, since the machine may be busy with other tests.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Each of them. Nothing but being told ends a session within less than its token's hour.
const PATIENCE: Duration = Duration::from_secs(20);

struct Pair {
    a: Server,
    b: Server,
    redis: RedisServer,
    client: Client,
    /// How long each end took until it counted.
    ends: Mutex<Vec<Duration>>,
    /// Dropped last: both processes use it.
    _postgres: Ephemeral,
}

/// What a client keeps.
struct Session {
    access: String,
    refresh: String,
    user: String,
}

impl Pair {
    async fn start() -> Self {
        let redis = RedisServer::start().await;
        let search = Search { only: None, path: std::env::var_os("PATH") };
        let postgres = state::postgres::ephemeral(&search).await.unwrap();
        let home = |redis: &RedisServer| {
            let mut home = Home::new();
            home.variables.push(("DATABASE_URL", postgres.url().to_owned()));
            home.variables.push(("REDIS_URL", redis.url()));
            home
        };
        let a = home(&redis).start();
        let second = home(&redis);
        copy(&a.home().data().join("secrets"), &second.data().join("secrets"));
        let b = second.start();
        let client = Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        Self { a, b, redis, client, ends: Mutex::default(), _postgres: postgres }
    }

    async fn call(
        &self,
        at: &Server,
        (method, path): (Method, &str),
        bearer: &str,
        body: Value,
    ) -> (u16, Value) {
        let key = self.a.fact("anon_key");
        let mut request = self.client.request(method, at.url(path)).header("apikey", key);
        if !bearer.is_empty() {
            request = request.bearer_auth(bearer);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    /// A request with the admin token to the control plane of `at`.
    async fn control(&self, at: &Server, method: Method, path: &str, body: Value) -> Value {
        let token = read(&at.home().data().join("secrets/admin_token"));
        let url = format!("{}{path}", at.fact("control_url"));
        let request = self.client.request(method, url).bearer_auth(token.trim()).json(&body);
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().await.unwrap_or_default()
    }

    async fn sign_in(&self, at: &Server) -> Session {
        let body = json!({"email": "ada@example.com", "password": "correct horse"});
        let (status, answer) =
            self.call(at, (Method::POST, "/auth/v1/token?grant_type=password"), "", body).await;
        assert_eq!(status, 200, "{answer}");
        Session::of(&answer)
    }

    async fn sign_out(&self, at: &Server, session: &Session) {
        let path = "/auth/v1/logout?scope=local";
        let (status, answer) = self.call(at, (Method::POST, path), &session.access, Value::Null).await;
        assert_eq!(status, 204, "{answer}");
    }

    /// Who the token is, to auth and to the data API: their statuses.
    async fn admitted(&self, at: &Server, session: &Session) -> (u16, u16) {
        let auth = self.call(at, (Method::GET, "/auth/v1/user"), &session.access, Value::Null).await.0;
        let data = self.call(at, (Method::GET, "/rest/v1/"), &session.access, Value::Null).await.0;
        (auth, data)
    }

    async fn is_refused_soon(&self, at: &Server, session: &Session, auth: u16, what: &str) {
        let started = Instant::now();
        while self.admitted(at, session).await != (auth, 401) {
            assert!(started.elapsed() < PATIENCE, "{what}: {:?}", self.admitted(at, session).await);
            sleep(Duration::from_millis(10)).await;
        }
        self.ends.lock().unwrap().push(started.elapsed());
    }

    /// The middle one of all ends so far counted within a second.
    fn ended_at_once(&self) {
        let mut ends = self.ends.lock().unwrap();
        ends.sort_unstable();
        assert!(ends[ends.len() / 2] < AT_ONCE, "{ends:?}");
    }
}

impl Session {
    fn of(answer: &Value) -> Self {
        let text = |it: &Value| it.as_str().unwrap().to_owned();
        Self {
            access: text(&answer["access_token"]),
            refresh: text(&answer["refresh_token"]),
            user: text(&answer["user"]["id"]),
        }
    }
}

/// A second node of the same installation has the same keys.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for folder in [to.parent().unwrap(), to] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

// REQ C3, C7, C8
#[tokio::test]
async fn sessions_are_shared_and_end_everywhere_with_redis_without_it_and_again() {
    let mut pair = Pair::start().await;
    let strict = json!({"auth": {"strict_sessions": true}});
    pair.control(&pair.a, Method::PATCH, "/api/v1/projects/default/settings", strict).await;
    let body = json!({"email": "ada@example.com", "password": "correct horse"});
    let (status, answer) = pair.call(&pair.a, (Method::POST, "/auth/v1/signup"), "", body).await;
    assert_eq!(status, 200, "{answer}");

    // Made on A, valid on B; signed out on A, refused on B.
    let session = Session::of(&answer);
    assert_eq!(pair.admitted(&pair.b, &session).await, (200, 200));
    assert_eq!(pair.admitted(&pair.a, &session).await, (200, 200));
    assert!(pair.redis.cli(&["keys", "session:default:*"]).contains("session:default:"));
    pair.sign_out(&pair.a, &session).await;
    pair.is_refused_soon(&pair.b, &session, 403, "signed out on A").await;
    pair.is_refused_soon(&pair.a, &session, 403, "signed out on A").await;

    // Redis killed: everything goes on, and nobody waits for it.
    let before = pair.sign_in(&pair.a).await;
    assert_eq!(pair.admitted(&pair.b, &before).await, (200, 200));
    pair.redis.kill();
    let session = pair.sign_in(&pair.a).await;
    let started = Instant::now();
    assert_eq!(pair.admitted(&pair.b, &session).await, (200, 200));
    let body = json!({"refresh_token": session.refresh});
    let (status, answer) =
        pair.call(&pair.b, (Method::POST, "/auth/v1/token?grant_type=refresh_token"), "", body).await;
    assert_eq!(status, 200, "{answer}");
    let session = Session::of(&answer);
    assert_eq!(pair.admitted(&pair.a, &session).await, (200, 200));
    pair.sign_out(&pair.b, &session).await;
    assert!(started.elapsed() < AT_ONCE * 10, "without Redis: {:?}", started.elapsed());
    pair.is_refused_soon(&pair.a, &session, 403, "signed out without Redis").await;
    pair.sign_out(&pair.a, &before).await;
    pair.is_refused_soon(&pair.b, &before, 403, "signed out without Redis").await;

    // Redis back: shared again, and what ended meanwhile stays ended.
    pair.redis.restart().await;
    let session = pair.sign_in(&pair.b).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while pair.redis.cli(&["keys", "session:default:*"]).is_empty() {
        assert!(Instant::now() < deadline, "Redis is not used again");
        sleep(Duration::from_millis(100)).await;
        let session = pair.sign_in(&pair.a).await;
        assert_eq!(pair.admitted(&pair.b, &session).await, (200, 200));
    }
    assert_eq!(pair.admitted(&pair.a, &session).await, (200, 200));
    assert_eq!(pair.admitted(&pair.a, &before).await, (403, 401));
    pair.sign_out(&pair.b, &session).await;
    pair.is_refused_soon(&pair.a, &session, 403, "signed out with Redis back").await;

    everything_else_that_ends_a_session(&pair).await;
    pair.ended_at_once();
    let (a, b) = (pair.a.stop().await, pair.b.stop().await);
    drop((a, b));
}

/// A ban, a change of password, new keys, the user's deletion.
async fn everything_else_that_ends_a_session(pair: &Pair) {
    let key = pair.a.fact("service_role_key").to_owned();
    let session = pair.sign_in(&pair.a).await;
    assert_eq!(pair.admitted(&pair.b, &session).await, (200, 200));
    let path = format!("/auth/v1/admin/users/{}", session.user);
    let ban = json!({"ban_duration": "1h"});
    assert_eq!(pair.call(&pair.a, (Method::PUT, &path), &key, ban).await.0, 200);
    pair.is_refused_soon(&pair.b, &session, 403, "banned on A").await;
    let lift = json!({"ban_duration": "none"});
    assert_eq!(pair.call(&pair.a, (Method::PUT, &path), &key, lift).await.0, 200);

    let session = pair.sign_in(&pair.a).await;
    assert_eq!(pair.admitted(&pair.b, &session).await, (200, 200));
    let password = json!({"password": "another horse"});
    assert_eq!(pair.call(&pair.a, (Method::PUT, &path), &key, password).await.0, 200);
    pair.is_refused_soon(&pair.b, &session, 403, "password changed on A").await;

    let back = json!({"password": "correct horse"});
    assert_eq!(pair.call(&pair.a, (Method::PUT, &path), &key, back).await.0, 200);
    let session = pair.sign_in(&pair.b).await;
    assert_eq!(pair.admitted(&pair.b, &session).await, (200, 200));
    assert_eq!(pair.call(&pair.a, (Method::DELETE, &path), &key, Value::Null).await.0, 200);
    pair.is_refused_soon(&pair.b, &session, 403, "deleted on A").await;

    let opaque = async |key: &str| {
        let request = pair.client.get(pair.b.url("/rest/v1/")).header("apikey", key);
        request.send().await.unwrap().status().as_u16()
    };
    let keys = pair.control(&pair.a, Method::GET, "/api/v1/projects/default/keys", Value::Null).await;
    let old = keys["secret"].as_str().unwrap();
    assert_eq!(opaque(old).await, 200);
    pair.control(&pair.a, Method::POST, "/api/v1/projects/default/keys/rotate", json!({})).await;
    let started = Instant::now();
    while opaque(old).await != 401 {
        assert!(started.elapsed() < PATIENCE, "an old key still opens B");
        sleep(Duration::from_millis(10)).await;
    }
    pair.ends.lock().unwrap().push(started.elapsed());
}
