//! Settings from three places → typed options: what the database says wins over the environment, that over the file.
//!
//! Names, defaults and readings are PostgREST's. What cannot be read is refused with the name of the setting.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, PAD};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use common::jwt::{Key, KeyRing};
use common::{RestSettings, parse_truth};
use secrecy::SecretString;

use super::file::Values;

/// The shortest shared secret.
const MIN_SECRET_BYTES: usize = 32;
/// Padding may be missing, as in JWKs.
const LENIENT: GeneralPurposeConfig = PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// Everything that is set.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) rest: RestSettings,
    pub(crate) jwt: KeyRing,
    pub(crate) db_uri: SecretString,
    /// Data-path connections.
    pub(crate) db_pool: usize,
    pub(crate) db_pool_acquisition_timeout: Duration,
    /// The channel of `NOTIFY`; `None` listens to none.
    pub(crate) db_channel: Option<String>,
    pub(crate) api: Place,
    pub(crate) admin: Option<Place>,
    /// What to log, as a filter.
    pub(crate) log: String,
    /// Whether other processes may listen at the same port.
    pub(crate) server_reuseport: bool,
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Port { host: String, port: u16 },
    Socket { path: PathBuf, mode: u32 },
}

/// The three places, and how to read a file that a value names (`@path`).
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    /// From `alter role … set pgrst.…`: `db_schemas` → value.
    pub(crate) database: BTreeMap<String, String>,
    /// `PGRST_DB_SCHEMAS` → value.
    pub(crate) environment: BTreeMap<String, String>,
    /// `db-schemas` → value.
    pub(crate) file: Values,
}

impl Sources {
    /// The value of the first of `keys` that is set and not empty.
    fn text(&self, keys: &[&str]) -> Option<String> {
        keys.iter().find_map(|key| self.raw(key).filter(|it| !it.is_empty()))
    }

    fn raw(&self, key: &str) -> Option<String> {
        let snake = key.replace('-', "_");
        let variable = format!("PGRST_{}", snake.to_uppercase());
        let database = self.database.get(&snake);
        database.or_else(|| self.environment.get(&variable)).or_else(|| self.file.get(key)).cloned()
    }

    /// Truth in many spellings; what is none counts as unset.
    fn truth(&self, keys: &[&str]) -> Option<bool> {
        parse_truth(&self.text(keys)?)
    }

    /// A number; what is none counts as unset.
    fn number<T: FromStr>(&self, keys: &[&str]) -> Option<T> {
        self.text(keys)?.trim().parse().ok()
    }

    /// One of a few words.
    fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Result<T> {
        let (Some(text), Some((_, default))) = (self.text(&[key]), words.first()) else {
            return words.first().map(|it| it.1).context("no words");
        };
        let _ = default;
        let found = words.iter().find(|(word, _)| *word == text).map(|it| it.1);
        found.ok_or_else(|| {
            let known: Vec<_> = words.iter().map(|it| it.0).collect();
            anyhow!("invalid {key}: {text:?}. Use one of: {}", known.join(", "))
        })
    }

    fn app_settings(&self) -> BTreeMap<String, String> {
        let prefix = "app.settings.";
        let file = self.file.iter().filter(|(key, _)| key.starts_with(prefix));
        let mut all: BTreeMap<_, _> = file.map(|(key, value)| (key.clone(), value.clone())).collect();
        for (name, value) in &self.environment {
            if let Some(name) = name.strip_prefix("PGRST_APP_SETTINGS_") {
                all.insert(format!("{prefix}{name}"), value.clone());
            }
        }
        all
    }
}

impl Options {
    /// Read everything. `read` gives the contents of a file that a value names as `@path`.
    pub(crate) fn read(sources: &Sources, read: &dyn Fn(&str) -> Result<String>) -> Result<Self> {
        let uri = sources.text(&["db-uri"]).unwrap_or_else(|| "postgresql://".into());
        let uri = match uri.strip_prefix('@') {
            Some(path) => read(path).context("db-uri")?.trim().to_owned(),
            None => uri,
        };
        let channel = sources.text(&["db-channel"]).unwrap_or_else(|| "pgrst".into());
        let listens = sources.truth(&["db-channel-enabled"]).unwrap_or(true);
        let wait = sources.number(&["db-pool-acquisition-timeout"]).unwrap_or(10);
        let api = place(sources, "server")?.context("server-port is not set")?;
        let admin = place(sources, "admin-server")?;
        if admin.as_ref() == Some(&api) {
            bail!("admin-server-port cannot be the same as server-port");
        }
        let pool = sources.number(&["db-pool"]).unwrap_or(10);
        if pool == 0 {
            bail!("invalid db-pool: at least one connection is needed");
        }
        let log = [
            ("error", "error"),
            ("crit", "error"),
            ("warn", "warn"),
            ("info", "info,tokio_postgres=warn,hyper=warn"),
            ("debug", "debug,tokio_postgres=info,hyper=info,h2=info"),
        ];
        Ok(Self {
            rest: rest(sources)?,
            jwt: keys(sources, read)?,
            db_uri: uri.into(),
            db_pool: pool,
            db_pool_acquisition_timeout: Duration::from_secs(wait),
            db_channel: Some(channel).filter(|_| listens),
            api,
            admin,
            log: match sources.truth(&["log-query"]) {
                Some(true) => format!("{},data_api::statements=debug", sources.word("log-level", &log)?),
                _ => sources.word("log-level", &log)?.to_owned(),
            },
            server_reuseport: sources.truth(&["server-reuseport"]).unwrap_or(false),
        })
    }
}

