//! Supabase's names of settings (its management API, `config/auth`), as we write them.

use serde_json::{Map, Value, json};

/// Supabase's name → ours, where they differ.
const NAMES: &[(&str, &str)] = &[
    ("jwt_exp", "jwt_expiry_secs"),
    ("mailer_otp_exp", "mailer_otp_expiry_secs"),
    ("smtp_max_frequency", "mail_max_frequency_secs"),
    ("rate_limit_email_sent", "mail_max_per_hour"),
    ("rate_limit_sms_sent", "sms_max_per_hour"),
    ("sms_otp_exp", "sms_otp_expiry_secs"),
    ("sms_max_frequency", "sms_max_frequency_secs"),
    ("external_anonymous_users_enabled", "anonymous_users"),
    ("external_phone_enabled", "phone_enabled"),
    ("external_email_enabled", "email_enabled"),
    ("refresh_token_rotation_enabled", "refresh_token_rotation"),
    ("security_refresh_token_reuse_interval", "refresh_token_reuse_interval_secs"),
    ("security_manual_linking_enabled", "manual_linking"),
    ("security_update_password_require_reauthentication", "password_require_reauthentication"),
    ("mailer_secure_email_change_enabled", "mailer_secure_email_change"),
    ("mfa_max_enrolled_factors", "mfa_max_factors"),
];

/// `fields` under our names; fields of one object are gathered over what `stored` holds of it.
pub(super) fn ours(fields: Map<String, Value>, stored: &Map<String, Value>) -> Map<String, Value> {
    let mut named = Map::new();
    for (name, value) in fields {
        if let Some((_, own)) = NAMES.iter().find(|(theirs, _)| *theirs == name) {
            named.insert((*own).to_owned(), value);
        } else if name == "uri_allow_list" {
            named.insert("redirect_urls".to_owned(), list(value));
        } else if let Some((object, path)) = nested(&name) {
            let base = || stored.get(object).cloned().unwrap_or_else(|| json!({}));
            let entry = named.entry(object.to_owned()).or_insert_with(base);
            write(entry, &path, value);
        } else {
            named.insert(name, value);
        }
    }
    named
}

/// Addresses with commas between, as Supabase has them.
fn list(value: Value) -> Value {
    match value {
        Value::String(text) => {
            text.split(',').map(str::trim).filter(|it| !it.is_empty()).map(Value::from).collect()
        }
        other => other,
    }
}

/// The object that a flat name belongs to, and where in it.
fn nested(name: &str) -> Option<(&str, Vec<&str>)> {
    if let Some(template) = name.strip_prefix("mailer_subjects_") {
        return Some(("mailer_templates", vec![template, "subject"]));
    }
    if let Some(template) = name.strip_prefix("mailer_templates_").and_then(|it| it.strip_suffix("_content"))
    {
        return Some(("mailer_templates", vec![template, "content"]));
    }
    name.strip_prefix("hook_")?;
    ["enabled", "uri", "secrets"].into_iter().find_map(|field| {
        let object = name.strip_suffix(field)?.strip_suffix('_')?;
        Some((object, vec![field]))
    })
}

fn write(entry: &mut Value, path: &[&str], value: Value) {
    match path {
        [] => *entry = value,
        [name, rest @ ..] => {
            if !entry.is_object() {
                *entry = json!({});
            }
            if let Some(object) = entry.as_object_mut() {
                write(object.entry((*name).to_owned()).or_insert_with(|| json!({})), rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supabases_names_are_understood() {
        let fields = json!({
            "jwt_exp": 600, "uri_allow_list": "https://a.b, https://c.d/**", "disable_signup": true,
            "mailer_subjects_invite": "Join", "mailer_templates_invite_content": "<p>x</p>",
            "hook_send_sms_enabled": true, "hook_send_sms_uri": "pg-functions://postgres/public/f",
        });
        let stored = json!({"mailer_templates": {"recovery": {"subject": "Lost?"}}, "hook_send_sms": {"secrets": null}});
        let named = ours(fields.as_object().unwrap().clone(), stored.as_object().unwrap());
        let expected = json!({
            "jwt_expiry_secs": 600, "redirect_urls": ["https://a.b", "https://c.d/**"], "disable_signup": true,
            "mailer_templates": {"recovery": {"subject": "Lost?"}, "invite": {"subject": "Join", "content": "<p>x</p>"}},
            "hook_send_sms": {"secrets": null, "enabled": true, "uri": "pg-functions://postgres/public/f"},
        });
        assert_eq!(Value::Object(named), expected);
    }
}
