//! Headers that tell browsers to be careful; on every answer. A service's own value wins.

use http::{HeaderMap, HeaderName, HeaderValue, header};

const DEFAULTS: [(HeaderName, HeaderValue); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];
/// For this host alone: others of its domain may have no certificate.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Add what is missing; `pinned` when the client came by TLS to a host of the world: HSTS over plain HTTP means nothing
/// (RFC 6797 §7.2), and on `localhost` it would keep browsers from every other server there.
pub(crate) fn protect(headers: &mut HeaderMap, pinned: bool) {
    for (name, value) in DEFAULTS {
        headers.entry(name).or_insert(value);
    }
    if pinned {
        headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert(HSTS);
    }
}
