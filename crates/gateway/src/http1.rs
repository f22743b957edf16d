//! What both ends of HTTP/1.1 (RFC 9112) have in common: headers that were read, and which of them are for one hop. Pure.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};

/// Whether `name` is for one connection (RFC 9110 §7.6.1), and never passed on.
pub(crate) fn is_of_the_connection(name: &HeaderName) -> bool {
    matches!(*name, header::CONNECTION | header::TRANSFER_ENCODING | header::TRAILER | header::UPGRADE)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// The number that is written in `digits`, and nothing else.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    let add =
        |sum: u64, it: &u8| sum.checked_mul(10)?.checked_add(it.is_ascii_digit().then(|| it - b'0')?.into());
    if digits.is_empty() { None } else { digits.iter().try_fold(0, add) }
}

/// Whether `value`, a list of words, has `word`.
pub(crate) fn lists(value: &[u8], word: &str) -> bool {
    value.split(|it| *it == b',').any(|it| it.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

/// Bytes that were read, and a copy of them that lasts: what was found in the first is taken from the second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copied<'a> {
    pub(crate) input: &'a [u8],
    pub(crate) copy: &'a Bytes,
}

impl Copied<'_> {
    /// `part` of the input; `None` if it is none.
    pub(crate) fn part(self, part: &[u8]) -> Option<Bytes> {
        // An empty part may point anywhere.
        if part.is_empty() {
            return Some(Bytes::new());
        }
        let from = (part.as_ptr() as usize).checked_sub(self.input.as_ptr() as usize)?;
        let to = from.checked_add(part.len()).filter(|it| *it <= self.copy.len())?;
        Some(self.copy.slice(from..to))
    }

    /// The name and the value of `line`, which stands in the input.
    pub(crate) fn header(self, line: &httparse::Header<'_>) -> Option<(HeaderName, HeaderValue)> {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_maybe_shared(self.part(line.value)?).ok()?))
    }
}
