//! A project's settings as they are stored: only what differs from the defaults, by service, without those that are
//! secrets (`hidden.rs`).
//!
//! A change names fields of a service; each replaces the stored one, `null` included, and the whole must be valid.
//! A service that is `null` goes back to its defaults.

mod external;
mod factors;
mod guard;
mod hidden;
mod limits;
mod names;
mod realtime;

use common::{AuthSettings, LimitSettings, RealtimeSettings, RestSettings};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::Error;
use crate::secrets::Secrets;
pub(crate) use hidden::HiddenValues;

/// What holds for a project.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) auth: AuthSettings,
    pub(crate) rest: RestSettings,
    pub(crate) limits: LimitSettings,
    pub(crate) realtime: RealtimeSettings,
}

impl Settings {
    /// From the stored form.
    ///
    /// # Errors
    /// [`Error::Stored`] when a newer version wrote what this one does not know.
    pub(crate) fn read(stored: &Value, secrets: &Secrets) -> Result<Self, Error> {
        let mut stored = stored.clone();
        hidden::restore(&mut stored, &secrets.settings);
        Self::parse(&stored).map_err(|(_, error)| Error::Stored(error.into()))
    }

    fn parse(stored: &Value) -> Result<Self, (&'static str, serde_json::Error)> {
        let service = |name: &str| stored.get(name).cloned().unwrap_or_else(|| json!({}));
        Ok(Self {
            auth: serde_json::from_value(service("auth")).map_err(|it| ("auth", it))?,
            rest: serde_json::from_value(service("rest")).map_err(|it| ("rest", it))?,
            limits: serde_json::from_value(service("limits")).map_err(|it| ("limits", it))?,
            realtime: serde_json::from_value(service("realtime")).map_err(|it| ("realtime", it))?,
        })
    }

    /// For people: secrets are null.
    pub(crate) fn shown(&self) -> Value {
        let mut shown =
            json!({"auth": self.auth, "rest": self.rest, "limits": self.limits, "realtime": self.realtime});
        hidden::strip(&mut shown);
        shown
    }

    fn check(&self) -> Result<(), String> {
        let (auth, rest) = (&self.auth, &self.rest);
        let rules = [
            ((60..=604_800).contains(&auth.jwt_expiry_secs), "auth.jwt_expiry_secs must be 60 to 604800"),
            ((6..=72).contains(&auth.password_min_length), "auth.password_min_length must be 6 to 72"),
            (
                (60..=86_400).contains(&auth.mailer_otp_expiry_secs),
                "auth.mailer_otp_expiry_secs must be 60 to 86400",
            ),
            (is_url(&auth.site_url), "auth.site_url must be an http or https address"),
            (auth.redirect_urls.len() <= 100, "auth.redirect_urls takes at most 100 entries"),
            ((1..=50).contains(&rest.db_schemas.len()), "rest.db-schemas must name 1 to 50 schemas"),
            (
                rest.db_schemas.iter().all(|it| is_name(it)),
                "rest.db-schemas must hold names of 1 to 63 bytes",
            ),
            (
                rest.db_extra_search_path.iter().all(|it| is_name(it)),
                "rest.db-extra-search-path must hold names of 1 to 63 bytes",
            ),
            (
                rest.db_anon_role.as_deref().is_none_or(is_name),
                "rest.db-anon-role must be a name of 1 to 63 bytes",
            ),
            (
                rest.db_pre_request.as_deref().is_none_or(is_function),
                "rest.db-pre-request must be a function's name, with its schema or without",
            ),
            (
                ["commit", "commit-allow-override", "rollback", "rollback-allow-override"]
                    .contains(&rest.db_tx_end.as_str()),
                "rest.db-tx-end must be commit, commit-allow-override, rollback or rollback-allow-override",
            ),
            (
                (1..=86_400).contains(&rest.response_cache_max_age),
                "rest.response-cache-max-age must be 1 to 86400",
            ),
        ];
        rules.iter().find(|it| !it.0).map_or(Ok(()), |it| Err(it.1))?;
        factors::check(auth)?;
        external::check(auth)?;
        limits::check(&self.limits)?;
        realtime::check(&self.realtime)?;
        guard::check(auth)
    }
}

