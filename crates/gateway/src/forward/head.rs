//! The head of a request as a worker gets it: its own path and headers, without those of the connection that it came by,
//! and with what the gateway knows about its origin. Pure.
//!
//! The key and the token stay as they are: the worker checks them again. `X-Forwarded-*` are written anew, so that a
//! worker, which believes its proxies, believes nothing that a client made up.

use common::RequestId;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};
use hyper::upgrade::OnUpgrade;

use crate::forwarded::Origin;
use crate::request_id::X_REQUEST_ID;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Headers of one connection (RFC 9110 §7.6.1), and `Expect`, which the gateway itself has answered.
const OF_THE_CONNECTION: [HeaderName; 9] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    FORWARDED_PORT,
];

/// Headers that are for the service, or that the gateway itself goes by: a client that names them in `Connection` would
/// have the worker see another request than the one that was admitted, and that answers are kept for.
const END_TO_END: [HeaderName; 18] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    HeaderName::from_static("accept-profile"),
    HeaderName::from_static("apikey"),
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

/// Make `head` the head of the request to a worker. `length` is the body's, as far as it is known.
///
/// Returns the client's end of the connection if the request wants to go on as a websocket.
pub(super) fn prepare(head: &mut Parts, length: Option<u64>, passage: &Passage<'_>) -> Option<OnUpgrade> {
    let upgrade = if wants_websocket(head) { head.extensions.remove::<OnUpgrade>() } else { None };
    head.extensions.clear();
    drop_hops(&mut head.headers);
    if upgrade.is_some() {
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    if head.version == Version::HTTP_2 {
        join_cookies(&mut head.headers);
    }
    head.version = Version::HTTP_11;
    if head.uri.authority().is_some() {
        let path = head.uri.path_and_query().cloned();
        head.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    }
    // What frames the body is the body, not what the client says about it.
    let told = head.headers.get(header::CONTENT_LENGTH);
    if told.is_some_and(|told| length.is_none_or(|it| told.as_bytes() != it.to_string().as_bytes())) {
        head.headers.remove(header::CONTENT_LENGTH);
    }
    introduce(&mut head.headers, passage);
    upgrade
}

/// Whether a request does no harm when it is done twice, and is nothing but its head.
pub(super) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether the other end says that it will close the connection.
pub(super) fn says_close(headers: &HeaderMap) -> bool {
    lists(headers, &header::CONNECTION, "close")
}

fn wants_websocket(head: &Parts) -> bool {
    head.version == Version::HTTP_11
        && head.method == Method::GET
        && head
            .headers
            .get(header::UPGRADE)
            .is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && lists(&head.headers, &header::CONNECTION, "upgrade")
}

/// Whether a header that is a list of words has `word`.
fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|it| it.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|it| it.trim().eq_ignore_ascii_case(word))
}

/// Drop the headers that `Connection` names; again does nothing.
pub(crate) fn drop_named(headers: &mut HeaderMap) {
    let Some(first) = headers.get(header::CONNECTION) else { return };
    // Nearly always it is only this; then nothing else is named.
    if !first.as_bytes().eq_ignore_ascii_case(b"keep-alive")
        || headers.get_all(header::CONNECTION).iter().count() > 1
    {
        for name in named_hops(headers) {
            headers.remove(name);
        }
    }
}

fn drop_hops(headers: &mut HeaderMap) {
    drop_named(headers);
    headers.remove(header::CONNECTION);
    for name in OF_THE_CONNECTION {
        headers.remove(name);
    }
}

/// The headers that `Connection` names, without those that are not its own to name.
fn named_hops(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(header::CONNECTION).iter().filter_map(|it| it.to_str().ok());
    let names = lines.flat_map(|line| line.split(',')).filter_map(|it| it.trim().parse::<HeaderName>().ok());
    names.filter(|it| !END_TO_END.contains(it)).collect()
}

/// HTTP/2 may send cookies one by one; HTTP/1.1 has one header of them (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() < 2 {
        return;
    }
    if let Ok(mut joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..])) {
        joined.set_sensitive(true);
        headers.insert(header::COOKIE, joined);
    }
}

fn introduce(headers: &mut HeaderMap, passage: &Passage<'_>) {
    let origin = passage.origin;
    match origin.client.and_then(|it| HeaderValue::try_from(it.to_string()).ok()) {
        Some(client) => drop(headers.insert(FORWARDED_FOR, client)),
        None => drop(headers.remove(FORWARDED_FOR)),
    }
    let proto = if origin.encrypted { "https" } else { "http" };
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(proto));
    let known = headers.get(header::HOST).filter(|it| it.as_bytes() == origin.host.as_bytes()).cloned();
    match known.or_else(|| HeaderValue::from_str(&origin.host).ok()).filter(|it| !it.is_empty()) {
        Some(host) => {
            headers.insert(FORWARDED_HOST, host.clone());
            headers.insert(header::HOST, host);
        }
        None => {
            headers.remove(FORWARDED_HOST);
            headers.entry(header::HOST).or_insert(HeaderValue::from_static(""));
        }
    }
    let same = headers.get(&X_REQUEST_ID).is_some_and(|it| it.as_bytes() == passage.id.0.as_bytes());
    if let (false, Ok(id)) = (same, HeaderValue::from_str(&passage.id.0)) {
        headers.insert(X_REQUEST_ID, id);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn check(request: http::request::Builder, length: Option<u64>) -> String {
        let origin = Origin {
            client: Some("203.0.113.9".parse().unwrap()),
            host: "board.example.com".into(),
            encrypted: true,
            vouched: false,
        };
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        prepare(&mut head, length, &Passage { id: &RequestId("r1".into()), origin: &origin });
        let mut lines: Vec<_> =
            head.headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        lines.sort();
        let known = [
            "host: board.example.com",
            "x-forwarded-for: 203.0.113.9",
            "x-forwarded-host: board.example.com",
        ];
        let known = [&known[..], &["x-forwarded-proto: https", "x-request-id: r1"]].concat();
        assert!(known.iter().all(|it| lines.iter().any(|line| line == it)), "{lines:?}");
        lines.retain(|it| !known.contains(&it.as_str()));
        format!("{:?} {} | {}", head.version, head.uri, lines.join(", "))
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
        insta::assert_snapshot!(check(request, None), @"HTTP/1.1 /rest/v1/a%20b?x=%2F | apikey: k, traceparent: 00-1");
    }

    #[test]
    fn what_the_service_reads_is_not_the_connection_s_to_name() {
        for name in END_TO_END.iter().filter(|it| ![header::HOST, header::UPGRADE].contains(it)) {
            let request = Request::get("/x").header(name, "1").header("connection", format!("close, {name}"));
            assert_eq!(check(request, Some(1)), format!("HTTP/1.1 /x | {name}: 1"));
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
        insta::assert_snapshot!(check(request, None), @"HTTP/1.1 /rest/v1/x | ");
    }

    #[test]
    fn the_length_is_the_body_s() {
        let request = || Request::post("/x").header("content-length", "5");
        insta::assert_snapshot!(check(request(), Some(5)), @"HTTP/1.1 /x | content-length: 5");
        insta::assert_snapshot!(check(request(), Some(6)), @"HTTP/1.1 /x | ");
        insta::assert_snapshot!(check(request(), None), @"HTTP/1.1 /x | ");
    }

    #[test]
    fn cookies_become_one_header() {
        let request =
            Request::get("/x").version(Version::HTTP_2).header("cookie", "a=1").header("cookie", "b=2");
        insta::assert_snapshot!(check(request, None), @"HTTP/1.1 /x | cookie: a=1; b=2");
    }
}
