//! Heads of answers as they stand on the wire: HTTP/1.1 (RFC 9112). Pure but for the clock.

use std::cell::Cell;
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Body as _;

use crate::http1::{is_of_the_connection, lists, number};

/// Octets of a date as HTTP writes it (RFC 9110 §5.6.7).
const DATE_BYTES: usize = 29;

thread_local! {
    /// A second since 1970, and its date.
    static DATE: Cell<(u64, [u8; DATE_BYTES])> = const { Cell::new((u64::MAX, [b' '; DATE_BYTES])) };
}

/// What of an answer is behind its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Nothing,
    /// So many bytes.
    Length(u64),
    Chunked,
}

/// What an answer is to.
#[derive(Debug, Clone, Copy)]
pub(super) struct To {
    /// A request by HEAD.
    pub(super) head: bool,
    /// The last request of its connection.
    pub(super) last: bool,
}

/// Write the head of `response` behind `out`. Also whether its service wants the connection closed.
pub(super) fn write(response: &Response<Body>, to: To, out: &mut Vec<u8>) -> (Framing, bool) {
    let status = response.status();
    write_status(status, out);
    let (mut told, mut is_dated, mut closes) = (None, false, false);
    for (name, value) in response.headers() {
        match *name {
            header::CONTENT_LENGTH => {
                told = Some(value);
                continue;
            }
            header::CONNECTION => closes |= lists(value.as_bytes(), "close"),
            header::DATE => is_dated = true,
            _ => {}
        }
        if !is_of_the_connection(name) {
            add(name.as_str().as_bytes(), value.as_bytes(), out);
        }
    }
    let (framing, length) = frame(response, told, to.head);
    if let Some(length) = length {
        add(b"content-length", itoa::Buffer::new().format(length).as_bytes(), out);
    }
    if framing == Framing::Chunked {
        add(b"transfer-encoding", b"chunked", out);
    }
    if closes || to.last {
        add(b"connection", b"close", out);
    }
    if !is_dated {
        add(b"date", &date(), out);
    }
    out.extend_from_slice(b"\r\n");
    (framing, closes)
}

/// What comes behind the head, and the length that the head tells. `told` is what the service says about that.
fn frame(response: &Response<Body>, told: Option<&HeaderValue>, to_head: bool) -> (Framing, Option<u64>) {
    let status = response.status();
    let exact = response.body().size_hint().exact();
    let told = told.and_then(|it| number(it.as_bytes()));
    if status == StatusCode::NO_CONTENT || status.is_informational() {
        return (Framing::Nothing, None);
    }
    if to_head || status == StatusCode::NOT_MODIFIED {
        // axum measures the empty body of a service's answer to HEAD; that is not the length of the answer to GET.
        return (Framing::Nothing, told.or(exact).filter(|it| *it > 0));
    }
    // The body knows better than what is said about it.
    match exact.or(told) {
        Some(0) => (Framing::Nothing, Some(0)),
        Some(length) => (Framing::Length(length), Some(length)),
        None => (Framing::Chunked, None),
    }
}

