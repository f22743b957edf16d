//! A cluster survives what happens to machines: killed processes, crashes in the first start, long paths.

use std::net::TcpListener;

use nix::sys::signal::Signal;
use secrecy::SecretString;
use state::postgres::{Cluster, Durability, Error, Recovered, Search, Stopped, Supervisor};

use crate::support::{PASSWORD, ask, directory, open, runs, search, send, some_port, start, until};

#[tokio::test]
async fn a_cluster_is_made_started_stopped_and_started_again() {
    let root = directory();
    let cluster = open(root.path());
    let running = start(&cluster).await;
    let port = running.port();
    ask(&cluster, port, "create table kept (id int); insert into kept values (7)").await;
    assert_eq!(ask(&cluster, port, "show wal_level").await, ["logical"]);
    assert_eq!(ask(&cluster, port, "show data_checksums").await, ["on"]);
    assert_eq!(ask(&cluster, port, "show server_encoding").await, ["UTF8"]);
    assert_eq!(ask(&cluster, port, "show listen_addresses").await, ["127.0.0.1"]);
    assert_eq!(running.stop().await, Stopped::Cleanly);

    let running = start(&open(root.path())).await;
    assert_eq!(ask(&cluster, running.port(), "select id from kept").await, ["7"]);
    running.stop().await;
}

#[tokio::test]
async fn an_orphan_of_a_killed_starter_is_stopped_and_keeps_its_rows() {
    let root = directory();
    let cluster = open(root.path());
    let orphan = start(&cluster).await;
    let pid = orphan.pid();
    ask(&cluster, orphan.port(), "create table kept (id int); insert into kept values (7)").await;
    drop(orphan);
    assert!(runs(pid));

    assert_eq!(cluster.recover().await.unwrap(), Recovered::StoppedOrphan);
    assert!(!runs(pid));
    assert_eq!(cluster.recover().await.unwrap(), Recovered::Nothing);
    let running = start(&cluster).await;
    assert_eq!(ask(&cluster, running.port(), "select id from kept").await, ["7"]);
    running.stop().await;
}

#[tokio::test]
async fn server_processes_that_outlive_a_killed_postmaster_are_ended() {
    let root = directory();
    let cluster = open(root.path());
    let mut running = start(&cluster).await;
    let pid = running.pid();
    // A stopped process cannot notice that its postmaster died.
    let child: i32 =
        ask(&cluster, running.port(), "select pid from pg_stat_activity where backend_type = 'walwriter'")
            .await
            .first()
            .unwrap()
            .parse()
            .unwrap();
    send(child, Signal::SIGSTOP);
    send(pid, Signal::SIGKILL);
    running.exited().await;
    assert!(runs(child));

    assert_eq!(cluster.recover().await.unwrap(), Recovered::StoppedOrphan);
    until("the server process has ended", || !runs(child)).await;
    let running = start(&cluster).await;
    assert_eq!(ask(&cluster, running.port(), "select 1").await, ["1"]);
    running.stop().await;
}

#[tokio::test]
async fn a_crash_during_the_first_start_heals_by_itself() {
    let root = directory();
    let half = root.path().join("postgres.new");
    std::fs::create_dir(&half).unwrap();
    std::fs::write(half.join("PG_VERSION"), "15\n").unwrap();
    std::fs::write(root.path().join("postgres.password"), "old").unwrap();
    let cluster = open(root.path());
    assert!(!cluster.is_initialised());
    let running = start(&cluster).await;
    assert_eq!(ask(&cluster, running.port(), "select 1").await, ["1"]);
    running.stop().await;
    assert!(!half.exists());
    assert!(!root.path().join("postgres.password").exists());
}

