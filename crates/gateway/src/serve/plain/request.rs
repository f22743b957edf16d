//! Requests as they stand on the wire: HTTP/1.1 (RFC 9112), those that are complete, and of the usual kind. Pure.

use std::mem::MaybeUninit;

use axum::body::Body;
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Uri, Version};
use httparse::Status;

use crate::http1::{Copied, number};

/// The largest request, head and body, in bytes; a larger one is unusual.
pub(super) const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// Headers of one request; with more it is unusual.
const MAX_HEADERS: usize = 100;

/// Why some bytes do not begin with a request of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// They are the beginning of a head.
    Part,
    /// They are a head, and the beginning of a small body: all is so many bytes.
    BodyPart(usize),
    /// No request, or one that hyper reads: with a large body, of another version, one that wants something of the
    /// connection.
    Unusual,
}

/// The request at the beginning of `input`, and its length.
pub(super) fn find(input: &[u8]) -> Result<(Request<Body>, usize), Unfit> {
    let mut lines = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(input, &mut lines) {
        Ok(Status::Complete(head_length)) => {
            let body_length = body_length(parsed.headers).ok_or(Unfit::Unusual)?;
            let length = head_length.checked_add(body_length).filter(|it| *it <= MAX_REQUEST_BYTES);
            let length = length.ok_or(Unfit::Unusual)?;
            let whole = input.get(..length).ok_or(Unfit::BodyPart(length))?;
            take(&parsed, whole, head_length).map(|it| (it, length)).ok_or(Unfit::Unusual)
        }
        Ok(Status::Partial) => Err(Unfit::Part),
        Err(_) => Err(Unfit::Unusual),
    }
}

/// The request that is `input`, whose head is the first `head_length` bytes; `None` if it is unusual.
fn take(parsed: &httparse::Request<'_, '_>, input: &[u8], head_length: usize) -> Option<Request<Body>> {
    let path = parsed.path.filter(|it| it.starts_with('/') && parsed.version == Some(1))?;
    // A copy, which all is a part of: the memory that was read into is for the next ones.
    let copy = Bytes::copy_from_slice(input);
    let copied = Copied { input, copy: &copy };
    let body = if head_length == input.len() { Body::empty() } else { copy.slice(head_length..).into() };
    let mut request = Request::new(body);
    *request.method_mut() =
        Method::from_bytes(parsed.method?.as_bytes()).ok().filter(|it| *it != Method::CONNECT)?;
    *request.uri_mut() =
        PathAndQuery::from_maybe_shared(copied.part(path.as_bytes())?).map(Uri::from).ok()?;
    *request.version_mut() = Version::HTTP_11;
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for line in parsed.headers.iter() {
        let (name, value) = copied.header(line)?;
        headers.append(name, value);
    }
    *request.headers_mut() = headers;
    Some(request)
}

