//! The id of a request: the client's own when it is sane, else a new one. Called first in the pipeline.

use common::RequestId;
use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SB_REQUEST_ID: HeaderName = HeaderName::from_static("sb-request-id");

/// The longest id taken over from a client, in bytes.
const MAX_LENGTH: usize = 128;

/// The id named by `x-request-id`, or a new one (UUID version 7: sortable by time).
pub(crate) fn of(headers: &HeaderMap) -> RequestId {
    let named = headers.get(&X_REQUEST_ID).and_then(|it| it.to_str().ok()).filter(|it| is_sane(it));
    match named {
        Some(id) => RequestId(id.into()),
        None => {
            let mut buffer = Uuid::encode_buffer();
            let id: &str = Uuid::now_v7().hyphenated().encode_lower(&mut buffer);
            RequestId(id.into())
        }
    }
}

/// Echo the id. What the service itself sent under these names wins.
pub(crate) fn echo(id: &RequestId, headers: &mut HeaderMap) {
    let Ok(value) = HeaderValue::from_str(&id.0) else { return };
    headers.entry(SB_REQUEST_ID).or_insert_with(|| value.clone());
    headers.entry(X_REQUEST_ID).or_insert(value);
}

/// What cannot confuse a log: a bounded run of harmless characters.
fn is_sane(id: &str) -> bool {
    (1..=MAX_LENGTH).contains(&id.len())
        && id.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.:/+=".contains(&it))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sent: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(sent.as_bytes()).unwrap());
        &*of(&headers).0 == sent
    }

    #[test]
    fn only_sane_ids_are_taken_over() {
        assert!(check("a"));
        assert!(check("7d3f:be/4+1=.-_"));
        assert!(check(&"x".repeat(128)));
        for bad in ["", "two words", "quote\"", "ü", &"x".repeat(129)] {
            assert!(!check(bad), "{bad}");
        }
    }

    #[test]
    fn new_ids_differ() {
        assert_ne!(of(&HeaderMap::new()), of(&HeaderMap::new()));
    }
}
