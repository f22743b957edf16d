//! Follows `docs/guides/single-node-to-cluster.md` word for word (REQ C11), and checks what `deploy/` holds.
//!
//! Only the port numbers are replaced by free ones.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, Uid, User};

use crate::server::read;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The fenced blocks of `sh` under the heading, without the indentation of their list.
fn commands(page: &str, heading: &str) -> String {
    let section = page.split_once(&format!("\n## {heading}\n")).unwrap().1.split("\n## ").next().unwrap();
    let mut lines = Vec::new();
    let mut inside = false;
    for line in section.lines() {
        match line.trim() {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside => lines.push(line.strip_prefix("   ").unwrap_or(line)),
            _ => {}
        }
    }
    assert!(lines.len() > 40, "the guide lost its commands");
    lines.join("\n") + "\n"
}

/// Ten free ports in a row that begin with a multiple of ten, for numbers that differ in their last digit.
fn free_decade() -> u16 {
    let free = |from: u16| (from..from + 10).all(|it| std::net::TcpListener::bind(("127.0.0.1", it)).is_ok());
    (1500..3000).map(|it| it * 10 + 20).find(|it| free(*it)).unwrap()
}

#[test]
fn the_guide_from_a_single_node_to_a_cluster_works_as_written() {
    let page = read(&root().join("docs/guides/single-node-to-cluster.md"));
    let (one, other) = (free_decade(), free_decade() + 40);
    let mut script = commands(&page, "Try it on one machine");
    for (written, free) in [
        ("801$n", format!("{}$n", one / 10)),
        ("8000", (one + 2).to_string()),
        ("8080", (one + 3).to_string()),
        ("8001", (one + 4).to_string()),
        ("8002", (one + 5).to_string()),
        ("54330", (one + 6).to_string()),
        ("6390", (other).to_string()),
    ] {
        assert!(script.contains(written), "{written}");
        script = script.replace(written, &free);
    }
    let folder = tempfile::Builder::new().prefix("madbase-guide-").tempdir_in("/tmp").unwrap();
    let (work, bin) = (folder.path().join("work"), folder.path().join("bin"));
    for it in [&work, &bin] {
        fs::create_dir(it).unwrap();
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Where others may run it, whoever built it.
    fs::copy(env!("CARGO_BIN_EXE_madbase"), bin.join("madbase")).unwrap();
    let usual = std::env::var_os("PATH").unwrap();
    let path = format!("{}:{}", bin.display(), usual.to_string_lossy());
    let log = fs::File::create(folder.path().join("log")).unwrap();
    let mut command = Command::new("sh");
    command.args(["-eux", "-c", &script]).env_clear().env("PATH", path).env("HOME", &work).current_dir(&work);
    command.env("MADBASE_POSTGRES_PORT", (one + 8).to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).process_group(0);
    // PostgreSQL does not run as root, and the guide says who should.
    if Uid::effective().is_root() {
        let postgres = User::from_name("postgres").unwrap().unwrap();
        chown(&work, Some(postgres.uid.as_raw()), Some(postgres.gid.as_raw())).unwrap();
        command.uid(postgres.uid.as_raw()).gid(postgres.gid.as_raw());
    }
    let child = command.spawn().unwrap();
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let output = child.wait_with_output().unwrap();
    let _gone_already = killpg(group, Signal::SIGKILL);
    let printed = String::from_utf8_lossy(&output.stdout);
    let told = || {
        let logs = ["system.log", "worker-0.log", "worker-1.log"].map(|it| read(&work.join(it)));
        format!("{printed}\n{}\n{}", read(&folder.path().join("log")), logs.join("\n"))
    };
    assert!(output.status.success(), "{}", told());
    assert_eq!(printed.matches("[{\"body\":\"kept\"}]").count(), 5, "{}", told());
    assert_eq!(printed.matches("\"email\":\"ada@example.com\"").count(), 2, "{}", told());
    assert_eq!(printed.matches(" ready ").count(), 5, "all nodes are listed: {}", told());
}

/// Role → what its folder holds.
fn deployed() -> BTreeMap<&'static str, PathBuf> {
    ["single-node", "system", "proxy", "worker"].map(|it| (it, root().join("deploy").join(it))).into()
}

fn file_in(folder: &Path, extension: &str) -> PathBuf {
    let mut files = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
    files.find(|it| it.extension().is_some_and(|it| it == extension)).unwrap()
}

