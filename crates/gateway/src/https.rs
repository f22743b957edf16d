//! What a gateway with TLS does on its plain port: answers authorities' questions (HTTP-01), and sends everybody else
//! to the encrypted one.

use axum::body::Body;
use http::{HeaderValue, Request, Response, StatusCode, header};

use crate::forwarded::{self, Origin};
use crate::route::Target;
use crate::serve::Peer;
use crate::{Tls, host};

/// The encrypted side of a gateway.
#[derive(Debug)]
pub(crate) struct Https {
    pub(crate) tls: Tls,
    /// Its port, as clients see it.
    pub(crate) port: u16,
}

/// Tokens are base64url (RFC 8555 §8.3); nothing longer is looked up.
const MAX_TOKEN_BYTES: usize = 128;

impl Https {
    /// Where a request belongs that came unencrypted; `None` when it may be answered.
    ///
    /// Probes and authorities come by plain HTTP, people on this machine may, and what a trusted proxy passes on is its
    /// own business unless it says that the client came unencrypted.
    pub(crate) fn elsewhere(
        &self,
        target: Target,
        (origin, peer): (&Origin, Option<&Peer>),
        request: &Request<Body>,
    ) -> Option<Response<Body>> {
        let open = matches!(target, Target::Health | Target::Ready | Target::Challenge);
        let near = peer.is_some_and(|it| it.address.ip().to_canonical().is_loopback());
        let local = near && host::is_local(&origin.host) && !forwarded::is_forwarded(request.headers());
        let vouched = origin.vouched && !forwarded::says_protocol(request.headers());
        if open || origin.encrypted || local || vouched || !self.tls.has_certificates() {
            return None;
        }
        let host = host::without_port(&origin.host);
        let path = request.uri().path_and_query().map_or("/", |it| it.as_str());
        let place = match self.port {
            443 => format!("https://{host}{path}"),
            port => format!("https://{host}:{port}{path}"),
        };
        let location = HeaderValue::try_from(place).ok().filter(|_| !host.is_empty());
        let mut response = Response::new(Body::empty());
        match location {
            Some(location) => {
                *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
                response.headers_mut().insert(header::LOCATION, location);
            }
            None => {
                *response.status_mut() = StatusCode::BAD_REQUEST;
                *response.body_mut() =
                    Body::from(r#"{"message":"Nothing is answered unencrypted here: use https"}"#);
            }
        }
        Some(response)
    }

    /// `GET /.well-known/acme-challenge/{token}`: the key authorization.
    pub(crate) async fn challenge(&self, path: &str) -> Option<Response<Body>> {
        let token = path.rsplit('/').next().filter(|it| it.len() <= MAX_TOKEN_BYTES)?;
        let safe = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_');
        if token.is_empty() || !token.bytes().all(safe) {
            return None;
        }
        let authorization = self.tls.challenges()?.key_authorization(token).await?;
        let mut response = Response::new(Body::from(authorization));
        let kind = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Some(response)
    }
}
