//! The id of a request: the client's own when it is sane, else a new one. Called first in the pipeline.

use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::RequestId;
use foldhash::quality::RandomState;
use http::{HeaderMap, HeaderName, HeaderValue};
use store::{Here, PerCore};
use uuid::{Builder, Uuid};

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SB_REQUEST_ID: HeaderName = HeaderName::from_static("sb-request-id");

/// The longest id taken over from a client, in bytes.
const MAX_LENGTH: usize = 128;

/// Makes ids that nobody else makes, without asking the system for random bytes each time: a count, and a keyed hash of it.
/// The key is random, and new in each process.
#[derive(Debug, Default)]
pub(crate) struct RequestIds {
    made: PerCore<AtomicU64>,
    key: RandomState,
}

impl RequestIds {
    /// The id named by `x-request-id`, or a new one (UUID version 7: sortable by time, which
    /// is `since_1970`).
    pub(crate) fn of(&self, headers: &HeaderMap, since_1970: Duration) -> RequestId {
        let named = headers.get(&X_REQUEST_ID).and_then(|it| it.to_str().ok()).filter(|it| is_sane(it));
        match named {
            Some(id) => RequestId(id.into()),
            None => {
                let mut buffer = Uuid::encode_buffer();
                let id: &str = self.make(since_1970).hyphenated().encode_lower(&mut buffer);
                RequestId(id.into())
            }
        }
    }

    fn make(&self, since_1970: Duration) -> Uuid {
        let here = Here::now();
        let count = self.made.of(here).fetch_add(1, Ordering::Relaxed);
        let hash = self.key.hash_one((count, here.shelf()));
        let mut bytes = [0; 10];
        let (first, last) = bytes.split_at_mut(2);
        first.iter_mut().zip(count.to_le_bytes()).for_each(|(byte, it)| *byte = it);
        last.copy_from_slice(&hash.to_le_bytes());
        let millis = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
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
        &*RequestIds::default().of(&headers, Duration::ZERO).0 == sent
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
        let (one, other) = (RequestIds::default(), RequestIds::default());
        let ids =
            [&one, &other].map(|it| (0..1_000).map(|_| it.make(Duration::ZERO)).collect::<Vec<_>>()).concat();
        assert!(ids.iter().all(|it| it.get_version_num() == 7));
        assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), 2_000);
        assert_ne!(one.of(&HeaderMap::new(), Duration::ZERO), one.of(&HeaderMap::new(), Duration::ZERO));
    }
}
