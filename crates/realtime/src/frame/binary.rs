//! Broadcasts as bytes: one byte for the kind, one for the length of each part, one for the encoding, then the parts.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{Incoming, Malformed, Said};
use crate::websocket;

const FROM_CLIENT: u8 = 3;
const TO_CLIENT: u8 = 4;
const BYTES: u8 = 0;
const JSON: u8 = 1;

/// `03 | lengths of join_ref, ref, topic, event, meta | encoding | join_ref ref topic event meta body`.
pub(super) fn decode(bytes: &[u8]) -> Result<Incoming<'_>, Malformed> {
    let Some((&[FROM_CLIENT, join_ref, reference, topic, event, meta, encoding], rest)) =
        bytes.split_first_chunk()
    else {
        return Err(Malformed);
    };
    let (join_ref, rest) = part(rest, join_ref)?;
    let (reference, rest) = part(rest, reference)?;
    let (topic, rest) = part(rest, topic)?;
    let (event, rest) = part(rest, event)?;
    let (meta, body) = part(rest, meta)?;
    let is_json = match encoding {
        BYTES => false,
        JSON => true,
        _ => return Err(Malformed),
    };
    if (is_json && !is_value(body)) || !(meta.is_empty() || is_value(meta.as_bytes())) {
        return Err(Malformed);
    }
    Ok(Incoming {
        join_ref: quoted(join_ref),
        reference: quoted(reference),
        topic: Cow::Borrowed(topic),
        event: Cow::Borrowed("broadcast"),
        payload: Said::Broadcast { event, meta: meta.as_bytes(), body, is_json },
    })
}

/// `04 | lengths of topic, event, meta | encoding | topic event meta body`; `None` when a part is too long for it.
pub(super) fn encode(topic: &str, event: &str, meta: &[u8], body: &[u8]) -> Option<Bytes> {
    let length = |it: usize| u8::try_from(it).ok();
    let head = [TO_CLIENT, length(topic.len())?, length(event.len())?, length(meta.len())?, BYTES];
    Some(websocket::binary(&[&head, topic.as_bytes(), event.as_bytes(), meta, body]))
}

fn part(bytes: &[u8], length: u8) -> Result<(&str, &[u8]), Malformed> {
    let (part, rest) = bytes.split_at_checked(length.into()).ok_or(Malformed)?;
    Ok((std::str::from_utf8(part).map_err(|_| Malformed)?, rest))
}

fn is_value(text: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(text).is_ok()
}

fn quoted(reference: &str) -> Option<Cow<'_, str>> {
    (!reference.is_empty()).then(|| Cow::Owned(serde_json::Value::from(reference).to_string()))
}
