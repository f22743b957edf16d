//! From a request to the switch of protocols (RFC 6455 §4.2).

use aws_lc_rs::digest;
use axum::body::Body;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;

/// What the RFC appends to a client's key.
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request that may become a WebSocket.
#[derive(Debug)]
pub(crate) struct Handshake {
    key: HeaderValue,
    pub(crate) upgrade: OnUpgrade,
}

impl Handshake {
    /// `None` when `request` does not ask for it, or cannot have it.
    pub(crate) fn of(request: &mut Request<Body>) -> Option<Self> {
        let headers = request.headers();
        let asks = *request.method() == Method::GET
            && lists(headers, &header::UPGRADE, "websocket")
            && lists(headers, &header::CONNECTION, "upgrade")
            && headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|it| it == "13");
        let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| asks)?.clone();
        let random = BASE64_STANDARD.decode(key.as_bytes()).ok()?;
        let upgrade = request.extensions_mut().remove::<OnUpgrade>().filter(|_| random.len() == 16)?;
        Some(Self { key, upgrade })
    }

    /// 101.
    pub(crate) fn switch(&self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(value) = HeaderValue::from_str(&accept(self.key.as_bytes())) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, value);
        }
        response
    }
}

/// What proves that the server understood `key`.
pub(crate) fn accept(key: &[u8]) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(MAGIC);
    BASE64_STANDARD.encode(hash.finish())
}

fn lists(headers: &HeaderMap, name: &header::HeaderName, word: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|it| it.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|it| it.trim().eq_ignore_ascii_case(word))
}
