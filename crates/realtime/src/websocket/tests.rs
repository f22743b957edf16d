//! Frames of all kinds, whole and cut, right and wrong.

use proptest::prelude::*;
use tokio_tungstenite::tungstenite;
use tungstenite::protocol::{Role, WebSocketContext};

use super::handshake::accept;
use super::*;

/// As clients send it.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
        medium @ 126..65536 => {
            frame.push(0xfe);
            frame.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            frame.push(0xff);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// All messages of `bytes`, which come `step` at a time.
fn read(bytes: &[u8], step: usize) -> Result<Vec<Message>, Fault> {
    let mut reader = Reader::new(100_000);
    let mut messages = Vec::new();
    for chunk in bytes.chunks(step) {
        reader.feed(chunk);
        while let Some(message) = reader.next()? {
            messages.push(message);
        }
    }
    Ok(messages)
}

fn check(frames: &[(u8, &[u8])]) -> String {
    let bytes: Vec<u8> = frames.iter().flat_map(|(first, payload)| masked(*first, payload)).collect();
    let all = read(&bytes, bytes.len().max(1));
    assert_eq!(all, read(&bytes, 1), "in one piece and byte by byte");
    match all {
        Ok(messages) => format!("{messages:?}"),
        Err(fault) => format!("{} {}", fault.code, fault.reason),
    }
}

#[test]
fn frames_become_messages() {
    insta::assert_snapshot!(check(&[(0x81, b"a"), (0x82, b"\xff")]), @r#"[Text(b"a"), Binary(b"\xff")]"#);
    insta::assert_snapshot!(check(&[(0x01, "ü".as_bytes().get(..1).unwrap()), (0x89, b"p"), (0x80, b"\xbc")]), @r#"[Ping(b"p"), Text(b"\xc3\xbc")]"#);
    insta::assert_snapshot!(check(&[(0x8a, b""), (0x88, b"\x03\xe8")]), @"[Pong, Close]");
}

#[test]
fn what_breaks_the_protocol_is_refused() {
    insta::assert_snapshot!(check(&[(0xc1, b"a")]), @"1002 reserved bits are set");
    insta::assert_snapshot!(check(&[(0x83, b"a")]), @"1002 the frame is of an unknown kind");
    insta::assert_snapshot!(check(&[(0x09, b"a")]), @"1002 a control frame is fragmented");
    insta::assert_snapshot!(check(&[(0x89, &[0; 126])]), @"1002 a control frame is too long");
    insta::assert_snapshot!(check(&[(0x80, b"a")]), @"1002 there is nothing to continue");
    insta::assert_snapshot!(check(&[(0x01, b"a"), (0x81, b"a")]), @"1002 a message begins within another one");
    insta::assert_snapshot!(check(&[(0x81, b"\xff")]), @"1007 the text is no UTF-8");
    assert_eq!(read(b"\x81\x01a", 3).unwrap_err().code, 1002, "no mask");
}

#[test]
fn large_messages_are_refused_before_they_come() {
    let mut reader = Reader::new(100_000);
    let mut head = masked(0x82, &[0; 100_001]);
    head.truncate(10);
    reader.feed(&head);
    assert_eq!(reader.next().unwrap_err().code, 1009);
    let half = masked(0x02, &[0; 60_000]);
    assert_eq!(read(&[half.clone(), masked(0x80, &[0; 60_000])].concat(), 4096).unwrap_err().code, 1009);
    assert_eq!(read(&[half, masked(0x80, &[0; 40_000])].concat(), 4096).unwrap().len(), 1);
}

#[test]
fn a_reader_at_rest_holds_no_large_buffer() {
    let mut reader = Reader::new(100_000);
    reader.feed(&masked(0x82, &[7; 90_000]));
    assert_eq!(reader.next(), Ok(Some(Message::Binary(Bytes::from(vec![7; 90_000])))));
    assert!(reader.input.capacity() <= KEPT_BYTES && reader.message.capacity() == 0);
}

#[test]
fn the_accept_key_is_the_one_of_the_rfc() {
    assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

/// What another implementation, as a client, reads of `bytes`.
fn peer_reads(bytes: &[u8]) -> tungstenite::Message {
    struct Once<'a>(&'a [u8]);
    impl std::io::Read for Once<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl std::io::Write for Once<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    WebSocketContext::new(Role::Client, None).read(&mut Once(bytes)).unwrap()
}

#[test]
fn a_close_frame_says_why() {
    let long = "ü".repeat(100);
    let tungstenite::Message::Close(Some(frame)) = peer_reads(&close(1012, &long)) else { panic!() };
    assert_eq!((u16::from(frame.code), frame.reason.len()), (1012, 122));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000), step in 1_usize..300) {
        let whole = read(&bytes, bytes.len().max(1));
        let pieces = read(&bytes, step);
        prop_assert_eq!(whole.is_err(), pieces.is_err());
    }

    #[test]
    fn another_implementation_reads_our_frames(payload in prop::collection::vec(any::<u8>(), 0..70_000)) {
        prop_assert_eq!(peer_reads(&binary(&[&payload])).into_data(), Bytes::from(payload.clone()));
    }

    #[test]
    fn what_clients_frame_is_read_back(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
        step in 1_usize..500,
    ) {
        let bytes: Vec<u8> = payloads.iter().flat_map(|it| masked(0x82, it)).collect();
        let messages = read(&bytes, step).unwrap();
        let expected: Vec<_> = payloads.into_iter().map(|it| Message::Binary(it.into())).collect();
        prop_assert_eq!(messages, expected);
    }
}
