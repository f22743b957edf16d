//! Solana: the address is the Ed25519 public key in base 58; hardware wallets sign the message in an envelope.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::Error;

const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// 64 bytes in base 64 of any dialect.
pub(super) fn parse_signature(text: &str) -> Result<Vec<u8>, Error> {
    if text.len() != 86 && text.len() != 88 {
        return Err(Error::invalid("signature must be 64 bytes encoded as base64 with or without padding"));
    }
    let text = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| Error::invalid("signature does not contain valid base64 characters"))
}

/// Whether the owner of `address` signed `message`, alone or in the envelope of `domain`.
pub(super) fn verify(message: &str, (address, domain): (&str, &str), signature: &[u8]) -> bool {
    let Some(key) = base58(address) else { return false };
    let public = UnparsedPublicKey::new(&ED25519, key);
    if public.verify(message.as_bytes(), signature).is_ok() {
        return true;
    }
    envelope(message, domain, &key).is_some_and(|it| public.verify(&it, signature).is_ok())
}

/// Solana's off-chain message, as hardware wallets sign it.
fn envelope(message: &str, domain: &str, key: &[u8; 32]) -> Option<Vec<u8>> {
    let length = u16::try_from(message.len()).ok()?;
    let mut bytes = b"\xffsolana offchain\x00".to_vec();
    let mut padded = [0; 32];
    for (to, from) in padded.iter_mut().zip(domain.bytes()) {
        *to = from;
    }
    bytes.extend_from_slice(&padded);
    // The text is ASCII, and there is one signer.
    bytes.extend_from_slice(&[0, 1]);
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(message.as_bytes());
    Some(bytes)
}

/// 32 bytes from base 58.
fn base58(text: &str) -> Option<[u8; 32]> {
    let mut number = [0_u8; 32];
    for letter in text.bytes() {
        let mut carry = ALPHABET.iter().position(|it| *it == letter)?;
        for byte in number.iter_mut().rev() {
            carry += usize::from(*byte) * 58;
            *byte = u8::try_from(carry & 0xff).ok()?;
            carry >>= 8;
        }
        if carry > 0 {
            return None;
        }
    }
    // Every leading zero byte is written as a 1, and nothing else is.
    let zeros = number.iter().take_while(|it| **it == 0).count();
    let ones = text.bytes().take_while(|it| *it == b'1').count();
    (zeros == ones).then_some(number)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    fn address(key: &[u8]) -> String {
        let mut digits = vec![0_u8];
        for byte in key {
            let mut carry = usize::from(*byte);
            for digit in &mut digits {
                carry += usize::from(*digit) << 8;
                *digit = u8::try_from(carry % 58).unwrap();
                carry /= 58;
            }
            while carry > 0 {
                digits.push(u8::try_from(carry % 58).unwrap());
                carry /= 58;
            }
        }
        digits.iter().rev().map(|it| char::from(ALPHABET[usize::from(*it)])).collect()
    }

    #[test]
    fn addresses_are_keys_in_base_58() {
        // The system program, and one more that everybody knows: the token program.
        assert_eq!(base58(&"1".repeat(32)), Some([0; 32]));
        let token = base58("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA").unwrap();
        assert_eq!(address(&token), "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA");
        for bad in ["", "0", "1", &"z".repeat(45), &"1".repeat(31), &"l".repeat(32)] {
            assert_eq!(base58(bad), None, "{bad}");
        }
    }

    #[test]
    fn messages_are_signed_alone_or_in_an_envelope() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let key: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
        let address = address(&key);
        let at = (address.as_str(), "example.com");
        assert!(verify("hello", at, pair.sign(b"hello").as_ref()));
        let wrapped = envelope("hello", "example.com", &key).unwrap();
        assert_eq!(wrapped.len(), 16 + 1 + 32 + 1 + 1 + 32 + 2 + 5);
        assert!(verify("hello", at, pair.sign(&wrapped).as_ref()));
        assert!(!verify("hello", (&address, "evil.com"), pair.sign(&wrapped).as_ref()));
        assert!(!verify("hellO", at, pair.sign(b"hello").as_ref()));
        assert!(!verify("hello", at, &[0; 64]) && !verify("hello", at, &[]));
    }
}