fn madbase(args: &[&str], variables: &[(&str, &str)]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_madbase"));
    let output = command.args(args).env_clear().envs(variables.iter().copied()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn command_of(role: &'static str) -> &'static str {
    if role == "single-node" { "start" } else { role }
}

/// A copy as the unit says it is placed: not readable for everybody.
fn placed_settings(role: &str, deployed: &Path, folder: &Path) -> String {
    let placed = folder.join(format!("{role}.toml"));
    fs::copy(file_in(deployed, "toml"), &placed).unwrap();
    fs::set_permissions(&placed, fs::Permissions::from_mode(0o640)).unwrap();
    placed.display().to_string()
}

#[test]
fn the_units_are_ones_that_systemd_takes() {
    let folder = tempfile::tempdir().unwrap();
    for (role, deployed) in deployed() {
        let unit = file_in(&deployed, "service");
        let text = read(&unit);
        for needed in ["NoNewPrivileges=yes", "ProtectSystem=strict", "Restart=on-failure", "KillMode=mixed"]
        {
            assert!(text.contains(needed), "{role}: {needed}");
        }
        let stop: u32 =
            text.split("TimeoutStopSec=").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
        assert!(stop > 30 + 5 + 10, "{role}: it is killed before requests in flight may have finished");
        // What it runs is a command that exists.
        let line = text.lines().find_map(|it| it.strip_prefix("ExecStart=/usr/local/bin/madbase ")).unwrap();
        let flags: Vec<&str> = line.split(' ').collect();
        let settings = placed_settings(role, &deployed, folder.path());
        let flags = flags.iter().map(|it| if it.ends_with(".toml") { settings.as_str() } else { it });
        let args: Vec<&str> = ["config", "show"].into_iter().chain(flags).collect();
        let (good, told) = madbase(&args, &[]);
        assert!(good, "{role}: {told}");
        if Command::new("systemd-analyze").arg("--version").output().is_err() {
            continue;
        }
        let placed = folder.path().join(unit.file_name().unwrap());
        let program = env!("CARGO_BIN_EXE_madbase");
        fs::write(&placed, text.replace("/usr/local/bin/madbase", program).replace("User=madbase\n", ""))
            .unwrap();
        let verified = Command::new("systemd-analyze").arg("verify").arg(&placed).output().unwrap();
        let told = String::from_utf8_lossy(&verified.stderr);
        let ours: Vec<&str> = told.lines().filter(|it| it.contains("madbase")).collect();
        assert!(verified.status.success() && ours.is_empty(), "{role}: {told}");
    }
}

#[test]
fn the_settings_files_are_sound() {
    let folder = tempfile::tempdir().unwrap();
    for (role, deployed) in deployed() {
        let file = placed_settings(role, &deployed, folder.path());
        // What a node is given when it joins.
        let given = [("DATABASE_URL", "postgres://a@b/c")];
        let given = if ["proxy", "worker"].contains(&role) { &given[..] } else { &[] };
        let (_, told) = madbase(&["config", "check", command_of(role), "--config", &file], given);
        assert_eq!(told, format!("the settings of {} are sound\n", command_of(role)));
    }
}

#[test]
fn the_compose_files_name_variables_and_commands_that_exist() {
    let page = read(&root().join("docs/reference/settings.md"));
    for (role, deployed) in deployed() {
        let text = read(&deployed.join("compose.yaml"));
        assert!(text.contains(&format!("command: [\"{}\"]", command_of(role))), "{role}");
        let environment =
            text.split("    environment:\n").nth(1).unwrap().split("    ports:").next().unwrap();
        let names: Vec<&str> = environment.lines().map(|it| it.trim().split(':').next().unwrap()).collect();
        assert!(names.len() >= 3, "{role}: {names:?}");
        for name in names {
            let row = page.lines().find(|it| it.contains(&format!("| `{name}`"))).unwrap_or_default();
            let roles = row.split(" | ").nth(2).unwrap_or_default();
            assert!(roles == "all" || roles.contains(command_of(role)), "{role} does not know {name}: {row}");
        }
    }
}

/// Compose as it is installed here, if it is: a plugin of docker, or a program of its own.
fn compose() -> Option<Vec<&'static str>> {
    let words = [vec!["docker", "compose"], vec!["docker-compose"]];
    words.into_iter().find(|it| {
        let version = Command::new(it[0]).args(&it[1..]).arg("version").output();
        version.is_ok_and(|it| it.status.success())
    })
}

// Without Compose there is nobody to ask: the test above is what is left.
#[test]
fn the_compose_files_are_ones_that_compose_takes() {
    let Some(compose) = compose() else { return };
    for (role, deployed) in deployed() {
        let mut command = Command::new(compose[0]);
        command.args(&compose[1..]).arg("-f").arg(deployed.join("compose.yaml")).args(["config", "--quiet"]);
        for name in ["DATABASE_URL", "MADBASE_ADDRESS", "MADBASE_JOIN"] {
            command.env(name, "127.0.0.1");
        }
        let checked = command.output().unwrap();
        assert!(checked.status.success(), "{role}: {}", String::from_utf8_lossy(&checked.stderr));
    }
}
