//! One cluster in one directory of ours: its layout, and the steps from nothing to a running server.
//!
//! ```text
//! <root>/postgres/   the data, owned by PostgreSQL's user
//! <root>/run/        the Unix socket
//! <root>/conf/       postgresql.conf, pg_hba.conf (ours), custom.conf (people's); PostgreSQL may only read them
//! <root>/log/        postgresql.log
//! ```

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, DirBuilder};
use std::hash::{Hash as _, Hasher as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Uid;
use secrecy::SecretString;

use super::initdb::Initdb;
use super::{Account, Binaries, Durability, Error, Memory, Running, Search, config, leftovers, running};

/// A Unix socket's address has 108 bytes with its final zero; `/.s.PGSQL.54322` is 15 of them.
const MAX_SOCKET_DIR_BYTES: usize = 107 - 15;
/// Ports tried after the wanted one.
const PORTS_TRIED: u16 = 50;
/// The port asked for and the port taken at the last start, in one line.
const LAST_PORT: &str = "port";

/// What [`Cluster::recover`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovered {
    /// Nothing was left over.
    Nothing,
    /// A PostgreSQL whose starter was killed was stopped.
    StoppedOrphan,
}

/// A cluster on disk, running or not. Whoever opens one makes sure to be the only one (a lock of the caller's).
#[derive(Debug, Clone)]
pub struct Cluster {
    root: PathBuf,
    binaries: Binaries,
    account: Option<Account>,
    durability: Durability,
    socket_dir: Option<PathBuf>,
}

impl Cluster {
    /// Find what is needed for a cluster under `root`, which is made when missing; nothing runs yet.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::WrongMajor`], [`Error::NoAccount`], [`Error::Unreachable`],
    /// [`Error::NotACluster`], [`Error::File`].
    pub fn open(root: &Path, search: &Search, durability: Durability) -> Result<Self, Error> {
        fs::create_dir_all(root).map_err(Error::file("create", root))?;
        let root = root.canonicalize().map_err(Error::file("open", root))?;
        let data = root.join("postgres");
        if data.exists() && !data.join("PG_VERSION").is_file() {
            return Err(Error::NotACluster(data));
        }
        let binaries = Binaries::find(search, &data)?;
        let account = Account::choose(&data)?;
        if let Some(account) = &account
            && let Some(blocked) = account.blocked_at(&root)
        {
            return Err(Error::Unreachable { user: account.name.clone(), blocked });
        }
        let socket_dir = (durability == Durability::Full).then(|| socket_dir(&root));
        Ok(Self { root, binaries, account, durability, socket_dir })
    }

    /// Whether there is data already.
    #[must_use]
    pub fn is_initialised(&self) -> bool {
        self.data().join("PG_VERSION").is_file()
    }

