//! Settings of the data API from texts, as PostgREST reads them: from a file, a variable, or the database itself.
//!
//! `madbase rest` reads all three, the data API what a project's database says (`alter role … set pgrst.db_max_rows`).
//! A number or truth that is none counts as unset; what cannot be meant is refused with the name of the setting.

use super::{OpenApiMode, RestSettings, Verbosity};
use crate::jwt::{RolePath, RolePathError};

/// A text that cannot be the value of a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingError(String);

impl SettingError {
    fn word(name: &str, text: &str, words: &[&str]) -> Self {
        Self(format!("invalid {name}: {text:?}. Use one of: {}", words.join(", ")))
    }
}

/// Truth in many spellings, as PostgREST reads it: `true`, `"TRUE"`, `1`; `None` when it is none.
#[must_use]
pub fn parse_truth(text: &str) -> Option<bool> {
    let word: String = text.chars().filter(char::is_ascii_alphabetic).collect();
    match word.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => text.trim().parse::<i64>().ok().map(|it| it > 0),
    }
}

/// A list with commas between, blanks around its items left out.
fn list(text: &str) -> Vec<String> {
    text.split(',').map(|it| it.trim().to_owned()).collect()
}

impl RestSettings {
    /// What PostgREST has where nothing is set: its defaults are not those of a project.
    #[must_use]
    pub fn of_postgrest() -> Self {
        Self {
            db_schemas: vec!["public".into()],
            db_extra_search_path: vec!["public".into()],
            db_max_rows: None,
            db_anon_role: None,
            ..Self::default()
        }
    }

    /// Take `text` as the value of the setting `name` (`db-max-rows`). An empty text takes away what may be absent, and
    /// changes nothing else. An unknown name changes nothing.
    ///
    /// # Errors
    /// [`SettingError`] when it cannot be meant; nothing is changed then.
    ///
    /// ```
    /// let mut settings = common::RestSettings::default();
    /// settings.set("db-schemas", "api, public").unwrap();
    /// assert_eq!(settings.db_schemas, ["api", "public"]);
    /// assert!(settings.set("db-tx-end", "never").is_err());
    /// ```
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), SettingError> {
        let given = Some(text).filter(|it| !it.is_empty());
        let optional = || given.map(str::to_owned);
        match name {
            "db-anon-role" => self.db_anon_role = optional(),
            "db-pre-request" => self.db_pre_request = optional(),
            "db-pre-config" => self.db_pre_config = optional(),
            "db-root-spec" => self.db_root_spec = optional(),
            "server-trace-header" => self.server_trace_header = optional(),
            "db-extra-search-path" => self.db_extra_search_path = given.map(list).unwrap_or_default(),
            "server-cors-allowed-origins" => {
                self.server_cors_allowed_origins = given.map(list).unwrap_or_default();
            }
            "jwt-aud" => self.jwt_aud = given.map(audience).transpose()?,
            "openapi-server-proxy-uri" => self.openapi_server_proxy_uri = given.map(proxy_uri).transpose()?,
            "db-max-rows" => match given.map(|it| it.trim().parse()) {
                Some(Err(_)) => {}
                rows => self.db_max_rows = rows.and_then(Result::ok),
            },
            _ => given.map_or(Ok(()), |it| self.set_required(name, it))?,
        }
        Ok(())
    }

    /// One that always has a value.
    fn set_required(&mut self, name: &str, text: &str) -> Result<(), SettingError> {
        let be = |setting: &mut bool| *setting = parse_truth(text).unwrap_or(*setting);
        match name {
            "db-aggregates-enabled" => be(&mut self.db_aggregates_enabled),
            "db-plan-enabled" => be(&mut self.db_plan_enabled),
            "db-config" => be(&mut self.db_config),
            "openapi-security-active" => be(&mut self.openapi_security_active),
            "url-use-legacy-target-names" => be(&mut self.url_use_legacy_target_names),
            "server-timing-enabled" => be(&mut self.server_timing_enabled),
            "db-schemas" => self.db_schemas = schemas(text)?,
            "db-tx-end" => self.db_tx_end = tx_end(text)?.to_owned(),
            "db-hoisted-tx-settings" => self.db_hoisted_tx_settings = list(text),
            "openapi-mode" => self.openapi_mode = openapi_mode(text)?,
            "client-error-verbosity" => self.client_error_verbosity = verbosity(text)?,
            "jwt-role-claim-key" => {
                let _path: RolePath =
                    text.parse().map_err(|it: RolePathError| SettingError(it.to_string()))?;
                text.clone_into(&mut self.jwt_role_claim_key);
            }
            "jwt-cache-max-entries" => {
                self.jwt_cache_max_entries = text.trim().parse().unwrap_or(self.jwt_cache_max_entries);
            }
            _ => {}
        }
        Ok(())
    }
}

