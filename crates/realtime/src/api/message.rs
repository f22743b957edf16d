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

/// Any type is read, so that what is of a wrong one can be named.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Batch<'a> {
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry<'a> {
    #[serde(borrow)]
    topic: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(borrow)]
    private: Option<&'a RawValue>,
}

const BLANK: &str = "can't be blank";
const WRONG: &str = "is invalid";

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
    let all = |text: &str| refuse(json!({ "messages": [text] }));
    if serde_json::from_slice::<&RawValue>(body).is_err() {
        return Err(refuse(json!({"body": ["is no JSON"]})));
    }
    let batch: Batch<'_> = serde_json::from_slice(body).unwrap_or_default();
    let messages = batch.messages.ok_or_else(|| all(BLANK))?;
    let messages: Vec<&RawValue> = serde_json::from_str(messages.get()).map_err(|_| all(WRONG))?;
    if messages.is_empty() {
        return Err(all(BLANK));
    }
    if messages.len() > MAX_MESSAGES {
        return Err(all("are too many: 1000 at most"));
    }
    let read: Vec<_> = messages.into_iter().map(Entry::read).collect();
    if read.iter().all(Result::is_ok) {
        return Ok(read.into_iter().flatten().collect());
    }
    let errors: Vec<_> = read.into_iter().map(|it| it.err().unwrap_or_else(|| json!({}))).collect();
    Err(refuse(json!({ "messages": errors })))
}

impl Entry<'_> {
    fn read(text: &RawValue) -> Result<Message, serde_json::Value> {
        let entry: Entry<'_> = serde_json::from_str(text.get()).map_err(|_| json!([WRONG]))?;
        let payload = entry.payload.ok_or_else(|| json!({ "payload": [BLANK] }));
        let message = Message {
            topic: name("topic", entry.topic)?,
            event: name("event", entry.event)?,
            body: Bytes::copy_from_slice(payload?.get().as_bytes()),
            is_json: true,
            is_private: truth("private", entry.private)?,
        };
        message.check().map(|()| message)
    }
}

fn name(field: &str, given: Option<&RawValue>) -> Result<String, serde_json::Value> {
    let given = given.ok_or_else(|| json!({ field: [BLANK] }))?;
    serde_json::from_str(given.get()).map_err(|_| json!({ field: [WRONG] }))
}

/// A boolean, also as text, as sockets take it; nothing else, so that nothing goes out in public for its spelling.
fn truth(field: &str, given: Option<&RawValue>) -> Result<bool, serde_json::Value> {
    let Some(given) = given else { return Ok(false) };
    let said = given.get().trim_matches('"').to_ascii_lowercase();
    said.parse().map_err(|_| json!({ field: [WRONG] }))
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
        for body in ["[]", "{}", r#"{"messages":[]}"#, r#"{"messages":null}"#] {
            assert_eq!(check(body), r#"{"messages":["can't be blank"]}"#, "{body}");
        }
        assert_eq!(check(r#"{"messages":{}}"#), r#"{"messages":["is invalid"]}"#);
        assert_eq!(check(r#"{"messages":[1]}"#), r#"{"messages":[["is invalid"]]}"#);
        assert_eq!(check(""), r#"{"body":["is no JSON"]}"#);
    }

    #[test]
    fn what_is_of_a_wrong_type_is_named() {
        let with = |field: &str| {
            check(&format!(r#"{{"messages":[{{"topic":"t","event":"e","payload":1,{field}}}]}}"#))
        };
        for private in ["1", r#""yes""#, "{}", r#""""#] {
            let errors = with(&format!(r#""private":{private}"#));
            assert_eq!(errors, r#"{"messages":[{"private":["is invalid"]}]}"#, "{private}");
        }
        let taken = [("true", true), (r#""True""#, true), (r#""false""#, false), ("null", false)];
        for (private, is_private) in taken {
            let read = with(&format!(r#""private":{private}"#));
            assert!(read.contains(&format!("is_private: {is_private}")), "{private}: {read}");
        }
        let topic = check(r#"{"messages":[{"topic":1,"event":"e","payload":1}]}"#);
        assert_eq!(topic, r#"{"messages":[{"topic":["is invalid"]}]}"#);
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
