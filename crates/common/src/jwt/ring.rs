//! A project's signing and verification keys.
//!
//! Built by the control plane from the project's secrets; `verify` is called by the gateway, `sign` by auth.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde_json::{Map, Value};

use super::{Claims, Rules};

/// Why a token is refused. `Display` is PostgREST's wording, which clients know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `Authorization: Bearer` with nothing behind it.
    #[error("Empty JWT is sent in Authorization header")]
    Empty,
    /// Not three parts separated by dots.
    #[error("Expected 3 parts in JWT; got {0}")]
    Parts(usize),
    /// No key of the ring has that `kid`, or none is of that algorithm's type.
    #[error("No suitable key or wrong key type")]
    Key,
    /// The token says that it is not signed: its algorithm is `none`.
    #[error("Wrong or unsupported encoding algorithm")]
    Algorithm,
    /// The header does not parse, or names an algorithm that nobody knows.
    #[error("JWT cryptographic operation failed")]
    Malformed,
    /// The signature does not fit.
    #[error("No suitable key or wrong key type")]
    Signature,
    /// The payload is no JSON object.
    #[error("Parsing claims failed")]
    Claims,
    /// `exp` is over.
    #[error("JWT expired")]
    Expired,
    /// `nbf` is to come.
    #[error("JWT not yet valid")]
    NotYetValid,
    /// `iat` is to come.
    #[error("JWT issued at future")]
    IssuedInFuture,
    /// `aud` does not hold ours.
    #[error("JWT not in audience")]
    Audience,
    /// `aud` is neither a string nor an array of strings.
    #[error("The JWT 'aud' claim must be a string or an array of strings")]
    BadAudience,
    /// A date claim is no number.
    #[error("The JWT '{0}' claim must be a number")]
    NotANumber(&'static str),
}

impl Error {
    /// Whether the token itself was sound and only its claims were refused (PGRST303 rather than PGRST301).
    #[must_use]
    pub fn is_about_claims(&self) -> bool {
        match self {
            Self::Empty
            | Self::Parts(_)
            | Self::Key
            | Self::Algorithm
            | Self::Malformed
            | Self::Signature => false,
            Self::Claims
            | Self::Expired
            | Self::NotYetValid
            | Self::IssuedInFuture
            | Self::Audience
            | Self::BadAudience
            | Self::NotANumber(_) => true,
        }
    }

    /// What PostgREST says besides.
    #[must_use]
    pub fn details(&self) -> Option<&'static str> {
        match self {
            Self::Key | Self::Signature => Some("None of the keys was able to decode the JWT"),
            Self::Algorithm => Some("JWT is unsecured but expected 'alg' was not 'none'"),
            _ => None,
        }
    }
}

/// Key material that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the signing key cannot be read")]
pub struct KeyError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// One key of a ring.
#[derive(Clone)]
pub struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
    encoding: Option<EncodingKey>,
    public_jwk: Option<Value>,
}

impl Key {
    /// A shared secret; speaks HS256, HS384 and HS512, signs HS256. Never shown by JWKS.
    #[must_use]
    pub fn from_secret(secret: &[u8]) -> Self {
        Self {
            kid: None,
            algorithms: vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512],
            decoding: DecodingKey::from_secret(secret),
            encoding: Some(EncodingKey::from_secret(secret)),
            public_jwk: None,
        }
    }

    /// An ES256 pair: the private key as PKCS#8 PEM, the public one as the 65 bytes of an uncompressed point.
    ///
    /// # Errors
    /// [`KeyError`] when either cannot be read.
    pub fn from_es256(kid: &str, private_pem: &str, public_point: &[u8]) -> Result<Self, KeyError> {
        let bad = |it: &str| KeyError(it.to_owned().into());
        let [4, coordinates @ ..] = public_point else { return Err(bad("the point is not uncompressed")) };
        let (x, y) = coordinates.split_at_checked(32).ok_or_else(|| bad("the point is too short"))?;
        let (x, y) = (BASE64_URL_SAFE_NO_PAD.encode(x), BASE64_URL_SAFE_NO_PAD.encode(y));
        let encoding = EncodingKey::from_ec_pem(private_pem.as_bytes()).map_err(|it| KeyError(it.into()))?;
        let decoding = DecodingKey::from_ec_components(&x, &y).map_err(|it| KeyError(it.into()))?;
        let public_jwk = serde_json::json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "key_ops": ["verify"], "ext": true,
            "kid": kid, "x": x, "y": y,
        });
        Ok(Self {
            kid: Some(kid.to_owned()),
            algorithms: vec![Algorithm::ES256],
            decoding,
            encoding: Some(encoding),
            public_jwk: Some(public_jwk),
        })
    }
}

