//! Debian packages that the tests need. Installed as root or by sudo, after asking; otherwise said by name.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use nix::unistd::Uid;
use state::postgres::{Binaries, Search};

use crate::output::{self, Answer, Output};

const CREATE_CLUSTER: &str = "/etc/postgresql-common/createcluster.conf";

/// PostgreSQL, without which nothing can be tested.
pub(super) async fn postgres(search: &Search, output: Output) -> Result<()> {
    if !Binaries::all(search).is_empty() {
        return Ok(());
    }
    let installed = packages(&["postgresql"], output).await;
    if installed && !Binaries::all(search).is_empty() {
        return Ok(());
    }
    bail!(
        "the tests need PostgreSQL {} or newer: apt-get install postgresql, or set MADBASE_POSTGRES_BIN",
        state::postgres::MIN_MAJOR
    )
}

/// Redis, which tests of shared state start for themselves; without it those tests fail and say so.
pub(super) async fn redis(output: Output) {
    if !works("redis-server", &["--version"]) {
        packages(&["redis-server"], output).await;
    }
}

/// What asks for HTTPS, an authority that gives certificates for it, and the server that the docs put in front; without
/// them those tests fail and say so.
pub(super) async fn https(output: Output) {
    let wanted: Vec<&str> = [("curl", "curl"), ("pebble", "pebble"), ("caddy", "caddy")]
        .into_iter()
        // Pebble knows no question that it answers without serving.
        .filter_map(|(program, package)| {
            (!works("sh", &["-c", &format!("command -v {program}")])).then_some(package)
        })
        .collect();
    if !wanted.is_empty() {
        packages(&wanted, output).await;
    }
}

/// What the client tests need; when it cannot be had, their runner says what is missing and fails. Node it brings
/// itself: Debian's is older than supabase-js allows.
pub(super) async fn clients(output: Output) {
    let wanted: Vec<&str> = [
        ("python3", &["-c", "import venv, ensurepip"][..], "python3-venv"),
        ("psql", &["--version"], "postgresql-client"),
        ("chromium", &["--version"], "chromium"),
    ]
    .into_iter()
    .filter_map(|(program, args, package)| (!works(program, args)).then_some(package))
    .collect();
    if !wanted.is_empty() {
        packages(&wanted, output).await;
    }
}

/// Install Debian packages; whether that worked.
async fn packages(names: &[&str], output: Output) -> bool {
    let list = names.join(" ");
    if !works("apt-get", &["--version"]) {
        output::note(&format!("missing: {list}. Install what provides them on this system"));
        return false;
    }
    // Without anybody to ask, whoever runs tests wants them to run.
    if output.ask(&format!("Install the Debian packages {list}?")) == Answer::No {
        return false;
    }
    let root = Uid::effective().is_root();
    if !root && !works("sudo", &["-n", "true"]) && !output::can_ask() {
        output::note(&format!("missing: {list}. Install them: sudo apt-get install {list}"));
        return false;
    }
    output::note(&format!("installing {list}"));
    let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
    tokio::task::spawn_blocking(move || install(&names, root)).await.unwrap_or(false)
}

fn install(names: &[String], root: bool) -> bool {
    let script = r#"
        set -e
        conf=$1
        shift
        if [ ! -e "$conf" ]; then
            mkdir -p "${conf%/*}"
            echo 'create_main_cluster = false' >"$conf"
        fi
        export DEBIAN_FRONTEND=noninteractive
        # Servers that packages bring are started by the tests, not by the system.
        policy=/usr/sbin/policy-rc.d
        if [ ! -e "$policy" ]; then
            printf '#!/bin/sh\nexit 101\n' >"$policy"
            chmod 755 "$policy"
            trap 'rm -f "$policy"' EXIT
        fi
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends "$@"
    "#;
    let mut command = Command::new(if root { "sh" } else { "sudo" });
    if !root {
        command.arg("sh");
    }
    // The package would otherwise make and start a cluster of the system's.
    command.args(["-c", script, "install"]).arg(Path::new(CREATE_CLUSTER)).args(names);
    command.stdout(Stdio::null()).status().is_ok_and(|it| it.success())
}

fn works(program: &str, args: &[&str]) -> bool {
    let run = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    run.is_ok_and(|it| it.success())
}
