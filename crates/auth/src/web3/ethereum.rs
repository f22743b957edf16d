//! Ethereum: the address is the end of the Keccak digest of the public key, which a signature gives away (EIP-191).

use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use sha3::{Digest as _, Keccak256};

use crate::Error;

/// 65 bytes: r, s, and which of the possible keys it is.
pub(super) fn parse_signature(text: &str) -> Result<Vec<u8>, Error> {
    let bad =
        Error::invalid("signature must be 65 bytes long, encoded as a 130 character-long hexadecimal string");
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if digits.len() != 130 || !digits.bytes().all(|it| it.is_ascii_hexdigit()) {
        return Err(bad);
    }
    let bytes = digits.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    bytes.collect::<Option<Vec<u8>>>().ok_or(bad)
}

/// Whether the owner of `address` signed `message`.
pub(super) fn verify(message: &str, address: &str, signature: &[u8]) -> bool {
    signer(message, signature).is_some_and(|it| it.eq_ignore_ascii_case(address))
}

fn signer(message: &str, signature: &[u8]) -> Option<String> {
    let (body, which) = signature.split_at_checked(64)?;
    // Wallets count from 27, libraries from 0.
    let which = which.first().map(|it| if *it >= 27 { it - 27 } else { *it })?;
    let which = RecoveryId::from_byte(which)?;
    let signature = Signature::from_slice(body).ok()?;
    let shown = format!("\u{19}Ethereum Signed Message:\n{}{message}", message.len());
    let digest = Keccak256::digest(shown.as_bytes());
    let key = VerifyingKey::recover_from_prehash(&digest, &signature, which).ok()?;
    let point = key.to_sec1_point(false);
    let digest = Keccak256::digest(point.as_bytes().get(1..)?);
    Some(format!("0x{}", crate::secret::hex(digest.get(12..)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key of the test's own, and its address as every wallet would show it.
    #[test]
    fn a_signature_gives_its_signer_away() {
        let key = k256::ecdsa::SigningKey::from_slice(&[1; 32]).unwrap();
        // The address of the private key 0x0101…01.
        let address = "0x1a642f0E3c3aF545E7AcBD38b07251B3990914F1";
        let message = "hello";
        let shown = format!("\u{19}Ethereum Signed Message:\n5{message}");
        let (signature, which) = key.sign_prehash_recoverable(&Keccak256::digest(shown.as_bytes()));
        let mut bytes = signature.to_bytes().to_vec();
        bytes.push(which.to_byte() + 27);
        assert!(verify(message, address, &bytes));
        assert!(!verify("hello!", address, &bytes));
        assert!(!verify(message, "0x0000000000000000000000000000000000000000", &bytes));
        for which in [0, 26, 31, 255] {
            let mut other = bytes.clone();
            *other.last_mut().unwrap() = which;
            let same = which == bytes[64] - 27;
            assert_eq!(verify(message, address, &other), same, "{which}");
        }
        assert!(!verify(message, address, &[0; 65]) && !verify(message, address, &[255; 65]));
        assert!(!verify(message, address, &[]));
    }

    #[test]
    fn signatures_are_130_hexadecimal_digits() {
        assert!(parse_signature("0x").is_err());
        assert_eq!(parse_signature(&"ab".repeat(65)).unwrap().len(), 65);
        assert_eq!(parse_signature(&format!("0x{}", "AB".repeat(65))).unwrap(), vec![0xab; 65]);
        for bad in [String::new(), "0x".into(), "zz".repeat(65), "ab".repeat(64), "ü".repeat(65)] {
            assert!(parse_signature(&bad).is_err(), "{bad}");
        }
    }
}