impl Key {
    /// A shared secret that tokens name by `kid`; signs HS256. Never shown by JWKS.
    #[must_use]
    pub fn from_hs256(kid: &str, secret: &[u8]) -> Self {
        Self { kid: Some(kid.to_owned()), algorithms: vec![Algorithm::HS256], ..Self::from_secret(secret) }
    }

    /// An RS256 pair: the private key as PKCS#8 or PKCS#1 PEM, the public one as big-endian modulus and exponent.
    ///
    /// # Errors
    /// [`KeyError`] when either cannot be read.
    pub fn from_rs256(kid: &str, private_pem: &str, (n, e): (&[u8], &[u8])) -> Result<Self, KeyError> {
        let (n, e) = (BASE64_URL_SAFE_NO_PAD.encode(n), BASE64_URL_SAFE_NO_PAD.encode(e));
        let encoding = EncodingKey::from_rsa_pem(private_pem.as_bytes()).map_err(|it| KeyError(it.into()))?;
        let decoding = DecodingKey::from_rsa_components(&n, &e).map_err(|it| KeyError(it.into()))?;
        let public_jwk = serde_json::json!({
            "kty": "RSA", "alg": "RS256", "use": "sig", "key_ops": ["verify"], "ext": true,
            "kid": kid, "n": n, "e": e,
        });
        Ok(Self {
            kid: Some(kid.to_owned()),
            algorithms: vec![Algorithm::RS256],
            decoding,
            encoding: Some(encoding),
            public_jwk: Some(public_jwk),
        })
    }

    /// The same key for verification only.
    #[must_use]
    pub fn verifying(self) -> Self {
        Self { encoding: None, ..self }
    }

