//! Room on disk for large answers that clients take slowly: unnamed files in one directory, together bounded.
//!
//! Nothing of it outlives the process. When there is no room, who has not read for a while loses its file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

/// A file that nobody read from for so long may be given up for another one.
const STALE: Duration = Duration::from_secs(60);

/// A directory for files that together hold a bounded number of bytes. Clones share the bound.
#[derive(Debug, Clone)]
pub struct Spool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    max_bytes: u64,
    used_bytes: AtomicU64,
    files: Mutex<Vec<Weak<Spooled>>>,
}

impl Spool {
    /// A bound for one machine: four of the largest answers that PostgreSQL can make.
    pub const MAX_BYTES: u64 = 4 << 30;

    /// Files go to `directory`, which is looked at when the first one is needed; together at most `max_bytes`.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, max_bytes: u64) -> Self {
        let (used_bytes, files) = (AtomicU64::new(0), Mutex::default());
        Self { shared: Arc::new(Shared { directory: directory.into(), max_bytes, used_bytes, files }) }
    }

    /// Bytes in files now.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.shared.used_bytes.load(Ordering::Relaxed)
    }

    /// A new file. Blocks.
    pub(crate) fn create(&self) -> io::Result<Arc<Spooled>> {
        let file = tempfile::tempfile_in(&self.shared.directory)?;
        let state = State { length: 0, read_at: Instant::now(), given_up: false };
        let spooled = Arc::new(Spooled { file, state: Mutex::new(state), shared: Arc::clone(&self.shared) });
        let mut files = self.shared.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|it| it.strong_count() > 0);
        files.push(Arc::downgrade(&spooled));
        Ok(spooled)
    }
}

impl Shared {
    /// Count `bytes` more; fails when there is no room.
    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let more = |used: u64| used.checked_add(bytes).filter(|it| *it <= self.max_bytes);
        let count = || self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        if count().is_ok() {
            return Ok(());
        }
        self.give_up_stale();
        let full = || io::Error::new(io::ErrorKind::StorageFull, "no room for another large answer");
        count().map(drop).map_err(|_| full())
    }

    fn give_up_stale(&self) {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner).clone();
        files.iter().filter_map(Weak::upgrade).for_each(|it| it.give_up_if_stale());
    }

    fn release(&self, bytes: u64) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A file without a name, written at its end and read anywhere. Gone with its last owner.
#[derive(Debug)]
pub(crate) struct Spooled {
    file: File,
    state: Mutex<State>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct State {
    /// Bytes that were written, or are being written.
    length: u64,
    /// When it was read last.
    read_at: Instant,
    given_up: bool,
}

impl Spooled {
    /// Append `bytes`; where they begin. One writer at a time. Blocks.
    pub(crate) fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        let size = bytes.len() as u64;
        self.shared.reserve(size)?;
        let offset = {
            let mut state = self.state();
            if state.given_up {
                self.shared.release(size);
                return Err(given_up());
            }
            let offset = state.length;
            state.length += size;
            offset
        };
        self.file.write_all_at(bytes, offset)?;
        Ok(offset)
    }

    /// Fill `bytes` with those from `offset` on. Blocks.
    pub(crate) fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        {
            let mut state = self.state();
            if state.given_up {
                return Err(given_up());
            }
            state.read_at = Instant::now();
        }
        self.file.read_exact_at(bytes, offset)
    }

    fn give_up_if_stale(&self) {
        let mut state = self.state();
        if state.given_up || state.read_at.elapsed() < STALE {
            return;
        }
        state.given_up = true;
        if let Err(error) = self.file.set_len(0) {
            tracing::warn!(%error, "cannot empty a file of the spool");
        }
        self.shared.release(std::mem::take(&mut state.length));
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        self.shared.release(self.state().length);
    }
}

fn given_up() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "not read for too long, and others needed the room")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(max_bytes: u64) -> (tempfile::TempDir, Spool) {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::new(directory.path(), max_bytes);
        (directory, spool)
    }

    #[test]
    fn what_is_written_is_read_and_nothing_is_left() {
        let (directory, spool) = spool(100);
        let file = spool.create().unwrap();
        assert_eq!([file.append(b"hello").unwrap(), file.append(b" world").unwrap()], [0, 5]);
        let mut bytes = [0; 5];
        file.read(3, &mut bytes).unwrap();
        assert_eq!(&bytes, b"lo wo");
        assert!(file.read(3, &mut [0; 50]).is_err());
        assert_eq!(spool.used_bytes(), 11);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        drop(file);
        assert_eq!(spool.used_bytes(), 0);
    }

    #[test]
    fn all_files_together_are_bounded() {
        let (_directory, spool) = spool(10);
        let (one, other) = (spool.create().unwrap(), spool.create().unwrap());
        one.append(&[0; 6]).unwrap();
        assert_eq!(other.append(&[0; 5]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        drop(one);
        other.append(&[0; 5]).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_makes_room_for_others() {
        let (_directory, spool) = spool(10);
        let (stalled, active) = (spool.create().unwrap(), spool.create().unwrap());
        stalled.append(&[0; 5]).unwrap();
        active.append(&[0; 5]).unwrap();
        tokio::time::advance(STALE).await;
        active.read(0, &mut [0; 5]).unwrap();
        active.append(&[0; 5]).unwrap();
        assert_eq!(stalled.read(0, &mut [0; 5]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(stalled.append(b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
        active.read(0, &mut [0; 10]).unwrap();
        drop((stalled, active));
        assert_eq!(spool.used_bytes(), 0);
    }

    #[test]
    fn a_directory_that_is_not_there_is_told() {
        assert!(Spool::new("/nowhere/at/all", 1).create().is_err());
    }
}
