//! Sessions that several processes share (REQ C3, C8): each test has two auth services on one PostgreSQL, with or
//! without a real Redis between them.

use std::sync::Arc;
use std::time::Duration;

use auth::{Auth, Config, Error, SessionManager};
use common::{Inbox, Project, SessionCheck as _, UserId};
use store::{Databases, PoolSettings, Redis, RedisSettings};
use testkit::{RedisServer, TestProject};
use tokio::time::Instant;
use uuid::Uuid;

struct Two {
    test: TestProject,
    user: UserId,
    project: Arc<Project>,
    a: Auth,
    b: Auth,
}

impl Two {
    async fn new(name: &str, redis: Option<&RedisServer>) -> Self {
        let test = testkit::project(name).await;
        let user = UserId(Uuid::new_v4());
        let insert =
            "insert into auth.users (id, email, role, aud) values ($1, 'ada@x.y', 'authenticated', 'x')";
        test.admin().await.execute(insert, &[&user.0]).await.unwrap();
        let project = Arc::clone(&test.project);
        let (a, b) = (process(redis).await, process(redis).await);
        Self { test, user, project, a, b }
    }

    fn managers(&self) -> (SessionManager, SessionManager) {
        (self.a.sessions(Arc::clone(&self.project)), self.b.sessions(Arc::clone(&self.project)))
    }

    async fn execute(&self, statement: &str) {
        self.test.admin().await.batch_execute(statement).await.unwrap();
    }
}

/// An auth service with connections of its own, as another process has.
async fn process(redis: Option<&RedisServer>) -> Auth {
    let settings = RedisSettings { url: redis.map(|it| it.url().into()), ..RedisSettings::default() };
    let redis = Redis::open(settings).unwrap();
    let databases = Databases::new(testkit::server().await.store(), PoolSettings::default());
    Auth::new(Config { redis, ..Config::default() }, databases, Inbox::new(1))
}

