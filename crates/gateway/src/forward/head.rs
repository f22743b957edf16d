//! The head of a request as a worker gets it: its own path and headers, without those of the connection that it came by,
//! and with what the gateway knows about its origin. Pure.
//!
//! The key and the token stay as they are: the worker checks them again. `X-Forwarded-*` are written anew, so that a
//! worker, which believes its proxies, believes nothing that a client made up.

use std::io::Write as _;
use std::net::IpAddr;

use common::RequestId;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use hyper::upgrade::OnUpgrade;

use crate::forwarded::Origin;
use crate::http1::lists;

/// Room for the request line and the headers that are added.
const USUAL_HEAD_BYTES: usize = 1024;

/// Headers that are for the service, or that the gateway itself goes by: a client that names them in `Connection` would
/// have the worker see another request than the one that was admitted, and that answers are kept for.
const END_TO_END: [HeaderName; 19] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    HeaderName::from_static("accept-profile"),
    HeaderName::from_static("apikey"),
    HeaderName::from_static("x-api-key"),
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    HeaderName::from_static("content-profile"),
    header::CONTENT_TYPE,
    header::COOKIE,
    header::HOST,
    header::IF_NONE_MATCH,
    HeaderName::from_static("prefer"),
    header::RANGE,
    HeaderName::from_static("range-unit"),
    header::ORIGIN,
    // Not for the service, but needed to find out who wants a websocket; it goes afterwards.
    header::UPGRADE,
];

/// What the gateway knows about a request beside the request itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passage<'a> {
    pub(crate) id: &'a RequestId,
    pub(crate) origin: &'a Origin,
}

/// What is known of a body's length.
#[derive(Debug, Clone, Copy)]
pub(super) enum Length {
    /// There is no body.
    Nothing,
    Known(u64),
    Unknown,
}

/// The client's end of the connection, if the request wants to go on as a websocket.
pub(super) fn upgrade(head: &mut Parts) -> Option<OnUpgrade> {
    if wants_websocket(head) { head.extensions.remove::<OnUpgrade>() } else { None }
}

/// The bytes of `head` for a worker.
pub(super) fn write(head: &Parts, length: Length, upgrades: bool, passage: &Passage<'_>) -> Vec<u8> {
    let mut lines = Lines(Vec::with_capacity(USUAL_HEAD_BYTES));
    lines.0.extend_from_slice(head.method.as_str().as_bytes());
    lines.0.push(b' ');
    lines.0.extend_from_slice(head.uri.path_and_query().map_or("/", |it| it.as_str()).as_bytes());
    lines.0.extend_from_slice(b" HTTP/1.1\r\n");
    let named = named_hops(&head.headers);
    let splits_cookies = head.version == Version::HTTP_2;
    for (name, value) in &head.headers {
        let is_ours = match name.as_str() {
            "host" => !passage.origin.host.is_empty(),
            "cookie" => splits_cookies,
            name => is_written_anew(name),
        };
        if !is_ours && !named.contains(name) {
            lines.add(name.as_str(), value.as_bytes());
        }
    }
    if splits_cookies {
        lines.add_cookies(&head.headers);
    }
    if upgrades {
        lines.add("connection", b"upgrade");
        lines.add("upgrade", b"websocket");
    }
    lines.add_length(length, head);
    lines.introduce(passage, &head.headers);
    lines.0.extend_from_slice(b"\r\n");
    lines.0
}

/// Headers of one connection (RFC 9110 §7.6.1), `Expect`, which the gateway itself has answered, what frames the body, which
/// is the body and not what the client says about it, and what the gateway tells of the request.
fn is_written_anew(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "expect"
            | "content-length"
            | "x-forwarded-for"
            | "x-forwarded-host"
            | "x-forwarded-port"
            | "x-forwarded-proto"
            | "x-request-id"
    )
}

/// The lines of a head. Names and values come from parsed headers, and have no line ends.
struct Lines(Vec<u8>);

