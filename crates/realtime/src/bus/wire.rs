//! A message between processes as text: a JSON head, a line's end, and the body (bytes by base64).

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::event::{BROADCAST, Event, Payload};
use crate::hub::Hub;

/// What another process tells.
pub(super) enum Told {
    /// The key of a topic, and what was sent to it.
    Event(String, Arc<Event>),
    /// It has lost messages.
    Gap,
}

#[derive(Serialize, Deserialize)]
struct Head<'a> {
    /// Who sends.
    origin: u64,
    /// Absent in a gap.
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    key: Option<std::borrow::Cow<'a, str>>,
    /// Of a broadcast with a body of its own.
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    event: Option<std::borrow::Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    meta: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    is_binary: bool,
}

pub(super) fn write(origin: u64, key: &str, event: &Event) -> String {
    let mut head = Head { origin, key: Some(key.into()), event: None, meta: None, is_binary: false };
    match &event.payload {
        Payload::Json(payload) => framed(&head, &String::from_utf8_lossy(payload)),
        Payload::Broadcast { event, meta, body, is_json } => {
            head.event = Some((&**event).into());
            head.meta = Some(String::from_utf8_lossy(meta));
            head.is_binary = !is_json;
            if *is_json {
                framed(&head, &String::from_utf8_lossy(body))
            } else {
                framed(&head, &BASE64_STANDARD.encode(body))
            }
        }
    }
}

pub(super) fn gap(origin: u64) -> String {
    framed(&Head { origin, key: None, event: None, meta: None, is_binary: false }, "")
}

fn framed(head: &Head<'_>, body: &str) -> String {
    let mut text = serde_json::to_string(head).unwrap_or_default();
    text.reserve_exact(body.len() + 1);
    text.push('\n');
    text.push_str(body);
    text
}

/// `None` when nobody here wants it, it is our own, or a newer version's.
pub(super) fn read(text: &str, origin: u64, hub: &Hub) -> Option<Told> {
    let (head, body) = text.split_once('\n')?;
    let head: Head<'_> = serde_json::from_str(head).ok().filter(|it: &Head<'_>| it.origin != origin)?;
    let Some(key) = head.key else { return Some(Told::Gap) };
    let topic = hub.name(&key)?;
    let event = match head.event {
        None => Event::json(&topic, BROADCAST, body.to_owned()),
        Some(event) => {
            let meta = Bytes::from(head.meta.unwrap_or_default().into_owned());
            let body = if head.is_binary { BASE64_STANDARD.decode(body).ok()? } else { body.into() };
            Event::broadcast(&topic, &event, (meta, body.into()), !head.is_binary)
        }
    };
    Some(Told::Event(key.into_owned(), event))
}
