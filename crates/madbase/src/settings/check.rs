//! What is wrong with a role's settings: everything at once, without starting anything.

use std::error::Error as _;

use clap::{Arg, Command};
use secrecy::ExposeSecret as _;

use super::table::{self, Role};
use super::{Environment, SettingsFile, text};

/// Whether `flag` takes `value`; why not.
pub(super) fn value(flag: &Arg, value: &str) -> Result<(), String> {
    let name = flag.get_long().unwrap_or_default().to_owned();
    let command = Command::new("check").no_binary_name(true).arg(flag.clone().required(false));
    let Err(error) = command.try_get_matches_from([format!("--{name}={value}")]) else { return Ok(()) };
    // Of clap's page the reason only: the rest talks of flags.
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    Err(error.source().map_or_else(|| first.to_owned(), ToString::to_string))
}

/// All that is wrong with file and variables of `role`.
pub(crate) fn sources(role: Role, file: &SettingsFile) -> Vec<String> {
    let mut problems = file.problems(role);
    for flag in table::flags(role) {
        let variable = flag.get_env().and_then(|it| it.to_str()).unwrap_or_default();
        if let Some(given) = text(variable)
            && let Err(why) = value(&flag, &given)
        {
            problems.push(format!("{variable}: {why}"));
        }
    }
    problems
}

/// All that is wrong with what clap does not read.
pub(crate) fn environment(role: Role, environment: &Environment) -> Vec<String> {
    let mut problems = Vec::new();
    let mut tell = |problem: Option<String>| problems.extend(problem);
    match &environment.database_url {
        Some(url) => tell(store::Server::from_url(url.expose_secret()).err().map(|it| {
            format!("DATABASE_URL: {it}; an example: postgres://admin:password@host:5432/database")
        })),
        None if role == Role::Start => {}
        None => tell(Some(
            "DATABASE_URL is not set: a node of a cluster works on a PostgreSQL that exists".into(),
        )),
    }
    if let Some(url) = &environment.redis_url {
        let scheme =
            url::Url::parse(url.expose_secret()).map(|it| it.scheme().to_owned()).unwrap_or_default();
        let bad = !["redis", "rediss", "redis+unix", "unix"].contains(&scheme.as_str());
        tell(bad.then(|| "REDIS_URL: expected redis://[user:password@]host[:port][/db]".to_owned()));
    }
    if let (Some(key), true) = (&environment.master_key, role != Role::Start) {
        let bad = !crate::secrets::is_sound(key.expose_secret());
        tell(bad.then(|| "MADBASE_MASTER_KEY: expected 43 characters of base64url".to_owned()));
    }
    let filter = environment.log.as_deref().map(tracing_subscriber::EnvFilter::try_new);
    tell(filter.and_then(Result::err).map(|it| format!("MADBASE_LOG: {it}; an example: info,gateway=debug")));
    let format = environment.log_format.as_deref().filter(|it| !["text", "json"].contains(it));
    tell(format.map(|_| "MADBASE_LOG_FORMAT: expected text or json".to_owned()));
    tell(environment.cache_ttl().err().map(|it| it.to_string()));
    problems.extend(environment.traces.problems());
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_without_the_flag() {
        let flags = table::flags(Role::Proxy);
        let flag = |name: &str| flags.iter().find(|it| it.get_long() == Some(name)).unwrap();
        assert_eq!(value(flag("port"), "8000"), Ok(()));
        assert_eq!(value(flag("port"), "x"), Err("invalid digit found in string".to_owned()));
        let domain = value(flag("base-domain"), "a b").unwrap_err();
        assert!(domain.starts_with("a domain is letters"), "{domain}");
        assert_eq!(value(flag("trusted-proxies"), "10.0.0.0/8,::1"), Ok(()));
        assert!(value(flag("trusted-proxies"), "10.0.0.0/8,x").is_err());
    }
}