impl Lines {
    fn add(&mut self, name: &str, value: &[u8]) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
        self.0.extend_from_slice(value);
        self.0.extend_from_slice(b"\r\n");
    }

    /// HTTP/2 may send cookies one by one; HTTP/1.1 has one header of them (RFC 9113 §8.2.3).
    fn add_cookies(&mut self, headers: &HeaderMap) {
        let cookies: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if !cookies.is_empty() {
            self.add("cookie", &cookies.join(&b"; "[..]));
        }
    }

    fn add_length(&mut self, length: Length, head: &Parts) {
        let says_nothing = || head.headers.contains_key(header::CONTENT_LENGTH);
        let wants_one = || matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
        match length {
            Length::Known(length) => self.add("content-length", length.to_string().as_bytes()),
            Length::Unknown => self.add("transfer-encoding", b"chunked"),
            Length::Nothing if says_nothing() || wants_one() => self.add("content-length", b"0"),
            Length::Nothing => {}
        }
    }

    /// As `Display` writes it, which is slower than all the rest of a head.
    fn address(&mut self, address: IpAddr) {
        let IpAddr::V4(address) = address else {
            let _always_room = write!(self.0, "{address}");
            return;
        };
        for (idx, octet) in address.octets().into_iter().enumerate() {
            self.0.extend((idx > 0).then_some(b'.'));
            self.0.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
        }
    }

    /// Where the request comes from.
    fn introduce(&mut self, passage: &Passage<'_>, headers: &HeaderMap) {
        let Origin { client, host, encrypted, .. } = passage.origin;
        if let Some(client) = client {
            self.0.extend_from_slice(b"x-forwarded-for: ");
            self.address(*client);
            self.0.extend_from_slice(b"\r\n");
        }
        self.add("x-forwarded-proto", if *encrypted { b"https" } else { b"http" });
        if !host.is_empty() {
            self.add("host", host.as_bytes());
            self.add("x-forwarded-host", host.as_bytes());
        } else if !headers.contains_key(header::HOST) {
            self.add("host", b"");
        }
        self.add("x-request-id", passage.id.0.as_bytes());
    }
}

/// Whether a request does no harm when it is done twice, and is nothing but its head.
pub(super) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn wants_websocket(head: &Parts) -> bool {
    head.version == Version::HTTP_11
        && head.method == Method::GET
        && head
            .headers
            .get(header::UPGRADE)
            .is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && head.headers.get_all(header::CONNECTION).iter().any(|it| lists(it.as_bytes(), "upgrade"))
}

/// Drop the headers that `Connection` names; again does nothing.
pub(crate) fn drop_named(headers: &mut HeaderMap) {
    for name in named_hops(headers) {
        headers.remove(name);
    }
}

