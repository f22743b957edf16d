//! Identity providers among the settings: a change names some of them, the others stay; and what they must keep.

use common::AuthSettings;
use serde_json::{Map, Value};

const MAX_PROVIDERS: usize = 50;
const MAX_CLIENTS: usize = 20;
const MAX_TEXT: usize = 2048;

/// Write the providers that `change` names over those of `stored`; `null` removes one. Anything else of `change` is
/// left alone.
pub(super) fn merge(stored: &Map<String, Value>, change: &mut Map<String, Value>) {
    let Some(Value::Object(named)) = change.get_mut("external") else { return };
    let mut all = stored.get("external").and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, provider) in std::mem::take(named) {
        if provider.is_null() {
            all.remove(&name);
        } else {
            all.insert(name, provider);
        }
    }
    *named = all;
}

/// What providers must keep beside their types.
pub(super) fn check(auth: &AuthSettings) -> Result<(), &'static str> {
    let texts_ok = |it: &common::ProviderSettings| {
        it.client_ids.len() <= MAX_CLIENTS
            && it.client_ids.iter().all(|it| (1..=MAX_TEXT).contains(&it.len()))
            && it.secret.as_ref().is_none_or(|it| it.len() <= 4 * MAX_TEXT)
    };
    let rules = [
        (auth.external.len() <= MAX_PROVIDERS, "auth.external takes at most 50 providers"),
        (
            auth.external.keys().all(|it| is_provider(it)),
            "auth.external names a provider by a-z, 0-9, '_', '-' and ':'",
        ),
        (auth.external.values().all(texts_ok), "auth.external: at most 20 client_ids of 1 to 2048 bytes"),
        (
            auth.external.values().filter_map(|it| it.url.as_deref()).all(super::is_url),
            "auth.external: url must be an http or https address",
        ),
        (
            auth.allowed_id_token_issuers.len() <= MAX_CLIENTS
                && auth
                    .allowed_id_token_issuers
                    .iter()
                    .all(|it| it.starts_with("https://") && super::is_url(it)),
            "auth.allowed_id_token_issuers takes at most 20 https addresses",
        ),
        (
            auth.oauth_server.authorization_path.starts_with('/')
                && !auth.oauth_server.authorization_path.starts_with("//")
                && auth.oauth_server.authorization_path.len() <= MAX_TEXT,
            "auth.oauth_server.authorization_path is a path of the site",
        ),
    ];
    rules.iter().find(|it| !it.0).map_or(Ok(()), |it| Err(it.1))
}

fn is_provider(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || b"_-:".contains(&it))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_of_one_provider_keeps_the_others() {
        let stored = json!({"external": {"google": {"enabled": true}, "github": {"enabled": true}}});
        let mut change =
            json!({"external": {"github": null, "azure": {"url": "https://a.b"}}, "site_url": "x"});
        merge(stored.as_object().unwrap(), change.as_object_mut().unwrap());
        let wanted = json!({"external": {"google": {"enabled": true}, "azure": {"url": "https://a.b"}}, "site_url": "x"});
        assert_eq!(change, wanted);
        let mut reset = json!({"external": null});
        merge(stored.as_object().unwrap(), reset.as_object_mut().unwrap());
        assert_eq!(reset, json!({"external": null}));
    }

    #[test]
    fn providers_have_names_addresses_and_bounds() {
        let check = |external: Value| check(&serde_json::from_value(json!({"external": external})).unwrap());
        assert_eq!(check(json!({"custom:my-idp": {"url": "https://id.example.com"}})), Ok(()));
        assert!(check(json!({"Google": {}})).is_err());
        assert!(check(json!({"google": {"url": "file:///etc/passwd"}})).is_err());
        assert!(check(json!({"google": {"client_ids": [""]}})).is_err());
        let many: Map<String, Value> = (0..51).map(|it| (format!("p{it}"), json!({}))).collect();
        assert!(check(many.into()).is_err());
        let issuers = |it: &str| {
            super::check(&AuthSettings {
                allowed_id_token_issuers: vec![it.into()],
                ..AuthSettings::default()
            })
        };
        assert!(issuers("http://a.b").is_err() && issuers("https://a.b").is_ok());
    }
}