/// The length of the body, as the head tells it; `None` if that leaves a doubt, or the head asks for more than an answer.
fn body_length(lines: &[httparse::Header<'_>]) -> Option<usize> {
    let mut told = None;
    for line in lines {
        let is = |name: &str| line.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let length = number(line.value).and_then(|it| usize::try_from(it).ok())?;
            if told.replace(length).is_some() {
                return None;
            }
        } else if is("transfer-encoding")
            || is("upgrade")
            || is("expect")
            || is("connection") && !line.value.eq_ignore_ascii_case(b"keep-alive")
        {
            return None;
        }
    }
    Some(told.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;

    use super::*;

    fn check(input: &str) -> String {
        match find(input.as_bytes()) {
            Err(Unfit::Part) => "part".into(),
            Err(Unfit::BodyPart(length)) => format!("part of {length}"),
            Err(Unfit::Unusual) => "unusual".into(),
            Ok((request, length)) => {
                let headers: Vec<_> = request
                    .headers()
                    .iter()
                    .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value.as_bytes())))
                    .collect();
                let body = request.body().size_hint().exact().unwrap();
                let (method, uri) = (request.method(), request.uri());
                assert_eq!(request.version(), Version::HTTP_11);
                format!("{method} {uri} [{}] {body} of {length}", headers.join(" "))
            }
        }
    }

    #[test]
    fn a_complete_request_is_taken_with_its_body() {
        insta::assert_snapshot!(check("GET /a?b=%2F HTTP/1.1\r\nHost: h\r\nX-Empty:\r\n\r\nGET /next"), @"GET /a?b=%2F [host=h x-empty=] 0 of 44");
        insta::assert_snapshot!(check("\r\nDELETE / HTTP/1.1\r\n\r\n"), @"DELETE / [] 0 of 23");
        insta::assert_snapshot!(check("POST /a HTTP/1.1\r\ncontent-length: 3\r\n\r\nabcGET"), @"POST /a [content-length=3] 3 of 42");
        insta::assert_snapshot!(check("PUT /a HTTP/1.1\r\ncontent-length: 0\r\n\r\n"), @"PUT /a [content-length=0] 0 of 38");
        insta::assert_snapshot!(check("GET / HTTP/1.1\r\na: 1\r\nA: 2\r\nb: \u{e9}\r\n\r\n"), @"GET / [a=1 a=2 b=é] 0 of 37");
    }

    #[test]
    fn the_beginning_of_a_head_waits_for_its_end() {
        let whole = "GET /a HTTP/1.1\r\nhost: h\r\nconnection: Keep-Alive\r\n\r\n";
        for length in 0..whole.len() {
            assert_eq!(check(&whole[..length]), "part", "{length}");
        }
        insta::assert_snapshot!(check(whole), @"GET /a [host=h connection=Keep-Alive] 0 of 52");
    }

    #[test]
    fn the_beginning_of_a_small_body_waits_for_its_end() {
        let upload = |told: usize, come: usize| {
            check(&format!("POST /a HTTP/1.1\r\ncontent-length: {told}\r\n\r\n{}", "x".repeat(come)))
        };
        assert_eq!(upload(4, 0), "part of 43");
        assert_eq!(upload(4, 3), "part of 43");
        assert_eq!(upload(4, 4), "POST /a [content-length=4] 4 of 43");
        let room = MAX_REQUEST_BYTES - "POST /a HTTP/1.1\r\ncontent-length: 65493\r\n\r\n".len();
        assert_eq!(upload(room, 0), format!("part of {MAX_REQUEST_BYTES}"));
        assert_eq!(upload(room + 1, 0), "unusual", "with its head it is too large");
    }

    #[test]
    fn what_is_rare_or_in_doubt_is_left_to_hyper() {
        let head = |lines: &str| format!("POST /a HTTP/1.1\r\n{lines}\r\n\r\nabc");
        for lines in [
            "content-length: 66000",
            "content-length: 3\r\ncontent-length: 3",
            "content-length: 3, 3",
            "content-length: +3",
            "content-length: 99999999999999999999",
            "transfer-encoding: chunked",
            "transfer-encoding: identity",
            "expect: 100-continue",
            "expect: 100-continue\r\ncontent-length: 9",
            "upgrade: websocket",
            "connection: close",
            "connection: keep-alive, x-mine",
            "connection: keep-alive\r\nconnection: close",
            "two words: 1",
            "x : 1",
            "x: 1\r\n folded",
            "x: a\u{0}b",
        ] {
            assert_eq!(check(&head(lines)), "unusual", "{lines}");
        }
        for input in [
            "GET /a HTTP/1.0\r\n\r\n",
            "GET http://h/a HTTP/1.1\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\n\r\n",
            "CONNECT h:1 HTTP/1.1\r\n\r\n",
            "CONNECT /h HTTP/1.1\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "\u{16}\u{3}\u{1}",
        ] {
            assert_eq!(check(input), "unusual", "{input:?}");
        }
        let many = |count| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
        assert_eq!(check(&many(MAX_HEADERS + 1)), "unusual");
        assert!(check(&many(MAX_HEADERS)).starts_with("GET / [a=b"));
    }
}