fn write_status(status: StatusCode, out: &mut Vec<u8>) {
    if status == StatusCode::OK {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn add(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The date and time, as HTTP writes them; put into words once in a second.
fn date() -> [u8; DATE_BYTES] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let (of, date) = DATE.get();
    if of == now {
        return date;
    }
    let mut date = [b' '; DATE_BYTES];
    let now_in_words = httpdate::HttpDate::from(UNIX_EPOCH + Duration::from_secs(now));
    let _it_is_that_long = write!(&mut date[..], "{now_in_words}");
    DATE.set((now, date));
    date
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: To = To { head: false, last: false };
    const HEAD: To = To { head: true, last: false };

    fn check(response: http::response::Builder, body: Body, to: To) -> String {
        let mut out = Vec::new();
        let (framing, closes) = write(&response.body(body).unwrap(), to, &mut out);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.strip_suffix("\r\n\r\n").unwrap().split("\r\n").collect();
        let (date, lines): (Vec<_>, Vec<_>) = lines.into_iter().partition(|it| it.starts_with("date: "));
        let age = SystemTime::now().duration_since(httpdate::parse_http_date(&date[0][6..]).unwrap());
        assert!(date.len() == 1 && age.unwrap() < Duration::from_secs(10), "{date:?}");
        format!("{} => {framing:?}{}", lines.join(" | "), if closes { ", closes" } else { "" })
    }

    fn streamed(text: &'static str) -> Body {
        Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(text)]))
    }

    #[test]
    fn the_body_decides_how_it_is_framed() {
        let ok = Response::builder;
        insta::assert_snapshot!(check(ok().header("X-A", "1").header("x-a", "2"), "abc".into(), GET), @"HTTP/1.1 200 OK | x-a: 1 | x-a: 2 | content-length: 3 => Length(3)");
        insta::assert_snapshot!(check(ok(), Body::empty(), GET), @"HTTP/1.1 200 OK | content-length: 0 => Nothing");
        insta::assert_snapshot!(check(ok(), streamed("abc"), GET), @"HTTP/1.1 200 OK | transfer-encoding: chunked => Chunked");
        insta::assert_snapshot!(check(ok().header("content-length", "3"), streamed("abc"), GET), @"HTTP/1.1 200 OK | content-length: 3 => Length(3)");
        insta::assert_snapshot!(check(ok().header("content-length", "9"), "abc".into(), GET), @"HTTP/1.1 200 OK | content-length: 3 => Length(3)");
        insta::assert_snapshot!(check(ok().header("content-length", "x"), streamed("abc"), GET), @"HTTP/1.1 200 OK | transfer-encoding: chunked => Chunked");
        insta::assert_snapshot!(check(ok().header("transfer-encoding", "gzip"), "abc".into(), GET), @"HTTP/1.1 200 OK | content-length: 3 => Length(3)");
    }

    #[test]
    fn some_answers_have_no_body() {
        let of = |status: u16| Response::builder().status(status);
        insta::assert_snapshot!(check(of(204).header("content-length", "3"), "abc".into(), GET), @"HTTP/1.1 204 No Content => Nothing");
        insta::assert_snapshot!(check(of(304), Body::empty(), GET), @"HTTP/1.1 304 Not Modified => Nothing");
        insta::assert_snapshot!(check(of(200).header("content-length", "90"), Body::empty(), HEAD), @"HTTP/1.1 200 OK | content-length: 90 => Nothing");
        insta::assert_snapshot!(check(of(200).header("content-length", "0"), Body::empty(), HEAD), @"HTTP/1.1 200 OK => Nothing");
        insta::assert_snapshot!(check(of(200), "abc".into(), HEAD), @"HTTP/1.1 200 OK | content-length: 3 => Nothing");
        insta::assert_snapshot!(check(of(599), streamed("abc"), HEAD), @"HTTP/1.1 599  => Nothing");
    }

    #[test]
    fn the_last_answer_of_a_connection_says_so() {
        let closing = || Response::builder().header("connection", "x, Close");
        insta::assert_snapshot!(check(closing(), Body::empty(), GET), @"HTTP/1.1 200 OK | content-length: 0 | connection: close => Nothing, closes");
        let last = To { head: false, last: true };
        insta::assert_snapshot!(check(Response::builder(), Body::empty(), last), @"HTTP/1.1 200 OK | content-length: 0 | connection: close => Nothing");
    }

    #[test]
    fn a_service_s_own_date_stays() {
        let mut out = Vec::new();
        let response =
            Response::builder().header("date", "Sun, 06 Nov 1994 08:49:37 GMT").body(Body::empty()).unwrap();
        write(&response, GET, &mut out);
        assert_eq!(String::from_utf8(out).unwrap().matches("date: ").count(), 1);
    }
}
