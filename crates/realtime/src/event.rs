//! What a topic's subscribers are sent: written once per protocol version, shared by all who receive it.
//!
//! Version 1.0.0 of the protocol is a JSON object, 2.0.0 a JSON array (`[join_ref, ref, topic, event, payload]`) or, for
//! broadcasts of bytes, a binary frame. Pushed events have neither reference, so that one frame serves every subscriber.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

/// The name of events that clients and SQL send.
pub(crate) const BROADCAST: &str = "broadcast";

/// The name of events that tell of the database's changes.
pub(crate) const CHANGES: &str = "postgres_changes";

/// An event of a topic.
#[derive(Debug)]
pub(crate) struct Event {
    /// As clients name it, with `realtime:` in front.
    pub(crate) topic: Arc<str>,
    /// Phoenix's event: `broadcast`, `presence_diff`, `postgres_changes`, `system` …
    pub(crate) name: &'static str,
    pub(crate) payload: Payload,
    /// The frames, made when first needed.
    pub(crate) frames: Frames,
}

/// What an event carries.
#[derive(Debug)]
pub(crate) enum Payload {
    /// A JSON value, as text.
    Json(Bytes),
    /// A broadcast with a body of its own: a client's event name, metadata (a JSON object or empty), and JSON or bytes.
    Broadcast {
        /// The client's name of it.
        event: Arc<str>,
        meta: Bytes,
        body: Bytes,
        /// Whether `body` is JSON.
        is_json: bool,
    },
}

/// WebSocket frames of one event, heads included; empty for a version that cannot carry it.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    pub(crate) v1: OnceLock<Bytes>,
    pub(crate) v2: OnceLock<Bytes>,
}

impl Event {
    /// An event whose payload is the JSON text `payload`.
    pub(crate) fn json(topic: &Arc<str>, name: &'static str, payload: impl Into<Bytes>) -> Arc<Self> {
        let (topic, payload) = (Arc::clone(topic), Payload::Json(payload.into()));
        Arc::new(Self { topic, name, payload, frames: Frames::default() })
    }

    /// A broadcast; `meta` is a JSON object or empty.
    pub(crate) fn broadcast(
        topic: &Arc<str>,
        event: &str,
        (meta, body): (Bytes, Bytes),
        is_json: bool,
    ) -> Arc<Self> {
        let payload = Payload::Broadcast { event: event.into(), meta, body, is_json };
        Arc::new(Self { topic: Arc::clone(topic), name: BROADCAST, payload, frames: Frames::default() })
    }

    /// About how much memory it takes while it waits to be written.
    pub(crate) fn size_bytes(&self) -> usize {
        self.topic.len()
            + match &self.payload {
                Payload::Json(payload) => payload.len(),
                Payload::Broadcast { event, meta, body, .. } => event.len() + meta.len() + body.len(),
            }
    }
}
