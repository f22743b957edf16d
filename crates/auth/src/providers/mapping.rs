//! Reads facts out of what a provider tells, by the sources of the table. Pure.

use serde_json::Value;

use super::table::Verified;
use crate::user::Object;

/// The value at a JSON pointer (RFC 6901), where `*` takes the first value of a map.
pub(super) fn at<'a>(document: &'a Value, pointer: &str) -> Option<&'a Value> {
    let mut here = document;
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        here = match here {
            Value::Object(map) if part == "*" => map.values().next()?,
            Value::Object(map) => map.get(&part)?,
            Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(here)
}

/// The text or number at `pointer`; empty text is none.
pub(super) fn text(document: &Value, pointer: &str) -> Option<String> {
    match at(document, pointer)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Whether there is something true at `pointer`: `true`, `"true"`, `"1"`, a number but 0, any other text.
pub(super) fn is_true(document: &Value, pointer: &str) -> bool {
    match at(document, pointer) {
        Some(Value::Bool(it)) => *it,
        Some(Value::String(it)) => !matches!(it.as_str(), "" | "false" | "0"),
        Some(Value::Number(it)) => it.as_i64() != Some(0),
        _ => false,
    }
}

/// Whether the provider has verified the address.
pub(super) fn verified(document: &Value, rule: Verified) -> bool {
    match rule {
        Verified::Yes => true,
        Verified::No => false,
        Verified::All(pointers) => pointers.iter().all(|it| is_true(document, it)),
        Verified::Unless(pointer, text_of_it, or) => {
            text(document, pointer).as_deref() != Some(text_of_it) || is_true(document, or)
        }
        // Absent: the tenant does not tell, and Azure sends unproved addresses only of single tenants.
        Verified::AzureDomainOwner => match at(document, "/xms_edov") {
            None | Some(Value::Null) => true,
            Some(Value::Bool(it)) => *it,
            Some(Value::String(it)) => it == "1" || it == "true",
            Some(_) => false,
        },
    }
}

/// The claims that `sources` find in `document`, and those that go below `custom_claims`.
pub(super) fn claims(document: &Value, sources: &[(&str, &str)]) -> (Object, Object) {
    let (mut claims, mut custom) = (Object::new(), Object::new());
    for (target, source) in sources {
        if let Some(target) = target.strip_prefix("custom_claims.") {
            if let Some(value) = at(document, source).filter(|it| !it.is_null()) {
                custom.insert(target.to_owned(), value.clone());
            }
        } else if let Some(text) = fill(document, source) {
            claims.insert((*target).to_owned(), text.into());
        }
    }
    (claims, custom)
}

/// A source: a pointer, or a text with pointers in braces. An address is nothing when a part is missing.
fn fill(document: &Value, source: &str) -> Option<String> {
    if source.starts_with('/') {
        return text(document, source);
    }
    let (mut filled, mut rest, mut found) = (String::new(), source, false);
    while let Some((before, after)) = rest.split_once('{') {
        let (pointer, after) = after.split_once('}')?;
        filled.push_str(before);
        match text(document, pointer) {
            Some(part) => {
                found = true;
                filled.push_str(&part);
            }
            None if source.starts_with("https://") => return None,
            None => {}
        }
        rest = after;
    }
    filled.push_str(rest);
    let filled = filled.trim();
    (found && !filled.is_empty()).then(|| filled.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sources_are_pointers_or_texts_with_pointers() {
        let document = json!({"id": 7, "a": {"x/y": "deep", "z~": ["1st", "2nd"]}, "first": "Ada", "none": null,
            "empty": "", "flag": true});
        for (source, expected) in [
            ("/id", Some("7")),
            ("/a/x~1y", Some("deep")),
            ("/a/z~0/1", Some("2nd")),
            ("/a/z~0/2", None),
            ("/a/*", Some("deep")),
            ("/a", None),
            ("/none", None),
            ("/empty", None),
            ("/flag", None),
            ("{/first} {/last}", Some("Ada")),
            ("{/last} {/none}", None),
            ("https://x.com/{/first}", Some("https://x.com/Ada")),
            ("https://x.com/{/first}/{/last}", None),
            ("{/first", None),
        ] {
            assert_eq!(fill(&document, source).as_deref(), expected, "{source}");
        }
    }

    #[test]
    fn verified_is_what_the_provider_says() {
        let says = |document: Value, rule| verified(&document, rule);
        let flag = Verified::All(&["/v"]);
        for (value, expected) in [
            (json!(true), true),
            (json!("true"), true),
            (json!("2020-01-01"), true),
            (json!(1), true),
            (json!(false), false),
            (json!("false"), false),
            (json!(0), false),
            (json!(null), false),
            (json!([true]), false),
        ] {
            assert_eq!(says(json!({"v": value}), flag), expected, "{value}");
        }
        assert!(!says(json!({}), flag) && !says(json!({"v": true}), Verified::No));
        let zoom = Verified::Unless("/login_type", "100", "/verified");
        assert!(
            says(json!({"login_type": 1}), zoom) && says(json!({"login_type": 100, "verified": 1}), zoom)
        );
        assert!(!says(json!({"login_type": 100, "verified": 0}), zoom));
        let azure = Verified::AzureDomainOwner;
        assert!(says(json!({}), azure) && says(json!({"xms_edov": "1"}), azure));
        assert!(!says(json!({"xms_edov": false}), azure) && !says(json!({"xms_edov": 1}), azure));
    }
}
