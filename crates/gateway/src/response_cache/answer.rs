//! An answer that is kept: what may be, how it is made from the service's, and how it is given.
//!
//! `ETag` is a hash of everything that the answer holds. Clients are told to ask every time (`max-age=0`): only here is
//! it known when something was written.

use std::fmt::Write as _;
use std::time::Duration;

use aws_lc_rs::digest;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use store::Version;
use tokio::time::Instant;

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
pub(super) const HIT: HeaderValue = HeaderValue::from_static("hit");
pub(super) const MISS: HeaderValue = HeaderValue::from_static("miss");
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("private, max-age=0, must-revalidate");
const VARY: HeaderValue = HeaderValue::from_static(
    "Accept, Accept-Encoding, Accept-Profile, Apikey, Authorization, Cache-Control, Prefer, Range",
);
/// What the data API says by itself; another `Vary` is a function's.
const OWN_VARY: &str = "Accept, Prefer, Range";
/// Bytes of an entry besides body and headers, about.
const OVERHEAD_BYTES: usize = 512;
/// Headers by which an answer says that it is for this moment or this client alone, or what else it depends on.
const PERSONAL: [HeaderName; 9] = [
    header::AGE,
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONNECTION,
    header::ETAG,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::PRAGMA,
    header::SET_COOKIE,
];

/// An answer that is kept.
#[derive(Debug)]
pub(super) struct Answer {
    /// What the project held when the service was asked.
    pub(super) version: Version,
    pub(super) ttl: Duration,
    since: Instant,
    status: StatusCode,
    headers: HeaderMap,
    /// None for `HEAD`, whose body is not known.
    etag: Option<HeaderValue>,
    body: Bytes,
}

/// What decides whether and how long an answer is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) version: Version,
    pub(super) ttl: Duration,
    pub(super) max_body_bytes: usize,
    pub(super) has_body: bool,
}

impl Answer {
    /// The answer in `response`, when it may be kept; else `response` itself.
    pub(super) async fn of(response: Response<Body>, terms: Terms) -> Result<Self, Response<Body>> {
        let size = response.body().size_hint().exact();
        let fits = size.is_some_and(|it| it <= terms.max_body_bytes as u64);
        if !fits || !may_be_kept(&response) {
            return Err(response);
        }
        let (mut head, body) = response.into_parts();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            // Cut, as it would have been without us.
            Err(error) => {
                let cut = futures_util::stream::once(async { Err::<Bytes, _>(error) });
                return Err(Response::from_parts(head, Body::from_stream(cut)));
            }
        };
        let etag = terms.has_body.then(|| etag(head.status, &head.headers, &body)).flatten();
        head.headers.insert(header::CACHE_CONTROL, CACHE_CONTROL);
        head.headers.insert(header::VARY, VARY);
        if let Some(etag) = &etag {
            head.headers.insert(header::ETAG, etag.clone());
        }
        Ok(Self {
            version: terms.version,
            ttl: terms.ttl,
            since: Instant::now(),
            status: head.status,
            headers: head.headers,
            etag,
            body,
        })
    }

    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    pub(super) fn size_bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
        OVERHEAD_BYTES + self.body.len() + headers.sum::<usize>()
    }

    /// As it is given to a client that has what `known` names (`If-None-Match`): 304 when that is this.
    pub(super) fn give(&self, how: HeaderValue, known: &[HeaderValue]) -> Response<Body> {
        let is_known = self.etag.as_ref().is_some_and(|it| known.iter().any(|known| names(known, it)));
        let mut response = Response::new(if is_known { Body::empty() } else { self.body.clone().into() });
        *response.status_mut() = if is_known { StatusCode::NOT_MODIFIED } else { self.status };
        let headers = response.headers_mut();
        headers.clone_from(&self.headers);
        if is_known {
            // RFC 9110 §15.4.5: what tells of the body stays away.
            headers.remove(header::CONTENT_LENGTH);
            headers.remove(header::CONTENT_TYPE);
        }
        if how == HIT {
            headers.insert(header::AGE, HeaderValue::from(self.age().as_secs()));
        }
        headers.insert(X_CACHE, how);
        response
    }
}

