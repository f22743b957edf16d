//! What of a read decides its plan, as bytes; and the operands, which do not.

use std::borrow::Cow;

use http::header::{ACCEPT, HeaderName, RANGE};
use http::{HeaderMap, Method};

use crate::request::{Head, Parameters, query};

/// Begins what stands for an operand. PostgreSQL's text cannot contain it.
pub(super) const MARK: u8 = 0;

/// Longer shapes are rare and not worth the memory, in bytes.
const MAX_KEY: usize = 4096;

/// Comparisons whose operand is taken as it is, whatever it is.
const COMPARISONS: [&str; 6] = ["eq.", "neq.", "gt.", "gte.", "lt.", "lte."];

const PREFER: HeaderName = HeaderName::from_static("prefer");
const ACCEPT_PROFILE: HeaderName = HeaderName::from_static("accept-profile");

/// The shape of a read.
#[derive(Debug)]
pub(crate) struct Shape<'p> {
    key: Vec<u8>,
    operands: Vec<&'p str>,
}

impl<'p> Shape<'p> {
    /// The shape of a read of the relation `name`; `None` when it is not worth keeping.
    pub(crate) fn of(head: Head<'_>, name: &str, parameters: &'p Parameters<'_>) -> Option<Self> {
        let mut shape = Self { key: Vec::with_capacity(256), operands: Vec::new() };
        shape.key.push(u8::from(*head.method == Method::HEAD));
        shape.part(name.as_bytes());
        shape.headers(head.headers);
        for (key, value) in parameters.pairs() {
            if key.as_bytes().contains(&MARK) || value.as_bytes().contains(&MARK) {
                return None;
            }
            shape.part(key.as_bytes());
            let (operation, operand) = split(key, value);
            shape.part(operation.as_bytes());
            shape.key.push(u8::from(operand.is_some()));
            shape.operands.extend(operand);
        }
        (shape.key.len() <= MAX_KEY).then_some(shape)
    }

    /// The bytes that two requests of one shape share.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The operands, in the order they came.
    pub(super) fn operands(&self) -> &[&'p str] {
        &self.operands
    }

    /// The parameters with a mark in place of each operand.
    pub(super) fn marked<'a>(&self, parameters: &'a Parameters<'_>) -> Parameters<'a> {
        let mut marks = 0..self.operands.len();
        Parameters::of(parameters.pairs().iter().map(|(key, value)| {
            let value = match split(key, value) {
                (_, None) => Cow::Borrowed(value.as_ref()),
                (operation, Some(_)) => {
                    Cow::Owned(format!("{operation}{}{}", char::from(MARK), marks.next().unwrap_or_default()))
                }
            };
            (Cow::Borrowed(key.as_ref()), value)
        }))
    }

    fn headers(&mut self, headers: &HeaderMap) {
        for name in [&ACCEPT, &RANGE, &ACCEPT_PROFILE] {
            self.key.push(u8::from(headers.contains_key(name)));
            self.part(headers.get(name).map(http::HeaderValue::as_bytes).unwrap_or_default());
        }
        for line in headers.get_all(PREFER) {
            self.part(line.as_bytes());
        }
        // Behind the last line, so that none is taken for a parameter.
        self.key.extend_from_slice(&u32::MAX.to_le_bytes());
    }

    /// Lengths go first, so that no two lists of parts read the same.
    fn part(&mut self, part: &[u8]) {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        self.key.extend_from_slice(&length.to_le_bytes());
        self.key.extend_from_slice(part);
    }
}

/// Which operand `param` stands for, when it is a mark and nothing else.
pub(super) fn marked(param: &[u8]) -> Option<usize> {
    let digits = param.strip_prefix(&[MARK])?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A parameter's value up to its operand, and the operand, if it has one that may change.
fn split<'v>(key: &str, value: &'v str) -> (&'v str, Option<&'v str>) {
    if query::is_reserved(key) {
        return (value, None);
    }
    let comparison = value.strip_prefix("not.").unwrap_or(value);
    let negation = value.len() - comparison.len();
    match COMPARISONS.iter().find(|it| comparison.starts_with(**it)) {
        Some(it) => {
            let (operation, operand) = value.split_at(negation + it.len());
            (operation, Some(operand))
        }
        None => (value, None),
    }
}