/// How long `token` is good for after it ended: twenty seconds would be for its hour.
async fn ends(sessions: &SessionManager, token: &str) -> Duration {
    let started = Instant::now();
    loop {
        match sessions.validate_session(token).await {
            Err(Error::SessionMissing) => return started.elapsed(),
            Ok(_) => assert!(
                started.elapsed() < Duration::from_secs(20),
                "still valid after {:?}",
                started.elapsed()
            ),
            Err(error) => panic!("{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn made_here_is_valid_there_and_ends_everywhere(two: &Two) {
    let (a, b) = two.managers();
    let token = a.create_session(two.user, "ada@x.y", "authenticated").await.unwrap();
    let seen = b.validate_session(&token).await.unwrap();
    assert_eq!((seen.user_id, &*seen.email, &*seen.role), (two.user, "ada@x.y", "authenticated"));
    assert_eq!(a.validate_session(&token).await.unwrap(), seen);
    // Somebody else's secret behind the right id opens nothing.
    let (id, _) = token.split_once('.').unwrap();
    let forged = format!("{id}.{}", "a".repeat(43));
    for bad in [&*forged, id, "", ".", "nope.nope"] {
        assert!(matches!(b.validate_session(bad).await, Err(Error::SessionMissing)), "{bad}");
    }
    b.revoke_session(&forged).await.unwrap();
    assert!(b.validate_session(&token).await.is_ok(), "a forged token ends nothing");
    a.revoke_session(&token).await.unwrap();
    assert!(matches!(a.validate_session(&token).await, Err(Error::SessionMissing)));
    ends(&b, &token).await;
}

// REQ C3
#[test]
fn a_session_is_shared_and_ended_through_redis() {
    testkit::run(async {
        let server = RedisServer::start().await;
        let two = Two::new("shared", Some(&server)).await;
        made_here_is_valid_there_and_ends_everywhere(&two).await;
        let (a, _) = two.managers();
        let token = a.create_session(two.user, "ada@x.y", "authenticated").await.unwrap();
        a.validate_session(&token).await.unwrap();
        // REQ C8: `session:{token}`, an hour; of the token its public half only.
        let key = format!("session:{}:{}", two.project.reference, token.split_once('.').unwrap().0);
        let ttl: u64 = server.cli(&["ttl", &key]).parse().unwrap();
        assert!((3200..=3600).contains(&ttl), "{ttl}");
        assert!(!server.cli(&["get", &key]).contains(token.split_once('.').unwrap().1));
    });
}

// REQ C7
#[test]
fn without_redis_postgresql_is_the_truth_and_tells_of_ends() {
    testkit::run(async {
        let two = Two::new("alone", None).await;
        made_here_is_valid_there_and_ends_everywhere(&two).await;
    });
}

#[test]
fn whatever_ends_a_session_ends_it_everywhere_within_a_second() {
    testkit::run(async {
        let two = Two::new("ends", None).await;
        let (a, b) = two.managers();
        let user = two.user.0;
        let ways = [
            format!("delete from auth.sessions where user_id = '{user}'"),
            format!("update auth.users set banned_until = now() + '1h' where id = '{user}'"),
            format!("update auth.users set banned_until = null, deleted_at = now() where id = '{user}'"),
            "truncate auth.sessions cascade".to_owned(),
            format!("update auth.sessions set not_after = now() where user_id = '{user}'"),
            format!("delete from auth.users where id = '{user}'"),
        ];
        let mut taken = Vec::new();
        for way in ways {
            two.execute("update auth.users set deleted_at = null, banned_until = null").await;
            let token = a.create_session(two.user, "ada@x.y", "authenticated").await.unwrap();
            b.validate_session(&token).await.unwrap();
            let started = Instant::now();
            two.execute(&way).await;
            ends(&a, &token).await;
            ends(&b, &token).await;
            taken.push((started.elapsed(), way));
        }
        // Most of them, since the machine may be busy with other tests.
        taken.sort();
        assert!(taken[taken.len() / 2].0 < Duration::from_secs(1), "{taken:?}");
    });
}

#[test]
fn a_dead_redis_delays_nothing_and_what_ended_meanwhile_stays_ended() {
    testkit::run(async {
        let mut server = RedisServer::start().await;
        let two = Two::new("outage", Some(&server)).await;
        let (a, b) = two.managers();
        let token = a.create_session(two.user, "ada@x.y", "authenticated").await.unwrap();
        b.validate_session(&token).await.unwrap();
        let key = format!("session:{}:{}", two.project.reference, token.split_once('.').unwrap().0);
        let kept = server.cli(&["get", &key]);
        assert!(kept.contains("ada@x.y"), "{kept}");
        server.kill();
        let (mut other, mut taken) = (token.clone(), Vec::new());
        // More than once, since the machine may be busy with other tests.
        while taken.len() < 5 && taken.iter().all(|it| *it > Duration::from_secs(1)) {
            let started = Instant::now();
            let next = a.create_session(two.user, "ada@x.y", "authenticated").await.unwrap();
            b.validate_session(&next).await.unwrap();
            a.revoke_session(&other).await.unwrap();
            ends(&b, &other).await;
            taken.push(started.elapsed());
            other = next;
        }
        assert!(taken.iter().any(|it| *it < Duration::from_secs(1)), "{taken:?}");
        server.restart().await;
        // As if Redis had been saved before the session ended.
        let _ = server.cli(&["set", &key, &kept]);
        let deadline = Instant::now() + Duration::from_secs(30);
        while server.cli(&["get", &format!("epoch:session:{}", two.project.reference)]).is_empty() {
            assert!(Instant::now() < deadline, "redis is not used again");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(matches!(a.validate_session(&token).await, Err(Error::SessionMissing)));
        assert!(matches!(b.validate_session(&token).await, Err(Error::SessionMissing)));
        assert!(b.validate_session(&other).await.is_ok());
        // A third process believes neither.
        let third = process(Some(&server)).await.sessions(Arc::clone(&two.project));
        assert!(matches!(third.validate_session(&token).await, Err(Error::SessionMissing)));
        assert!(third.validate_session(&other).await.is_ok());
    });
}

#[test]
fn the_gateway_is_answered_from_memory_and_of_unknown_sessions_by_the_database() {
    testkit::run(async {
        let two = Two::new("strict", None).await;
        let (a, _) = two.managers();
        let token = a.create_session(two.user, "ada@x.y", "authenticated").await.unwrap();
        let id: Uuid = token.split_once('.').unwrap().0.parse().unwrap();
        assert_eq!(two.b.remembered(&two.project, id), None);
        assert!(two.b.ask(&two.project, id).await.unwrap());
        assert_eq!(two.b.remembered(&two.project, id), Some(true));
        let nobody = Uuid::new_v4();
        assert!(!two.b.ask(&two.project, nobody).await.unwrap());
        assert_eq!(two.b.remembered(&two.project, nobody), Some(false));
    });
}