#[tokio::test]
async fn a_process_id_given_to_somebody_else_does_not_stop_the_start() {
    let root = directory();
    let cluster = open(root.path());
    cluster.initialise(&SecretString::from(PASSWORD)).await.unwrap();
    let somebody = std::process::id();
    std::fs::write(cluster.data().join("postmaster.pid"), format!("{somebody}\n/elsewhere\n")).unwrap();
    let port = some_port();
    let sockets = cluster.socket_dir().unwrap();
    std::fs::create_dir(sockets).unwrap();
    std::fs::write(sockets.join(format!(".s.PGSQL.{port}.lock")), format!("{somebody}\n/elsewhere\n"))
        .unwrap();
    cluster.recover().await.unwrap();
    let running = cluster.start(port).await.unwrap();
    assert_eq!(ask(&cluster, running.port(), "select 1").await, ["1"]);
    running.stop().await;
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_works() {
    let root = directory();
    let long = root.path().join("d".repeat(100));
    let cluster = open(&long);
    let running = start(&cluster).await;
    assert_eq!(ask(&cluster, running.port(), "select 1").await, ["1"]);
    running.stop().await;
    std::fs::remove_dir_all(cluster.socket_dir().unwrap()).unwrap();
}

#[tokio::test]
async fn a_postgres_that_ends_by_itself_is_started_again_on_its_port() {
    let root = directory();
    let cluster = open(root.path());
    let running = start(&cluster).await;
    let (pid, port) = (running.pid(), running.port());
    ask(&cluster, port, "create table kept (id int); insert into kept values (7)").await;
    let supervisor = Supervisor::new(cluster.clone(), running);
    send(pid, Signal::SIGKILL);
    let pidfile = cluster.data().join("postmaster.pid");
    until("a new postmaster that is ready", || {
        let text = std::fs::read_to_string(&pidfile).unwrap_or_default();
        text.contains("ready") && !text.starts_with(&format!("{pid}\n"))
    })
    .await;
    assert_eq!(ask(&cluster, port, "select id from kept").await, ["7"]);
    assert_eq!(supervisor.stop().await, Some(Stopped::Cleanly));
}

#[tokio::test]
async fn a_start_that_fails_shows_the_end_of_the_log() {
    let root = directory();
    let cluster = open(root.path());
    cluster.initialise(&SecretString::from(PASSWORD)).await.unwrap();
    std::fs::create_dir(root.path().join("conf")).unwrap();
    std::fs::write(root.path().join("conf/custom.conf"), "no_such_setting = 1\n").unwrap();
    let error = cluster.start(1).await.unwrap_err();
    assert!(matches!(error, Error::Start { .. }), "{error:?}");
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

#[test]
fn what_is_no_cluster_is_left_alone() {
    let root = directory();
    std::fs::create_dir(root.path().join("postgres")).unwrap();
    std::fs::write(root.path().join("postgres/diary.txt"), "mine").unwrap();
    let error = Cluster::open(root.path(), &search(), Durability::Full).unwrap_err();
    assert!(matches!(error, Error::NotACluster(_)), "{error:?}");
    assert!(root.path().join("postgres/diary.txt").exists());
}

#[test]
fn data_of_a_version_that_is_not_installed_is_refused_by_name() {
    let root = directory();
    std::fs::create_dir(root.path().join("postgres")).unwrap();
    std::fs::write(root.path().join("postgres/PG_VERSION"), "99\n").unwrap();
    let error = Cluster::open(root.path(), &search(), Durability::Full).unwrap_err();
    assert!(matches!(error, Error::WrongMajor { major: 99, .. }), "{error:?}");
}

#[test]
fn missing_programs_are_said_with_the_next_step() {
    let root = directory();
    let empty = root.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let search = Search { only: Some(empty), path: None };
    let error = Cluster::open(root.path(), &search, Durability::Full).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
    assert!(error.to_string().contains("MADBASE_POSTGRES_BIN"), "{error}");
}

#[test]
fn the_port_of_the_last_start_is_taken_again() {
    let root = directory();
    let cluster = open(root.path());
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let wanted = taken.local_addr().unwrap().port();
    let first = cluster.choose_port(wanted).unwrap();
    assert!(first > wanted, "{wanted} is taken");
    drop(taken);
    assert_eq!(cluster.choose_port(wanted).unwrap(), first, "what people wrote down stays true");
    let _other = TcpListener::bind(("127.0.0.1", first)).unwrap();
    assert_eq!(cluster.choose_port(wanted).unwrap(), wanted, "unless somebody else has it");
}
