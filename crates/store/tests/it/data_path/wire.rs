//! What goes over the wire, counted by a proxy between the pool and PostgreSQL.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;
use store::{End, PoolSettings, Session};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_util::sync::CancellationToken;

use super::{commit_if, session, single, statement};
use crate::support::{Fixture, address, run};

/// A TCP proxy that counts how many pieces pass in each direction, and can refuse.
pub(crate) struct Proxy {
    port: u16,
    url: String,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    to_server: AtomicUsize,
    to_client: AtomicUsize,
    refuse: AtomicBool,
    cut: std::sync::Mutex<CancellationToken>,
}

impl Proxy {
    pub(crate) async fn start(db: &Fixture) -> Self {
        Self::to(&db.url).await
    }

    /// To the server at `url`.
    pub(crate) async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self::new(url, listener.local_addr().unwrap().port());
        let (counts, target) = (Arc::clone(&proxy.counts), address(url));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                client.set_nodelay(true).unwrap();
                counts.accept(client, &target).await;
            }
        });
        proxy
    }

    /// A Unix socket in `directory`, as PostgreSQL itself would make it.
    pub(crate) async fn start_unix(db: &Fixture, directory: &Path) -> Self {
        let port = db.address().rsplit(':').next().unwrap().parse().unwrap();
        let listener = UnixListener::bind(directory.join(format!(".s.PGSQL.{port}"))).unwrap();
        let proxy = Self::new(&db.url, port);
        let (counts, target) = (Arc::clone(&proxy.counts), db.address());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                counts.accept(client, &target).await;
            }
        });
        proxy
    }

    fn new(url: &str, port: u16) -> Self {
        Self { port, counts: Arc::new(Counts::default()), url: url.to_owned() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The superuser's URL through this proxy.
    pub(crate) fn url(&self) -> String {
        let mut url = url::Url::parse(&self.url).unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(self.port)).unwrap();
        url.to_string()
    }

    /// Cut all connections and refuse new ones, or accept them again.
    pub(crate) async fn refuse(&self, refuse: bool) {
        self.counts.refuse.store(refuse, Ordering::SeqCst);
        std::mem::take(&mut *self.counts.cut.lock().unwrap()).cancel();
        tokio::task::yield_now().await;
    }

    /// Pieces to the server and to the client since the last call.
    pub(crate) fn take(&self) -> (usize, usize) {
        (self.counts.to_server.swap(0, Ordering::SeqCst), self.counts.to_client.swap(0, Ordering::SeqCst))
    }
}

impl Counts {
    async fn accept(self: &Arc<Self>, client: impl AsyncRead + AsyncWrite + Send + 'static, target: &str) {
        if self.refuse.load(Ordering::SeqCst) {
            return;
        }
        let server = TcpStream::connect(target).await.unwrap();
        server.set_nodelay(true).unwrap();
        let counts = Arc::clone(self);
        tokio::spawn(async move {
            let cut = counts.cut.lock().unwrap().clone();
            let (from_client, to_client) = tokio::io::split(client);
            let (from_server, to_server) = server.into_split();
            tokio::select! {
                () = cut.cancelled() => {}
                () = pass(from_client, to_server, &counts.to_server) => {}
                () = pass(from_server, to_client, &counts.to_client) => {}
            }
        });
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, count: &AtomicUsize) {
    let mut buffer = vec![0; 1 << 20];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        count.fetch_add(1, Ordering::SeqCst);
        if to.write_all(buffer.get(..length).unwrap()).await.is_err() {
            return;
        }
    }
}

#[test]
fn a_warm_request_is_one_write_and_one_read() {
    run(|db| async move {
        db.execute("create table t (id int); grant all on t to public").await;
        let proxy = Proxy::start(&db).await;
        let settings = PoolSettings { data_connections: 1, ..PoolSettings::default() };
        let databases = db.through(&proxy.url(), settings);
        let database = databases.of(&db.project("one")).await;
        let mut session = session(&db.reader(), &[("request.jwt.claims", "{}"), ("request.method", "GET")]);
        session.before = Some("select 1".into());
        let read = statement("select id from t where id = $1", &["1"]);
        let write = statement("insert into t values ($1) returning id", &["1"]);
        for round in 0..5 {
            proxy.take();
            database.read(&session, &read).await.unwrap();
            let read = proxy.take();
            database.write(&session, &write, End::Commit).await.unwrap();
            let committed = proxy.take();
            database.write(&session, &write, End::Rollback).await.unwrap();
            let rolled_back = proxy.take();
            database.write(&session, &write, commit_if(true)).await.unwrap();
            let asked = proxy.take();
            if round > 0 {
                assert_eq!((read, committed, rolled_back, asked), ((1, 1), (1, 1), (1, 1), (2, 2)));
            }
        }
    });
}

#[test]
fn requests_that_wait_together_are_written_together() {
    run(|db| async move {
        let proxy = Proxy::start(&db).await;
        let settings = PoolSettings { data_connections: 1, ..PoolSettings::default() };
        let databases = db.through(&proxy.url(), settings);
        let database = &databases.of(&db.project("one")).await;
        let session = &session(&db.reader(), &[]);
        let read = &statement("select $1", &["x"]);
        join_all((0..50).map(|_| database.read(session, read))).await;
        let mut fewest = usize::MAX;
        // Whether they have to wait for each other is the machine's to say: on an idle one each may be answered first.
        for _ in 0..20 {
            proxy.take();
            let answers = join_all((0..400).map(|_| database.read(session, read))).await;
            assert!(answers.into_iter().all(|it| single(&it.unwrap()) == "x"));
            fewest = fewest.min(proxy.take().0);
            if fewest < 300 {
                return;
            }
        }
        panic!("{fewest} writes for 400 requests");
    });
}

#[test]
fn an_old_notice_or_setting_in_between_disturbs_nothing() {
    run(|db| async move {
        let databases = db.databases(PoolSettings { data_connections: 1, ..PoolSettings::default() });
        let database = databases.of(&db.project("one")).await;
        let none = Session::default();
        for text in [
            "do $$ begin raise notice 'n'; raise warning 'w'; end $$",
            "select set_config('application_name', 'other', false)",
            "listen mine",
            "notify mine, 'x'",
        ] {
            database.write(&none, &statement(text, &[]), End::Commit).await.unwrap();
        }
        db.execute("notify mine, 'from outside'").await;
        for _ in 0..3 {
            let answer = database.read(&none, &statement("select 1", &[])).await.unwrap();
            assert_eq!(single(&answer), "1");
        }
    });
}
