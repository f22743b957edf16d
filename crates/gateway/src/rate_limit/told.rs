//! What clients are told about limits: `RateLimit-Policy` and `RateLimit` (IETF draft, version 8 and later). Pure.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use store::Standing;

use super::MINUTE;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The two headers, in one piece of memory; empty when nothing was limited.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// All limits: `"ip";q=600;w=60, "data-user";q=300;w=60`. Then the one with the least left: `"data-user";r=12`, and
    /// when it is worth asking again: `;t=7`.
    text: String,
    /// Where the second begins.
    at: usize,
}

impl Told {
    /// What to tell of the limits, by name.
    pub(crate) fn new<'a>(limits: impl Iterator<Item = (&'static str, &'a Standing)> + Clone) -> Self {
        // Room for four limits.
        let mut line = Line(String::with_capacity(192));
        for (name, it) in limits.clone() {
            line.text(if line.0.is_empty() { "\"" } else { ", \"" }).text(name);
            line.text("\";q=").number(it.max.into()).text(";w=").number(MINUTE.as_secs());
        }
        // Parts of the limit, in millionths: no fractions needed.
        let part = |it: &Standing| u64::from(it.left) * 1_000_000 / u64::from(it.max.max(1));
        let tightest = limits.min_by_key(|(_, it)| (std::cmp::Reverse(it.wait), part(it)));
        let at = line.0.len();
        if let Some((name, it)) = tightest {
            line.text("\"").text(name).text("\";r=").number(it.left.into());
            if !it.wait.is_zero() {
                line.text(";t=").number(secs(it.wait));
            }
        }
        Self { text: line.0, at }
    }

    /// Add them to an answer.
    pub(crate) fn add_to(self, headers: &mut HeaderMap) {
        if self.is_empty() {
            return;
        }
        let mut policy = Bytes::from(self.text);
        let limit = policy.split_off(self.at);
        let values = (HeaderValue::from_maybe_shared(policy), HeaderValue::from_maybe_shared(limit));
        let (Ok(policy), Ok(limit)) = values else { return };
        headers.insert(POLICY, policy);
        headers.insert(LIMIT, limit);
    }

    /// Whether there is nothing to tell.
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

/// A header's value while it is written. Every request has two: formatting them by `write!` took longer than counting.
struct Line(String);

impl Line {
    fn text(&mut self, text: &str) -> &mut Self {
        self.0.push_str(text);
        self
    }

    fn number(&mut self, number: u64) -> &mut Self {
        self.text(itoa::Buffer::new().format(number))
    }
}

/// Whole seconds, at least one.
pub(crate) fn secs(wait: std::time::Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_limits_are_told_and_what_is_left_of_the_tightest() {
        let standing = |max, left, wait_ms| Standing { max, left, wait: Duration::from_millis(wait_ms) };
        let check = |limits: &[(&'static str, Standing)]| {
            let told = Told::new(limits.iter().map(|(name, it)| (*name, it)));
            let (policy, limit) = told.text.split_at(told.at);
            (policy.to_owned(), limit.to_owned())
        };
        let (policy, limit) = check(&[("ip", standing(600, 599, 0)), ("data-user", standing(10, 7, 0))]);
        assert_eq!(policy, r#""ip";q=600;w=60, "data-user";q=10;w=60"#);
        assert_eq!(limit, r#""data-user";r=7"#);
        let (_, limit) = check(&[("ip", standing(600, 0, 0)), ("data-user", standing(10, 0, 6001))]);
        assert_eq!(limit, r#""data-user";r=0;t=7"#);
        assert_eq!(check(&[]), (String::new(), String::new()));
        let (policy, limit) = check(&[("ip", standing(u32::MAX, 1_000_050, 0))]);
        assert_eq!((policy.as_str(), limit.as_str()), (r#""ip";q=4294967295;w=60"#, r#""ip";r=1000050"#));
    }
}
