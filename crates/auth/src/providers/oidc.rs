//! OpenID Connect: what an issuer publishes about itself, and whether an ID token is one of its own.
//!
//! Documents and keys are kept for a while and fetched once however many ask at the same time. A token signed with a
//! key that we do not know makes us look again, at most twice a minute, so that forged tokens cannot make us hammer an
//! issuer.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use common::jwt::{self, Key, KeyRing, Rules};
use http::HeaderMap;
use moka::future::Cache;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{Failure, Outbound, Trust};
use crate::user::Object;

/// How long what an issuer published holds.
const METADATA_TTL: Duration = Duration::from_secs(3600);
const KEYS_TTL: Duration = Duration::from_secs(600);
/// The least time between two looks for a key that was not there.
const KEYS_AGAIN: Duration = Duration::from_secs(30);
const MAX_ISSUERS: u64 = 1000;
const MAX_KEYS: usize = 50;
const MAX_TOKEN: usize = 64 * 1024;
const LEEWAY_SECS: i64 = 30;

/// What an issuer publishes about itself (OpenID Connect Discovery 1.0).
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) issuer: String,
    #[serde(default)]
    pub(crate) authorization_endpoint: String,
    #[serde(default)]
    pub(crate) token_endpoint: String,
    #[serde(default)]
    pub(crate) userinfo_endpoint: Option<String>,
    #[serde(default)]
    pub(crate) jwks_uri: String,
    #[serde(default)]
    pub(crate) token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// The document as it was.
    #[serde(skip)]
    pub(crate) document: Value,
}

/// What a token must keep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    /// Any of these.
    pub(crate) issuers: &'a [String],
    /// The clients that it may be for; any of them.
    pub(crate) audience: &'a [String],
    pub(crate) now_secs: i64,
    /// The access token that came with it; its digest must be the token's `at_hash`, if that is there.
    pub(crate) access_token: Option<&'a str>,
}

/// Why a token is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// The issuer could not be asked.
    #[error("the issuer's keys cannot be had: {0}")]
    Keys(Failure),
    /// Not signed by the issuer, or its times are over.
    #[error("the token does not verify: {0}")]
    Jwt(jwt::Error),
    /// Of another issuer.
    #[error("the token is of another issuer")]
    Issuer,
    /// It does not say until when it holds.
    #[error("the token has no exp")]
    NoExpiry,
    /// It is for other clients.
    #[error("the token is for {0:?}")]
    Audience(Vec<String>),
    /// The access token is not the one that it was made with.
    #[error("at_hash does not fit the access token")]
    AccessToken,
}

/// What issuers published, by address and by who chose it.
#[derive(Debug)]
pub(crate) struct Issuers {
    http: Arc<Outbound>,
    metadata: Cache<(Trust, String), Arc<Metadata>>,
    keys: Cache<(Trust, String), Arc<Keys>>,
}

#[derive(Debug)]
struct Keys {
    ring: KeyRing,
    ids: Vec<String>,
    since: Instant,
}

impl Issuers {
    pub(super) fn new(http: Arc<Outbound>) -> Self {
        let cache = |ttl| Cache::builder().max_capacity(MAX_ISSUERS).time_to_live(ttl).build();
        let keys = Cache::builder().max_capacity(MAX_ISSUERS).time_to_live(KEYS_TTL).build();
        Self { http, metadata: cache(METADATA_TTL), keys }
    }

    /// What `issuer` publishes; `address` when it is not at the usual place.
    pub(crate) async fn discover(
        &self,
        trust: Trust,
        issuer: &str,
        address: Option<&str>,
    ) -> Result<Arc<Metadata>, Failure> {
        let usual = || format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let address = address.map_or_else(usual, str::to_owned);
        let key = (trust, address.clone());
        let found = self.metadata.try_get_with(key.clone(), self.fetch(trust, address)).await;
        let found = found.map_err(|it: Arc<Failure>| Failure::new(it.to_string()))?;
        // One of its addresses may be written with a slash at the end, the other without.
        if found.issuer.trim_end_matches('/') != issuer.trim_end_matches('/') {
            self.metadata.invalidate(&key).await;
            return Err(Failure::new(format!("the document is of another issuer: {:.200}", found.issuer)));
        }
        Ok(found)
    }

