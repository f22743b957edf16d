//! REQ C5: one holder among all processes, whatever Redis does; told in time when the lock is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use store::{DistributedLock, Locks, Redis, RedisSettings, Server};
use testkit::RedisServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Fixture, eventually, run};

const SOON: Duration = Duration::from_secs(30);

fn redis(server: &RedisServer) -> Redis {
    Redis::open(RedisSettings { url: Some(server.url().into()), ..RedisSettings::default() }).unwrap()
}

async fn up(redis: &Redis) {
    eventually("redis answers", async || redis.is_up().then_some(()).ok_or_else(String::new)).await;
}

fn lock(db: &Fixture, redis: &Redis, ttl_seconds: u64) -> DistributedLock {
    DistributedLock::new(&Locks::new(redis, &db.server, &db.name), "test:lock", ttl_seconds)
}

// REQ C5, C8
#[test]
fn one_of_two_processes_has_the_lock_and_the_other_one_after_it() {
    run(|db| async move {
        let server = RedisServer::start().await;
        let (one, other) = (redis(&server), redis(&server));
        up(&one).await;
        up(&other).await;
        let (a, b) = (lock(&db, &one, 30), lock(&db, &other, 30));
        assert!(a.acquire().await);
        assert!(!a.acquire().await, "not reentrant");
        assert!(!b.acquire().await);
        assert!(a.is_held() && !b.is_held() && b.lost().is_cancelled());
        assert_eq!(server.cli(&["get", "lock:test:lock"]).len(), 32, "the owner's token");
        let ttl: u64 = server.cli(&["pttl", "lock:test:lock"]).parse().unwrap();
        assert!((20_000..=30_000).contains(&ttl), "{ttl}");
        let first = a.fence().unwrap();
        a.release().await;
        assert!(a.lost().is_cancelled() && a.fence().is_none());
        assert_eq!(server.cli(&["exists", "lock:test:lock"]), "0");
        assert!(b.acquire().await);
        assert!(b.fence().unwrap() > first);
        drop(b);
        assert!(a.acquire_within(SOON).await.unwrap(), "what is dropped is free");
    });
}

#[test]
fn without_redis_the_lock_is_the_same() {
    run(|db| async move {
        let none = Redis::none();
        let (a, b) = (lock(&db, &none, 30), lock(&db, &none, 30));
        let other = DistributedLock::new(&Locks::new(&none, &db.server, &db.name), "other:lock", 30);
        assert!(a.acquire().await);
        assert!(!b.acquire().await);
        assert!(other.acquire().await, "another name is another lock");
        assert!(!b.acquire_within(Duration::from_millis(100)).await.unwrap());
        let first = a.fence().unwrap();
        let waiting = b.acquire_within(SOON);
        let releasing = async {
            sleep(Duration::from_millis(200)).await;
            a.release().await;
        };
        let (taken, ()) = tokio::join!(waiting, releasing);
        assert!(taken.unwrap());
        assert!(b.fence().unwrap() > first);
        let done = a.run(async { 1 }).await;
        assert_eq!(done, None, "who does not get it does nothing");
        b.release().await;
        assert_eq!(a.run(async { 1 }).await, Some(1));
        assert!(!a.is_held());
    });
}

#[test]
fn a_held_lock_is_renewed_beyond_its_time() {
    run(|db| async move {
        let server = RedisServer::start().await;
        let redis = redis(&server);
        up(&redis).await;
        let (a, b) = (lock(&db, &redis, 1), lock(&db, &Redis::none(), 1));
        assert!(a.acquire().await);
        let token = server.cli(&["get", "lock:test:lock"]);
        sleep(Duration::from_millis(2500)).await;
        assert!(a.is_held());
        assert!(!b.acquire().await);
        assert_eq!(server.cli(&["get", "lock:test:lock"]), token);
    });
}

#[test]
fn a_holder_whose_session_ends_hears_of_it_and_its_work_stops() {
    run(|db| async move {
        let (a, b) = (lock(&db, &Redis::none(), 60), lock(&db, &Redis::none(), 60));
        assert!(a.acquire().await);
        let first = a.fence().unwrap();
        let stopped = AtomicBool::new(true);
        let (under_it, gone) = db.server.admin_until(&db.name, a.lost()).await.unwrap();
        under_it.batch_execute("select 1").await.unwrap();
        let work = a.while_held(async {
            sleep(SOON).await;
            stopped.store(false, Ordering::SeqCst);
        });
        let kill = "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' \
            and database = (select oid from pg_database where datname = current_database())";
        let killing = async {
            sleep(Duration::from_millis(100)).await;
            db.execute(kill).await;
        };
        let (done, ()) = tokio::join!(timeout(SOON / 2, work), killing);
        assert_eq!(done.unwrap(), None);
        assert!(stopped.load(Ordering::SeqCst) && !a.is_held());
        timeout(SOON, gone.cancelled()).await.unwrap();
        under_it.batch_execute("select 1").await.unwrap_err();
        assert!(b.acquire_within(SOON).await.unwrap());
        assert!(b.fence().unwrap() > first);
        assert!(!a.acquire().await, "the first one may ask again, in vain");
    });
}

