//! Processes that still use a data directory although the one who started them is gone (`kill -9`).
//!
//! A process id alone proves nothing (it may have been given to somebody else since), so a process counts only
//! when it is a `postgres` that names, or stands in, exactly this directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use super::Error;
use super::pidfile::Pidfile;

const POLL: Duration = Duration::from_millis(20);

/// The running postmaster of `data`, if any.
pub(crate) fn postmaster(data: &Path) -> Option<i32> {
    let pid = Pidfile::read(data)?.pid;
    names(pid, data).then_some(pid)
}

/// All other PostgreSQL processes that stand in `data`: server processes whose postmaster died.
pub(crate) fn strays(data: &Path) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|it| it.file_name().to_str()?.parse().ok())
        .filter(|pid| stands_in(*pid, data))
        .collect()
}

/// Send each signal in turn to what `find` finds, until it finds nothing; each has `patience`.
pub(crate) async fn end(
    data: &Path,
    find: impl Fn(&Path) -> Vec<i32>,
    signals: &[(Signal, Duration)],
) -> Result<(), Error> {
    for (signal, patience) in signals {
        for pid in find(data) {
            let _ = kill(Pid::from_raw(pid), *signal);
        }
        let deadline = Instant::now() + *patience;
        while Instant::now() < deadline {
            if find(data).is_empty() {
                return Ok(());
            }
            sleep(POLL).await;
        }
    }
    match find(data).first() {
        None => Ok(()),
        Some(pid) => Err(Error::Stuck { pid: *pid, directory: data.to_owned() }),
    }
}

/// Whether `pid` is a postmaster with `data` among its arguments. A zombie has no arguments left.
fn names(pid: i32, data: &Path) -> bool {
    let Ok(line) = fs::read(process(pid, "cmdline")) else { return false };
    is_postgres(pid) && line.split(|it| *it == 0).any(|it| it == data.as_os_str().as_encoded_bytes())
}

fn stands_in(pid: i32, data: &Path) -> bool {
    is_postgres(pid) && fs::read_link(process(pid, "cwd")).is_ok_and(|it| it == data)
}

fn is_postgres(pid: i32) -> bool {
    fs::read_to_string(process(pid, "comm")).is_ok_and(|it| matches!(it.trim(), "postgres" | "postmaster"))
}

fn process(pid: i32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{file}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recycled_process_id_is_nobodys_postmaster() {
        let data = std::env::temp_dir().join(format!("madbase-leftovers-{}", std::process::id()));
        fs::create_dir_all(&data).unwrap();
        let ours = std::process::id();
        fs::write(data.join("postmaster.pid"), format!("{ours}\n{}\n", data.display())).unwrap();
        assert_eq!(postmaster(&data), None);
        assert_eq!(strays(&data), Vec::<i32>::new());
        fs::remove_dir_all(&data).unwrap();
    }
}
