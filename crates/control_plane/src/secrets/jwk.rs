//! Private keys as others keep them (JWK, RFC 7517), read to become signing keys of a project: a project that comes
//! from elsewhere goes on with the keys that its clients and the services beside it know.
//!
//! The parts are handed to the cryptography library, which refuses those that do not belong together.

use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::signing::{Algorithm, Pair, stored_es256, stored_rs256};
use crate::Error;

/// The longest part: a modulus of 4096 bits.
const MAX_PART_BYTES: usize = 512;
/// Coordinates and the private number of P-256.
const P256_BYTES: usize = 32;

/// A pair from elsewhere.
pub(super) struct Imported {
    /// Its name; one without gets a new one.
    pub(super) kid: Uuid,
    pub(super) algorithm: Algorithm,
    pub(super) pair: Pair,
}

/// Read a private JWK: `EC` on P-256 or `RSA`.
///
/// # Errors
/// [`Error::Body`], which says what is wrong and quotes nothing of the key.
pub(super) fn read(jwk: &Map<String, Value>) -> Result<Imported, Error> {
    let kid = match jwk.get("kid").map(Value::as_str) {
        None => Uuid::new_v4(),
        Some(kid) => kid
            .and_then(|it| it.parse().ok())
            .ok_or_else(|| bad("kid is no UUID: leave it out to get one"))?,
    };
    let (algorithm, name, pair) = match jwk.get("kty").and_then(Value::as_str) {
        Some("EC") => (Algorithm::ES256, "ES256", ec(jwk)?),
        Some("RSA") => (Algorithm::RS256, "RS256", rsa(jwk)?),
        Some("oct") => return Err(bad("a shared secret is taken over by keys/replace-jwt-secret")),
        _ => return Err(bad("kty is neither EC nor RSA")),
    };
    if jwk.get("alg").is_some_and(|it| it != name) {
        return Err(bad("alg is neither ES256 nor RS256, or of another kind than kty"));
    }
    Ok(Imported { kid, algorithm, pair })
}

fn bad(what: &str) -> Error {
    Error::Body(format!("jwk: {what}"))
}

fn part(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, Error> {
    let text = jwk.get(name).and_then(Value::as_str);
    let text = text.ok_or_else(|| bad(&format!("{name} is missing; a private key is needed")))?;
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
    let bytes = bytes.ok().filter(|it| !it.is_empty() && it.len() <= MAX_PART_BYTES);
    bytes.ok_or_else(|| bad(&format!("{name} is no base64url of 1 to {MAX_PART_BYTES} bytes")))
}

fn ec(jwk: &Map<String, Value>) -> Result<Pair, Error> {
    if jwk.get("crv").is_some_and(|it| it != "P-256") {
        return Err(bad("crv is not P-256"));
    }
    let padded = |name: &str| {
        let bytes = part(jwk, name)?;
        let missing = P256_BYTES.checked_sub(bytes.len());
        let missing = missing.ok_or_else(|| bad(&format!("{name} is longer than {P256_BYTES} bytes")))?;
        Ok::<_, Error>([vec![0; missing], bytes].concat())
    };
    let point = [vec![4], padded("x")?, padded("y")?].concat();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, &padded("d")?, &point);
    let pair = pair.map_err(|_| bad("the parts are not one key"))?;
    debug_assert_eq!(pair.public_key().as_ref(), point.as_slice());
    stored_es256(&pair)
}

fn rsa(jwk: &Map<String, Value>) -> Result<Pair, Error> {
    let mut numbers = der(0x02, &[0]);
    for name in ["n", "e", "d", "p", "q", "dp", "dq", "qi"] {
        numbers.extend(der_number(&part(jwk, name)?));
    }
    let pair = RsaKeyPair::from_der(&der(0x30, &numbers));
    let pair = pair.map_err(|_| bad("the parts are not one key of 2048 to 4096 bits"))?;
    stored_rs256(&pair)
}

/// A positive number in DER: no zeros before it, but one where its first bit would say that it is negative.
fn der_number(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|it| **it == 0).count();
    let digits = bytes.get(zeros..).unwrap_or_default();
    let sign: &[u8] = if digits.first().is_none_or(|it| it & 0x80 != 0) { &[0] } else { &[] };
    der(0x02, &[sign, digits].concat())
}

/// A value of DER behind its tag and length.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let zeros = length.iter().take_while(|it| **it == 0).count();
    let length = length.get(zeros..).unwrap_or_default();
    let mut out = vec![tag];
    match length {
        [] => out.push(0),
        [short] if *short < 0x80 => out.push(*short),
        long => {
            out.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
            out.extend(long);
        }
    }
    out.extend(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lengths_are_written_as_der_wants_them() {
        assert_eq!(der_number(&[0, 0, 5]), [2, 1, 5]);
        assert_eq!(der_number(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(der_number(&[0]), [2, 1, 0]);
        assert_eq!(der(4, &[7; 200])[..4], [4, 0x81, 200, 7]);
        assert_eq!(der(4, &[7; 300])[..5], [4, 0x82, 1, 44, 7]);
        assert_eq!(der(4, &[]), [4, 0]);
    }
}
