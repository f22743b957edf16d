//! Cross-origin resource sharing (Fetch standard §3.2): preflights answered, every answer marked, errors too.
//!
//! The data API keeps PostgREST's own lists, which its tests compare; everybody else gets the lists that Supabase's clients
//! need.

use axum::body::Body;
use http::header::Entry;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use crate::route::Target;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PATCH, PUT, DELETE, OPTIONS, HEAD");
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");
const ANY: HeaderValue = HeaderValue::from_static("*");
const ALLOWED: &str = "authorization, x-client-info, apikey, content-type, x-retry-count, x-supabase-api-version, \
    accept-profile, content-profile, prefer, range, x-upsert, x-region, x-metadata, tus-resumable, upload-length, \
    upload-offset, upload-metadata, x-signature, x-request-id, traceparent, tracestate, baggage";
/// What pages may read of an answer, without and with what tells of limits: a literal can be joined, a constant cannot.
macro_rules! exposed {
    ($list:literal) => {
        [
            HeaderValue::from_static($list),
            HeaderValue::from_static(concat!($list, ", RateLimit, RateLimit-Policy, Retry-After")),
        ]
    };
}
static EXPOSED: [HeaderValue; 2] = exposed!(
    "content-range, content-location, content-encoding, content-type, location, link, x-total-count, \
    x-supabase-api-version, x-sb-error-code, x-request-id, retry-after, upload-offset, upload-length, upload-metadata, \
    upload-defer-length, upload-concat, upload-expires, tus-resumable, tus-version, tus-extension, tus-max-size, \
    tus-checksum-algorithm, x-relay-error, sb-request-id, sb-gateway-version, sb-gateway-mode, sb-auth-user-id, \
    sb-auth-refresh-token-counter, sb-auth-refresh-token-prefix, sb-webhook-timestamp, sb-webhook-id"
);
static EXPOSED_BY_DATA_API: [HeaderValue; 2] = exposed!(
    "Content-Encoding, Content-Location, Content-Range, Content-Type, Date, Location, Server, Transfer-Encoding, \
    Range-Unit"
);
/// What tells of limits.
const EXPOSED_OF_LIMITS: HeaderValue = HeaderValue::from_static("RateLimit, RateLimit-Policy, Retry-After");

/// The longest list of requested headers that is echoed, in bytes.
const MAX_REQUESTED_BYTES: usize = 2048;

/// Whether the request is a browser's question before the real one.
pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight, without what [`mark`] adds.
pub(crate) fn preflight(target: Target, request: &HeaderMap) -> Response<Body> {
    let requested = request
        .get(header::ACCESS_CONTROL_REQUEST_HEADERS)
        .and_then(|it| it.to_str().ok())
        .filter(|it| it.len() <= MAX_REQUESTED_BYTES)
        .unwrap_or_default();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    if let Ok(allowed) = HeaderValue::from_str(&allowed_headers(target, requested)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    response
}

/// Mark an answer as readable by the page that asked. What the service itself said wins.
///
/// `origins` are the allowed ones; empty means any. A page of another origin is told nothing. `limited` when the answer tells
/// of limits, too.
pub(crate) fn mark(
    (target, limited): (Target, bool),
    origins: &[String],
    origin: Option<&HeaderValue>,
    headers: &mut HeaderMap,
) {
    let any = origins.is_empty();
    if !any {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    let listed = origin.filter(|it| origins.iter().any(|allowed| it.as_bytes() == allowed.as_bytes()));
    let allowed = if any { Some(ANY) } else { listed.cloned() };
    if let Some(allowed) = allowed
        && let Entry::Vacant(place) = headers.entry(header::ACCESS_CONTROL_ALLOW_ORIGIN)
    {
        place.insert(allowed);
        if !any {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Entry::Vacant(place) = headers.entry(header::ACCESS_CONTROL_EXPOSE_HEADERS) {
            let [all, with_limits] = if target == Target::DataApi { &EXPOSED_BY_DATA_API } else { &EXPOSED };
            place.insert(if limited { with_limits } else { all }.clone());
            return;
        }
    }
    // Beside what the service itself exposes.
    if limited && headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        headers.append(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_OF_LIMITS);
    }
}

/// Our list and what the page asks for besides; names only, so that nothing else can be echoed.
fn allowed_headers(target: Target, requested: &str) -> String {
    let names = requested.split(',').map(str::trim).filter(|it| is_name(it));
    if target == Target::DataApi {
        let besides = names.filter(|it| !it.eq_ignore_ascii_case("authorization"));
        let all = std::iter::once("Authorization").chain(besides);
        return all.chain(["Accept", "Accept-Language", "Content-Language"]).collect::<Vec<_>>().join(", ");
    }
    let known = |name: &str| ALLOWED.split(", ").any(|it| it.eq_ignore_ascii_case(name));
    names.filter(|it| !known(it)).fold(ALLOWED.to_owned(), |list, name| list + ", " + name)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_s_headers_are_allowed() {
        let list = allowed_headers(Target::Auth, "");
        let contract = "authorization, x-client-info, apikey, content-type, x-retry-count, x-supabase-api-version, \
            accept-profile, content-profile, prefer, range, x-upsert, x-region, x-metadata, tus-resumable, upload-length, \
            upload-offset, upload-metadata, x-signature, traceparent, tracestate, baggage";
        for name in contract.split(", ") {
            assert!(list.split(", ").any(|it| it == name), "{name}");
        }
    }

    #[test]
    fn headers_asked_for_are_added_once() {
        let list = allowed_headers(Target::Auth, "x-mine, ApiKey, bad header, \"x\", ");
        assert_eq!(list, format!("{ALLOWED}, x-mine"));
        let list = allowed_headers(Target::DataApi, "authorization, Foo, Bar");
        assert_eq!(list, "Authorization, Foo, Bar, Accept, Accept-Language, Content-Language");
    }

    fn check(origins: &[&str], origin: Option<&'static str>) -> Option<String> {
        let origins: Vec<String> = origins.iter().map(|it| (*it).to_owned()).collect();
        let mut headers = HeaderMap::new();
        mark((Target::Auth, false), &origins, origin.map(HeaderValue::from_static).as_ref(), &mut headers);
        let allowed = headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN)?;
        Some(allowed.to_str().unwrap().to_owned())
    }

    #[test]
    fn origins_are_any_or_those_listed() {
        assert_eq!(check(&[], None).as_deref(), Some("*"));
        assert_eq!(check(&[], Some("https://a.example")).as_deref(), Some("*"));
        assert_eq!(
            check(&["https://a.example"], Some("https://a.example")).as_deref(),
            Some("https://a.example")
        );
        assert_eq!(check(&["https://a.example"], Some("https://b.example")), None);
        assert_eq!(check(&["https://a.example"], None), None);
    }
}
