//! Requests as they stand on the wire: HTTP/1.1 (RFC 9112), those that are complete, and of the usual kind. Pure.

use std::mem::MaybeUninit;

use axum::body::Body;
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Method, Request, Uri, Version, header};
use httparse::Status;

use crate::http1::{Copied, number};

/// Headers of one request; with more it is unusual.
const MAX_HEADERS: usize = 100;

/// Why some bytes do not begin with a request of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// They are the beginning of a head.
    Part,
    /// No request, or one that hyper reads: with a body that is still coming, of another version, one that wants
    /// something of the connection.
    Unusual,
}

/// The request at the beginning of `input`, and its length.
pub(super) fn find(input: &[u8]) -> Result<(Request<Body>, usize), Unfit> {
    let mut lines = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(input, &mut lines) {
        Ok(Status::Complete(length)) => take(&request, input, length).ok_or(Unfit::Unusual),
        Ok(Status::Partial) => Err(Unfit::Part),
        Err(_) => Err(Unfit::Unusual),
    }
}

/// The request whose head is the first `head_length` bytes of `input`, and its own length; `None` if it is unusual.
fn take(
    parsed: &httparse::Request<'_, '_>,
    input: &[u8],
    head_length: usize,
) -> Option<(Request<Body>, usize)> {
    let path = parsed.path.filter(|it| it.starts_with('/') && parsed.version == Some(1))?;
    let body_length = body_length(parsed.headers)?;
    let length = head_length.checked_add(body_length)?;
    // A copy, which all is a part of: the memory that was read into is for the next ones.
    let copy = Bytes::copy_from_slice(input.get(..length)?);
    let copied = Copied { input, copy: &copy };
    let body = if body_length == 0 { Body::empty() } else { copy.slice(head_length..).into() };
    let mut request = Request::new(body);
    *request.method_mut() =
        Method::from_bytes(parsed.method?.as_bytes()).ok().filter(|it| *it != Method::CONNECT)?;
    *request.uri_mut() =
        PathAndQuery::from_maybe_shared(copied.part(path.as_bytes())?).map(Uri::from).ok()?;
    *request.version_mut() = Version::HTTP_11;
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for line in parsed.headers.iter() {
        let (name, value) = copied.header(line)?;
        if is_unusual(&name, value.as_bytes()) {
            return None;
        }
        headers.append(name, value);
    }
    *request.headers_mut() = headers;
    Some((request, length))
}

/// The length of the body as the head tells it; `None` if that is not beyond doubt.
fn body_length(lines: &[httparse::Header<'_>]) -> Option<usize> {
    let is_length = |it: &&httparse::Header<'_>| it.name.eq_ignore_ascii_case("content-length");
    let mut told = lines.iter().filter(is_length);
    match (told.next(), told.next()) {
        (None, _) => Some(0),
        (Some(line), None) => number(line.value).and_then(|it| usize::try_from(it).ok()),
        (Some(_), Some(_)) => None,
    }
}

/// Whether the header asks for more than an answer.
fn is_unusual(name: &HeaderName, value: &[u8]) -> bool {
    match *name {
        header::CONNECTION => !value.eq_ignore_ascii_case(b"keep-alive"),
        header::TRANSFER_ENCODING | header::UPGRADE | header::EXPECT => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;

    use super::*;

    fn check(input: &str) -> String {
        match find(input.as_bytes()) {
            Err(Unfit::Part) => "part".into(),
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
    fn what_is_rare_or_in_doubt_is_left_to_hyper() {
        let head = |lines: &str| format!("POST /a HTTP/1.1\r\n{lines}\r\n\r\nabc");
        for lines in [
            "content-length: 4",
            "content-length: 3\r\ncontent-length: 3",
            "content-length: 3, 3",
            "content-length: +3",
            "content-length: 99999999999999999999",
            "transfer-encoding: chunked",
            "transfer-encoding: identity",
            "expect: 100-continue",
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