/// Settings of the project, each under its name and then its older ones.
const OF_PROJECT: [&[&str]; 23] = [
    &["client-error-verbosity"],
    &["db-aggregates-enabled"],
    &["db-anon-role"],
    &["db-config"],
    &["db-extra-search-path"],
    &["db-hoisted-tx-settings"],
    &["db-max-rows", "max-rows"],
    &["db-plan-enabled"],
    &["db-pre-config"],
    &["db-pre-request", "pre-request"],
    &["db-root-spec", "root-spec"],
    &["db-schemas", "db-schema"],
    &["db-tx-end"],
    &["jwt-aud"],
    &["jwt-cache-max-entries"],
    &["jwt-role-claim-key", "role-claim-key"],
    &["openapi-mode"],
    &["openapi-security-active"],
    &["openapi-server-proxy-uri"],
    &["server-cors-allowed-origins"],
    &["server-timing-enabled"],
    &["server-trace-header"],
    &["url-use-legacy-target-names"],
];

fn rest(sources: &Sources) -> Result<RestSettings> {
    let mut settings = RestSettings::of_postgrest();
    for names in OF_PROJECT {
        if let (Some(text), [name, ..]) = (sources.text(names), names) {
            settings.set(name, &text)?;
        }
    }
    if sources.raw("db-extra-search-path").is_some_and(|it| it.is_empty()) {
        settings.db_extra_search_path.clear();
    }
    settings.app_settings = sources.app_settings();
    Ok(settings)
}

/// The keys of `jwt-secret`: none, a shared secret, a JWK or a set of them.
fn keys(sources: &Sources, read: &dyn Fn(&str) -> Result<String>) -> Result<KeyRing> {
    let Some(secret) = sources.text(&["jwt-secret"]) else { return Ok(KeyRing::default()) };
    let secret = match secret.strip_prefix('@') {
        Some(path) => {
            let text = read(path).context("jwt-secret")?;
            text.strip_suffix('\n').map(str::to_owned).unwrap_or(text)
        }
        None => secret,
    };
    if sources.truth(&["jwt-secret-is-base64", "secret-is-base64"]).unwrap_or(false) {
        let standard = secret.trim().replace('_', "/").replace('-', "+").replace('.', "=");
        let bytes = GeneralPurpose::new(&STANDARD, LENIENT).decode(standard);
        return ring(&bytes.map_err(|_| anyhow!("jwt-secret is not base64, as jwt-secret-is-base64 says"))?);
    }
    ring(secret.as_bytes())
}

fn ring(secret: &[u8]) -> Result<KeyRing> {
    let text = std::str::from_utf8(secret).ok().filter(|it| it.trim_start().starts_with('{'));
    if let Some(json) = text.filter(|it| serde_json::from_str::<serde_json::Value>(it).is_ok()) {
        return KeyRing::from_jwt_secret(json).context("jwt-secret holds no usable key");
    }
    if secret.len() < MIN_SECRET_BYTES {
        bail!("The JWT secret must be at least 32 characters long. Make one: openssl rand -base64 32");
    }
    Ok(KeyRing::new(vec![Key::from_secret(secret)]))
}

