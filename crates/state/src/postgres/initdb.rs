//! Makes a new cluster: into a directory beside, then renamed, so that a crash leaves nothing half done.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use secrecy::{ExposeSecret as _, SecretString};
use tokio::process::Command;

use super::{Account, Binaries, Durability, Error, SUPERUSER};

/// What a new cluster needs.
#[derive(Debug)]
pub(crate) struct Initdb<'a> {
    pub(crate) binaries: &'a Binaries,
    pub(crate) account: Option<&'a Account>,
    pub(crate) durability: Durability,
    pub(crate) password: &'a SecretString,
}

impl Initdb<'_> {
    /// Make a cluster at `data`, whose parent exists.
    pub(crate) async fn run(&self, data: &Path) -> Result<(), Error> {
        let unfinished = data.with_extension("new");
        let password_file = data.with_extension("password");
        remove(&unfinished)?;
        remove(&password_file)?;
        DirBuilder::new().mode(0o700).create(&unfinished).map_err(Error::file("create", &unfinished))?;
        self.write_password(&password_file)?;
        if let Some(account) = self.account {
            account.own(&unfinished)?;
            account.own(&password_file)?;
        }
        let made = self.make(&unfinished, &password_file).await;
        remove(&password_file)?;
        made?;
        fs::rename(&unfinished, data).map_err(Error::file("rename", &unfinished))?;
        sync_parent(data)
    }

    /// The locale compares bytes and knows Unicode's letters; systems without `C.UTF-8` get plain `C`.
    async fn make(&self, directory: &Path, password_file: &Path) -> Result<(), Error> {
        let first = self.initdb(directory, password_file, "C.UTF-8").await?;
        if first.status.success() {
            return Ok(());
        }
        if !String::from_utf8_lossy(&first.stderr).contains("locale") {
            return Err(failed(&first));
        }
        let second = self.initdb(directory, password_file, "C").await?;
        if second.status.success() { Ok(()) } else { Err(failed(&second)) }
    }

    async fn initdb(&self, directory: &Path, password_file: &Path, locale: &str) -> Result<Output, Error> {
        let program = self.binaries.program("initdb");
        let mut command = command(&program, self.account, directory);
        command
            .args(["--username", SUPERUSER, "--encoding", "UTF8", "--data-checksums"])
            .args(["--auth", "scram-sha-256", "--locale", locale])
            .arg("--pwfile")
            .arg(password_file)
            .arg("--pgdata")
            .arg(directory);
        if self.durability == Durability::None {
            command.arg("--no-sync");
        }
        command.kill_on_drop(true).output().await.map_err(Error::spawn(&program))
    }

    fn write_password(&self, path: &Path) -> Result<(), Error> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .and_then(|mut it| writeln!(it, "{}", self.password.expose_secret()))
            .map_err(Error::file("write", path))
    }
}

/// `program` as `account`, in `directory`, with an environment of our own: no `PG*` variable leaks in.
pub(crate) fn command(program: &Path, account: Option<&Account>, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    command.current_dir(directory).stdin(Stdio::null());
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    command
}

fn failed(output: &Output) -> Error {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    Error::Initdb { output: super::running::last_lines(&String::from_utf8_lossy(&text), 10) }
}

fn remove(path: &PathBuf) -> Result<(), Error> {
    let result = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return Ok(()),
    };
    result.map_err(Error::file("remove", path))
}

fn sync_parent(path: &Path) -> Result<(), Error> {
    let Some(parent) = path.parent() else { return Ok(()) };
    File::open(parent).and_then(|it| it.sync_all()).map_err(Error::file("sync", parent))
}
