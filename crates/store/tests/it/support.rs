//! A database per test, removed at its end; a project that points to it; waiting by polling.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::jwt::KeyRing;
use common::{ApiKeys, AuthSettings, Login, Logins, Project, ProjectId, RestSettings};
use futures_util::FutureExt as _;
use store::{Databases, PoolSettings, Server};
use tokio::time::Instant;

/// A database with a data-path login `<name>_login`, which may become `<name>_reader` and `<name>_writer`.
#[derive(Clone)]
pub(crate) struct Fixture {
    pub(crate) name: String,
    pub(crate) server: Server,
    /// The superuser's URL.
    pub(crate) url: String,
}

impl Fixture {
    pub(crate) fn login(&self) -> String {
        format!("{}_login", self.name)
    }

    pub(crate) fn reader(&self) -> String {
        format!("{}_reader", self.name)
    }

    pub(crate) fn writer(&self) -> String {
        format!("{}_writer", self.name)
    }

    pub(crate) async fn admin(&self) -> store::postgres::Client {
        self.server.admin(&self.name).await.unwrap()
    }

    pub(crate) async fn execute(&self, text: &str) {
        self.admin().await.batch_execute(text).await.unwrap();
    }

    /// A project called `reference` whose database is this one.
    pub(crate) fn project(&self, reference: &str) -> Project {
        let login = |user: String| Login { user, password: "secret".into() };
        let key = || "unused".into();
        Project {
            id: ProjectId(uuid::Uuid::nil()),
            reference: reference.parse().unwrap(),
            name: reference.to_owned(),
            database: self.name.clone(),
            logins: Logins {
                owner: login(self.login()),
                authenticator: login(self.login()),
                services: login(self.login()),
            },
            keys: ApiKeys { anon: key(), service_role: key(), publishable: key(), secret: key() },
            jwt: KeyRing::default(),
            auth: AuthSettings::default(),
            rest: RestSettings::default(),
            limits: common::LimitSettings::default(),
            realtime: common::RealtimeSettings::default(),
            version: 1,
            vault: common::Vault::new(&[7; 32]).unwrap(),
        }
    }

    pub(crate) fn databases(&self, settings: PoolSettings) -> Databases {
        Databases::new(self.server.clone(), settings)
    }

    /// Host and port of the server.
    pub(crate) fn address(&self) -> String {
        address(&self.url)
    }

    /// The same, reached by another URL.
    pub(crate) fn through(&self, url: &str, settings: PoolSettings) -> Databases {
        Databases::new(Server::from_url(url).unwrap(), settings)
    }

    /// Backends of this fixture's login, as the server sees them.
    pub(crate) async fn backends(&self, admin: &store::postgres::Client) -> i64 {
        let text = "select count(*) from pg_stat_activity where usename = $1";
        admin.query_one(text, &[&self.login()]).await.unwrap().get(0)
    }

    /// Wait until the login has exactly `count` backends.
    pub(crate) async fn wait_for_backends(&self, count: i64) {
        let admin = self.admin().await;
        eventually("the number of backends", async || {
            let seen = self.backends(&admin).await;
            if seen == count { Ok(()) } else { Err(format!("{seen} instead of {count}")) }
        })
        .await;
    }
}

/// Host and port of `url`.
pub(crate) fn address(url: &str) -> String {
    let url = url::Url::parse(url).unwrap();
    format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432))
}

/// What `attempt` took the quickest time: for what is quick on a machine that others use too. Stops at the first that took
/// less than `limit`.
pub(crate) async fn quickest(limit: Duration, mut attempt: impl AsyncFnMut() -> Duration) -> Duration {
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        quickest = quickest.min(attempt().await);
        if quickest < limit {
            break;
        }
    }
    quickest
}

/// Poll `check` for at most 30 s.
pub(crate) async fn eventually<F: Future<Output = Result<(), String>>>(
    what: &str,
    mut check: impl FnMut() -> F,
) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match check().await {
            Ok(()) => return,
            Err(seen) if Instant::now() > deadline => panic!("{what}: {seen}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Run `test` on a fresh database; the database and its roles go afterwards, whatever happened.
pub(crate) fn run<F>(test: impl FnOnce(Fixture) -> F)
where
    F: Future<Output = ()>,
{
    run_on(false, test);
}

/// As [`run`], on the server that `testkit::standby` streams from.
pub(crate) fn run_replicated<F>(test: impl FnOnce(Fixture) -> F)
where
    F: Future<Output = ()>,
{
    run_on(true, test);
}

fn run_on<F>(replicated: bool, test: impl FnOnce(Fixture) -> F)
where
    F: Future<Output = ()>,
{
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("store_it_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    testkit::run(async {
        let server = if replicated { testkit::primary().await } else { testkit::server().await };
        let (server, url) = (server.store(), server.url());
        let admin = server.admin(server.database().unwrap_or("postgres")).await.unwrap();
        for text in [
            format!("create role {name}_reader"),
            format!("create role {name}_writer"),
            format!("create role {name}_login login noinherit password 'secret'"),
            format!("grant {name}_reader, {name}_writer to {name}_login"),
            format!("create database {name}"),
        ] {
            admin.batch_execute(&text).await.unwrap();
        }
        // On this thread: what a panic says on another one is shown nowhere.
        let test = AssertUnwindSafe(test(Fixture { name: name.clone(), server, url }));
        let outcome = test.catch_unwind().await;
        admin.batch_execute(&format!("drop database {name} with (force)")).await.unwrap();
        admin
            .batch_execute(&format!(
                "drop role {name}_login; drop role {name}_reader; drop role {name}_writer"
            ))
            .await
            .unwrap();
        if let Err(error) = outcome {
            std::panic::resume_unwind(error);
        }
    });
}
