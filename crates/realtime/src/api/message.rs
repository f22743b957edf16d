//! A broadcast that came by HTTP: read from a path, a query and a body. Pure.

use std::borrow::Cow;

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::Error;

/// The most messages of one request.
const MAX_MESSAGES: usize = 1000;

/// One broadcast.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Without `realtime:`.
    pub(super) topic: String,
    pub(super) event: String,
    pub(super) body: Bytes,
    pub(super) is_json: bool,
    pub(super) is_private: bool,
}

/// Where one message goes.
#[derive(Debug)]
pub(super) struct Place {
    topic: String,
    event: String,
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    messages: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default)]
    topic: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(default)]
    private: Option<bool>,
}

impl Place {
    /// Of `/api/broadcast/{topic}/events/{event}`.
    pub(super) fn of(path: &str) -> Option<Self> {
        let (topic, event) = path.strip_prefix("/api/broadcast/")?.split_once("/events/")?;
        if topic.contains('/') || event.contains('/') {
            return None;
        }
        let decode = |it: &str| percent_decode_str(it).decode_utf8().ok().map(Cow::into_owned);
        Some(Self { topic: decode(topic)?, event: decode(event)? })
    }
}

impl Message {
    pub(super) fn new(
        Place { topic, event }: Place,
        (body, is_json): (Bytes, bool),
        is_private: bool,
    ) -> Result<Self, Error> {
        if is_json && serde_json::from_slice::<&RawValue>(&body).is_err() {
            return Err(Error::Unprocessable(r#"{"payload":["is no JSON"]}"#.to_owned()));
        }
        let message = Self { topic, event, body, is_json, is_private };
        message.check().map_err(|it| Error::Unprocessable(it.to_string()))?;
        Ok(message)
    }

    fn check(&self) -> Result<(), serde_json::Value> {
        let is_name = |it: &str| !it.is_empty() && it.len() <= 1024 && !it.chars().any(char::is_control);
        match (is_name(&self.topic), is_name(&self.event)) {
            (true, true) => Ok(()),
            (false, _) => Err(json!({"topic": ["must be a name without control characters"]})),
            (_, false) => Err(json!({"event": ["must be a name without control characters"]})),
        }
    }
}

/// The messages of `{messages: […]}`.
///
/// # Errors
/// [`Error::Unprocessable`] says what is wrong with which one.
pub(super) fn list(body: &[u8]) -> Result<Vec<Message>, Error> {
    let refuse = |errors: serde_json::Value| Error::Unprocessable(errors.to_string());
    let batch: Batch<'_> =
        serde_json::from_slice(body).map_err(|_| refuse(json!({"messages": ["can't be blank"]})))?;
    if batch.messages.is_empty() {
        return Err(refuse(json!({"messages": ["can't be blank"]})));
    }
    if batch.messages.len() > MAX_MESSAGES {
        return Err(refuse(json!({"messages": ["are too many: 1000 at most"]})));
    }
    let read: Vec<_> = batch.messages.into_iter().map(Entry::read).collect();
    if read.iter().all(Result::is_ok) {
        return Ok(read.into_iter().flatten().collect());
    }
    let errors: Vec<_> = read.into_iter().map(|it| it.err().unwrap_or_else(|| json!({}))).collect();
    Err(refuse(json!({ "messages": errors })))
}

impl Entry<'_> {
    fn read(self) -> Result<Message, serde_json::Value> {
        let blank = |name: &str| json!({ name: ["can't be blank"] });
        let message = Message {
            topic: self.topic.ok_or_else(|| blank("topic"))?.into_owned(),
            event: self.event.ok_or_else(|| blank("event"))?.into_owned(),
            body: Bytes::copy_from_slice(self.payload.ok_or_else(|| blank("payload"))?.get().as_bytes()),
            is_json: true,
            is_private: self.private.unwrap_or(false),
        };
        message.check().map(|()| message)
    }
}

/// `?private=true`. Whatever is not plainly a no is a yes: nothing goes out in public for its spelling.
pub(super) fn is_private(query: Option<&str>) -> bool {
    let decoded = |it: &str| percent_decode_str(it).decode_utf8_lossy().to_ascii_lowercase();
    let pairs = query.unwrap_or_default().split('&').map(|it| it.split_once('=').unwrap_or((it, "true")));
    let mut said = pairs.filter(|(name, _)| decoded(name) == "private").map(|(_, value)| decoded(value));
    said.any(|it| !matches!(it.as_str(), "false" | "0" | "no"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_no_is_public() {
        let private =
            ["private=true", "a=b&private=True", "private=1", "private", "private=", "%70rivate=yes"];
        assert!(private.into_iter().all(|it| is_private(Some(it))));
        let public = ["", "private=false", "private=0", "Private2=1", "x=private"];
        assert!(public.into_iter().all(|it| !is_private(Some(it))) && !is_private(None));
    }

    fn check(body: &str) -> String {
        match list(body.as_bytes()) {
            Ok(messages) => format!("{messages:?}"),
            Err(Error::Unprocessable(errors)) => errors,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_batch_is_read_as_a_whole_or_refused() {
        insta::assert_snapshot!(check(r#"{"messages":[{"topic":"t","event":"e","payload":{"a":1},"private":true}]}"#), @r#"[Message { topic: "t", event: "e", body: b"{\"a\":1}", is_json: true, is_private: true }]"#);
        insta::assert_snapshot!(check(r#"{"messages":[{"topic":"t","event":"e","payload":1},{"topic":"t"}]}"#), @r#"{"messages":[{},{"event":["can't be blank"]}]}"#);
        insta::assert_snapshot!(check(r#"{"messages":[{"topic":"","event":"e","payload":1}]}"#), @r#"{"messages":[{"topic":["must be a name without control characters"]}]}"#);
        for body in ["", "[]", "{}", r#"{"messages":[]}"#, r#"{"messages":{}}"#] {
            assert_eq!(check(body), r#"{"messages":["can't be blank"]}"#, "{body}");
        }
    }

    #[test]
    fn a_path_names_topic_and_event() {
        let place = Place::of("/api/broadcast/a%3Ab/events/c%20d").unwrap();
        assert_eq!((place.topic.as_str(), place.event.as_str()), ("a:b", "c d"));
        for path in
            ["/api/broadcast/a", "/api/broadcast/a/b/events/c", "/api/broadcast/a/events/c/d", "/api/x"]
        {
            assert!(Place::of(path).is_none(), "{path}");
        }
    }
}
