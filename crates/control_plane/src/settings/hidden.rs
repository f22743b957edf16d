//! Settings that are secrets: kept with the project's encrypted secrets, put back when a project is read, never shown.
//!
//! A path names a field by its object names; `*` stands for every entry of a map. A secret that a change leaves out
//! stays, as long as the fields beside it that say where it is sent to (its anchors) stay the same.

use std::collections::BTreeMap;

use serde_json::Value;

/// A setting that is a secret.
struct Hidden {
    path: &'static [&'static str],
    /// Fields beside it: when one changes, the old secret is forgotten rather than sent somewhere else.
    anchors: &'static [&'static str],
}

/// Every setting that is a secret.
const HIDDEN: &[Hidden] = &[
    Hidden { path: &["auth", "smtp", "password"], anchors: &["host", "port", "username"] },
    Hidden { path: &["auth", "external", "*", "secret"], anchors: &["url"] },
    Hidden { path: &["auth", "sms_provider", "auth_token"], anchors: &["kind", "url", "account_sid"] },
    Hidden { path: &["auth", "sms_provider", "secret"], anchors: &["kind", "url"] },
    Hidden { path: &["auth", "security_captcha_secret"], anchors: &["security_captcha_url"] },
    Hidden { path: &["auth", "hook_custom_access_token", "secrets"], anchors: &["uri"] },
    Hidden { path: &["auth", "hook_before_user_created", "secrets"], anchors: &["uri"] },
    Hidden { path: &["auth", "hook_send_email", "secrets"], anchors: &["uri"] },
    Hidden { path: &["auth", "hook_send_sms", "secrets"], anchors: &["uri"] },
    Hidden { path: &["auth", "hook_mfa_verification_attempt", "secrets"], anchors: &["uri"] },
    Hidden { path: &["auth", "hook_password_verification_attempt", "secrets"], anchors: &["uri"] },
];

/// Secrets by the JSON pointer of their setting.
pub(crate) type HiddenValues = BTreeMap<String, Value>;

/// Move every secret out of `after` into `hidden`; `before` is what was stored until now.
pub(super) fn take(before: &Value, after: &mut Value, hidden: &mut HiddenValues) {
    let old = std::mem::take(hidden);
    for field in HIDDEN {
        let Some((name, parents)) = field.path.split_last() else { continue };
        for parent in expand(after, parents) {
            let pointer = format!("{parent}/{name}");
            let Some(object) = after.pointer_mut(&parent).and_then(Value::as_object_mut) else { continue };
            match object.remove(*name) {
                Some(Value::Null) => {}
                Some(value) => drop(hidden.insert(pointer, value)),
                None => {
                    let anchor = |of: &Value, it: &&str| of.pointer(&format!("{parent}/{it}")).cloned();
                    let same = field.anchors.iter().all(|it| anchor(before, it) == anchor(after, it));
                    if let Some(value) = old.get(&pointer).filter(|_| same) {
                        hidden.insert(pointer, value.clone());
                    }
                }
            }
        }
    }
}

/// Put the secrets back where they belong.
pub(super) fn restore(settings: &mut Value, hidden: &HiddenValues) {
    for (pointer, value) in hidden {
        let Some((parent, name)) = pointer.rsplit_once('/') else { continue };
        if let Some(object) = settings.pointer_mut(parent).and_then(Value::as_object_mut) {
            object.insert(unescape(name), value.clone());
        }
    }
}

/// Remove every secret: for people and logs.
pub(super) fn strip(settings: &mut Value) {
    for field in HIDDEN {
        let Some((name, parents)) = field.path.split_last() else { continue };
        for parent in expand(settings, parents) {
            if let Some(object) = settings.pointer_mut(&parent).and_then(Value::as_object_mut)
                && let Some(value) = object.get_mut(*name)
            {
                *value = Value::Null;
            }
        }
    }
}

/// The pointers of all objects that `path` leads to.
fn expand(root: &Value, path: &[&str]) -> Vec<String> {
    let mut found = vec![String::new()];
    for name in path {
        let mut next = Vec::new();
        for pointer in found {
            let Some(object) = root.pointer(&pointer).and_then(Value::as_object) else { continue };
            match *name {
                "*" => next.extend(object.keys().map(|it| format!("{pointer}/{}", escape(it)))),
                name if object.contains_key(name) => next.push(format!("{pointer}/{name}")),
                _ => {}
            }
        }
        found = next;
    }
    found
}

/// RFC 6901 §3.
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn unescape(name: &str) -> String {
    name.replace("~1", "/").replace("~0", "~")
}
