//! From arguments, variables and a settings file to a command, in this order of precedence.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory as _, FromArgMatches as _};
use serde::Serialize;

use super::table::{self, REPLICAS, Role};
use super::{Environment, SettingsFile, check, text};
use crate::cli::{self, Cli};
use crate::layout::Layout;
use crate::node::Kept;

/// A command line that was read, with what stands behind it.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The command.
    pub(crate) cli: Cli,
    matches: ArgMatches,
    file: SettingsFile,
}

impl Loaded {
    /// Read `arguments`, the program's name first. Wrong usage, `--help` and `--version` end the process here.
    pub(crate) fn read(arguments: &[OsString]) -> Self {
        let matches = command().try_get_matches_from(arguments).unwrap_or_else(|it| it.exit());
        Self::of(matches, SettingsFile::default())
    }

    fn of(matches: ArgMatches, file: SettingsFile) -> Self {
        let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|it| it.exit());
        Self { cli, matches, file }
    }

    /// The same with the settings file that it names, if it does.
    ///
    /// # Errors
    /// When the file cannot be read, or something in it cannot be meant: all of it at once.
    pub(crate) fn with_file(self, arguments: &[OsString]) -> Result<Self> {
        let Some(role) = self.role() else { return Ok(self) };
        let named = self.named_file()?;
        let filled = match named {
            Some(file) => Self::filled(role, file, arguments)?,
            None => self,
        };
        // Which directory that is, the named file may say.
        match filled.given_file()? {
            Some(given) => Self::filled(role, filled.file.over(given), arguments),
            None => Ok(filled),
        }
    }

    fn filled(role: Role, file: SettingsFile, arguments: &[OsString]) -> Result<Self> {
        let problems = file.problems(role);
        if !problems.is_empty() {
            bail!("{}", problems.join("\n"));
        }
        let matches = file.fill(command(), role).try_get_matches_from(arguments);
        Ok(Self::of(matches.unwrap_or_else(|it| it.exit()), file))
    }

    /// What the cluster gave to this node when it joined.
    fn given_file(&self) -> Result<Option<SettingsFile>> {
        let data = match &self.cli.command {
            cli::Command::Proxy(args) => &args.reader.data,
            cli::Command::Worker(args) => &args.reader.data,
            _ => return Ok(None),
        };
        let path = Kept::of(&Layout::at(data.path())).settings();
        if path.is_file() { SettingsFile::read(&path).map(Some) } else { Ok(None) }
    }

    /// The role that is to serve.
    pub(crate) fn role(&self) -> Option<Role> {
        Role::of(self.matches.subcommand_name()?)
    }

    /// The file of `--config` or `MADBASE_CONFIG`.
    pub(crate) fn named_file(&self) -> Result<Option<SettingsFile>> {
        let (_, matches) = self.matches.subcommand().unzip();
        let path = matches.and_then(|it| it.try_get_one::<PathBuf>("config").ok().flatten());
        path.map(|it| SettingsFile::read(it)).transpose()
    }

    /// What no flag stands for.
    pub(crate) fn environment(&self) -> Environment {
        Environment::read(&self.file)
    }

    /// Every setting of the role, with its value and where that comes from.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        let (Some(role), Some((_, matches))) = (self.role(), self.matches.subcommand()) else {
            return Vec::new();
        };
        let flags = table::flags(role);
        let flags = flags.iter().filter_map(|it| {
            let key = it.get_long()?;
            let variable = it.get_env().and_then(|it| it.to_str()).unwrap_or_default();
            let given = matches.get_raw(it.get_id().as_str());
            let value = given.map(|it| it.map(|it| it.to_string_lossy()).collect::<Vec<_>>().join(","));
            let origin = match matches.value_source(it.get_id().as_str()) {
                Some(ValueSource::CommandLine) => format!("flag --{key}"),
                Some(ValueSource::EnvVariable) => format!("variable {variable}"),
                _ => self.file_or_default(key),
            };
            Some(Shown { key: key.to_owned(), value, origin })
        });
        let plain = table::plain(role).map(|it| self.shown_plain(it, matches));
        let mut shown: Vec<Shown> = flags.chain(plain).collect();
        shown.sort_by(|a, b| a.key.cmp(&b.key));
        shown
    }

    fn shown_plain(&self, setting: &table::Plain, matches: &ArgMatches) -> Shown {
        let key = setting.key;
        let by_flag = key == REPLICAS
            && matches.value_source("read_replica_url").is_some_and(|it| it == ValueSource::CommandLine);
        let variable = setting.variables.iter().find_map(|it| Some((*it, text(it)?)));
        let (value, origin) = match (by_flag, variable) {
            (true, _) => (None, format!("flag --{key}")),
            (false, Some((name, value))) => (Some(value), format!("variable {name}")),
            (false, None) => (self.file.get(key).map(str::to_owned), self.file_or_default(key)),
        };
        let value =
            if setting.secret { (by_flag || value.is_some()).then(|| "(hidden)".to_owned()) } else { value };
        Shown { key: key.to_owned(), value, origin }
    }

    fn file_or_default(&self, key: &str) -> String {
        match self.file.source(key) {
            Some(path) => format!("file {}", path.display()),
            None => "default".to_owned(),
        }
    }
}

/// A setting as `madbase config show` tells it.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct Shown {
    /// In a settings file.
    pub(crate) key: String,
    /// Null when it is not set; secrets are hidden.
    pub(crate) value: Option<String>,
    /// Flag, variable, file or default.
    pub(crate) origin: String,
}

/// All that is wrong with the settings that `arguments` would start with.
///
/// # Errors
/// When the settings file cannot be read at all.
pub(crate) fn problems(role: Role, arguments: &[OsString]) -> Result<Vec<String>> {
    // Variables are looked at one by one below; here the first wrong one would end everything.
    let bare = command().mut_subcommand(role.name(), |it| {
        it.mut_args(|flag| if flag.get_long() == Some("config") { flag } else { flag.env(None::<&str>) })
    });
    let matches = match bare.try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return Ok(vec![error.to_string().lines().next().unwrap_or_default().to_owned()]),
    };
    let loaded = Loaded::of(matches, SettingsFile::default());
    let mut file = loaded.named_file()?.unwrap_or_default();
    if let Some(given) = loaded.given_file()? {
        file = file.over(given);
    }
    let mut problems = check::sources(role, &file);
    problems.extend(check::environment(role, &Environment::read(&file)));
    Ok(problems)
}

/// Clap's definition of everything; variables that are set to nothing count as unset.
fn command() -> Command {
    let mut command = Cli::command();
    let names: Vec<String> = command.get_subcommands().map(|it| it.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(name, |it| {
            it.mut_args(|flag| {
                let variable = flag.get_env().and_then(|it| it.to_str()).map(str::to_owned);
                let unset = variable.is_some_and(|it| text(&it).is_none());
                if unset { flag.env(None::<&str>) } else { flag }
            })
        });
    }
    command
}
