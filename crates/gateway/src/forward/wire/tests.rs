//! Answers as workers write them, whole and in pieces, and some that nobody should write.

use proptest::prelude::*;

use super::*;

/// What is read of `answer` when it comes in pieces of these sizes: status, body, and whether another may follow.
fn read(answer: &[u8], to_head: bool, pieces: &[usize]) -> Result<(u16, Vec<u8>, bool), String> {
    let mut input = BytesMut::new();
    let (mut head, mut body): (Option<AnswerHead>, _) = (None, Vec::new());
    let (mut rest, mut sizes) = (answer, pieces.iter().copied().cycle());
    loop {
        if head.is_none() {
            head = AnswerHead::take(&mut input, to_head).map_err(|it| it.to_string())?;
        }
        if let Some(head) = &mut head {
            while let Some(bytes) = head.framing.take(&mut input).map_err(|it| it.to_string())? {
                body.extend_from_slice(&bytes);
            }
        }
        if rest.is_empty() || head.as_ref().is_some_and(|it| it.framing.is_ended()) {
            break;
        }
        let (piece, left) = rest.split_at(sizes.next().unwrap_or(rest.len()).clamp(1, rest.len()));
        input.extend_from_slice(piece);
        rest = left;
    }
    let head = head.ok_or("no head")?;
    let complete = head.framing.is_ended() || head.framing == Framing::UntilClose;
    let keeps = head.keeps && input.is_empty() && rest.is_empty();
    if complete { Ok((head.status.as_u16(), body, keeps)) } else { Err("too short".into()) }
}

fn check(answer: &str) -> String {
    let whole = read(answer.as_bytes(), false, &[usize::MAX]);
    assert_eq!(read(answer.as_bytes(), false, &[1]), whole, "byte by byte");
    match whole {
        Ok((status, body, keeps)) => format!("{status} {:?} {keeps}", String::from_utf8(body).unwrap()),
        Err(error) => error,
    }
}

