//! A throw-away cluster for a test process: fast, without durability, gone with the process however that ends.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use super::standby::{self, Standby};
use super::{Cluster, Durability, Error, Running, SUPERUSER, Search, leftovers};

/// Attempts when somebody else takes the port between our choice and PostgreSQL's start.
const ATTEMPTS: u32 = 3;

/// Waits for the end of its input, which is the end of the process that holds the other end of the pipe (by any
/// signal); then stops PostgreSQL and deletes the directory `$1`.
const WATCHDOG: &str = r#"
trap '' HUP INT TERM
cat >/dev/null
pid=$(head -n 1 "$1/postgres/postmaster.pid" 2>/dev/null)
tries=0
while [ -n "$pid" ] && kill -QUIT "$pid" 2>/dev/null && [ "$tries" -lt 100 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
tries=0
while [ -e "$1" ] && [ "$tries" -lt 50 ]; do
    rm -rf "$1" 2>/dev/null || sleep 0.2
    tries=$((tries + 1))
done
"#;

/// A running throw-away cluster. It stops and is deleted when this is dropped or the process ends.
#[derive(Debug)]
pub struct Ephemeral {
    url: String,
    cluster: Cluster,
    port: u16,
    password: SecretString,
    /// Holds the pipe: dropping it is what the watchdog waits for.
    _watchdog: Child,
    /// `None` after a crash.
    running: Option<Running>,
}

impl Ephemeral {
    /// The superuser's URL of database `postgres`, with its password.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `pg_ctl stop -m fast`: connections are cut, standbys get what they lack, a checkpoint is written.
    ///
    /// # Errors
    /// [`Error::Control`] with the end of its output.
    pub async fn stop(&mut self) -> Result<(), Error> {
        standby::control(&self.cluster, &["stop", "--mode", "fast", "--wait"]).await?;
        self.running = None;
        Ok(())
    }

    /// Start it again after [`Ephemeral::stop`] or a crash, at the same address.
    ///
    /// # Errors
    /// Those of [`Cluster::recover`] and [`Cluster::start`].
    pub async fn start(&mut self) -> Result<(), Error> {
        self.cluster.recover().await?;
        self.running = Some(self.cluster.start(self.port).await?);
        Ok(())
    }

    /// `kill -9` of the postmaster and of all of its children at once; returns when the postmaster is gone.
    pub async fn crash(&mut self) {
        let children = leftovers::strays(&self.cluster.data());
        for pid in children {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if let Some(running) = self.running.take() {
            running.crash().await;
        }
    }

    /// A streaming standby of this cluster, as it is now: a base backup, then everything that is written here.
    ///
    /// # Errors
    /// Those of [`Cluster::open`] and [`Cluster::start`]; [`Error::BaseBackup`] with the end of its output.
    pub async fn standby(&self, search: &Search) -> Result<Standby, Error> {
        let root = make_root()?;
        let watchdog = watch(&root).map_err(Error::spawn(Path::new("sh")))?;
        let source = standby::Source { cluster: &self.cluster, port: self.port, password: &self.password };
        source.copy(&root.join("postgres")).await?;
        let cluster = Cluster::open(&root, search, Durability::None)?;
        let running = start(&cluster).await?;
        Ok(Standby::new(cluster, running, &self.password, watchdog))
    }
}

/// Make and start a throw-away cluster in the system's temporary directory; about a second.
///
/// # Errors
/// Those of [`Cluster::open`], [`Cluster::initialise`] and [`Cluster::start`].
pub async fn ephemeral(search: &Search) -> Result<Ephemeral, Error> {
    let root = make_root()?;
    let watchdog = watch(&root).map_err(Error::spawn(Path::new("sh")))?;
    let cluster = Cluster::open(&root, search, Durability::None)?;
    let password = SecretString::from(Uuid::new_v4().simple().to_string());
    cluster.initialise(&password).await?;
    let running = start(&cluster).await?;
    let (port, url) = (running.port(), url(&password, running.port()));
    Ok(Ephemeral { url, cluster, port, password, _watchdog: watchdog, running: Some(running) })
}

/// The superuser's URL of a cluster on this machine.
pub(super) fn url(password: &SecretString, port: u16) -> String {
    format!("postgres://{SUPERUSER}:{}@127.0.0.1:{port}/postgres", password.expose_secret())
}

async fn start(cluster: &Cluster) -> Result<Running, Error> {
    let mut attempt = 1;
    loop {
        match cluster.start(some_port()?).await {
            Err(Error::Start { .. }) if attempt < ATTEMPTS => attempt += 1,
            other => return other,
        }
    }
}

fn some_port() -> Result<u16, Error> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr());
    free.map(|it| it.port()).map_err(|_| Error::NoPort { first: 0, last: 0 })
}

fn make_root() -> Result<PathBuf, Error> {
    let root = std::env::temp_dir().join(format!("madbase-test-{}", Uuid::new_v4().simple()));
    std::fs::DirBuilder::new()
        .mode(0o755)
        .create(&root)
        .and_then(|()| std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)))
        .map_err(Error::file("create", &root))?;
    Ok(root)
}

fn watch(root: &Path) -> io::Result<Child> {
    Command::new("sh")
        .args(["-c", WATCHDOG, "madbase-watchdog"])
        .arg(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}
