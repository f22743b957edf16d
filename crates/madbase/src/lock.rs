//! One server per data directory: an advisory lock that the kernel lets go when its holder dies.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use tokio::time::sleep;

use crate::layout::Layout;

const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(50);

/// Held while a server runs; dropping it lets go.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Take it, or say who has it. Tries again for a moment, as [`holder`] holds it while it looks.
    pub(crate) async fn take(layout: &Layout) -> Result<Self> {
        for _ in 0..ATTEMPTS {
            if holder(layout)?.is_none() {
                break;
            }
            sleep(PAUSE).await;
        }
        Self::take_now(layout)
    }

    fn take_now(layout: &Layout) -> Result<Self> {
        let path = layout.lock();
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(&path)
            .with_context(|| {
                format!("cannot write {}: make it writable or choose another --data-dir", path.display())
            })?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                write_pid(&mut file).with_context(|| format!("write {}", path.display()))?;
                Ok(Self { _file: file })
            }
            Err((_, Errno::EWOULDBLOCK)) => {
                let who = read_pid(&path).map_or_else(String::new, |it| format!(" (process {it})"));
                let data = layout.shown();
                bail!(
                    "a madbase already runs on {data}{who}. \
                     Stop it: madbase stop --data-dir {data}; or choose another --data-dir"
                )
            }
            Err((_, error)) => Err(error).with_context(|| format!("lock {}", path.display())),
        }
    }
}

/// The process id of the server that runs on `layout`; `None` when none does.
pub(crate) fn holder(layout: &Layout) -> Result<Option<i32>> {
    let path = layout.lock();
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Err((_, Errno::EWOULDBLOCK)) => Ok(read_pid(&path)),
        _ => Ok(None),
    }
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    write!(file, "{}", std::process::id())
}

fn read_pid(path: &Path) -> Option<i32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_taker_is_told_who_has_it() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::at(root.path().to_owned());
        layout.make().unwrap();
        assert_eq!(holder(&layout).unwrap(), None);
        let lock = Lock::take(&layout).await.unwrap();
        let us = std::process::id();
        assert_eq!(holder(&layout).unwrap(), Some(i32::try_from(us).unwrap()));
        let error = Lock::take(&layout).await.unwrap_err().to_string();
        assert!(error.contains(&format!("process {us}")), "{error}");
        drop(lock);
        assert_eq!(holder(&layout).unwrap(), None);
    }
}