/// A change of settings: fields by service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    #[serde(default, deserialize_with = "present")]
    auth: Option<Option<Map<String, Value>>>,
    #[serde(default, deserialize_with = "present")]
    rest: Option<Option<Map<String, Value>>>,
    #[serde(default, deserialize_with = "present")]
    limits: Option<Option<Map<String, Value>>>,
    #[serde(default, deserialize_with = "present")]
    realtime: Option<Option<Map<String, Value>>>,
}

/// Tells `null` (`Some(None)`) from a field that is not there (`None`).
fn present<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<Option<Map<String, Value>>>, D::Error> {
    Option::deserialize(from).map(Some)
}

impl Change {
    /// The stored form after this change; secrets among the settings go to `secrets`.
    ///
    /// # Errors
    /// [`Error::Body`] names the service and the field.
    pub(crate) fn apply(&self, stored: &Value, secrets: &mut Secrets) -> Result<Value, Error> {
        let mut merged = stored.as_object().cloned().unwrap_or_default();
        let changes = [
            ("auth", &self.auth),
            ("rest", &self.rest),
            ("limits", &self.limits),
            ("realtime", &self.realtime),
        ];
        for (service, change) in changes {
            match change {
                None => {}
                Some(None) => drop(merged.remove(service)),
                Some(Some(fields)) => {
                    let entry = merged.entry(service).or_insert_with(|| json!({}));
                    if let Some(entry) = entry.as_object_mut() {
                        let mut fields = names::ours(fields.clone(), entry);
                        external::merge(entry, &mut fields);
                        entry.extend(fields);
                    }
                }
            }
        }
        let mut merged = Value::Object(merged);
        hidden::take(stored, &mut merged, &mut secrets.settings);
        let mut whole = merged.clone();
        hidden::restore(&mut whole, &secrets.settings);
        let settings =
            Settings::parse(&whole).map_err(|(service, error)| Error::Body(format!("{service}: {error}")))?;
        settings.check().map_err(Error::Body)?;
        Ok(merged)
    }

    /// For the audit log: which fields, and the values of those that hold no secret.
    pub(crate) fn described(&self) -> Value {
        let own = |fields: &Map<String, Value>| names::ours(fields.clone(), &Map::new());
        let auth = self.auth.as_ref().map(|it| it.as_ref().map(own));
        let mut shown =
            json!({"auth": auth, "rest": self.rest, "limits": self.limits, "realtime": self.realtime});
        hidden::strip(&mut shown);
        shown
    }
}

fn is_url(text: &str) -> bool {
    let parsed: Result<http::Uri, _> = text.parse();
    text.len() <= 2000
        && parsed.is_ok_and(|it| matches!(it.scheme_str(), Some("http" | "https")) && it.host().is_some())
}

fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len()) && !text.contains('\0')
}

