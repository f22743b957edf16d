//! Frames: those of WebSocket (RFC 6455) and what stands in them. Pure.

use serde_json::{Value, json};

use crate::plan::{Dialect, Plan, User};

/// The key of the RFC's example, and the answer to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPTED: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// The request that opens a WebSocket.
pub(crate) fn upgrade(host: &str, path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
    .into_bytes()
}

/// Where the frames begin, once the whole answer is there; an answer that is no upgrade is the error.
pub(crate) fn upgraded(answer: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = find(answer, b"\r\n\r\n") else { return Ok(None) };
    let (head, _) = answer.split_at(end);
    if head.starts_with(b"HTTP/1.1 101") && find(head, ACCEPTED).is_some() {
        return Ok(Some(end + 4));
    }
    Err(String::from_utf8_lossy(answer.get(..answer.len().min(300)).unwrap_or_default()).into_owned())
}

/// A frame: its opcode, its payload, and how long it is.
type Frame<'a> = (u8, &'a [u8], usize);

/// The frame at the beginning of `bytes`, once it is whole.
pub(crate) fn frame(bytes: &[u8]) -> Result<Option<Frame<'_>>, &'static str> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0xf0 != 0x80 || second & 0x80 != 0 {
        return Err("a frame of a server is whole and not masked");
    }
    let (head, length) = match (second, rest) {
        (126, [a, b, ..]) => (4, usize::from(u16::from_be_bytes([*a, *b]))),
        (127, [0, 0, 0, 0, a, b, c, d, ..]) => (10, u32::from_be_bytes([*a, *b, *c, *d]) as usize),
        (126 | 127, _) => return Ok(None),
        (short, _) => (2, usize::from(*short)),
    };
    Ok(bytes.get(head..head + length).map(|payload| (first & 0x0f, payload, head + length)))
}

