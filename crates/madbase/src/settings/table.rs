//! Which settings there are: for each role, those with a flag (clap's own definitions) and those without one.
//!
//! A setting's key, in a settings file, is its flag without the dashes. `docs/reference/settings.md` is compared with this.

use std::fmt;

use clap::{Arg, Command, CommandFactory as _, ValueEnum};

use crate::cli::Cli;

/// What serves, and hence has settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Everything in one process.
    Start,
    /// The control plane of a cluster.
    System,
    /// A proxy of a cluster.
    Proxy,
    /// A worker of a cluster.
    Worker,
}

impl Role {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Start, Self::System, Self::Proxy, Self::Worker];

    /// The command.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::System => "system",
            Self::Proxy => "proxy",
            Self::Worker => "worker",
        }
    }

    /// The role whose command this is.
    pub(crate) fn of(command: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == command)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A setting that no flag stands for, secrets above all: every list of processes shows flags.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plain {
    /// In a settings file.
    pub(crate) key: &'static str,
    /// Its variables; the first one that is set counts.
    pub(crate) variables: &'static [&'static str],
    /// Never shown.
    pub(crate) secret: bool,
    /// Where it counts.
    pub(crate) roles: &'static [Role],
}

const fn secret(key: &'static str, variables: &'static [&'static str], roles: &'static [Role]) -> Plain {
    Plain { key, variables, secret: true, roles }
}

const fn open(key: &'static str, variables: &'static [&'static str], roles: &'static [Role]) -> Plain {
    Plain { key, variables, secret: false, roles }
}

const NODES: &[Role] = &[Role::System, Role::Proxy, Role::Worker];
const SERVING: &[Role] = &[Role::Start, Role::Proxy, Role::Worker];

/// All settings without a flag.
pub(crate) const PLAIN: [Plain; 16] = [
    secret("database-url", &["DATABASE_URL"], &Role::ALL),
    secret("redis-url", &["REDIS_URL"], &Role::ALL),
    open("cache-ttl-seconds", &["CACHE_TTL_SECONDS"], SERVING),
    // Its flag takes no passwords.
    secret(REPLICAS, &["READ_REPLICA_URL"], SERVING),
    secret("master-key", &["MADBASE_MASTER_KEY"], NODES),
    secret("join-token", &["MADBASE_JOIN_TOKEN"], &[Role::Proxy, Role::Worker]),
    secret("admin-token", &["MADBASE_ADMIN_TOKEN"], &[Role::System]),
    open("log", &["MADBASE_LOG", "RUST_LOG"], &Role::ALL),
    open("log-format", &["MADBASE_LOG_FORMAT"], &Role::ALL),
    open("postgres-bin", &["MADBASE_POSTGRES_BIN"], &[Role::Start]),
    open("otlp-endpoint", &["OTEL_EXPORTER_OTLP_ENDPOINT"], SERVING),
    secret("otlp-headers", &["OTEL_EXPORTER_OTLP_HEADERS"], SERVING),
    open("otel-service-name", &["OTEL_SERVICE_NAME"], SERVING),
    open("otel-traces-sampler", &["OTEL_TRACES_SAMPLER"], SERVING),
    open("otel-traces-sampler-arg", &["OTEL_TRACES_SAMPLER_ARG"], SERVING),
    open("otel-sdk-disabled", &["OTEL_SDK_DISABLED"], SERVING),
];

/// The only setting that has a flag and a variable that are not the same.
pub(crate) const REPLICAS: &str = "read-replica-url";
/// Names the settings file, so it does not stand in it.
const FILE: &str = "config";

/// The settings of `role` that clap knows. Of [`REPLICAS`] clap knows the flag only.
pub(crate) fn flags(role: Role) -> Vec<Arg> {
    let cli = Cli::command();
    let command = cli.find_subcommand(role.name());
    let arguments = command.into_iter().flat_map(Command::get_arguments);
    let settings = arguments.filter(|it| it.get_env().is_some() && it.get_long() != Some(FILE));
    settings.cloned().collect()
}

/// The settings of `role` without a flag.
pub(crate) fn plain(role: Role) -> impl Iterator<Item = &'static Plain> {
    PLAIN.iter().filter(move |it| it.roles.contains(&role))
}

/// Every key of `role`, sorted.
pub(crate) fn keys(role: Role) -> Vec<String> {
    let flags = flags(role);
    let flags = flags.iter().filter_map(|it| Some(it.get_long()?.to_owned()));
    let mut keys: Vec<String> = flags.chain(plain(role).map(|it| it.key.to_owned())).collect();
    keys.sort_unstable();
    keys
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// Key → variables and roles, as the code has them.
    fn known() -> BTreeMap<String, (BTreeSet<String>, Vec<&'static str>)> {
        let mut known: BTreeMap<String, (BTreeSet<String>, Vec<&'static str>)> = BTreeMap::new();
        for role in Role::ALL {
            let flags = flags(role).into_iter().map(|it| {
                let variable = it.get_env().unwrap().to_str().unwrap().to_owned();
                (it.get_long().unwrap().to_owned(), vec![variable])
            });
            let plain = plain(role).map(|it| {
                (it.key.to_owned(), it.variables.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())
            });
            for (key, variables) in flags.chain(plain) {
                let entry = known.entry(key).or_default();
                entry.0.extend(variables);
                entry.1.push(role.name());
            }
        }
        known
    }

    #[test]
    fn the_reference_has_every_setting_with_its_variable_and_roles() {
        let page = include_str!("../../../../docs/reference/settings.md");
        let (_, table) = page.split_once("\n## All settings\n").unwrap();
        let table = table.split("\n## ").next().unwrap();
        let mut documented = BTreeMap::new();
        for row in table.lines().filter(|it| it.starts_with("| `")) {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            let quoted = |it: &str| it.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
            let key = quoted(cells[0]).remove(0);
            let roles: Vec<&str> = match cells[2] {
                "all" => Role::ALL.map(Role::name).to_vec(),
                some => some.split(", ").collect(),
            };
            documented.insert(key, (quoted(cells[1]).into_iter().collect::<BTreeSet<_>>(), roles));
        }
        assert_eq!(documented, known());
    }

    #[test]
    fn no_secret_has_a_flag() {
        for role in Role::ALL {
            let flags = flags(role);
            for secret in plain(role).filter(|it| it.secret) {
                assert!(!flags.iter().any(|it| it.get_long() == Some(secret.key)), "{}", secret.key);
            }
        }
    }
}
