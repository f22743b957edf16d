//! A directory that goes away, a cluster in it, and a question to PostgreSQL.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::SecretString;
use state::postgres::{Cluster, Durability, Running, Search};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

pub(crate) const PASSWORD: &str = "a password";

/// PostgreSQL's user must be able to pass, so not the usual 0700.
pub(crate) fn directory() -> TempDir {
    let it = tempfile::tempdir().unwrap();
    std::fs::set_permissions(it.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    it
}

pub(crate) fn search() -> Search {
    Search { only: None, path: std::env::var_os("PATH") }
}

pub(crate) fn open(root: &Path) -> Cluster {
    Cluster::open(root, &search(), Durability::Full).unwrap()
}

pub(crate) async fn start(cluster: &Cluster) -> Running {
    cluster.initialise(&SecretString::from(PASSWORD)).await.unwrap();
    cluster.recover().await.unwrap();
    cluster.start(some_port()).await.unwrap()
}

/// Chosen by the system, so that tests running beside do not choose the same.
pub(crate) fn some_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One statement as the superuser over the Unix socket; its rows' first columns.
pub(crate) async fn ask(cluster: &Cluster, port: u16, statement: &str) -> Vec<String> {
    let mut config = tokio_postgres::Config::new();
    config.host_path(cluster.socket_dir().unwrap()).port(port);
    config.user("supabase_admin").password(PASSWORD).dbname("postgres");
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let answer = client.simple_query(statement).await.unwrap();
    answer
        .iter()
        .filter_map(|it| match it {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .collect()
}

pub(crate) fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// A zombie counts as gone.
pub(crate) fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|it| it.chars().next());
    state.is_some_and(|it| it != 'Z')
}

/// Wait until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
