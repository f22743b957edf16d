//! A throw-away standby of a throw-away cluster: streams from it, may crash and come back. For tests.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;

use secrecy::{ExposeSecret as _, SecretString};

use super::initdb::command;
use super::running::last_lines;
use super::{Cluster, Error, Running, SUPERUSER, ephemeral};

/// A running standby. It stops and is deleted when this is dropped or the process ends.
#[derive(Debug)]
pub struct Standby {
    url: String,
    port: u16,
    cluster: Cluster,
    /// `None` after a crash.
    running: Option<Running>,
    /// Holds the pipe: dropping it is what the watchdog waits for.
    _watchdog: Child,
}

impl Standby {
    pub(super) fn new(cluster: Cluster, running: Running, password: &SecretString, watchdog: Child) -> Self {
        let port = running.port();
        let url = ephemeral::url(password, port);
        Self { url, port, cluster, running: Some(running), _watchdog: watchdog }
    }

    /// The superuser's URL of database `postgres`, with its password (the primary's).
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The postmaster's process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.running.as_ref().map(Running::pid)
    }

    /// `pg_ctl promote`; returns when it is a primary.
    ///
    /// # Errors
    /// [`Error::Control`] with the end of its output.
    pub async fn promote(&self) -> Result<(), Error> {
        control(&self.cluster, &["promote", "--wait"]).await
    }

    /// `kill -9`; returns when the postmaster is gone.
    pub async fn crash(&mut self) {
        if let Some(running) = self.running.take() {
            running.crash().await;
        }
    }

    /// Start it again after a crash, on the same port; returns when it answers.
    ///
    /// # Errors
    /// Those of [`Cluster::recover`] and [`Cluster::start`].
    pub async fn start(&mut self) -> Result<(), Error> {
        self.cluster.recover().await?;
        self.running = Some(self.cluster.start(self.port).await?);
        Ok(())
    }
}

/// Run `pg_ctl` with `args` on the data of `cluster`.
pub(super) async fn control(cluster: &Cluster, args: &[&str]) -> Result<(), Error> {
    let program = program(cluster, "pg_ctl");
    let data = cluster.data();
    let mut command = command(&program, cluster.account(), &data);
    let output = command.args(args).arg("--pgdata").arg(&data).kill_on_drop(true).output().await;
    let output = output.map_err(Error::spawn(&program))?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    Err(Error::Control { output: last_lines(&String::from_utf8_lossy(&text), 10) })
}

/// A program beside the real `postgres`: what we found may be a directory of links to a few of them.
fn program(cluster: &Cluster, name: &str) -> PathBuf {
    let linked = cluster.binaries().program("postgres");
    linked.canonicalize().unwrap_or(linked).with_file_name(name)
}

/// What a standby is made from.
pub(super) struct Source<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) port: u16,
    pub(super) password: &'a SecretString,
}

impl Source<'_> {
    /// Copy the data to `data`, with what makes it a standby.
    pub(super) async fn copy(&self, data: &Path) -> Result<(), Error> {
        let account = self.cluster.account();
        DirBuilder::new().mode(0o700).create(data).map_err(Error::file("create", data))?;
        if let Some(account) = account {
            account.own(data)?;
        }
        let program = program(self.cluster, "pg_basebackup");
        let mut command = command(&program, account, data);
        command
            .args(["--host", "127.0.0.1", "--username", SUPERUSER, "--no-password", "--write-recovery-conf"])
            .args(["--checkpoint", "fast", "--wal-method", "stream", "--no-sync"])
            .args(["--port", &self.port.to_string()])
            .arg("--pgdata")
            .arg(data)
            .env("PGPASSWORD", self.password.expose_secret());
        let output = command.kill_on_drop(true).output().await.map_err(Error::spawn(&program))?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::BaseBackup { output: last_lines(&String::from_utf8_lossy(&output.stderr), 10) })
    }
}