/// Append a client's frame to `out`.
pub(crate) fn put(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    let length = payload.len();
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => out.push(0x80 | short),
        (_, Ok(medium)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// Topic number `number` as the server is told it.
pub(crate) fn topic(number: usize) -> String {
    format!("realtime:room:{number}")
}

/// `phx_join` of a topic.
pub(crate) fn join(plan: &Plan, topic: &str, user: Option<&User>) -> Vec<u8> {
    let config = json!({
        "broadcast": {"ack": false, "self": false},
        "presence": {"enabled": false, "key": ""},
        "postgres_changes": plan.changes,
        "private": false,
    });
    let mut payload = json!({"config": config});
    if let (Some(user), Some(fields)) = (user, payload.as_object_mut()) {
        fields.insert("access_token".to_owned(), Value::String(user.token.clone()));
    }
    json!(["1", "1", topic, "phx_join", payload]).to_string().into_bytes()
}

pub(crate) const HEARTBEAT: &[u8] = br#"[null,"9","phoenix","heartbeat",{}]"#;

/// A message of the sender: what it is wrapped in, and the body with its number and the time it was made.
pub(crate) fn message(dialect: Dialect, number: u32, at_us: u64, size: usize) -> (u8, Vec<u8>) {
    let mut body = format!(r#"{{"at":"{at_us:016}","n":"{number:08}","text":""#).into_bytes();
    body.resize(body.len().max(size.saturating_sub(2)), b'.');
    body.extend_from_slice(br#""}"#);
    match dialect {
        Dialect::Nchan => (TEXT, body),
        Dialect::Realtime => {
            let (topic, event) = (topic(0), "tick");
            let length = |it: &str| u8::try_from(it.len()).unwrap_or(u8::MAX);
            // Kind 3, no metadata, JSON.
            let mut frame = vec![3, 1, 0, length(&topic), length(event), 0, 1, b'1'];
            frame.extend_from_slice(topic.as_bytes());
            frame.extend_from_slice(event.as_bytes());
            frame.extend_from_slice(&body);
            (BINARY, frame)
        }
    }
}

/// When a delivered message or change was made, and its number (absent in changes). Nothing when it is something else.
pub(crate) fn delivery(payload: &[u8]) -> Option<(u64, Option<u32>)> {
    let body = match payload {
        [4, topic, event, meta, _, ..] => {
            let head = 5 + usize::from(*topic) + usize::from(*event) + usize::from(*meta);
            payload.get(head..)?
        }
        _ => payload,
    };
    let (at_us, rest) = number_after(body, br#""at":"#)?;
    let number = number_after(rest, br#""n":"#).and_then(|it| u32::try_from(it.0).ok());
    Some((at_us, number))
}

/// The number, quoted or not, after `name`, and what follows it.
fn number_after<'a>(text: &'a [u8], name: &[u8]) -> Option<(u64, &'a [u8])> {
    let rest = text.get(find(text, name)? + name.len()..)?;
    let start = rest.iter().position(|it| !matches!(it, b' ' | b'"'))?;
    let digits = rest.get(start..)?;
    let end = digits.iter().position(|it| !it.is_ascii_digit())?;
    let (digits, rest) = digits.split_at(end);
    let number = digits.iter().fold(0_u64, |sum, it| sum.wrapping_mul(10).wrapping_add(u64::from(it - b'0')));
    (end > 0).then_some((number, rest))
}

/// Where `wanted` begins in `text`.
pub(crate) fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|it| it == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unmasked(frame: &[u8]) -> Vec<u8> {
        let head = if frame[1] & 0x7f == 126 { 4 } else { 2 };
        let mask = &frame[head..head + 4];
        frame[head + 4..].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
    }

    #[test]
    fn a_message_is_told_from_its_delivery() {
        let (_, sent) = message(Dialect::Realtime, 7, 1_700_000_000_000_123, 200);
        // The server puts what follows the topic behind another head.
        let mut delivered = vec![4, 15, 4, 0, 1];
        delivered.extend_from_slice(&sent[8..]);
        assert_eq!(&delivered[5..24], b"realtime:room:0tick");
        assert_eq!(delivered.len() - 24, 200, "the body has the size that was asked for");
        assert_eq!(delivery(&delivered), Some((1_700_000_000_000_123, Some(7))));
        let (_, plain) = message(Dialect::Nchan, 8, 5, 100);
        assert_eq!((plain.len(), delivery(&plain)), (100, Some((5, Some(8)))));
        let change = br#"[null,null,"t","postgres_changes",{"data":{"record":{"id":1,"at":"00000017"}}}]"#;
        assert_eq!(delivery(change), Some((17, None)));
        assert_eq!(delivery(br#"["1","1","t","phx_reply",{"status":"ok"}]"#), None);
    }

    #[test]
    fn frames_of_all_lengths_are_read_when_they_are_whole() {
        for length in [0, 125, 126, 70_000] {
            let mut bytes = vec![0x82];
            match length {
                0..126 => bytes.push(u8::try_from(length).unwrap()),
                126..65_536 => {
                    bytes.extend([&[126][..], &u16::try_from(length).unwrap().to_be_bytes()].concat())
                }
                _ => bytes.extend([&[127][..], &(length as u64).to_be_bytes()].concat()),
            }
            bytes.resize(bytes.len() + length, b'x');
            let whole = bytes.len();
            bytes.push(0x81);
            let (opcode, payload, used) = frame(&bytes).unwrap().unwrap();
            assert_eq!((opcode, payload.len(), used), (BINARY, length, whole));
            assert_eq!(frame(&bytes[..whole - 1]).unwrap().map(|it| it.2), None);
        }
        assert!(frame(&[0x02, 0]).is_err(), "a fragment");
    }

    #[test]
    fn a_clients_frame_is_masked() {
        for length in [3, 300] {
            let mut out = Vec::new();
            put(&mut out, TEXT, &vec![b'a'; length]);
            assert_eq!((out[0], out[1] & 0x80, unmasked(&out)), (0x81, 0x80, vec![b'a'; length]));
        }
    }

    #[test]
    fn an_upgrade_is_told_from_a_refusal() {
        let accepted = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x00";
        assert_eq!(upgraded(accepted), Ok(Some(accepted.len() - 2)));
        assert_eq!(upgraded(&accepted[..20]), Ok(None));
        assert!(upgraded(b"HTTP/1.1 429 Too Many Requests\r\n\r\n{}").unwrap_err().contains("429"));
    }
}
