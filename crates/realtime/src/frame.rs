//! Phoenix's protocol: messages of clients become [`Incoming`], answers and events become WebSocket frames. Pure.
//!
//! Version 1.0.0 speaks JSON objects, 2.0.0 JSON arrays and binary broadcasts: `03` from clients, `04` to them, each followed
//! by the lengths of its parts in one byte each. References are repeated as they came. What is neither is refused.

mod binary;

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event::{Event, Payload};
use crate::websocket;

/// References and their text are repeated in answers: no longer than this.
const MAX_REFERENCE_BYTES: usize = 255;

/// Of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

impl Version {
    /// From the query's `vsn`; Phoenix's clients that say none mean 1.0.0.
    pub(crate) fn of(vsn: Option<&str>) -> Option<Self> {
        match vsn {
            None | Some("" | "1.0.0") => Some(Self::V1),
            Some("2.0.0") => Some(Self::V2),
            Some(_) => None,
        }
    }
}

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Incoming<'a> {
    /// The client's name of its joining, as JSON.
    pub(crate) join_ref: Option<Cow<'a, str>>,
    /// The client's name of the message, as JSON.
    pub(crate) reference: Option<Cow<'a, str>>,
    pub(crate) topic: Cow<'a, str>,
    pub(crate) event: Cow<'a, str>,
    pub(crate) payload: Said<'a>,
}

/// What a message carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    /// A JSON value, as text.
    Json(&'a str),
    /// A broadcast with a body of its own.
    Broadcast { event: &'a str, meta: &'a [u8], body: &'a [u8], is_json: bool },
}

/// The message is none of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "ref")]
    reference: Option<&'a RawValue>,
    #[serde(borrow, default)]
    join_ref: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Array<'a>(
    #[serde(borrow)] Option<&'a RawValue>,
    #[serde(borrow)] Option<&'a RawValue>,
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Option<&'a RawValue>,
);

impl<'a> Incoming<'a> {
    /// Of a text.
    ///
    /// # Errors
    /// [`Malformed`].
    pub(crate) fn text(version: Version, text: &'a [u8]) -> Result<Self, Malformed> {
        let (join_ref, reference, topic, event, payload) = match version {
            Version::V1 => {
                let it: Object<'a> = serde_json::from_slice(text).map_err(|_| Malformed)?;
                (it.join_ref, it.reference, it.topic, it.event, it.payload)
            }
            Version::V2 => {
                let it: Array<'a> = serde_json::from_slice(text).map_err(|_| Malformed)?;
                (it.0, it.1, it.2, it.3, it.4)
            }
        };
        let payload = Said::Json(payload.map_or("{}", RawValue::get));
        let (join_ref, reference) = (referenced(join_ref)?, referenced(reference)?);
        Ok(Self { join_ref, reference, topic, event, payload })
    }

    /// Of bytes.
    ///
    /// # Errors
    /// [`Malformed`], always so in version 1.0.0.
    pub(crate) fn binary(version: Version, bytes: &'a [u8]) -> Result<Self, Malformed> {
        match version {
            Version::V1 => Err(Malformed),
            Version::V2 => binary::decode(bytes),
        }
    }
}

fn referenced(it: Option<&RawValue>) -> Result<Option<Cow<'_, str>>, Malformed> {
    match it.map(RawValue::get) {
        Some(it) if it.len() > MAX_REFERENCE_BYTES || it.starts_with(['{', '[']) => Err(Malformed),
        it => Ok(it.map(Cow::Borrowed)),
    }
}

/// Whom an answer is for: the client's references, as JSON, and the topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address<'a> {
    pub(crate) join_ref: Option<&'a str>,
    pub(crate) reference: Option<&'a str>,
    pub(crate) topic: &'a str,
}

/// `phx_reply`: `response` is JSON.
pub(crate) fn reply(version: Version, to: Address<'_>, is_ok: bool, response: &str) -> Bytes {
    let status = if is_ok { "ok" } else { "error" };
    let payload = format!(r#"{{"status":"{status}","response":{response}}}"#);
    message(version, to, "phx_reply", &payload)
}

/// An event for one socket; `payload` is JSON.
pub(crate) fn message(version: Version, to: Address<'_>, event: &str, payload: &str) -> Bytes {
    let (topic, event) = (quoted(to.topic), quoted(event));
    let [join_ref, reference] = [to.join_ref, to.reference].map(|it| it.unwrap_or("null").as_bytes());
    let payload = payload.as_bytes();
    match version {
        Version::V1 => websocket::text(&[
            br#"{"topic":"#,
            &topic,
            br#","event":"#,
            &event,
            br#","payload":"#,
            payload,
            br#","ref":"#,
            reference,
            b"}",
        ]),
        Version::V2 => websocket::text(&[
            b"[", join_ref, b",", reference, b",", &topic, b",", &event, b",", payload, b"]",
        ]),
    }
}

/// The frame of `event`, made once for all who receive it; empty when the version cannot carry it.
pub(crate) fn pushed(event: &Event, version: Version) -> &Bytes {
    let kept = match version {
        Version::V1 => &event.frames.v1,
        Version::V2 => &event.frames.v2,
    };
    kept.get_or_init(|| encode(event, version))
}

fn encode(event: &Event, version: Version) -> Bytes {
    match &event.payload {
        Payload::Json(payload) => push(version, &event.topic, event.name, &[payload]),
        Payload::Broadcast { event: name, meta, body, is_json: true } => {
            let name = quoted(name);
            let (before_meta, meta): (&[u8], &[u8]) =
                if meta.is_empty() { (b"", b"") } else { (br#","meta":"#, meta) };
            let payload: [&[u8]; 7] =
                [br#"{"type":"broadcast","event":"#, &name, br#","payload":"#, body, before_meta, meta, b"}"];
            push(version, &event.topic, event.name, &payload)
        }
        Payload::Broadcast { event: name, meta, body, is_json: false } => match version {
            Version::V1 => Bytes::new(),
            Version::V2 => binary::encode(&event.topic, name, meta, body).unwrap_or_default(),
        },
    }
}

fn push(version: Version, topic: &str, event: &str, payload: &[&[u8]]) -> Bytes {
    let (topic, event) = (quoted(topic), quoted(event));
    let (before, between, after): (&[u8], [&[u8]; 2], &[u8]) = match version {
        Version::V1 => (br#"{"topic":"#, [br#","event":"#, br#","payload":"#], br#","ref":null}"#),
        Version::V2 => (b"[null,null,", [b",", b","], b"]"),
    };
    let [first, second] = between;
    let mut parts = vec![before, &topic, first, &event, second];
    parts.extend_from_slice(payload);
    parts.push(after);
    websocket::text(&parts)
}

/// A JSON string.
pub(crate) fn quoted(text: &str) -> Vec<u8> {
    serde_json::to_vec(text).unwrap_or_default()
}

#[cfg(test)]
mod tests;
