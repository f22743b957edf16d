//! How an answer is framed is between us and the client: what a service says about it counts for nothing.
//!
//! Functions of a project's database can set any header and status of the data API's answers. A length that is not the
//! body's, or a `Transfer-Encoding`, would let whoever controls such a value split the answer in two.

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Method, Response, header};
use http_body::Body as _;

use crate::Error;
use crate::http1::{is_of_the_connection, number};

/// `response` without a say about its framing.
///
/// # Errors
/// [`Error::Broken`] for a status that ends no request (1xx).
pub(crate) fn reframe(method: &Method, mut response: Response<Body>) -> Result<Response<Body>, Error> {
    if response.status().is_informational() {
        return Err(Error::Broken);
    }
    let length = response.body().size_hint().exact();
    let headers = response.headers_mut();
    // Seldom is there one: to go through all once costs less than to look for each.
    let theirs: Vec<_> = headers.keys().filter(|it| is_of_the_connection(it)).cloned().collect();
    for name in theirs {
        headers.remove(name);
    }
    // An answer to HEAD tells the length of a body that it has not.
    if *method != Method::HEAD && length.is_some_and(|it| !claims(headers, it)) {
        headers.remove(header::CONTENT_LENGTH);
    }
    Ok(response)
}

/// Whether nothing but `length` is claimed.
fn claims(headers: &HeaderMap, length: u64) -> bool {
    let mut all = headers.get_all(header::CONTENT_LENGTH).iter().map(HeaderValue::as_bytes);
    all.next().is_none_or(|it| is_number(it, length)) && all.next().is_none()
}

/// Whether `digits` are `expected` as everybody writes it.
fn is_number(digits: &[u8], expected: u64) -> bool {
    let has_no_zeros_before = digits.len() == 1 || digits.first().is_some_and(|it| *it != b'0');
    has_no_zeros_before && number(digits) == Some(expected)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn check(method: &Method, sent: &[(&'static str, &'static str)]) -> String {
        let mut response = Response::new(Body::from("12345678"));
        for (name, value) in sent {
            response.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        let response = reframe(method, response).unwrap();
        let kept: Vec<_> =
            response.headers().iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
        kept.join(" ")
    }

    #[test]
    fn what_frames_the_answer_is_ours() {
        let sent = [("transfer-encoding", "chunked"), ("connection", "x"), ("upgrade", "h2c"), ("x-a", "1")];
        assert_eq!(check(&Method::GET, &sent), "x-a=1");
        assert_eq!(check(&Method::GET, &[("content-length", "8")]), "content-length=8");
        for lie in ["5", "+8", "08", ""] {
            assert_eq!(check(&Method::GET, &[("content-length", lie)]), "", "{lie}");
        }
        assert_eq!(check(&Method::GET, &[("content-length", "8"), ("content-length", "5")]), "");
        assert_eq!(check(&Method::HEAD, &[("content-length", "90")]), "content-length=90");
    }

    #[test]
    fn an_informational_status_is_no_answer() {
        for status in [StatusCode::CONTINUE, StatusCode::SWITCHING_PROTOCOLS] {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status;
            assert!(reframe(&Method::GET, response).is_err(), "{status}");
        }
    }
}
