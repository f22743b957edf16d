//! What a request presents: an API key, a token, both or neither. Chooses, verifies nothing. Pure.
//!
//! Clients send `apikey: K` and `Authorization: Bearer T`, where T is a user's token or K again. K is a JWT or an opaque
//! key (`sb_…`). Links and websockets cannot set headers and send `?apikey=K`.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::percent_decode_str;

const APIKEY: HeaderName = HeaderName::from_static("apikey");
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What a request presents; empty values count as absent, except an empty bearer token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Credentials<'a> {
    /// The header `apikey`, else the query's.
    pub(crate) apikey: Option<Cow<'a, str>>,
    /// What stands behind `Authorization: Bearer`.
    pub(crate) bearer: Option<&'a str>,
}

impl<'a> Credentials<'a> {
    /// The credentials of a request.
    pub(crate) fn of(headers: &'a HeaderMap, query: Option<&'a str>) -> Self {
        let apikey = key_of_header(headers, &APIKEY).or_else(|| key_of_query(query?));
        let authorization = headers.get(header::AUTHORIZATION).and_then(text);
        Self { apikey, bearer: authorization.and_then(bearer) }
    }

    /// The credentials of a request to realtime, where the header may be called `x-api-key`, too.
    pub(crate) fn of_realtime(headers: &'a HeaderMap, query: Option<&'a str>) -> Self {
        let header = key_of_header(headers, &APIKEY).or_else(|| key_of_header(headers, &X_API_KEY));
        let all = Self::of(headers, query);
        Self { apikey: header.or(all.apikey), ..all }
    }

    /// The key: `apikey`, else whatever is behind `Bearer`.
    pub(crate) fn key(&self) -> Option<&str> {
        self.apikey.as_deref().or(self.bearer.filter(|it| !it.is_empty()))
    }

    /// The token: what is behind `Bearer`, unless that is an opaque key.
    pub(crate) fn token(&self) -> Option<&'a str> {
        self.bearer.filter(|it| !is_opaque(it))
    }
}

/// Whether the key stands for a role by itself, rather than being a token that names one.
pub(crate) fn is_opaque(key: &str) -> bool {
    key.starts_with("sb_")
}

/// The query without the key, which must reach neither logs nor filters; `None` when nothing is left.
pub(crate) fn without_key(query: &str) -> Option<Cow<'_, str>> {
    let is_key = |pair: &&str| pair.split_once('=').map_or(*pair, |(name, _)| name) == "apikey";
    if !query.split('&').any(|pair| is_key(&pair)) {
        return Some(Cow::Borrowed(query));
    }
    let rest: Vec<&str> = query.split('&').filter(|pair| !is_key(pair)).collect();
    if rest.is_empty() { None } else { Some(Cow::Owned(rest.join("&"))) }
}

fn key_of_header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, str>> {
    let value = headers.get(name).and_then(text).map(str::trim_ascii);
    value.filter(|it| !it.is_empty()).map(Cow::Borrowed)
}

fn key_of_query(query: &str) -> Option<Cow<'_, str>> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("apikey="))?;
    percent_decode_str(value).decode_utf8().ok().filter(|it| !it.is_empty())
}

/// RFC 6750, with the scheme in any case (RFC 9110 §11.1).
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_at_checked("bearer".len())?;
    let is_one = scheme.eq_ignore_ascii_case("bearer") && (token.is_empty() || token.starts_with(' '));
    is_one.then(|| token.trim_ascii())
}

/// The value as text. Tokens are long, and this looks at sixteen bytes at once.
fn text(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok().filter(|it| it.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sent: &[(HeaderName, &'static str)], query: Option<&str>) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let credentials = Credentials::of(&headers, query);
        format!("key {:?}, token {:?}", credentials.key(), credentials.token())
    }

    const A: HeaderName = header::AUTHORIZATION;

    #[test]
    fn the_key_is_found_in_three_places() {
        insta::assert_snapshot!(check(&[(APIKEY, "k")], None), @r#"key Some("k"), token None"#);
        insta::assert_snapshot!(check(&[], Some("a=b&apikey=sb%5Fx&c")), @r#"key Some("sb_x"), token None"#);
        insta::assert_snapshot!(check(&[(A, "Bearer t")], None), @r#"key Some("t"), token Some("t")"#);
        insta::assert_snapshot!(check(&[(APIKEY, "k"), (A, "bearer t")], Some("apikey=q")), @r#"key Some("k"), token Some("t")"#);
    }

    #[test]
    fn realtime_takes_the_key_under_another_name_too() {
        let key = |sent: &[(HeaderName, &'static str)], query: Option<&str>| {
            let pairs = sent.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            let headers: HeaderMap = pairs.collect();
            let key = |it: Credentials<'_>| it.key().map(str::to_owned);
            (key(Credentials::of_realtime(&headers, query)), key(Credentials::of(&headers, query)))
        };
        let some = |it: &str| Some(it.to_owned());
        assert_eq!(key(&[(X_API_KEY, "x")], None), (some("x"), None));
        assert_eq!(key(&[(X_API_KEY, "x")], Some("apikey=q")), (some("x"), some("q")));
        assert_eq!(key(&[(X_API_KEY, "x"), (APIKEY, "k")], Some("apikey=q")), (some("k"), some("k")));
        assert_eq!(key(&[(X_API_KEY, " ")], Some("apikey=q")), (some("q"), some("q")));
    }

    #[test]
    fn an_opaque_key_is_no_token() {
        insta::assert_snapshot!(check(&[(A, "Bearer sb_secret_x")], None), @r#"key Some("sb_secret_x"), token None"#);
        insta::assert_snapshot!(check(&[(APIKEY, "k"), (A, "Bearer sb_x")], None), @r#"key Some("k"), token None"#);
    }

    #[test]
    fn nothing_is_nothing() {
        insta::assert_snapshot!(check(&[], Some("apikey=")), @"key None, token None");
        insta::assert_snapshot!(check(&[(APIKEY, " "), (A, "Basic dTpw")], None), @"key None, token None");
        insta::assert_snapshot!(check(&[(A, "Bearer")], None), @r#"key None, token Some("")"#);
    }

    #[test]
    fn the_key_is_cut_out_of_the_query() {
        assert_eq!(without_key("select=*&id=eq.1").as_deref(), Some("select=*&id=eq.1"));
        assert_eq!(without_key("apikey=k&select=*").as_deref(), Some("select=*"));
        assert_eq!(without_key("apikey=k").as_deref(), None);
        assert_eq!(without_key("apikeys=k&xapikey=1").as_deref(), Some("apikeys=k&xapikey=1"));
    }
}