fn is_function(text: &str) -> bool {
    let mut parts = text.split('.');
    let plain = |it: &str| is_name(it) && !it.contains(['"', '(', ')', ';', ' ']);
    parts.clone().count() <= 2 && parts.all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::LoginNames;

    fn secrets() -> Secrets {
        Secrets::generate(&"team".parse().unwrap(), LoginNames::with_suffix(""), 0).unwrap()
    }

    fn check(change: &Value) -> Result<Value, String> {
        let change: Change = serde_json::from_value(change.clone()).map_err(|it| it.to_string())?;
        change.apply(&json!({}), &mut secrets()).map_err(|it| it.to_string())
    }

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let stored = json!({"auth": {"disable_signup": true}, "rest": {"db-max-rows": null}});
        let change: Change = serde_json::from_value(json!({"auth": {"site_url": "https://a.b"}})).unwrap();
        let after = change.apply(&stored, &mut secrets()).unwrap();
        let wanted = json!({"auth": {"disable_signup": true, "site_url": "https://a.b"},
            "rest": {"db-max-rows": null}});
        assert_eq!(after, wanted);
        let read = Settings::read(&after, &secrets()).unwrap();
        assert_eq!((read.auth.disable_signup, read.rest.db_max_rows), (true, None));
        let reset: Change = serde_json::from_value(json!({"auth": null})).unwrap();
        assert_eq!(reset.apply(&after, &mut secrets()).unwrap(), json!({"rest": {"db-max-rows": null}}));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let cases = [
            (json!({"auth": {"disable_singup": true}}), "disable_singup"),
            (json!({"storage": {}}), "storage"),
            (json!({"auth": {"disable_signup": "yes"}}), "auth: "),
            (json!({"auth": {"site_url": "javascript:alert(1)"}}), "auth.site_url"),
            (json!({"auth": {"password_min_length": 0}}), "auth.password_min_length"),
            (json!({"rest": {"db-schemas": []}}), "rest.db-schemas"),
            (json!({"rest": {"db-tx-end": "never"}}), "rest.db-tx-end"),
            (json!({"rest": {"db-pre-request": "f(); drop table x"}}), "rest.db-pre-request"),
            (json!({"rest": {"db-max-rows": -1}}), "rest: "),
            (json!({"rest": {"response-cache": "always"}}), "rest: "),
            (json!({"rest": {"response-cache-max-age": 0}}), "rest.response-cache-max-age"),
        ];
        for (change, named) in cases {
            let message = check(&change).unwrap_err();
            assert!(message.contains(named), "{change}: {message}");
        }
    }

    #[test]
    fn the_reference_names_every_field() {
        let page = include_str!("../../../docs/reference/control-plane.md");
        let shown = Settings::default().shown();
        for service in ["auth", "rest"] {
            for field in shown[service].as_object().unwrap().keys() {
                assert!(page.contains(&format!("| `{service}.{field}` |")), "{service}.{field}");
            }
        }
    }

    #[test]
    fn secrets_of_sms_providers_are_kept_apart() {
        let mut secrets = secrets();
        let change = |provider: Value| -> Change {
            serde_json::from_value(json!({"auth": {"sms_provider": provider}})).unwrap()
        };
        let twilio = json!({"kind": "twilio", "account_sid": "AC1", "auth_token": "hush", "from": "+1"});
        let stored = change(twilio).apply(&json!({}), &mut secrets).unwrap();
        assert!(!stored.to_string().contains("hush"), "{stored}");
        let read = Settings::read(&stored, &secrets).unwrap();
        assert!(format!("{:?}", read.auth.sms_provider).contains("hush"));
        assert!(!read.shown().to_string().contains("hush"));
        let hook = json!({"kind": "webhook", "url": "https://a.b"});
        change(hook).apply(&stored, &mut secrets).unwrap();
        assert!(secrets.settings.is_empty(), "never sent to another provider");
    }

    #[test]
    fn the_smtp_password_is_a_secret() {
        let mut secrets = secrets();
        let smtp = |host: &str| json!({"host": host, "port": 25, "from": "a@b"});
        let apply = |smtp: &Value, stored: &Value, secrets: &mut Secrets| {
            let change: Change = serde_json::from_value(json!({"auth": {"smtp": smtp}})).unwrap();
            assert!(!change.described().to_string().contains("hush"));
            change.apply(stored, secrets).unwrap()
        };
        let mut with_password = smtp("mail.a");
        with_password["password"] = json!("hush");
        let stored = apply(&with_password, &json!({}), &mut secrets);
        assert!(!stored.to_string().contains("hush"), "{stored}");
        let read = Settings::read(&stored, &secrets).unwrap();
        assert_eq!(read.auth.smtp.as_ref().unwrap().password.as_deref(), Some("hush"));
        assert!(!read.shown().to_string().contains("hush"));
        let stored = apply(&smtp("mail.a"), &stored, &mut secrets);
        let kept = secrets.settings.get("/auth/smtp/password").and_then(Value::as_str);
        assert_eq!(kept, Some("hush"), "kept for the same server");
        apply(&smtp("mail.evil"), &stored, &mut secrets);
        assert!(secrets.settings.is_empty(), "never sent to another server");
    }
}