#[test]
fn a_holder_that_is_cut_off_knows_it_before_another_one_has_the_lock() {
    run(|db| async move {
        let cable = Cable::to(&db.address()).await;
        let url = url::Url::parse(&db.url).unwrap();
        let through = format!(
            "host=127.0.0.1 port={} user={} password={} tcp_user_timeout=0 keepalives=0",
            cable.port,
            url.username(),
            url.password().unwrap_or("none"),
        );
        let far = Server::from_url(&through).unwrap();
        let a = DistributedLock::new(&Locks::new(&Redis::none(), &far, &db.name), "test:lock", 2);
        let b = lock(&db, &Redis::none(), 2);
        assert!(a.acquire().await);
        cable.cut.store(true, Ordering::SeqCst);
        let started = Instant::now();
        let told = async {
            a.lost().cancelled().await;
            started.elapsed()
        };
        let taken = async {
            assert!(b.acquire_within(SOON).await.unwrap());
            started.elapsed()
        };
        let (told, taken) = tokio::join!(told, taken);
        assert!(told < taken, "told after {told:?}, taken after {taken:?}");
        assert!(taken > Duration::from_secs(1) && taken < SOON, "{taken:?}");
    });
}

#[test]
fn what_somebody_else_wrote_into_redis_is_left_alone() {
    run(|db| async move {
        let server = RedisServer::start().await;
        let redis = redis(&server);
        up(&redis).await;
        let a = lock(&db, &redis, 1);
        assert!(a.acquire().await);
        let _ = server.cli(&["set", "lock:test:lock", "another"]);
        sleep(Duration::from_millis(800)).await;
        assert!(a.is_held(), "PostgreSQL decides");
        a.release().await;
        assert_eq!(server.cli(&["get", "lock:test:lock"]), "another");
        assert!(!a.acquire().await, "who finds it there does not ask");
        assert_eq!(server.cli(&["del", "lock:test:lock"]), "1");
        assert!(a.acquire().await);
        let _ = server.cli(&["del", "lock:test:lock"]);
        let back = async || match server.cli(&["exists", "lock:test:lock"]).as_str() {
            "1" => Ok(()),
            other => Err(other.to_owned()),
        };
        eventually("what Redis lost comes back", back).await;
    });
}

#[test]
fn redis_that_comes_and_goes_never_makes_two_holders() {
    run(|db| async move {
        let mut server = RedisServer::start().await;
        let inside = Arc::new(AtomicUsize::new(0));
        let (last, rounds) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
        let end = Instant::now() + Duration::from_secs(4);
        let one = redis(&server);
        // Two that see Redis, and one that never does: as if it were cut off from it.
        let all = [lock(&db, &redis(&server), 1), lock(&db, &one, 1), lock(&db, &Redis::none(), 1)];
        let workers = all.map(|lock| {
            let (inside, last, rounds) = (Arc::clone(&inside), Arc::clone(&last), Arc::clone(&rounds));
            tokio::spawn(async move {
                while Instant::now() < end {
                    if lock.acquire().await {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two holders");
                        let fence = lock.fence().unwrap();
                        assert!(last.swap(fence, Ordering::SeqCst) < fence);
                        sleep(Duration::from_millis(20)).await;
                        inside.fetch_sub(1, Ordering::SeqCst);
                        rounds.fetch_add(1, Ordering::SeqCst);
                        lock.release().await;
                    }
                    sleep(Duration::from_millis(3)).await;
                }
            })
        });
        while Instant::now() < end {
            server.kill();
            sleep(Duration::from_millis(250)).await;
            server.restart().await;
            sleep(Duration::from_millis(350)).await;
        }
        for worker in workers {
            worker.await.unwrap();
        }
        assert!(rounds.load(Ordering::SeqCst) > 10, "{rounds:?}");
    });
}

#[test]
fn a_postgresql_that_is_not_there_gives_no_lock() {
    run(|_| async move {
        let nowhere = Server::from_url("postgres://nobody@127.0.0.1:1/none").unwrap();
        let a = DistributedLock::new(&Locks::new(&Redis::none(), &nowhere, "none"), "test:lock", 5);
        assert!(!a.acquire().await);
        assert!(matches!(a.try_acquire().await, Err(store::Error::Connect(_))));
    });
}

/// A connection that can fall silent without ending.
struct Cable {
    port: u16,
    cut: Arc<AtomicBool>,
}

impl Cable {
    async fn to(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cut, address) = (Arc::new(AtomicBool::new(false)), address.to_owned());
        let seen = Arc::clone(&cut);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(&address).await.unwrap();
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(pass(near_in, far_out, Arc::clone(&seen)));
                tokio::spawn(pass(far_in, near_out, Arc::clone(&seen)));
            }
        });
        Self { port, cut }
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    cut: Arc<AtomicBool>,
) {
    let mut buffer = vec![0; 8192];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        while cut.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(10)).await;
        }
        if to.write_all(buffer.get(..count).unwrap()).await.is_err() {
            return;
        }
    }
}