/// The headers that `Connection` names, without those that are not its own to name.
fn named_hops(headers: &HeaderMap) -> Vec<HeaderName> {
    let Some(first) = headers.get(header::CONNECTION) else { return Vec::new() };
    // Nearly always it is only this; then nothing else is named.
    if first.as_bytes().eq_ignore_ascii_case(b"keep-alive")
        && headers.get_all(header::CONNECTION).iter().count() == 1
    {
        return Vec::new();
    }
    let lines = headers.get_all(header::CONNECTION).iter().filter_map(|it| it.to_str().ok());
    let names = lines.flat_map(|line| line.split(',')).filter_map(|it| it.trim().parse::<HeaderName>().ok());
    names.filter(|it| !END_TO_END.contains(it)).collect()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn check(request: http::request::Builder, length: Length) -> String {
        let origin = Origin {
            client: Some("203.0.113.9".parse().unwrap()),
            host: "board.example.com".into(),
            encrypted: true,
            vouched: false,
        };
        let (head, ()) = request.body(()).unwrap().into_parts();
        let bytes = write(&head, length, false, &Passage { id: &RequestId("r1".into()), origin: &origin });
        let text = String::from_utf8(bytes).unwrap();
        let mut lines: Vec<_> = text.strip_suffix("\r\n\r\n").unwrap().split("\r\n").collect();
        let first = lines.remove(0);
        lines.sort_unstable();
        let known = [
            "host: board.example.com",
            "x-forwarded-for: 203.0.113.9",
            "x-forwarded-host: board.example.com",
            "x-forwarded-proto: https",
            "x-request-id: r1",
        ];
        assert!(known.iter().all(|it| lines.contains(it)), "{lines:?}");
        lines.retain(|it| !known.contains(it));
        format!("{first} | {}", lines.join(", "))
    }

    #[test]
    fn the_path_stays_and_the_connection_s_headers_go() {
        let request = Request::get("http://board.example.com/rest/v1/a%20b?x=%2F")
            .header("connection", "keep-alive, X-Mine, host")
            .header("x-mine", "1")
            .header("te", "trailers")
            .header("transfer-encoding", "chunked")
            .header("expect", "100-continue")
            .header("upgrade", "h2c")
            .header("proxy-authorization", "Basic x")
            .header("traceparent", "00-1")
            .header("apikey", "k");
        insta::assert_snapshot!(check(request, Length::Nothing), @"GET /rest/v1/a%20b?x=%2F HTTP/1.1 | apikey: k, traceparent: 00-1");
    }

    #[test]
    fn what_the_service_reads_is_not_the_connection_s_to_name() {
        for name in END_TO_END.iter().filter(|it| ![header::HOST, header::UPGRADE].contains(it)) {
            let request = Request::get("/x").header(name, "1").header("connection", format!("close, {name}"));
            let kept = check(request, Length::Known(1));
            let other = if name == header::CONTENT_LENGTH { String::new() } else { format!(", {name}: 1") };
            let mut lines = ["content-length: 1".to_owned(), other.trim_start_matches(", ").to_owned()];
            lines.sort();
            assert_eq!(kept, format!("GET /x HTTP/1.1 | {}", lines.join(", ").trim_start_matches(", ")));
        }
    }

    #[test]
    fn nobody_makes_up_where_he_comes_from() {
        let request = Request::get("/rest/v1/x")
            .header("host", "elsewhere")
            .header("x-forwarded-for", "1.1.1.1")
            .header("x-forwarded-for", "2.2.2.2")
            .header("x-forwarded-host", "elsewhere")
            .header("x-forwarded-proto", "gopher")
            .header("x-forwarded-port", "99")
            .header("x-request-id", "two words");
        insta::assert_snapshot!(check(request, Length::Nothing), @"GET /rest/v1/x HTTP/1.1 | ");
    }

    #[test]
    fn addresses_are_written_as_everybody_writes_them() {
        let check = |address: IpAddr| {
            let mut lines = Lines(Vec::new());
            lines.address(address);
            assert_eq!(String::from_utf8(lines.0).unwrap(), address.to_string());
        };
        (0..=255).for_each(|it| check([it, 255 - it, it / 2, it / 25].into()));
        check("2001:db8::1".parse().unwrap());
        check("::ffff:192.0.2.1".parse().unwrap());
    }

    #[test]
    fn the_length_is_the_body_s() {
        let request = || Request::post("/x").header("content-length", "5");
        insta::assert_snapshot!(check(request(), Length::Known(6)), @"POST /x HTTP/1.1 | content-length: 6");
        insta::assert_snapshot!(check(request(), Length::Unknown), @"POST /x HTTP/1.1 | transfer-encoding: chunked");
        insta::assert_snapshot!(check(request(), Length::Nothing), @"POST /x HTTP/1.1 | content-length: 0");
        insta::assert_snapshot!(check(Request::get("/x"), Length::Nothing), @"GET /x HTTP/1.1 | ");
    }

    #[test]
    fn cookies_become_one_header() {
        let request =
            Request::get("/x").version(Version::HTTP_2).header("cookie", "a=1").header("cookie", "b=2");
        insta::assert_snapshot!(check(request, Length::Nothing), @"GET /x HTTP/1.1 | cookie: a=1; b=2");
    }
}
