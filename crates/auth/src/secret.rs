//! Random secrets and their digests: refresh tokens, mailed codes and links, PKCE codes.
//!
//! What the database holds never opens anything: tokens are stored as SHA-256, mailed codes as a digest keyed with a
//! secret of the project that is not in its database, because six digits alone are guessed in no time.

use aws_lc_rs::{digest, hmac, rand};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use common::Project;
use secrecy::ExposeSecret as _;

use crate::Error;

/// Prefix of a mailed link that ends in a code for PKCE instead of a session.
pub(crate) const PKCE_PREFIX: &str = "pkce_";

/// `N` random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| Error::internal("the system has no randomness"))?;
    Ok(bytes)
}

/// 256 random bits as 43 characters of base64url.
pub(crate) fn token() -> Result<String, Error> {
    Ok(BASE64_URL_SAFE_NO_PAD.encode(random::<32>()?))
}

/// Six digits, each code as likely as any other.
pub(crate) fn otp() -> Result<String, Error> {
    loop {
        let number = u32::from_be_bytes(random::<4>()?);
        // The last, incomplete million would make small codes likelier.
        if number < 4_294_000_000 {
            return Ok(format!("{:06}", number % 1_000_000));
        }
    }
}

/// So many digits, each as likely as any other.
pub(crate) fn digits(length: usize) -> Result<String, Error> {
    let mut text = String::with_capacity(length);
    while text.len() < length {
        // Above 249, small digits would be likelier.
        let fair = random::<16>()?.into_iter().filter(|it| *it < 250);
        text.extend(fair.map(|it| char::from(b'0' + it % 10)).take(length - text.len()));
    }
    Ok(text)
}

/// What the database holds of a refresh token or a link.
pub(crate) fn stored(token: &str) -> String {
    format!("sha256:{}", hex(digest::digest(&digest::SHA256, token.as_bytes()).as_ref()))
}

/// The token of a mailed link, made from the code that stands in the same mail.
///
/// 56 hexadecimal digits, as long as GoTrue's. Only who knows a secret of the project can compute it.
pub(crate) fn link_token(project: &Project, address: &str, otp: &str) -> String {
    let secret = project.keys.secret.expose_secret().as_bytes();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, format!("one-time token\0{address}\0{otp}").as_bytes());
    let mut text = hex(tag.as_ref());
    text.truncate(56);
    text
}

/// The refresh token that follows `parent` in a session: who holds `parent` alone, or the database alone, cannot
/// compute it; the server can compute it again when a client lost the answer.
pub(crate) fn next_refresh_token(session_key: &str, parent: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, session_key.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key, parent.as_bytes()))
}

/// The refresh token that follows one of which only the digest is known: a session that proved a second factor gets
/// another token without having shown its current one. Neither the database alone nor a client can compute it.
pub(crate) fn upgraded_refresh_token(project: &Project, session_key: &str, parent: &str) -> String {
    let secret = project.keys.secret.expose_secret().as_bytes();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, format!("refresh token\0{session_key}\0{parent}").as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(tag)
}

/// The S256 challenge of a PKCE verifier (RFC 7636).
pub(crate) fn s256(verifier: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()))
}

/// SHA-256 as 32 bytes, for keys of maps.
pub(crate) fn fingerprint(text: &str) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(digest::digest(&digest::SHA256, text.as_bytes()).as_ref()) {
        *to = *from;
    }
    out
}

/// Compare in constant time.
pub(crate) fn same(left: &str, right: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(left.as_bytes(), right.as_bytes()).is_ok()
}

/// Two hexadecimal digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_six_digits() {
        for _ in 0..1000 {
            let code = otp().unwrap();
            assert!(code.len() == 6 && code.bytes().all(|it| it.is_ascii_digit()), "{code}");
        }
    }

    #[test]
    fn the_challenge_is_that_of_the_rfc() {
        assert_eq!(
            s256("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[test]
    fn a_child_token_needs_parent_and_key() {
        let child = next_refresh_token("key", "parent");
        assert_eq!(child, next_refresh_token("key", "parent"));
        assert_ne!(child, next_refresh_token("other", "parent"));
        assert_ne!(child, next_refresh_token("key", "other"));
        assert_eq!(child.len(), 43);
    }
}
