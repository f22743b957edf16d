//! The throw-away cluster of tests goes with its process, even on `kill -9`.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use state::postgres::ephemeral;

use crate::support::{search, until};

const CHILD: &str = "MADBASE_EPHEMERAL_CHILD";

/// Not a test of its own: the process that the next test starts and kills.
#[tokio::test]
async fn ephemeral_child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let cluster = ephemeral(&search()).await.unwrap();
    println!("\nurl {}", cluster.url());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_test_process_takes_its_cluster_along() {
    let temporary = crate::support::directory();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ephemeral::ephemeral_child", "--nocapture"])
        .env(CHILD, "1")
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = lines.find_map(|it| it.unwrap().strip_prefix("url ").map(str::to_owned)).unwrap();
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.simple_query("create table t ()").await.unwrap();
    let root = std::fs::read_dir(temporary.path()).unwrap().next().unwrap().unwrap().path();
    let pidfile = std::fs::read_to_string(root.join("postgres/postmaster.pid")).unwrap();
    let postmaster = PathBuf::from("/proc").join(pidfile.lines().next().unwrap());
    assert!(postmaster.exists());

    child.kill().unwrap();
    child.wait().unwrap();
    until("the cluster's directory is gone", || !root.exists()).await;
    until("the cluster's process is gone", || !postmaster.join("exe").exists()).await;
}