/// `server-…` or `admin-server-…`; a socket goes before a port, and without either the admin server is off.
fn place(sources: &Sources, prefix: &str) -> Result<Option<Place>> {
    let key = |name: &str| format!("{prefix}-{name}");
    if let Some(path) = sources.text(&[&key("unix-socket")]) {
        let text = sources.text(&[&key("unix-socket-mode")]).unwrap_or_else(|| "660".into());
        let mode = u32::from_str_radix(&text, 8);
        let mode = mode.map_err(|_| anyhow!("Invalid {}: not an octal", key("unix-socket-mode")))?;
        if !(0o600..=0o777).contains(&mode) {
            bail!("Invalid {}: needs to be between 600 and 777", key("unix-socket-mode"));
        }
        return Ok(Some(Place::Socket { path: path.into(), mode }));
    }
    let port = sources.number(&[&key("port")]);
    let Some(port) = port.or_else(|| (prefix == "server").then_some(3000)) else { return Ok(None) };
    let host = sources.text(&[&key("host"), "server-host"]).unwrap_or_else(|| "!4".into());
    Ok(Some(Place::Port { host, port }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(environment: &[(&str, &str)], file: &[(&str, &str)], database: &[(&str, &str)]) -> Sources {
        let map =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Sources { database: map(database), environment: map(environment), file: map(file) }
    }

    fn read(sources: &Sources) -> Result<Options, String> {
        let file = |path: &str| match path {
            "/secret" => Ok("a secret of at least thirty-two bytes\n".to_owned()),
            _ => bail!("no such file"),
        };
        Options::read(sources, &file).map_err(|it| format!("{it:#}"))
    }

    fn refused(name: &str, value: &str) -> String {
        read(&sources(&[(name, value)], &[], &[])).unwrap_err()
    }

    #[test]
    fn the_database_wins_over_the_environment_and_that_over_the_file() {
        let file = [("db-schemas", "file"), ("db-anon-role", "file"), ("jwt-aud", "file")];
        let environment = [("PGRST_DB_SCHEMAS", "environment"), ("PGRST_DB_ANON_ROLE", "environment")];
        let options = read(&sources(&environment, &file, &[("db_schemas", "a, b")])).unwrap();
        assert_eq!(options.rest.db_schemas, ["a", "b"]);
        assert_eq!(options.rest.db_anon_role.as_deref(), Some("environment"));
        assert_eq!(options.rest.jwt_aud.as_deref(), Some("file"));
    }

    #[test]
    fn defaults_are_postgrest_s() {
        let options = read(&Sources::default()).unwrap();
        assert_eq!(options.rest.db_schemas, ["public"]);
        assert_eq!((options.rest.db_max_rows, options.rest.db_anon_role), (None, None));
        assert_eq!(options.api, Place::Port { host: "!4".into(), port: 3000 });
        assert_eq!((options.admin, options.db_pool), (None, 10));
        assert!(options.jwt.is_empty());
    }

    #[test]
    fn older_names_and_spellings_are_understood() {
        let file =
            [("max-rows", "7"), ("db-schema", "old"), ("pre-request", "check"), ("role-claim-key", ".a")];
        let environment = [
            ("PGRST_DB_PLAN_ENABLED", "\"TRUE\""),
            ("PGRST_DB_AGGREGATES_ENABLED", "1"),
            ("PGRST_DB_EXTRA_SEARCH_PATH", ""),
            ("PGRST_APP_SETTINGS_HOST", "h"),
            ("PGRST_JWT_SECRET", "@/secret"),
            ("PGRST_SERVER_UNIX_SOCKET", "/tmp/s"),
        ];
        let options = read(&sources(&environment, &file, &[])).unwrap();
        let rest = options.rest;
        assert_eq!((rest.db_max_rows, rest.db_schemas.as_slice()), (Some(7), ["old".to_owned()].as_slice()));
        assert_eq!(rest.db_pre_request.as_deref(), Some("check"));
        assert_eq!(rest.jwt_role_claim_key, ".a");
        assert!(rest.db_plan_enabled && rest.db_aggregates_enabled && rest.db_extra_search_path.is_empty());
        assert_eq!(rest.app_settings.get("app.settings.HOST").map(String::as_str), Some("h"));
        assert_eq!(options.api, Place::Socket { path: "/tmp/s".into(), mode: 0o660 });
        assert!(!options.jwt.is_empty());
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let cases = [
            ("PGRST_DB_TX_END", "never", "invalid db-tx-end"),
            ("PGRST_OPENAPI_MODE", "maybe", "invalid openapi-mode"),
            ("PGRST_JWT_SECRET", "short", "at least 32 characters"),
            ("PGRST_JWT_SECRET", "@/nowhere", "jwt-secret: no such file"),
            ("PGRST_JWT_ROLE_CLAIM_KEY", "role", "failed to parse role-claim-key value (role)"),
            ("PGRST_JWT_AUD", "a b:c", "jwt-aud should be"),
            ("PGRST_DB_SCHEMAS", "public, pg_catalog", "db-schemas does not allow schema: 'pg_catalog'"),
            ("PGRST_OPENAPI_SERVER_PROXY_URI", "example", "Malformed proxy uri"),
            ("PGRST_ADMIN_SERVER_PORT", "3000", "admin-server-port cannot be the same"),
            ("PGRST_LOG_LEVEL", "loud", "invalid log-level"),
        ];
        for (name, value, expected) in cases {
            let error = refused(name, value);
            assert!(error.contains(expected), "{name}={value}: {error}");
        }
    }
}
