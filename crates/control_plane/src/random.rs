//! Random text for keys and passwords, from the operating system's generator.

use aws_lc_rs::{digest, rand};

use crate::Error;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `len` characters of `0-9A-Za-z`, each worth 5.95 bits.
pub(crate) fn base62(len: usize) -> Result<String, Error> {
    let mut text = String::with_capacity(len);
    let mut bytes = [0; 64];
    while text.len() < len {
        fill(&mut bytes)?;
        // 248 is the largest multiple of 62 in a byte: the rest is thrown away, so that no character is likelier.
        let fair = bytes.iter().filter(|it| **it < 248);
        text.extend(fair.map(|it| letter(*it)).take(len - text.len()));
    }
    Ok(text)
}

/// Fill `bytes`.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), Error> {
    rand::fill(bytes).map_err(|_| Error::Randomness)
}

/// An opaque API key: `prefix`, 22 random characters (131 bits), `_` and 8 characters by which a scanner tells a key
/// from a look-alike without asking us.
pub(crate) fn api_key(prefix: &str) -> Result<String, Error> {
    let body = format!("{prefix}{}", base62(22)?);
    let checksum = digest::digest(&digest::SHA256, body.as_bytes());
    let suffix: String = checksum.as_ref().iter().take(8).map(|it| letter(*it)).collect();
    Ok(format!("{body}_{suffix}"))
}

fn letter(byte: u8) -> char {
    BASE62.get(usize::from(byte % 62)).map_or('0', |it| char::from(*it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_supabases_shape_and_differ() {
        let [one, other] = [api_key("sb_secret_").unwrap(), api_key("sb_secret_").unwrap()];
        assert_ne!(one, other);
        let rest = one.strip_prefix("sb_secret_").unwrap();
        assert_eq!((rest.len(), &rest[22..23]), (31, "_"));
        assert!(rest.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_'));
    }

    #[test]
    fn base62_has_the_length_asked_for() {
        for len in [0, 1, 63, 64, 200] {
            assert_eq!(base62(len).unwrap().len(), len);
        }
    }
}
