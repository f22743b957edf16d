//! Finds PostgreSQL's programs: the newest usable version, or the one that the data was made by.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;

/// The oldest major version that MadBase runs on.
pub const MIN_MAJOR: u32 = 15;

/// Where to look for PostgreSQL's programs.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// The only directory to look in (`MADBASE_POSTGRES_BIN`); `None` looks where packages install and in `path`.
    pub only: Option<PathBuf>,
    /// A `PATH`, looked through last.
    pub path: Option<OsString>,
}

/// Directories of packages; `*` stands for a version.
const PACKAGED: [&str; 5] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
];

/// A directory with `postgres` and `initdb` of one version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Binaries {
    major: u32,
    directory: PathBuf,
}

impl Binaries {
    /// All usable versions, newest first.
    #[must_use]
    pub fn all(search: &Search) -> Vec<Self> {
        let mut found: Vec<Self> = candidates(search).into_iter().filter_map(Self::at).collect();
        found.sort();
        found.dedup();
        found.reverse();
        found
    }

    /// The newest usable version; for an existing cluster (`Some(major)`) that version.
    ///
    /// # Errors
    /// [`Error::NotFound`] without any, [`Error::WrongMajor`] when only others are there.
    pub fn find(search: &Search, data: &Path) -> Result<Self, Error> {
        let all = Self::all(search);
        let Some(newest) = all.first() else {
            return Err(Error::NotFound { searched: describe(search) });
        };
        match data_major(data) {
            None => Ok(newest.clone()),
            Some(major) => all
                .iter()
                .find(|it| it.major == major)
                .cloned()
                .ok_or_else(|| Error::WrongMajor { directory: data.to_owned(), major }),
        }
    }

    /// The major version.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The path of `program`, for example `psql`.
    #[must_use]
    pub fn program(&self, program: &str) -> PathBuf {
        self.directory.join(program)
    }

    fn at(directory: PathBuf) -> Option<Self> {
        if !directory.join("initdb").is_file() {
            return None;
        }
        let answer = Command::new(directory.join("postgres")).arg("--version").output().ok()?;
        let major = parse_version(&String::from_utf8_lossy(&answer.stdout))?;
        (major >= MIN_MAJOR).then_some(Self { major, directory })
    }
}

/// The major version that `data` was made by, when it holds a cluster.
fn data_major(data: &Path) -> Option<u32> {
    std::fs::read_to_string(data.join("PG_VERSION")).ok()?.trim().parse().ok()
}

/// `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)` → 15; also `16beta2` and `17devel`.
fn parse_version(text: &str) -> Option<u32> {
    let number = text.split_whitespace().nth(2)?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn candidates(search: &Search) -> Vec<PathBuf> {
    if let Some(only) = &search.only {
        return vec![only.clone()];
    }
    let packaged = PACKAGED.iter().flat_map(|it| expand(it));
    let path = search.path.iter().flat_map(std::env::split_paths);
    packaged.chain(path).filter(|it| it.join("postgres").is_file()).collect()
}

/// Replace the one `*` in the pattern's components by what is there.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|it| !it.is_empty()) {
        found = match part.split_once('*') {
            None => found.into_iter().map(|it| it.join(part)).collect(),
            Some((before, _)) => found.iter().flat_map(|it| children(it, before)).collect(),
        };
    }
    found
}

fn children(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries
        .flatten()
        .filter(|it| it.file_name().to_string_lossy().starts_with(prefix))
        .map(|it| it.path())
        .collect()
}

fn describe(search: &Search) -> String {
    match &search.only {
        Some(only) => format!("MADBASE_POSTGRES_BIN={}", only.display()),
        None => "/usr/lib/postgresql/*/bin and PATH".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_postgres_prints() {
        let cases = [
            ("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n", Some(15)),
            ("postgres (PostgreSQL) 18beta1\n", Some(18)),
            ("postgres (PostgreSQL) 9.6.24\n", Some(9)),
            ("postgres (PostgreSQL)", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_version(text), expected, "{text}");
        }
    }

    #[test]
    fn an_empty_directory_has_no_postgres_and_the_error_names_the_setting() {
        let search = Search { only: Some("/nonexistent".into()), path: None };
        let error = Binaries::find(&search, Path::new("/nonexistent")).unwrap_err().to_string();
        assert!(error.contains("MADBASE_POSTGRES_BIN=/nonexistent"), "{error}");
        assert!(error.contains("apt-get install postgresql"), "{error}");
    }
}
