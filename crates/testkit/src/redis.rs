//! A throw-away Redis of one test: a real `redis-server` on a free port of loopback, gone with the process.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

/// Ends with its input, hence with the process that holds the other end of the pipe, by whatever signal.
const WATCHDOG: &str = r#"
trap '' HUP INT TERM
"$@" </dev/null >/dev/null 2>&1 &
cat >/dev/null
kill -KILL $!
"#;

/// A running Redis; stops when this is dropped.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    directory: TempDir,
    running: Option<Child>,
}

impl RedisServer {
    /// Start one.
    ///
    /// # Panics
    /// When it does not come up: Debian's package `redis-server` provides it.
    pub async fn start() -> Self {
        let mut tries = 0;
        loop {
            let directory = tempfile::tempdir().expect("make a directory for redis");
            let mut server = Self { port: free_port(), directory, running: None };
            if server.try_start().await {
                return server;
            }
            tries += 1;
            assert!(tries < 3, "redis-server does not start. Install it: apt-get install redis-server");
        }
    }

    /// `redis://127.0.0.1:{port}`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kill it (SIGKILL); what it held is lost unless it was saved.
    pub fn kill(&mut self) {
        if let Some(mut watchdog) = self.running.take() {
            drop(watchdog.stdin.take());
            let _ = watchdog.wait();
        }
    }

    /// Start it again on the same port.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn restart(&mut self) {
        self.kill();
        assert!(self.try_start().await, "redis-server does not start again");
    }

    /// What `redis-cli` answers to `arguments`, without the line's end.
    ///
    /// # Panics
    /// When it cannot be run.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        let answer =
            command.args(["-p", &self.port.to_string()]).args(arguments).output().expect("run redis-cli");
        String::from_utf8_lossy(&answer.stdout).trim_end().to_owned()
    }

    async fn try_start(&mut self) -> bool {
        let directory: PathBuf = self.directory.path().into();
        let child = Command::new("sh")
            .args(["-c", WATCHDOG, "redis", "redis-server", "--bind", "127.0.0.1", "--save", ""])
            .args(["--port", &self.port.to_string(), "--dir"])
            .arg(directory)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("run sh");
        self.running = Some(child);
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() && self.cli(&["ping"]) == "PONG" {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill();
        false
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("find a free port");
    listener.local_addr().expect("read the port").port()
}
