//! From the attributes of an assertion to claims about a user, as the project maps them. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Assertion;
use crate::user::Object;

const MAX_KEYS: usize = 100;
const MAX_NAMES: usize = 20;

/// Claims that every provider tells; others go below `custom_claims`.
const STANDARD: [&str; 20] = [
    "name",
    "family_name",
    "given_name",
    "middle_name",
    "nickname",
    "preferred_username",
    "profile",
    "picture",
    "website",
    "gender",
    "birthdate",
    "zoneinfo",
    "locale",
    "updated_at",
    "email",
    "phone",
    "avatar_url",
    "full_name",
    "slug",
    "user_name",
];
/// What an attribute may not decide.
const OURS: [&str; 8] =
    ["sub", "iss", "aud", "iat", "exp", "email_verified", "phone_verified", "provider_id"];

/// Which attribute becomes which claim.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mapping {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    keys: BTreeMap<String, Source>,
}

/// Where a claim comes from: the first name that has a value, else the default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Source {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default: Option<Value>,
    /// All values as a list, rather than the first one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    array: bool,
}

impl Mapping {
    /// Whether it is of a reasonable size.
    pub(crate) fn is_bounded(&self) -> bool {
        self.keys.len() <= MAX_KEYS && self.keys.values().all(|it| it.names.len() <= MAX_NAMES)
    }

    /// The claims that it makes of `assertion`, in the form in which all providers tell theirs.
    pub(crate) fn claims(&self, assertion: &Assertion) -> Object {
        let (mut claims, mut custom) = (Object::new(), Object::new());
        for (key, source) in &self.keys {
            let Some(value) = source.value(assertion) else { continue };
            if OURS.contains(&key.as_str()) {
                continue;
            }
            let place = if STANDARD.contains(&key.as_str()) { &mut claims } else { &mut custom };
            place.insert(key.clone(), value);
        }
        if !custom.is_empty() {
            claims.insert("custom_claims".into(), custom.into());
        }
        claims
    }
}

impl Source {
    fn value(&self, assertion: &Assertion) -> Option<Value> {
        let names = std::iter::once(&self.name).chain(&self.names).filter(|it| !it.is_empty());
        for name in names {
            let mut values = assertion.values(name).filter(|it| !it.is_empty());
            if self.array {
                let all: Vec<Value> = values.map(Value::from).collect();
                if !all.is_empty() {
                    return Some(all.into());
                }
            } else if let Some(first) = values.next() {
                return Some(first.into());
            }
        }
        self.default.clone()
    }
}