    /// A verification key from a JWK (RFC 7517): `oct`, `RSA`, `EC` (P-256, P-384) or `OKP` (Ed25519).
    ///
    /// # Errors
    /// [`KeyError`] when members are missing or the key type is unknown.
    pub fn from_jwk(jwk: &Value) -> Result<Self, KeyError> {
        let parsed: Jwk = serde_json::from_value(jwk.clone()).map_err(|it| KeyError(it.into()))?;
        let algorithms = match &parsed.algorithm {
            AlgorithmParameters::OctetKey(_) => vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512],
            AlgorithmParameters::RSA(_) => vec![
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            AlgorithmParameters::EllipticCurve(it) if it.curve == EllipticCurve::P384 => {
                vec![Algorithm::ES384]
            }
            AlgorithmParameters::EllipticCurve(_) => vec![Algorithm::ES256],
            AlgorithmParameters::OctetKeyPair(_) => vec![Algorithm::EdDSA],
            _ => return Err(KeyError("unknown key type".into())),
        };
        let decoding = DecodingKey::from_jwk(&parsed).map_err(|it| KeyError(it.into()))?;
        let symmetric = matches!(parsed.algorithm, AlgorithmParameters::OctetKey(_));
        let public_jwk = (!symmetric).then(|| jwk.clone());
        Ok(Self { kid: parsed.common.key_id, algorithms, decoding, encoding: None, public_jwk })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

/// A project's keys; the first one that can sign does.
#[derive(Debug, Clone, Default)]
pub struct KeyRing {
    keys: Arc<[Key]>,
}

impl KeyRing {
    /// A ring of `keys`, the signing one first.
    #[must_use]
    pub fn new(keys: Vec<Key>) -> Self {
        Self { keys: keys.into() }
    }

    /// Verification keys from what PostgREST calls `jwt-secret`: a JWK set, one JWK, or a shared secret as it stands.
    ///
    /// # Errors
    /// [`KeyError`] when the text is JSON but holds no usable key.
    pub fn from_jwt_secret(text: &str) -> Result<Self, KeyError> {
        let Ok(Value::Object(json)) = serde_json::from_str(text) else {
            return Ok(Self::new(vec![Key::from_secret(text.as_bytes())]));
        };
        let keys = match json.get("keys") {
            Some(Value::Array(keys)) => keys.iter().map(Key::from_jwk).collect::<Result<Vec<_>, _>>()?,
            _ => vec![Key::from_jwk(&Value::Object(json))?],
        };
        Ok(Self::new(keys))
    }

    /// Whether there is no key at all: every token is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The public keys as a JWK set (RFC 7517); secrets are left out.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let keys: Vec<&Value> = self.keys.iter().filter_map(|it| it.public_jwk.as_ref()).collect();
        serde_json::json!({ "keys": keys })
    }

    /// Verify signature, times and audience of `token`. Costs 2 µs (HS256) to 100 µs (ES256): cache the answer.
    ///
    /// # Errors
    /// [`Error`], one variant for each reason.
    pub fn verify(&self, token: &str, rules: &Rules<'_>) -> Result<Claims, Error> {
        if token.is_empty() {
            return Err(Error::Empty);
        }
        let parts: Vec<&str> = token.split('.').collect();
        let [header, payload, signature] = parts.as_slice() else { return Err(Error::Parts(parts.len())) };
        let header = parse_header(header)?;
        let message = token.get(..token.len() - signature.len() - 1).unwrap_or_default();
        self.check_signature(&header, message, signature)?;
        let claims = parse_object(payload).ok_or(Error::Claims)?;
        rules.check(&claims)?;
        Ok(Claims::from_map(claims, rules.default_role))
    }

    /// Sign `claims` with the ring's signing key; `None` when no key of the ring can sign.
    #[must_use]
    pub fn sign(&self, claims: &Map<String, Value>) -> Option<String> {
        self.keys.iter().find(|it| it.encoding.is_some()).and_then(|it| sign_with(it, claims))
    }

    /// Sign `claims` with the ring's shared secret, for the legacy API keys; `None` without one.
    #[must_use]
    pub fn sign_hs256(&self, claims: &Map<String, Value>) -> Option<String> {
        let shared = |it: &&Key| it.kid.is_none() && it.algorithms.contains(&Algorithm::HS256);
        sign_with(self.keys.iter().find(shared)?, claims)
    }

    fn check_signature(&self, header: &TokenHeader, message: &str, signature: &str) -> Result<(), Error> {
        let mut refused = Error::Key;
        for key in self.keys.iter().filter(|it| it.algorithms.contains(&header.algorithm)) {
            if header.kid.is_some() && key.kid.is_some() && header.kid != key.kid {
                continue;
            }
            match jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.decoding, header.algorithm)
            {
                Ok(true) => return Ok(()),
                Ok(false) | Err(_) => refused = Error::Signature,
            }
        }
        Err(refused)
    }
}

struct TokenHeader {
    algorithm: Algorithm,
    kid: Option<String>,
}

fn parse_header(part: &str) -> Result<TokenHeader, Error> {
    let header = parse_object(part).ok_or(Error::Malformed)?;
    let algorithm = match header.get("alg").and_then(Value::as_str) {
        Some("none") => return Err(Error::Algorithm),
        name => name.and_then(|it| it.parse().ok()).ok_or(Error::Malformed)?,
    };
    let kid = header.get("kid").and_then(Value::as_str).map(str::to_owned);
    Ok(TokenHeader { algorithm, kid })
}

