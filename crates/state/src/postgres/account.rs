//! The user that PostgreSQL runs as. It refuses root; as root we use `postgres`, or make `madbase`.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Uid, User};

use super::Error;

/// An unprivileged user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name, for messages.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Account {
    /// Who runs PostgreSQL on `data`: `None` means ourselves (we are not root).
    ///
    /// The owner of existing data stays; otherwise `postgres`, else `madbase`, which is made when missing.
    ///
    /// # Errors
    /// [`Error::NoAccount`] when a user is needed and cannot be made.
    pub fn choose(data: &Path) -> Result<Option<Self>, Error> {
        if !Uid::effective().is_root() {
            return Ok(None);
        }
        if let Some(owner) = Self::owner(data) {
            return Ok(Some(owner));
        }
        for name in ["postgres", "madbase"] {
            if let Some(it) = Self::named(name) {
                return Ok(Some(it));
            }
        }
        make("madbase")?;
        Self::named("madbase")
            .map(Some)
            .ok_or_else(|| Error::NoAccount { reason: "useradd made none".to_owned() })
    }

    /// Give `path` to this user.
    pub(crate) fn own(&self, path: &Path) -> Result<(), Error> {
        chown(path, Some(self.uid), Some(self.gid)).map_err(Error::file("give away", path))
    }

    /// The first directory on the way to `path` (itself included) that this user may not enter.
    pub(crate) fn blocked_at(&self, path: &Path) -> Option<PathBuf> {
        let mut way: Vec<&Path> = path.ancestors().collect();
        way.reverse();
        way.into_iter().find(|it| !self.may_enter(it)).map(Path::to_owned)
    }

    fn may_enter(&self, directory: &Path) -> bool {
        let Ok(meta) = directory.metadata() else { return false };
        let bit = if meta.uid() == self.uid {
            0o100
        } else if meta.gid() == self.gid {
            0o010
        } else {
            0o001
        };
        meta.mode() & bit != 0
    }

    fn owner(data: &Path) -> Option<Self> {
        let meta = data.join("PG_VERSION").metadata().ok()?;
        if meta.uid() == 0 {
            return None;
        }
        let user = User::from_uid(Uid::from_raw(meta.uid())).ok().flatten();
        let name = user.map_or_else(|| meta.uid().to_string(), |it| it.name);
        Some(Self { name, uid: meta.uid(), gid: meta.gid() })
    }

    fn named(name: &str) -> Option<Self> {
        let user = User::from_name(name).ok().flatten()?;
        let account = Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() };
        (account.uid != 0).then_some(account)
    }
}

fn make(name: &str) -> Result<(), Error> {
    let answer = Command::new("useradd")
        .args(["--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name])
        .stdin(Stdio::null())
        .output()
        .map_err(|it| Error::NoAccount { reason: format!("useradd: {it}") })?;
    if answer.status.success() {
        return Ok(());
    }
    Err(Error::NoAccount { reason: String::from_utf8_lossy(&answer.stderr).trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_directory_closed_to_others_is_found_and_named() {
        let root = std::env::temp_dir().join(format!("madbase-account-{}", std::process::id()));
        let inner = root.join("closed/open");
        std::fs::create_dir_all(&inner).unwrap();
        let closed = root.join("closed");
        let nobody = Account { name: "nobody".into(), uid: 65534, gid: 65534 };
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(nobody.blocked_at(&inner), None);
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(nobody.blocked_at(&inner), Some(closed));
        std::fs::remove_dir_all(&root).unwrap();
    }
}
