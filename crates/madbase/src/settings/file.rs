//! A settings file: TOML, one key for each setting of [`super::table`]. It counts less than flags and variables.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Arg, Command};
use toml::{Table, Value};

use super::table::{self, Role};

/// The most that is read.
const MAX_BYTES: u64 = 1024 * 1024;

/// What a file says, as text: a list is its entries with commas between.
#[derive(Debug, Clone, Default)]
pub(crate) struct SettingsFile {
    path: Option<PathBuf>,
    values: BTreeMap<String, String>,
    /// What counts where this says nothing: the settings that a cluster gave to its node.
    below: Option<Box<SettingsFile>>,
    problems: Vec<String>,
}

impl SettingsFile {
    /// Read it; what is wrong with single settings is kept for [`Self::problems`].
    ///
    /// # Errors
    /// When it cannot be read, or is no TOML.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let next = || format!("cannot read the settings file {shown}: correct --config or MADBASE_CONFIG");
        let metadata = fs::metadata(path).with_context(next)?;
        if metadata.len() > MAX_BYTES {
            anyhow::bail!("the settings file {shown} is larger than 1 MiB");
        }
        let text = fs::read_to_string(path).with_context(next)?;
        let table: Table = text.parse().with_context(|| format!("{shown} is no TOML"))?;
        let mut file = Self { path: Some(path.to_owned()), ..Self::default() };
        for (key, value) in table {
            match as_text(&value) {
                Some(text) => drop(file.values.insert(key, text)),
                None => file.problems.push(format!(
                    "{shown}: {key} must be text, a number, true or false, or a list of these"
                )),
            }
        }
        let secret = table::PLAIN.iter().find(|it| it.secret && file.values.contains_key(it.key));
        if let (Some(secret), true) = (secret, metadata.permissions().mode() & 0o007 != 0) {
            let key = secret.key;
            file.problems.push(format!("{shown} holds {key} and everybody may read it: chmod o= {shown}"));
        }
        Ok(file)
    }

    /// The same before `below`.
    pub(crate) fn over(self, below: Self) -> Self {
        Self { below: Some(Box::new(below)), ..self }
    }

    /// What it says about `key`; empty counts as nothing.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.find(key).map(|it| it.1)
    }

    /// The file that says something about `key`.
    pub(crate) fn source(&self, key: &str) -> Option<&Path> {
        self.find(key)?.0.path.as_deref()
    }

    fn find(&self, key: &str) -> Option<(&Self, &str)> {
        let own = self.values.get(key).map(String::as_str).filter(|it| !it.is_empty());
        own.map(|it| (self, it)).or_else(|| self.below.as_ref()?.find(key))
    }

    /// What is wrong with it, for `role`.
    pub(crate) fn problems(&self, role: Role) -> Vec<String> {
        let Some(path) = &self.path else { return Vec::new() };
        let shown = path.display();
        let keys = table::keys(role);
        let others: Vec<String> = Role::ALL.into_iter().flat_map(table::keys).collect();
        let mut problems = self.problems.clone();
        // A file may serve several roles: what counts for another one is no mistake.
        for key in self.values.keys().filter(|it| !others.contains(it)) {
            let near = others.iter().find(|it| is_near(it, key));
            let hint = near.map_or_else(String::new, |it| format!("; did you mean {it}?"));
            problems.push(format!("{shown}: there is no setting {key}{hint}"));
        }
        for flag in table::flags(role) {
            let value = flag.get_long().filter(|it| keys.iter().any(|key| key == it));
            let value = value.and_then(|key| Some((key, self.get(key)?)));
            if let Some((key, value)) = value
                && let Err(why) = super::check::value(&flag, value)
            {
                problems.push(format!("{shown}: {key}: {why}"));
            }
        }
        problems
    }

    /// `command` with what the file says as the defaults of `role`'s flags.
    pub(crate) fn fill(&self, command: Command, role: Role) -> Command {
        // Not by `command`'s own: what no variable says has none there.
        let settings = table::flags(role);
        let is_setting = |flag: &Arg| settings.iter().any(|it| it.get_long() == flag.get_long());
        command.mut_subcommand(role.name(), |command| {
            command.mut_args(|flag| match flag.get_long().and_then(|key| self.get(key)).map(str::to_owned) {
                Some(value) if is_setting(&flag) => flag.default_value(value),
                _ => flag,
            })
        })
    }
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        Value::Array(entries) => {
            let entries: Option<Vec<String>> =
                entries.iter().filter(|it| !it.is_array()).map(as_text).collect();
            Some(entries?.join(","))
        }
        Value::Datetime(_) | Value::Table(_) => None,
    }
}

/// Whether one was meant where the other stands: `-`, `_`, the case, one letter or the order of letters differ.
fn is_near(known: &str, written: &str) -> bool {
    let plain = |it: &str| it.replace(['-', '_'], "").to_lowercase().into_bytes();
    let sorted = |mut it: Vec<u8>| {
        it.sort_unstable();
        it
    };
    let (known, written) = (plain(known), plain(written));
    let longer = known.len().max(written.len());
    let head = known.iter().zip(&written).take_while(|(a, b)| a == b).count();
    let tail = known.iter().rev().zip(written.iter().rev()).take_while(|(a, b)| a == b).count();
    (longer > 3 && head + tail + 1 >= longer) || sorted(known) == sorted(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, Result<SettingsFile>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("madbase.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let file = SettingsFile::read(&path);
        (folder, file)
    }

    #[test]
    fn values_become_text_as_a_variable_would_hold_it() {
        let text = "port = 9000\nbind = '0.0.0.0'\ntrusted-proxies = ['10.0.0.0/8', '::1']\nredis-url = ''";
        let file = file(text).1.unwrap();
        assert_eq!(file.get("port"), Some("9000"));
        assert_eq!(file.get("trusted-proxies"), Some("10.0.0.0/8,::1"));
        assert_eq!(file.get("redis-url"), None);
        assert_eq!(file.problems(Role::Proxy), [""; 0]);
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let text = "prot = 1\nport = 'many'\nbase_domain = 'x'\nbind = 2026-01-01\ncontrol-port = 70000";
        let (folder, file) = file(text);
        let file = file.unwrap();
        let check = |role| {
            let problems = file.problems(role).join("\n");
            problems.replace(&folder.path().display().to_string(), "")
        };
        assert_eq!(
            check(Role::Proxy),
            "/madbase.toml: bind must be text, a number, true or false, or a list of these\n\
             /madbase.toml: there is no setting base_domain; did you mean base-domain?\n\
             /madbase.toml: there is no setting prot; did you mean port?\n\
             /madbase.toml: port: invalid digit found in string"
        );
        assert!(
            check(Role::System).contains("control-port: 70000 is not in 0..=65535"),
            "{}",
            check(Role::System)
        );
    }

    #[test]
    fn a_secret_that_everybody_may_read_is_a_problem() {
        let (folder, file) = file("redis-url = 'redis://x'");
        assert_eq!(file.unwrap().problems(Role::Start), [""; 0]);
        let path = folder.path().join("madbase.toml");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let problems = SettingsFile::read(&path).unwrap().problems(Role::Start);
        assert!(problems[0].contains("holds redis-url and everybody may read it"), "{problems:?}");
    }

    #[test]
    fn what_is_no_toml_is_said_with_its_place() {
        let error = format!("{:#}", file("port = \n").1.unwrap_err());
        assert!(error.contains("is no TOML") && error.contains("line 1"), "{error}");
    }
}