fn parse_object(part: &str) -> Option<Map<String, Value>> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn sign_with(key: &Key, claims: &Map<String, Value>) -> Option<String> {
    let algorithm = *key.algorithms.first()?;
    let header = Header { kid: key.kid.clone(), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, key.encoding.as_ref()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RULES: Rules<'_> = Rules { now_secs: 1000, leeway_secs: 30, audience: None, default_role: "anon" };

    fn ring() -> KeyRing {
        KeyRing::new(vec![Key::from_secret(b"a secret of at least thirty-two bytes")])
    }

    fn check(claims: &Value) -> Result<String, Error> {
        let token = ring().sign(claims.as_object().unwrap()).unwrap();
        ring().verify(&token, &RULES).map(|it| it.role)
    }

    #[test]
    fn a_sound_token_names_its_role() {
        assert_eq!(check(&json!({"role": "authenticated", "exp": 1000})), Ok("authenticated".into()));
        assert_eq!(check(&json!({"sub": "x"})), Ok("anon".into()));
    }

    #[test]
    fn times_are_checked_with_leeway() {
        assert_eq!(check(&json!({"exp": 970})), Ok("anon".into()));
        assert_eq!(check(&json!({"exp": 969})), Err(Error::Expired));
        assert_eq!(check(&json!({"nbf": 1031})), Err(Error::NotYetValid));
        assert_eq!(check(&json!({"iat": 1031.5})), Err(Error::IssuedInFuture));
        assert_eq!(check(&json!({"exp": "soon"})), Err(Error::NotANumber("exp")));
    }

    #[test]
    fn forged_tokens_are_refused() {
        let token = ring().sign(json!({"role": "service_role"}).as_object().unwrap()).unwrap();
        let other = KeyRing::new(vec![Key::from_secret(b"another secret of thirty-two bytes!!")]);
        assert_eq!(other.verify(&token, &RULES), Err(Error::Signature));
        let (head, signature) = token.rsplit_once('.').unwrap();
        let head = head.split_once('.').unwrap().0;
        let payload = BASE64_URL_SAFE_NO_PAD.encode(r#"{"role":"service_role"}"#);
        let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        assert_eq!(ring().verify(&format!("{none}.{payload}."), &RULES), Err(Error::Algorithm));
        let swapped = BASE64_URL_SAFE_NO_PAD.encode(r#"{"role":"postgres"}"#);
        assert_eq!(ring().verify(&format!("{head}.{swapped}.{signature}"), &RULES), Err(Error::Signature));
        assert_eq!(ring().verify("", &RULES), Err(Error::Empty));
        assert_eq!(ring().verify("a.b", &RULES), Err(Error::Parts(2)));
    }

    #[test]
    fn a_public_key_is_no_shared_secret() {
        // The classic confusion: a token signed by HS256 with the public key as the secret.
        let ring =
            KeyRing::new(vec![Key { algorithms: vec![Algorithm::ES256], ..Key::from_secret(b"public") }]);
        let token = sign_with(&Key::from_secret(b"public"), &Map::new()).unwrap();
        assert_eq!(ring.verify(&token, &RULES), Err(Error::Key));
    }

    #[test]
    fn a_jwt_secret_is_text_a_key_or_a_set() {
        let secret = b"a secret of at least thirty-two bytes";
        let token = ring().sign(&Map::new()).unwrap();
        let jwk = json!({"kty": "oct", "k": BASE64_URL_SAFE_NO_PAD.encode(secret)});
        let set = json!({"keys": [jwk]});
        for text in [String::from_utf8(secret.to_vec()).unwrap(), jwk.to_string(), set.to_string()] {
            let ring = KeyRing::from_jwt_secret(&text).unwrap();
            assert_eq!(ring.verify(&token, &RULES).map(|it| it.role), Ok("anon".into()), "{text}");
            assert_eq!(ring.jwks(), json!({"keys": []}), "a shared secret is never published");
        }
        assert!(KeyRing::from_jwt_secret(r#"{"kty": "oct"}"#).is_err());
    }
}
