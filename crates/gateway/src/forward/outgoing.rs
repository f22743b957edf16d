//! A request as a worker gets it: its head, written once, and its body. Sending it again costs nothing.

use axum::body::Body;
use bytes::Bytes;
use http::Method;
use http::request::Parts;
use hyper::upgrade::OnUpgrade;

use super::head::{self, Length, Passage};
use super::upload::Received;

/// A request on its way to a worker.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// The head, and the body behind it if it has come already.
    pub(super) head: Bytes,
    /// A body that is sent while it comes; taken by the connection that sends it.
    pub(super) body: Option<Body>,
    /// The length of `body` as the head tells it; without it the body goes in chunks.
    pub(super) length: Option<u64>,
    /// Whether its answer has no body.
    pub(super) to_head: bool,
    /// Whether it does no harm when it is done twice, and is nothing but its head.
    pub(super) is_repeatable: bool,
}

impl Outgoing {
    /// The request that begins with `parts`, and the client's end of the connection if it wants to go on as a websocket.
    pub(super) fn new(parts: &mut Parts, body: Received, passage: &Passage<'_>) -> (Self, Option<OnUpgrade>) {
        let length = match &body {
            Received::Nothing => Length::Nothing,
            Received::Whole(bytes) => Length::Known(bytes.len() as u64),
            Received::Coming(body, _) => {
                http_body::Body::size_hint(body).exact().map_or(Length::Unknown, Length::Known)
            }
        };
        let upgrade = head::upgrade(parts);
        let mut bytes = head::write(parts, length, upgrade.is_some(), passage);
        let outgoing = Self {
            is_repeatable: head::is_safe(&parts.method) && matches!(body, Received::Nothing),
            body: match body {
                Received::Nothing => None,
                Received::Whole(whole) => {
                    bytes.extend_from_slice(&whole);
                    None
                }
                Received::Coming(body, _) => Some(body),
            },
            head: bytes.into(),
            length: if let Length::Known(length) = length { Some(length) } else { None },
            to_head: parts.method == Method::HEAD,
        };
        (outgoing, upgrade)
    }

    /// A question of the gateway's own: GET `path` at `authority`.
    pub(super) fn question(path: &str, authority: &str) -> Self {
        let head = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\n\r\n");
        Self { head: head.into(), body: None, length: None, to_head: false, is_repeatable: true }
    }
}
