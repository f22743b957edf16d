//! One node of a cluster (`madbase system`, `proxy` or `worker`) as a process of a test's own.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use state::postgres::{Ephemeral, Search};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::server::read;

/// Generous: the machine may be busy with other tests.
const LIMIT: Duration = Duration::from_secs(60);

/// 32 bytes as a master key is written.
pub(crate) const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
/// The admin token of a test's system node.
pub(crate) const ADMIN_TOKEN: &str = "an-admin-token-of-a-test";

/// What a node is started with; its data directory outlives it.
pub(crate) struct Site {
    folder: TempDir,
    role: &'static str,
    /// Further flags.
    pub(crate) flags: Vec<String>,
    /// The variables that it sees, beside `PATH`.
    pub(crate) variables: Vec<(&'static str, String)>,
}

impl Site {
    /// A node of `role` on `postgres`, whose ports the system chooses unless flags do.
    pub(crate) fn new(role: &'static str, postgres: &Ephemeral) -> Self {
        let mut site = Self::bare(role);
        site.variables.push(("DATABASE_URL", postgres.url().to_owned()));
        site.variables.push(("MADBASE_MASTER_KEY", MASTER_KEY.to_owned()));
        if role == "system" {
            site.variables.push(("MADBASE_ADMIN_TOKEN", ADMIN_TOKEN.to_owned()));
        }
        site
    }

    /// A node that is told nothing but its role.
    pub(crate) fn bare(role: &'static str) -> Self {
        let folder = tempfile::Builder::new().prefix("madbase-node-").tempdir_in("/tmp").unwrap();
        let port = match role {
            "system" => "MADBASE_CONTROL_PORT",
            "proxy" => "MADBASE_PORT",
            _ => "MADBASE_WORKER_PORT",
        };
        let mut variables = vec![(port, "0".to_owned())];
        if role == "system" {
            variables.push(("MADBASE_NODE_PORT", "0".to_owned()));
        }
        Self { folder, role, flags: Vec::new(), variables }
    }

    /// A node of `role` that joins the cluster of `system`, and is told nothing else.
    pub(crate) fn joining(role: &'static str, system: &Node) -> Self {
        let site = Self::bare(role);
        let made = system.admin(&["cluster", "join-token", "--role", role]);
        let file = site.folder.path().join("token");
        std::fs::write(&file, made["token"].as_str().unwrap()).unwrap();
        let address = system.facts["node_url"].as_str().unwrap();
        site.with(&["--join", address, "--join-token-file", file.to_str().unwrap()])
    }

    pub(crate) fn with(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|it| (*it).to_owned()));
        self
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn log(&self) -> String {
        read(&self.folder.path().join("log"))
    }

    /// `madbase` with `args` and this node's variables, and nothing else of ours.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_madbase"));
        command.args(args).stdin(Stdio::null()).current_dir(self.folder.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("MADBASE_DATA_DIR", self.data());
        command.envs(self.variables.iter().cloned());
        command
    }

    fn role_command(&self) -> Command {
        let mut command = self.command(&[self.role]);
        command.args(&self.flags);
        command
    }

    /// Run it to its end, which must be an early one.
    pub(crate) fn refusal(&self) -> (i32, String) {
        let Output { status, stdout, stderr } = self.role_command().output().unwrap();
        assert!(!status.success(), "{}", String::from_utf8_lossy(&stdout));
        (status.code().unwrap(), String::from_utf8_lossy(&stderr).into_owned())
    }

    /// Start it and wait for its banner.
    pub(crate) fn start(self) -> Node {
        let log = File::options().append(true).create(true).open(self.folder.path().join("log")).unwrap();
        let mut command = self.role_command();
        let command = command.arg("--json").stdout(Stdio::piped()).stderr(log).process_group(0);
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let facts: Value = serde_json::from_str(&line).unwrap_or_default();
        let node = Node { child, facts, site: Some(self) };
        assert!(node.facts["role"].is_string(), "no banner but {line:?}; log: {}", node.site().log());
        node
    }
}

/// A running node.
pub(crate) struct Node {
    child: Child,
    /// The banner.
    pub(crate) facts: Value,
    site: Option<Site>,
}

impl Node {
    pub(crate) fn site(&self) -> &Site {
        self.site.as_ref().unwrap()
    }

    /// Where it serves: the control plane of a system node, else the API.
    pub(crate) fn base(&self) -> &str {
        let base = self.facts["api_url"].as_str().or_else(|| self.facts["control_url"].as_str());
        base.unwrap_or_else(|| panic!("the banner has no address: {}", self.facts))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base())
    }

    /// An administrator's command with `--json`; what it printed.
    pub(crate) fn admin(&self, args: &[&str]) -> Value {
        let mut command = self.site().command(&[args, &["--json", "--yes"]].concat());
        let command = command.env("MADBASE_CONTROL_URL", self.base()).env("MADBASE_ADMIN_TOKEN", ADMIN_TOKEN);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&text).unwrap()
    }

    /// The nodes that this system node knows: role and id to state.
    pub(crate) fn nodes(&self) -> Vec<(String, String, String)> {
        let nodes = self.admin(&["cluster", "nodes"]);
        let text = |node: &Value, name: &str| node[name].as_str().unwrap().to_owned();
        let nodes = nodes["nodes"].as_array().unwrap().iter();
        nodes.map(|it| (text(it, "role"), text(it, "id"), text(it, "state"))).collect()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Wait until it ends; what it was started with remains.
    pub(crate) async fn ended(mut self) -> (ExitStatus, Site) {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.site.take().unwrap());
            }
            assert!(Instant::now() < deadline, "it does not end; log: {}", self.site().log());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// SIGTERM, and a clean end (REQ H5).
    pub(crate) async fn stop(self) -> Site {
        self.signal(Signal::SIGTERM);
        let (status, site) = self.ended().await;
        assert_eq!(status.code(), Some(0), "log: {}", site.log());
        site
    }

    /// `kill -9`.
    pub(crate) async fn kill(self) -> Site {
        self.signal(Signal::SIGKILL);
        self.ended().await.1
    }
}

impl Drop for Node {
    /// A failing test must leave nothing behind.
    fn drop(&mut self) {
        if self.site.is_some() {
            let _ = killpg(self.pid(), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// A PostgreSQL of a test's own, which ends with it.
pub(crate) async fn postgres() -> Ephemeral {
    let search = Search { only: None, path: std::env::var_os("PATH") };
    state::postgres::ephemeral(&search).await.unwrap()
}

/// The keys of the default project, from the control plane.
pub(crate) async fn keys(system: &Node) -> Value {
    let request = reqwest::Client::new().get(system.url("/api/v1/projects/default/keys"));
    let answer = request.bearer_auth(ADMIN_TOKEN).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

/// With the service key of `keys`.
pub(crate) fn service(keys: &Value, request: RequestBuilder) -> RequestBuilder {
    let key = keys["service_role"].as_str().unwrap();
    request.header("apikey", key).bearer_auth(key)
}

/// Repeat a request until it succeeds: the data API hears of new tables a moment later.
pub(crate) async fn until_ok(request: impl Fn() -> RequestBuilder) -> Response {
    let deadline = Instant::now() + LIMIT;
    loop {
        let failure = match request().send().await {
            Ok(answer) if answer.status().is_success() => return answer,
            Ok(answer) => format!("{} {}", answer.status(), answer.text().await.unwrap_or_default()),
            Err(error) => error.to_string(),
        };
        assert!(Instant::now() < deadline, "still: {failure}");
        sleep(Duration::from_millis(50)).await;
    }
}
