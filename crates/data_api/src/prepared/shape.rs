//! What of a request decides its plan, as bytes; and operands and body, which do not.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, RANGE};
use http::{HeaderMap, Method};

use super::Asked;
use crate::request::{Action, MediaType, Parameters, Payload, payload, query, text_of};

/// Begins what stands for an operand. PostgreSQL's text cannot contain it.
pub(super) const MARK: u8 = 0;

/// Longer shapes are rare and not worth the memory, in bytes.
const MAX_KEY: usize = 4096;

/// Comparisons whose operand is taken as it is, whatever it is.
const COMPARISONS: [&str; 6] = ["eq.", "neq.", "gt.", "gte.", "lt.", "lte."];

const PREFER: HeaderName = HeaderName::from_static("prefer");
const ACCEPT_PROFILE: HeaderName = HeaderName::from_static("accept-profile");
const CONTENT_PROFILE: HeaderName = HeaderName::from_static("content-profile");

/// The shape of a request.
#[derive(Debug)]
pub(crate) struct Shape<'p> {
    key: Vec<u8>,
    operands: Vec<&'p str>,
    payload: Option<Payload>,
}

impl<'p> Shape<'p> {
    /// The shape of what is asked with `body`; `None` when it is not worth keeping, or wrong.
    pub(crate) fn of(asked: Asked<'p>, body: &Bytes) -> Option<Self> {
        let payload = payload_of(asked, body)?;
        let mut shape = Self { key: Vec::with_capacity(256), operands: Vec::new(), payload };
        shape.key.extend([asked.action as u8, u8::from(*asked.head.method == Method::HEAD)]);
        shape.part(asked.name.as_bytes());
        shape.headers(asked);
        shape.keys();
        for (key, value) in asked.parameters.pairs() {
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

    /// The body as a parameter.
    pub(super) fn body(&self) -> Option<&Bytes> {
        self.payload.as_ref().map(|it| &it.body)
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

    fn headers(&mut self, asked: Asked<'_>) {
        let headers: &HeaderMap = asked.head.headers;
        let names: &[&HeaderName] = match asked.action {
            Action::Read => &[&ACCEPT, &ACCEPT_PROFILE, &RANGE],
            _ => &[&ACCEPT, &CONTENT_PROFILE, &CONTENT_TYPE],
        };
        for name in names {
            self.key.push(u8::from(headers.contains_key(*name)));
            self.part(headers.get(*name).map(http::HeaderValue::as_bytes).unwrap_or_default());
        }
        for line in headers.get_all(PREFER) {
            self.part(line.as_bytes());
        }
        self.end();
    }

    /// The body's keys; its values do not matter.
    fn keys(&mut self) {
        let Some(payload) = self.payload.take() else { return };
        self.key.push(u8::from(payload.is_object));
        payload.keys.iter().for_each(|it| self.part(it.as_bytes()));
        self.end();
        self.payload = Some(payload);
    }

    /// Behind the last part of a list, so that what follows is not taken for one.
    fn end(&mut self) {
        self.key.extend_from_slice(&u32::MAX.to_le_bytes());
    }

    /// Lengths go first, so that no two lists of parts read the same.
    fn part(&mut self, part: &[u8]) {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        self.key.extend_from_slice(&length.to_le_bytes());
        self.key.extend_from_slice(part);
    }
}

/// The body, if one is looked at; `None` when it is not JSON or wrong.
#[expect(clippy::option_option, reason = "none looked at, and none to be had, are two things")]
fn payload_of(asked: Asked<'_>, body: &Bytes) -> Option<Option<Payload>> {
    let Some(purpose) = asked.action.purpose() else {
        return (asked.action != Action::CallByGet).then_some(None);
    };
    let media = text_of(asked.head.headers, &CONTENT_TYPE).map_or(MediaType::Json, MediaType::parse);
    let columns = asked.parameters.first("columns").filter(|_| asked.action != Action::Put);
    if media != MediaType::Json || columns == Some("") {
        return None;
    }
    // Their names are part of the query.
    let columns = columns.map(|_| [].as_slice());
    payload::parse(body.clone(), (&media, purpose), columns, asked.head.limits).ok().map(Some)
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
