//! Answers compressed by gzip or brotli when the client asks and it pays; called last, on the finished answer.
//!
//! Untouched stay: small answers, what is encoded already, media types that do not shrink, event streams (whose events must
//! not wait in an encoder) and byte ranges. An answer left alone keeps its exact Content-Length.

use std::convert::Infallible;
use std::future::ready;

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use tower::{ServiceExt as _, service_fn};
use tower_http::CompressionLevel;
use tower_http::compression::Compression;

/// Below this the answer fits in one packet anyway.
const MIN_BYTES: u64 = 1400;

/// `response`, compressed if `accept` (the request's `Accept-Encoding`) allows and it pays.
pub(crate) async fn compress(
    method: &Method,
    accept: Option<HeaderValue>,
    response: Response<Body>,
) -> Response<Body> {
    let Some(accept) = accept.filter(is_wanted) else { return response };
    if method == Method::HEAD || !pays(&response) {
        return response;
    }
    // On the heap: an answer that is left alone needs no memory for it.
    Box::pin(encode(accept, response)).await
}

async fn encode(accept: HeaderValue, response: Response<Body>) -> Response<Body> {
    let (status, mut parts) = (response.status(), Some(response));
    // The encoder takes every Content-Range for one of bytes; the data API counts rows by it, at any status.
    let range = parts.as_mut().and_then(|it| it.headers_mut().remove(header::CONTENT_RANGE));
    let inner = service_fn(move |_: Request<()>| {
        ready(Ok::<_, Infallible>(parts.take().unwrap_or_else(|| Response::new(Body::empty()))))
    });
    let always = |_: StatusCode, _: Version, _: &HeaderMap, _: &http::Extensions| true;
    let encoder = Compression::new(inner).quality(CompressionLevel::Fastest).compress_when(always);
    let mut request = Request::new(());
    request.headers_mut().insert(header::ACCEPT_ENCODING, accept);
    let mut response = match encoder.oneshot(request).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    };
    *response.status_mut() = status;
    if response.headers().contains_key(header::CONTENT_ENCODING) {
        weaken(response.headers_mut());
    }
    if let Some(range) = range {
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    response
}

/// A strong `ETag` stands for the very bytes (RFC 9110 §8.8.1), and these are others now.
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(header::ETAG).filter(|it| it.as_bytes().starts_with(b"\"")) else { return };
    if let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()) {
        headers.insert(header::ETAG, weak);
    }
}

/// A cheap look before the encoder parses the header properly.
fn is_wanted(accept: &HeaderValue) -> bool {
    accept.to_str().is_ok_and(|it| it.contains("gzip") || it.contains("br") || it.contains('*'))
}

fn pays(response: &Response<Body>) -> bool {
    let headers = response.headers();
    let size = http_body::Body::size_hint(response.body());
    let byte_range = headers.get(header::CONTENT_RANGE).is_some_and(|it| it.as_bytes().starts_with(b"bytes"));
    !matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        && size.upper().is_none_or(|it| it >= MIN_BYTES)
        && !byte_range
        && !headers.contains_key(header::CONTENT_ENCODING)
        && headers.get(header::CONTENT_TYPE).is_some_and(shrinks)
}

/// Whether a media type is text, in the wide sense, and no stream of events.
fn shrinks(content_type: &HeaderValue) -> bool {
    let Ok(content_type) = content_type.to_str() else { return false };
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media == "text/event-stream" {
        return false;
    }
    let texts = ["application/json", "application/javascript", "application/xml", "application/wasm"];
    media.starts_with("text/")
        || texts.contains(&media.as_str())
        || media.ends_with("+json")
        || media.ends_with("+xml")
        || media.starts_with("application/vnd.pgrst.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_shrinks_and_media_do_not() {
        let check = |it: &'static str| shrinks(&HeaderValue::from_static(it));
        for text in ["application/json; charset=utf-8", "text/csv", "Application/GEO+json", "image/svg+xml"] {
            assert!(check(text), "{text}");
        }
        for other in ["text/event-stream", "image/png", "application/octet-stream", "application/zip", ""] {
            assert!(!check(other), "{other}");
        }
    }
}
