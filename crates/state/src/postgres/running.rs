//! A running PostgreSQL: a child of ours in a process group of its own, so that Ctrl-C in a terminal reaches us
//! first and we end it in order.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use super::initdb::command;
use super::pidfile::Pidfile;
use super::{Cluster, Error};

/// Replaying a gigabyte of WAL after a crash takes minutes on a slow disk.
const READY_LIMIT: Duration = Duration::from_secs(300);
/// A clean stop writes a checkpoint.
const FAST_LIMIT: Duration = Duration::from_secs(30);
const IMMEDIATE_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);
/// A log that is larger at start moves aside: `postgresql.log.1`.
const MAX_LOG_BYTES: u64 = 10 * 1024 * 1024;

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// With a checkpoint: the next start is quick.
    Cleanly,
    /// Without one: the next start replays the log. Nothing is lost.
    Immediately,
}

/// A running PostgreSQL. Dropping it leaves the server running.
#[derive(Debug)]
pub struct Running {
    child: Child,
    pid: i32,
    port: u16,
}

/// One start.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) conf: &'a Path,
    pub(crate) port: u16,
}

impl Start<'_> {
    pub(crate) async fn run(self) -> Result<Running, Error> {
        let log = self.cluster.log();
        let output = open_log(&log).map_err(Error::file("write", &log))?;
        let length = output.metadata().map_or(0, |it| it.len());
        let child = self.spawn(output).map_err(Error::spawn(&self.cluster.binaries().program("postgres")))?;
        let pid = child.id().and_then(|it| i32::try_from(it).ok()).unwrap_or_default();
        let mut running = Running { child, pid, port: self.port };
        match timeout(READY_LIMIT, running.ready(&self.cluster.data())).await {
            Ok(Ok(())) => Ok(running),
            Ok(Err(status)) => Err(Error::Start { status, output: tail(&log, length), log }),
            Err(_) => {
                running.stop().await;
                Err(Error::Slow { waited: READY_LIMIT, log })
            }
        }
    }

    fn spawn(&self, output: File) -> io::Result<Child> {
        let data = self.cluster.data();
        let program = self.cluster.binaries().program("postgres");
        let mut command = command(&program, self.cluster.account(), &data);
        command.arg("-D").arg(&data);
        for (name, value) in self.settings() {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdout(output.try_clone()?).stderr(output).process_group(0).spawn()
    }

    fn settings(&self) -> [(&'static str, String); 4] {
        let socket = self.cluster.socket_dir().map(|it| quote_list_item(&it.display().to_string()));
        [
            ("config_file", self.conf.join("postgresql.conf").display().to_string()),
            ("hba_file", self.conf.join("pg_hba.conf").display().to_string()),
            ("port", self.port.to_string()),
            ("unix_socket_directories", socket.unwrap_or_default()),
        ]
    }
}

impl Running {
    /// The postmaster's process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The port on 127.0.0.1; part of the Unix socket's name too.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Wait until it ends by itself, which it should not.
    pub async fn exited(&mut self) -> Option<ExitStatus> {
        self.child.wait().await.ok()
    }

    /// Stop it: connections are cut, open transactions rolled back, a checkpoint written.
    pub async fn stop(mut self) -> Stopped {
        for (signal, limit, how) in [
            (Signal::SIGINT, FAST_LIMIT, Stopped::Cleanly),
            (Signal::SIGQUIT, IMMEDIATE_LIMIT, Stopped::Immediately),
        ] {
            self.signal(signal);
            if timeout(limit, self.child.wait()).await.is_ok() {
                return how;
            }
        }
        let _ = self.child.kill().await;
        Stopped::Immediately
    }

    /// End it as a crash would: `SIGKILL`, without a word to anybody.
    pub(crate) async fn crash(mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait().await;
    }

    /// Nothing is sent once the child is reaped, as its process id may be somebody else's.
    fn signal(&self, signal: Signal) {
        if self.child.id().is_some() {
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// `Err` tells how it ended.
    async fn ready(&mut self, data: &Path) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(status.to_string());
            }
            if Pidfile::read(data).is_some_and(|it| it.pid == self.pid && it.ready) {
                tracing::debug!(waited_ms = begun.elapsed().as_millis(), "postgres is ready");
                return Ok(());
            }
            sleep(POLL).await;
        }
    }
}

/// An item of a list setting, in double quotes so that a comma in a path stays part of it.
fn quote_list_item(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

fn open_log(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|it| it.len() > MAX_LOG_BYTES) {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// The last lines written to `log` after its first `from` bytes.
fn tail(log: &PathBuf, from: u64) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let new = bytes.get(usize::try_from(from).unwrap_or_default()..).unwrap_or_default();
    last_lines(&String::from_utf8_lossy(new), 10)
}

/// The last `count` lines of `text`.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(count);
    lines.into_iter().skip(skipped).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_text_keeps_whole_lines() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 10), "a");
        assert_eq!(last_lines("", 10), "");
    }

    #[test]
    fn a_comma_or_quote_in_a_socket_path_stays_part_of_it() {
        assert_eq!(quote_list_item("/a,b \"c\""), "\"/a,b \"\"c\"\"\"");
    }
}