#[test]
fn bodies_end_where_their_framing_says() {
    let check = |head: &str, body: &str| check(&format!("HTTP/1.1 {head}\r\n\r\n{body}"));
    assert_eq!(check("200 OK\r\ncontent-length: 3", "abc"), r#"200 "abc" true"#);
    assert_eq!(check("200 OK\r\ncontent-length: 3\r\nconnection: Close", "abc"), r#"200 "abc" false"#);
    assert_eq!(check("200 OK\r\ncontent-length: 0", ""), r#"200 "" true"#);
    assert_eq!(check("204 No Content", ""), r#"204 "" true"#);
    assert_eq!(check("304 Not Modified\r\ncontent-length: 9", ""), r#"304 "" true"#);
    assert_eq!(check("200 OK", "to the end"), r#"200 "to the end" false"#);
    let chunked = |body: &str| check("200 OK\r\ntransfer-encoding: chunked", body);
    assert_eq!(chunked("3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n0\r\n\r\n"), r#"200 "abc0123456789" true"#);
    assert_eq!(chunked("1\r\na\r\n0\r\nx-sum: 1\r\nx-more: 2\r\n\r\n"), r#"200 "a" true"#);
    assert_eq!(
        check(
            "100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1",
            "x"
        ),
        r#"200 "x" true"#
    );
    assert_eq!(check("101 Switching Protocols\r\nupgrade: websocket", ""), r#"101 "" false"#);
    let old = read(b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx", false, &[9]).unwrap();
    assert_eq!(old, (200, b"x".to_vec(), false));
    let to_head = read(b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n", true, &[usize::MAX]).unwrap();
    assert_eq!(to_head, (200, vec![], true));
}

#[test]
fn what_comes_behind_an_answer_is_no_part_of_it() {
    for body in ["content-length: 1\r\n\r\nx", "transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"] {
        let answer = format!("HTTP/1.1 200 OK\r\n{body}HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(check(&answer), r#"200 "x" false"#, "{body}");
    }
}

#[test]
fn what_may_end_in_two_ways_is_refused() {
    let check = |head: &str, body: &str| check(&format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}"));
    for (head, why) in [
        ("content-length: 3\r\ncontent-length: 4", "two lengths"),
        ("content-length: 3, 3", "its length"),
        ("content-length: +3", "its length"),
        ("content-length:", "its length"),
        ("content-length: 99999999999999999999", "its length"),
        ("content-length: 3\r\ntransfer-encoding: chunked", "a length and a transfer coding"),
        ("transfer-encoding: gzip", "its transfer coding"),
        ("transfer-encoding: chunked, chunked", "its transfer coding"),
        ("transfer-encoding: gzip\r\ntransfer-encoding: chunked", "its transfer coding"),
        ("bad header", "its head"),
        ("x: a\r\n folded", "its head"),
    ] {
        assert_eq!(check(head, "abcd"), format!("malformed answer: {why}"), "{head}");
    }
    for (body, why) in [
        ("3\nabc\r\n0\r\n\r\n", "a line of its chunks"),
        ("-3\r\nabc", "the size of a chunk"),
        ("0x3\r\nabc", "the size of a chunk"),
        ("3 junk\r\nabc", "the size of a chunk"),
        ("\r\nabc", "the size of a chunk"),
        ("11111111111111111\r\nabc", "the size of a chunk"),
        ("3\r\nabcd\r\n", "the end of a chunk"),
        (&"1".repeat(MAX_CHUNK_LINE_BYTES), "a line of its chunks"),
    ] {
        assert_eq!(check("transfer-encoding: chunked", body), format!("malformed answer: {why}"), "{body}");
    }
    assert_eq!(check("transfer-encoding: chunked", "3\r\nab"), "too short");
    assert_eq!(check("content-length: 3", "ab"), "too short");
    assert_eq!(super::tests::check("GET / HTTP/1.1\r\n\r\n"), "malformed answer: its head");
}

#[test]
fn heads_are_bounded() {
    let lines = |count: usize| "x: y\r\n".repeat(count);
    let check = |lines: String| check(&format!("HTTP/1.1 204 No Content\r\n{lines}\r\n"));
    assert_eq!(check(lines(MAX_HEADERS)), r#"204 "" true"#);
    assert_eq!(check(lines(MAX_HEADERS + 1)), "malformed answer: its head");
    let long = format!("HTTP/1.1 204 No Content\r\nx: {}", "y".repeat(MAX_HEAD_BYTES));
    assert_eq!(read(long.as_bytes(), false, &[4096]), Err("malformed answer: its head is too large".into()));
    let trailers = format!("0\r\n{}\r\n", "x: y\r\n".repeat(MAX_HEAD_BYTES / 6 + 1));
    let answer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{trailers}");
    assert_eq!(
        read(answer.as_bytes(), false, &[4096]),
        Err("malformed answer: its trailers are too large".into())
    );
}

proptest! {
    #[test]
    fn pieces_make_no_difference(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..6),
        pieces in prop::collection::vec(1_usize..700, 1..20),
    ) {
        let body = chunks.concat();
        let mut coded = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-a: \r\n\r\n".to_vec();
        for chunk in &chunks {
            coded.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            coded.extend_from_slice(chunk);
            coded.extend_from_slice(b"\r\n");
        }
        coded.extend_from_slice(b"0\r\n\r\n");
        prop_assert_eq!(read(&coded, false, &pieces), Ok((200, body.clone(), true)));
        let mut plain = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        plain.extend_from_slice(&body);
        prop_assert_eq!(read(&plain, false, &pieces), Ok((200, body, true)));
    }

    #[test]
    fn nothing_makes_it_panic_or_read_more_than_there_is(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        prefix in prop::sample::select(vec!["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"]),
        pieces in prop::collection::vec(1_usize..50, 1..9),
    ) {
        let answer = [prefix.as_bytes(), &bytes].concat();
        if let Ok((_, body, _)) = read(&answer, false, &pieces) {
            prop_assert!(body.len() <= answer.len());
        }
    }
}