/// Tell that `response` was not kept.
pub(super) fn mark_missed(response: &mut Response<Body>) {
    response.headers_mut().insert(X_CACHE, MISS);
}

fn may_be_kept(response: &Response<Body>) -> bool {
    let headers = response.headers();
    matches!(response.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT)
        && PERSONAL.iter().all(|it| !headers.contains_key(it))
        && headers.get_all(header::VARY).iter().all(|it| it == OWN_VARY)
}

/// A hash of all that is told.
fn etag(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<HeaderValue> {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(status.as_str().as_bytes());
    for (name, value) in headers {
        for part in [name.as_str().as_bytes(), value.as_bytes()] {
            hash.update(&part.len().to_le_bytes());
            hash.update(part);
        }
    }
    hash.update(body);
    let digest = hash.finish();
    let mut text = String::with_capacity(34);
    text.push('"');
    for byte in digest.as_ref().iter().take(16) {
        let _ = write!(text, "{byte:02x}");
    }
    text.push('"');
    HeaderValue::from_str(&text).ok()
}

/// Whether a line of `If-None-Match` names `etag`, compared weakly (RFC 9110 §8.8.3.2): one that was compressed on its way
/// is still this answer.
fn names(line: &HeaderValue, etag: &HeaderValue) -> bool {
    let (Ok(line), Ok(etag)) = (line.to_str(), etag.to_str()) else { return false };
    line.split(',').map(str::trim).any(|it| it == "*" || it.strip_prefix("W/").unwrap_or(it) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&'static str, &'static str)]) -> Response<Body> {
        let mut response = Response::new(Body::from("[]"));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in headers {
            response.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        response
    }

    #[test]
    fn what_functions_say_of_caching_is_theirs() {
        let own = ("vary", "Accept, Prefer, Range");
        assert!(may_be_kept(&response(200, &[own, ("content-type", "application/json"), ("x-mine", "1")])));
        assert!(may_be_kept(&response(206, &[])));
        for status in [201, 204, 304, 400, 404, 416, 500] {
            assert!(!may_be_kept(&response(status, &[own])), "{status}");
        }
        for (name, value) in [
            ("cache-control", "public, max-age=9"),
            ("set-cookie", "a=b"),
            ("vary", "Cookie"),
            ("vary", "*"),
            ("etag", "\"mine\""),
            ("content-encoding", "gzip"),
            ("expires", "0"),
        ] {
            assert!(!may_be_kept(&response(200, &[own, (name, value)])), "{name}: {value}");
        }
    }

    #[test]
    fn tags_tell_answers_apart_and_are_found_in_lists() {
        let tag = |status, headers: &[_], body: &str| {
            let response = response(status, headers);
            etag(response.status(), response.headers(), body.as_bytes()).unwrap()
        };
        let one = tag(200, &[("content-range", "0-0/*")], "[1]");
        assert_eq!(one, tag(200, &[("content-range", "0-0/*")], "[1]"));
        for other in [
            tag(206, &[("content-range", "0-0/*")], "[1]"),
            tag(200, &[("content-range", "0-0/2")], "[1]"),
            tag(200, &[("content-range", "0-0/*")], "[2]"),
        ] {
            assert_ne!(one, other);
        }
        let text = one.to_str().unwrap();
        for line in [text.to_owned(), format!("W/{text}"), format!("\"x\", W/{text} , \"y\""), "*".into()] {
            assert!(names(&line.parse().unwrap(), &one), "{line}");
        }
        for line in ["", "\"\"", "W/", text.trim_matches('"')] {
            assert!(!names(&line.parse().unwrap(), &one), "{line}");
        }
    }
}