    /// The programs in use.
    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The user that PostgreSQL runs as; `None` is ourselves.
    #[must_use]
    pub fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.root.join("postgres")
    }

    /// The directory of the Unix socket; a throw-away cluster has none.
    #[must_use]
    pub fn socket_dir(&self) -> Option<&Path> {
        self.socket_dir.as_deref()
    }

    /// Where PostgreSQL writes what it has to say.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.root.join("log/postgresql.log")
    }

    /// Make the data with `password` for the superuser, unless it is there.
    ///
    /// # Errors
    /// [`Error::Initdb`] with the end of its output; [`Error::File`], [`Error::Spawn`].
    pub async fn initialise(&self, password: &SecretString) -> Result<(), Error> {
        if self.is_initialised() {
            return Ok(());
        }
        let initdb = Initdb {
            binaries: &self.binaries,
            account: self.account.as_ref(),
            durability: self.durability,
            password,
        };
        initdb.run(&self.data()).await
    }

    /// Stop what a killed starter left running on this data, and clear its traces. Quick when there is nothing.
    ///
    /// # Errors
    /// [`Error::Stuck`] when a process does not end; [`Error::File`].
    pub async fn recover(&self) -> Result<Recovered, Error> {
        const SHORT: Duration = Duration::from_secs(5);
        let data = self.data();
        let found = leftovers::postmaster(&data).is_some() || !leftovers::strays(&data).is_empty();
        let postmaster = |it: &Path| leftovers::postmaster(it).into_iter().collect();
        let fast = [(Signal::SIGINT, 2 * SHORT), (Signal::SIGQUIT, SHORT), (Signal::SIGKILL, SHORT)];
        leftovers::end(&data, postmaster, &fast).await?;
        let at_once = [(Signal::SIGQUIT, SHORT), (Signal::SIGKILL, SHORT)];
        leftovers::end(&data, leftovers::strays, &at_once).await?;
        for trace in self.traces() {
            fs::remove_file(&trace).map_err(Error::file("remove", &trace))?;
        }
        Ok(if found { Recovered::StoppedOrphan } else { Recovered::Nothing })
    }

    /// Write the configuration, start PostgreSQL on `port` and wait until it answers.
    ///
    /// # Errors
    /// [`Error::Start`] with the end of its log, [`Error::Slow`], [`Error::File`], [`Error::Spawn`].
    pub async fn start(&self, port: u16) -> Result<Running, Error> {
        let conf = self.write_configuration()?;
        if let Some(directory) = &self.socket_dir {
            self.make_socket_dir(directory)?;
        }
        make_dir(&self.root.join("log"), 0o755)?;
        running::Start { cluster: self, conf: &conf, port }.run().await
    }

    /// Lock files of a PostgreSQL that is gone. It would refuse to start over them when their process id is taken
    /// again, or is a zombie's.
    fn traces(&self) -> Vec<PathBuf> {
        let sockets = self.socket_dir.as_ref().and_then(|it| fs::read_dir(it).ok());
        let sockets = sockets.into_iter().flatten().flatten();
        let ours = sockets.filter(|it| it.file_name().to_string_lossy().starts_with(".s.PGSQL."));
        let pidfile = Some(self.data().join("postmaster.pid")).filter(|it| it.exists());
        ours.map(|it| it.path()).chain(pidfile).collect()
    }

    fn write_configuration(&self) -> Result<PathBuf, Error> {
        let directory = self.root.join("conf");
        make_dir(&directory, 0o755)?;
        let conf = config::postgresql_conf(Memory::of_this_machine(), self.durability);
        write(&directory.join("postgresql.conf"), &conf)?;
        write(&directory.join("pg_hba.conf"), config::pg_hba_conf())?;
        let custom = directory.join("custom.conf");
        if !custom.exists() {
            write(
                &custom,
                "# Your own settings of PostgreSQL: they win over postgresql.conf beside this file.\n",
            )?;
        }
        Ok(directory)
    }

    fn make_socket_dir(&self, directory: &Path) -> Result<(), Error> {
        make_dir(directory, 0o755)?;
        let uid = self.account.as_ref().map_or_else(|| Uid::effective().as_raw(), |it| it.uid);
        let owner = fs::symlink_metadata(directory).map_err(Error::file("read", directory))?.uid();
        match &self.account {
            _ if owner == uid => Ok(()),
            // Made by us a moment ago; a directory of anybody else's is refused.
            Some(account) if owner == Uid::effective().as_raw() => account.own(directory),
            _ => Err(Error::file("use", directory)(std::io::ErrorKind::PermissionDenied.into())),
        }
    }
}

impl Cluster {
    /// The port of the last start when that also asked for `wanted` and it is still free; else as [`free_port`].
    /// What people wrote down (`DATABASE_URL`, a tool's settings) stays true that way.
    ///
    /// # Errors
    /// [`Error::NoPort`]; [`Error::File`] when the choice cannot be kept.
    pub fn choose_port(&self, wanted: u16) -> Result<u16, Error> {
        let path = self.root.join(LAST_PORT);
        let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
        let last = fs::read_to_string(&path).ok().and_then(|it| {
            let (asked, got) = it.trim().split_once(' ')?;
            (asked.parse() == Ok(wanted)).then(|| got.parse::<u16>().ok())?
        });
        let port = last.filter(is_free).map_or_else(|| free_port(wanted), Ok)?;
        write(&path, &format!("{wanted} {port}\n"))?;
        Ok(port)
    }
}

/// `wanted`, or the next port that is free on 127.0.0.1.
///
/// # Errors
/// [`Error::NoPort`].
pub fn free_port(wanted: u16) -> Result<u16, Error> {
    let last = wanted.saturating_add(PORTS_TRIED);
    (wanted..=last)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or(Error::NoPort { first: wanted, last })
}

/// `<root>/run`, or a short directory of its own when that would not fit a socket's address.
fn socket_dir(root: &Path) -> PathBuf {
    let usual = root.join("run");
    if usual.as_os_str().len() <= MAX_SOCKET_DIR_BYTES {
        return usual;
    }
    let mut hasher = DefaultHasher::new();
    root.hash(&mut hasher);
    PathBuf::from(format!("/tmp/madbase-{}-{:016x}", Uid::effective(), hasher.finish()))
}

fn make_dir(path: &Path, mode: u32) -> Result<(), Error> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        Err(it) if it.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(it) => Err(it),
    }
    .map_err(Error::file("create", path))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::file("write", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).map_err(Error::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_root_gets_a_short_socket_directory_that_stays_the_same() {
        let short = Path::new("/var/lib/madbase");
        assert_eq!(socket_dir(short), short.join("run"));
        let long = PathBuf::from(format!("/home/{}", "x".repeat(120)));
        assert_eq!(socket_dir(&long), socket_dir(&long));
        assert!(socket_dir(&long).as_os_str().len() <= MAX_SOCKET_DIR_BYTES);
        assert_ne!(socket_dir(&long), socket_dir(&long.join("other")));
    }

    #[test]
    fn a_taken_port_is_passed_over() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let free = free_port(port).unwrap();
        assert!(free > port, "{free} {port}");
    }
}