fn schemas(text: &str) -> Result<Vec<String>, SettingError> {
    let schemas = list(text);
    match schemas.iter().find(|it| matches!(it.as_str(), "pg_catalog" | "information_schema")) {
        Some(schema) => Err(SettingError(format!("db-schemas does not allow schema: '{schema}'"))),
        None => Ok(schemas),
    }
}

fn tx_end(text: &str) -> Result<&str, SettingError> {
    let words = ["commit", "commit-allow-override", "rollback", "rollback-allow-override"];
    if words.contains(&text) { Ok(text) } else { Err(SettingError::word("db-tx-end", text, &words)) }
}

fn openapi_mode(text: &str) -> Result<OpenApiMode, SettingError> {
    match text {
        "follow-privileges" => Ok(OpenApiMode::FollowPrivileges),
        "ignore-privileges" => Ok(OpenApiMode::IgnorePrivileges),
        "disabled" => Ok(OpenApiMode::Disabled),
        _ => {
            let words = ["follow-privileges", "ignore-privileges", "disabled"];
            Err(SettingError::word("openapi-mode", text, &words))
        }
    }
}

fn verbosity(text: &str) -> Result<Verbosity, SettingError> {
    match text {
        "verbose" => Ok(Verbosity::Verbose),
        "minimal" => Ok(Verbosity::Minimal),
        _ => Err(SettingError::word("client-error-verbosity", text, &["verbose", "minimal"])),
    }
}

/// Any text, but a URI when it looks like one.
fn audience(text: &str) -> Result<String, SettingError> {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    let is_scheme = |it: &str| {
        it.starts_with(|it: char| it.is_ascii_alphabetic())
            && it.bytes().all(|it| it.is_ascii_alphanumeric() || b"+-.".contains(&it))
    };
    let is_uri = text.bytes().all(|it| it.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&it));
    match scheme {
        Some(scheme) if !is_scheme(scheme) || !is_uri => {
            Err(SettingError("jwt-aud should be a string or a valid URI".into()))
        }
        _ => Ok(text.to_owned()),
    }
}

fn proxy_uri(text: &str) -> Result<String, SettingError> {
    let fits = text.parse::<http::Uri>().is_ok_and(|it| {
        matches!(it.scheme_str(), Some("http" | "https")) && it.host().is_some_and(|it| !it.is_empty())
    });
    let refusal = "Malformed proxy uri, a correct example: https://example.com:8443/basePath";
    if fits { Ok(text.to_owned()) } else { Err(SettingError(refusal.into())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The setting as JSON after `text` was taken for its value.
    fn check(name: &str, text: &str) -> Result<serde_json::Value, String> {
        let mut settings = RestSettings::default();
        settings.set(name, text).map_err(|it| it.to_string())?;
        Ok(serde_json::to_value(settings).unwrap()[name].take())
    }

    #[test]
    fn texts_become_values() {
        for (name, text, value) in [
            ("db-schemas", "api,  public", serde_json::json!(["api", "public"])),
            ("db-max-rows", " 7", 7.into()),
            ("db-max-rows", "", ().into()),
            ("db-max-rows", "many", 1000.into()),
            ("db-anon-role", "", ().into()),
            ("db-plan-enabled", "\"TRUE\"", true.into()),
            ("db-plan-enabled", "1", true.into()),
            ("db-plan-enabled", "perhaps", false.into()),
            ("db-extra-search-path", "", serde_json::json!([])),
            ("db-tx-end", "rollback", "rollback".into()),
            ("db-tx-end", "", "commit".into()),
            ("openapi-mode", "disabled", "disabled".into()),
            ("client-error-verbosity", "minimal", "minimal".into()),
            ("jwt-aud", "urn:us", "urn:us".into()),
            ("jwt-role-claim-key", ".a", ".a".into()),
        ] {
            assert_eq!(check(name, text), Ok(value), "{name}={text}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (name, text, expected) in [
            ("db-tx-end", "never", "invalid db-tx-end"),
            ("db-schemas", "public, pg_catalog", "db-schemas does not allow schema: 'pg_catalog'"),
            ("openapi-mode", "maybe", "invalid openapi-mode"),
            ("openapi-server-proxy-uri", "example", "Malformed proxy uri"),
            ("openapi-server-proxy-uri", "ftp://example", "Malformed proxy uri"),
            ("jwt-aud", "a b:c", "jwt-aud should be"),
            ("jwt-role-claim-key", "role", "failed to parse role-claim-key value (role)"),
        ] {
            let error = check(name, text).unwrap_err();
            assert!(error.contains(expected), "{name}={text}: {error}");
        }
    }
}
