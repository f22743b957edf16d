//! Messages as clients write them, and events as they read them.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn check(version: Version, text: &str) -> String {
    match Incoming::text(version, text.as_bytes()) {
        Ok(Incoming { join_ref, reference, topic, event, payload }) => {
            format!("{join_ref:?} {reference:?} {topic} {event} {payload:?}")
        }
        Err(Malformed) => "malformed".to_owned(),
    }
}

/// The payload of an unmasked frame, as text.
fn shown(frame: &Bytes) -> String {
    let head = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    String::from_utf8_lossy(&frame[head..]).into_owned()
}

const JOIN: Address<'_> = Address { join_ref: Some("\"1\""), reference: Some("2"), topic: "realtime:a\"b" };

#[test]
fn both_versions_are_read() {
    insta::assert_snapshot!(check(Version::V2, r#"["1",2,"t","e",{"a": 1}]"#), @r#"Some("\"1\"") Some("2") t e Json("{\"a\": 1}")"#);
    insta::assert_snapshot!(check(Version::V2, r#"[null,null,"ü","e",null]"#), @r#"None None ü e Json("{}")"#);
    insta::assert_snapshot!(check(Version::V1, r#"{"event":"e","topic":"t","ref":"7","x":1}"#), @r#"None Some("\"7\"") t e Json("{}")"#);
    insta::assert_snapshot!(check(Version::V1, r#"{"event":"e","topic":"t","payload":[],"join_ref":null}"#), @r#"None None t e Json("[]")"#);
}

#[test]
fn what_is_no_message_is_refused() {
    // However deep: what is only passed on costs no stack.
    let deep = format!(r#"["1","2","t","e",{}1{}]"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(Incoming::text(Version::V2, deep.as_bytes()).is_ok());
    let long = format!(r#"["{}","2","t","e",{{}}]"#, "x".repeat(300));
    for text in [
        "",
        "[]",
        "null",
        "{",
        r#"["1","2","t","e"]"#,
        r#"["1","2","t",5,{}]"#,
        r#"["1",{},"t","e",{}]"#,
        &long,
    ] {
        assert_eq!(check(Version::V2, text), "malformed", "{}", text.len());
    }
    for text in ["{}", "[]", r#"{"topic":"t"}"#, r#"["1","2","t","e",{}]"#] {
        assert_eq!(check(Version::V1, text), "malformed", "{}", text.len());
    }
}

#[test]
fn broadcasts_come_as_bytes() {
    let frame = b"\x03\x01\x02\x03\x02\x02\x01122abcev{}{\"x\":1}";
    let incoming = Incoming::binary(Version::V2, frame).unwrap();
    insta::assert_snapshot!(format!("{incoming:?}"), @r#"Incoming { join_ref: Some("\"1\""), reference: Some("\"22\""), topic: "abc", event: "broadcast", payload: Broadcast { event: "ev", meta: [123, 125], body: [123, 34, 120, 34, 58, 49, 125], is_json: true } }"#);
    assert_eq!(Incoming::binary(Version::V1, frame), Err(Malformed));
    let bad: [&[u8]; 6] = [
        b"",
        b"\x00\x01\x01\x01\x01abcd",
        b"\x03\x01\x02\x03\x02\x02\x01122abc",
        b"\x03\0\0\x01\x01\0\x01te{",
        b"\x03\0\0\x01\x01\0\x02te{}",
        b"\x03\0\0\x01\x01\0\0\xffe",
    ];
    for bytes in bad {
        assert_eq!(Incoming::binary(Version::V2, bytes), Err(Malformed), "{bytes:?}");
    }
}

#[test]
fn answers_repeat_references() {
    insta::assert_snapshot!(shown(&reply(Version::V2, JOIN, true, "{}")), @r#"["1",2,"realtime:a\"b","phx_reply",{"status":"ok","response":{}}]"#);
    insta::assert_snapshot!(shown(&reply(Version::V1, JOIN, false, "[]")), @r#"{"topic":"realtime:a\"b","event":"phx_reply","payload":{"status":"error","response":[]},"ref":2}"#);
}

#[test]
fn an_event_is_written_for_each_version() {
    let topic: Arc<str> = "realtime:a".into();
    let event = Event::json(&topic, "presence_diff", "{}");
    insta::assert_snapshot!(shown(pushed(&event, Version::V1)), @r#"{"topic":"realtime:a","event":"presence_diff","payload":{},"ref":null}"#);
    insta::assert_snapshot!(shown(pushed(&event, Version::V2)), @r#"[null,null,"realtime:a","presence_diff",{}]"#);
    let event =
        Event::broadcast(&topic, "e", (Bytes::from_static(b"{\"id\":1}"), Bytes::from_static(b"[1]")), true);
    insta::assert_snapshot!(shown(pushed(&event, Version::V2)), @r#"[null,null,"realtime:a","broadcast",{"type":"broadcast","event":"e","payload":[1],"meta":{"id":1}}]"#);
    let event = Event::broadcast(&topic, "e", (Bytes::new(), Bytes::from_static(b"\x01\x02")), false);
    assert_eq!(shown(pushed(&event, Version::V2)), "\u{4}\u{a}\u{1}\0\0realtime:ae\u{1}\u{2}");
    assert!(pushed(&event, Version::V1).is_empty(), "version 1.0.0 has no bytes");
}

proptest! {
    #[test]
    fn any_message_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Incoming::binary(Version::V2, &bytes);
        for version in [Version::V1, Version::V2] {
            let _ = Incoming::text(version, &bytes);
        }
        let mut kind = bytes;
        kind.insert(0, 3);
        let _ = Incoming::binary(Version::V2, &kind);
    }

    #[test]
    fn any_reference_is_repeated_as_json(reference in ".{0,40}", topic in ".{0,40}") {
        let text = serde_json::json!([reference, reference, topic, "e", {}]).to_string();
        let incoming = Incoming::text(Version::V2, text.as_bytes()).unwrap();
        let to = Address {
            join_ref: incoming.join_ref.as_deref(),
            reference: incoming.reference.as_deref(),
            topic: &incoming.topic,
        };
        for version in [Version::V1, Version::V2] {
            let answer: serde_json::Value = serde_json::from_str(&shown(&reply(version, to, true, "{}"))).unwrap();
            let (told, on) = match version {
                Version::V1 => (&answer["ref"], &answer["topic"]),
                Version::V2 => (&answer[1], &answer[2]),
            };
            prop_assert_eq!((told.as_str(), on.as_str()), (Some(&*reference), Some(&*topic)));
        }
    }
}