    async fn fetch(&self, trust: Trust, address: String) -> Result<Arc<Metadata>, Failure> {
        let document = self.http.get(trust, &address, HeaderMap::new()).await?;
        let parsed: Result<Metadata, _> = serde_json::from_value(document.clone());
        let mut metadata = parsed.map_err(|it| Failure::new(format!("the document cannot be read: {it}")))?;
        metadata.document = document;
        Ok(Arc::new(metadata))
    }

    /// Forget what an issuer published.
    pub(crate) async fn forget(&self, trust: Trust, issuer: &str, address: Option<&str>) {
        let usual = || format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        self.metadata.invalidate(&(trust, address.map_or_else(usual, str::to_owned))).await;
    }

    /// The claims of `token`, if it is one that `expected` describes, signed with a key from `jwks_uri`.
    pub(crate) async fn verify(
        &self,
        (trust, jwks_uri): (Trust, &str),
        token: &str,
        expected: &Expected<'_>,
    ) -> Result<Object, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::Jwt(jwt::Error::Malformed));
        }
        let header = header(token).ok_or(TokenError::Jwt(jwt::Error::Malformed))?;
        let id = header.get("kid").and_then(Value::as_str);
        let keys = self.keys(trust, jwks_uri, id).await.map_err(TokenError::Keys)?;
        let rules =
            Rules { now_secs: expected.now_secs, leeway_secs: LEEWAY_SECS, audience: None, default_role: "" };
        let claims = keys.ring.verify(token, &rules).map_err(TokenError::Jwt)?.map;
        check(&claims, expected)?;
        if let (Some(access_token), Some(hash)) =
            (expected.access_token, claims.get("at_hash").and_then(Value::as_str))
        {
            let algorithm = header.get("alg").and_then(Value::as_str).unwrap_or_default();
            if !crate::secret::same(&half_digest(algorithm, access_token), hash) {
                return Err(TokenError::AccessToken);
            }
        }
        Ok(claims)
    }

    async fn keys(&self, trust: Trust, jwks_uri: &str, id: Option<&str>) -> Result<Arc<Keys>, Failure> {
        let key = (trust, jwks_uri.to_owned());
        let known = |keys: &Keys| id.is_none_or(|id| keys.ids.iter().any(|it| it == id));
        let found = self.keys.try_get_with(key.clone(), self.fetch_keys(trust, jwks_uri)).await;
        let found = found.map_err(|it: Arc<Failure>| Failure::new(it.to_string()))?;
        if known(&found) || found.since.elapsed() < KEYS_AGAIN {
            return Ok(found);
        }
        self.keys.invalidate(&key).await;
        let found = self.keys.try_get_with(key, self.fetch_keys(trust, jwks_uri)).await;
        found.map_err(|it: Arc<Failure>| Failure::new(it.to_string()))
    }

    async fn fetch_keys(&self, trust: Trust, jwks_uri: &str) -> Result<Arc<Keys>, Failure> {
        let document = self.http.get(trust, jwks_uri, HeaderMap::new()).await?;
        let listed = document.get("keys").and_then(Value::as_array).cloned().unwrap_or_default();
        let (mut keys, mut ids) = (Vec::new(), Vec::new());
        for jwk in listed.iter().take(MAX_KEYS).filter(|it| signs(it)) {
            let Ok(key) = Key::from_jwk(jwk) else { continue };
            keys.push(key);
            ids.extend(jwk.get("kid").and_then(Value::as_str).map(str::to_owned));
        }
        if keys.is_empty() {
            return Err(Failure::new("the issuer publishes no key that we can use"));
        }
        Ok(Arc::new(Keys { ring: KeyRing::new(keys), ids, since: Instant::now() }))
    }
}

