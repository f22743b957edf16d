//! A `madbase start` of a test's own, and what tests ask of it.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// Generous: the machine may be busy with other tests.
const LIMIT: Duration = Duration::from_secs(120);

/// A data directory with ports; `madbase` may or may not run on it.
pub(crate) struct Home {
    folder: TempDir,
    pub(crate) ports: [u16; 3],
    /// Further variables for every command.
    pub(crate) variables: Vec<(&'static str, String)>,
}

impl Home {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("madbase-system-").tempdir_in("/tmp").unwrap();
        // PostgreSQL's user must be able to pass.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder, ports: free_ports(), variables: Vec::new() }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `madbase` with `args`, on this directory and these ports, with nothing else of ours in its environment.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_madbase"));
        command.args(args).stdin(Stdio::null()).current_dir(self.folder.path());
        let ours = ["DATABASE_URL", "REDIS_URL", "MADBASE_ADMIN_TOKEN", "MADBASE_CONTROL_URL", "MADBASE_LOG"];
        for name in ours.into_iter().chain(["RUST_LOG"]) {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().cloned());
        command.env("MADBASE_DATA_DIR", self.data());
        for (name, port) in
            ["MADBASE_PORT", "MADBASE_CONTROL_PORT", "MADBASE_POSTGRES_PORT"].iter().zip(self.ports)
        {
            command.env(name, port.to_string());
        }
        command
    }

    /// Run a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Run a command with `--json` that must succeed; what it printed.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--json"]].concat());
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&text).unwrap()
    }

    /// Run a command that must fail; its exit code and what it said on standard error.
    pub(crate) fn refusal(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        assert!(!output.status.success(), "{args:?} succeeded: {}", String::from_utf8_lossy(&output.stdout));
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// The running PostgreSQL's process id, from its own file.
    pub(crate) fn postmaster(&self) -> i32 {
        let text = std::fs::read_to_string(self.data().join("postgres/postmaster.pid")).unwrap();
        text.lines().next().unwrap().parse().unwrap()
    }

    /// Start the server and wait for its banner.
    pub(crate) fn start(self) -> Server {
        let log = self.file("log");
        let mut child = self
            .command(&["start", "--json"])
            .stdout(Stdio::piped())
            .stderr(std::fs::File::options().append(true).create(true).open(&log).unwrap())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let facts: Value = serde_json::from_str(&line).unwrap_or_default();
        let server = Server { home: Some(self), child, facts };
        assert!(server.facts["api_url"].is_string(), "no banner but {line:?}; log: {}", read(&log));
        server
    }
}

impl Drop for Home {
    /// Whatever a failing test left running goes.
    fn drop(&mut self) {
        if self.data().is_dir() {
            let _ = self.run(&["stop"]);
        }
    }
}

/// A running server.
pub(crate) struct Server {
    home: Option<Home>,
    child: Child,
    /// The banner.
    pub(crate) facts: Value,
}

impl Server {
    pub(crate) fn home(&self) -> &Home {
        self.home.as_ref().unwrap()
    }

    pub(crate) fn fact(&self, name: &str) -> &str {
        self.facts[name].as_str().unwrap_or_else(|| panic!("the banner has no {name}: {}", self.facts))
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Wait until it ends; the directory remains.
    pub(crate) async fn ended(mut self) -> (ExitStatus, Home) {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.home.take().unwrap());
            }
            assert!(Instant::now() < deadline, "it does not end; log: {}", read(&self.home().file("log")));
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// SIGTERM, and a clean end.
    pub(crate) async fn stop(self) -> Home {
        self.signal(Signal::SIGTERM);
        let (status, home) = self.ended().await;
        assert_eq!(status.code(), Some(0), "log: {}", read(&home.file("log")));
        home
    }

    /// `kill -9` of the process group; PostgreSQL, in a group of its own, is not in it.
    pub(crate) async fn kill(self) -> Home {
        killpg(Pid::from_raw(self.pid()), Signal::SIGKILL).unwrap();
        self.ended().await.1
    }

    /// A connection to the default project's database as its owner, and the work that a person does there first.
    pub(crate) async fn owner(&self, statements: &str) -> tokio_postgres::Client {
        let url = self.fact("database_url");
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(statements).await.unwrap();
        client
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.fact("api_url"))
    }

    /// A request with the service key.
    pub(crate) fn service(&self, request: RequestBuilder) -> RequestBuilder {
        let key = self.fact("service_role_key");
        request.header("apikey", key).bearer_auth(key)
    }

    /// Repeat a request until it succeeds: the data API hears of new tables a moment later.
    pub(crate) async fn until_ok(&self, request: impl Fn() -> RequestBuilder) -> Response {
        let deadline = Instant::now() + LIMIT;
        loop {
            let answer = self.service(request()).send().await.unwrap();
            let status = answer.status();
            if status.is_success() {
                return answer;
            }
            let body = answer.text().await.unwrap();
            assert!(Instant::now() < deadline, "still {status}: {body}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Server {
    /// A failing test must leave nothing behind; [`Home`] cares for PostgreSQL.
    fn drop(&mut self) {
        if self.home.is_some() {
            let _ = killpg(Pid::from_raw(self.pid()), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// Wait until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Whether a process exists that has not ended yet.
pub(crate) fn runs(pid: i32) -> bool {
    let stat = read(Path::new(&format!("/proc/{pid}/stat")));
    stat.rsplit(") ").next().is_some_and(|it| !it.is_empty() && !it.starts_with('Z'))
}

fn free_ports() -> [u16; 3] {
    let sockets = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    sockets.map(|it| it.local_addr().unwrap().port())
}