/// Whether a published key signs. A shared secret among them would be everybody's.
fn signs(jwk: &Value) -> bool {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    text("kty") != Some("oct") && text("use").is_none_or(|it| it == "sig")
}

fn check(claims: &Object, expected: &Expected<'_>) -> Result<(), TokenError> {
    let issuer = claims.get("iss").and_then(Value::as_str).unwrap_or_default();
    if !expected.issuers.iter().any(|it| it == issuer) {
        return Err(TokenError::Issuer);
    }
    if !claims.get("exp").is_some_and(Value::is_number) {
        return Err(TokenError::NoExpiry);
    }
    let named = audience(claims);
    let fits = |it: &String| !it.is_empty() && expected.audience.contains(it);
    if !named.iter().any(fits) {
        return Err(TokenError::Audience(named));
    }
    Ok(())
}

/// Whom the token is for.
fn audience(claims: &Object) -> Vec<String> {
    match claims.get("aud") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => {
            many.iter().filter_map(Value::as_str).take(20).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

fn header(token: &str) -> Option<Object> {
    part(token, 0)
}

/// The issuer that a token claims to be of; nothing is verified.
pub(crate) fn unverified_issuer(token: &str) -> Option<String> {
    let claims = part(token, 1).filter(|_| token.split('.').count() == 3)?;
    claims.get("iss").and_then(Value::as_str).map(str::to_owned)
}

fn part(token: &str, idx: usize) -> Option<Object> {
    let text = token.split('.').nth(idx).filter(|_| token.len() <= MAX_TOKEN)?;
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

/// The left half of the digest that goes with a signature algorithm (OpenID Connect Core §3.1.3.6).
fn half_digest(algorithm: &str, text: &str) -> String {
    let function = match algorithm.get(2..) {
        Some("384") => &digest::SHA384,
        Some("512" | "DSA") => &digest::SHA512,
        _ => &digest::SHA256,
    };
    let whole = digest::digest(function, text.as_bytes());
    let half = whole.as_ref().get(..whole.as_ref().len() / 2).unwrap_or_default();
    BASE64_URL_SAFE_NO_PAD.encode(half)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(claims: Value) -> Result<(), String> {
        let issuers = ["https://id.example.com".to_owned()];
        let audience = ["app".to_owned(), "web".to_owned()];
        let expected = Expected { issuers: &issuers, audience: &audience, now_secs: 0, access_token: None };
        check(claims.as_object().unwrap(), &expected).map_err(|it| it.to_string())
    }

    #[test]
    fn tokens_are_for_us_by_the_issuer_and_end() {
        let good = json!({"iss": "https://id.example.com", "aud": ["x", "web"], "exp": 1});
        assert_eq!(checked(good.clone()), Ok(()));
        for (name, value, why) in [
            ("iss", json!("https://id.example.com/"), "the token is of another issuer"),
            ("iss", json!(null), "the token is of another issuer"),
            ("aud", json!("other"), "the token is for [\"other\"]"),
            ("aud", json!([]), "the token is for []"),
            ("aud", json!(7), "the token is for []"),
            ("exp", json!(null), "the token has no exp"),
            ("exp", json!("1"), "the token has no exp"),
        ] {
            let mut claims = good.clone();
            claims[name] = value;
            assert_eq!(checked(claims), Err(why.to_owned()));
        }
    }

    #[test]
    fn the_half_digest_is_that_of_the_specification() {
        // The example of OpenID Connect Core, appendix A.3.
        assert_eq!(
            half_digest("RS256", "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"),
            "77QmUPtjPfzWtF2AnpK9RQ"
        );
    }

    #[test]
    fn published_secrets_and_keys_for_encryption_are_left_out() {
        assert!(signs(&json!({"kty": "RSA"})) && signs(&json!({"kty": "EC", "use": "sig"})));
        assert!(!signs(&json!({"kty": "oct"})) && !signs(&json!({"kty": "RSA", "use": "enc"})));
    }
}
