//! Seals what a service must store in a project's database and read again: secrets of identity providers, of second
//! factors, tokens of other services. AES-256-GCM under a key of the project that is not in its database.
//!
//! Each text is bound to a context (`table.column:row`), so that a sealed value moved to another row does not open.
//! What need not be read again is stored as a digest instead.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// Says how the rest of a sealed text is made; another scheme gets another prefix.
const PREFIX: &str = "sealed1:";

/// A text cannot be sealed or opened: the key is another one, the context differs, or the text was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a sealed value cannot be opened: other key, other row, or damaged")]
pub struct VaultError;

/// A project's key for values at rest. Cheap to clone.
///
/// ```
/// let vault = common::Vault::new(&[7; 32])?;
/// let sealed = vault.seal("table.column:1", b"secret")?;
/// assert_eq!(vault.open("table.column:1", &sealed)?, b"secret");
/// assert!(vault.open("table.column:2", &sealed).is_err());
/// # Ok::<(), common::VaultError>(())
/// ```
#[derive(Clone)]
pub struct Vault(Arc<RandomizedNonceKey>);

impl Vault {
    /// From 32 random bytes.
    ///
    /// # Errors
    /// [`VaultError`] when the cryptographic library refuses the key.
    pub fn new(key: &[u8; 32]) -> Result<Self, VaultError> {
        RandomizedNonceKey::new(&AES_256_GCM, key).map(|it| Self(Arc::new(it))).map_err(|_| VaultError)
    }

    /// `plain` as printable text; each call gives another one.
    ///
    /// # Errors
    /// [`VaultError`] without randomness.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<String, VaultError> {
        let mut body = plain.to_vec();
        let aad = Aad::from(context.as_bytes());
        let nonce = self.0.seal_in_place_append_tag(aad, &mut body).map_err(|_| VaultError)?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut body);
        Ok(format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(sealed)))
    }

    /// What [`Vault::seal`] was given with the same context.
    ///
    /// # Errors
    /// [`VaultError`] for anything else.
    pub fn open(&self, context: &str, sealed: &str) -> Result<Vec<u8>, VaultError> {
        let text = sealed.strip_prefix(PREFIX).ok_or(VaultError)?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| VaultError)?;
        let (nonce, body) = bytes.split_at_checked(NONCE_LEN).ok_or(VaultError)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| VaultError)?;
        let mut body = body.to_vec();
        let aad = Aad::from(context.as_bytes());
        let plain = self.0.open_in_place(nonce, aad, &mut body).map_err(|_| VaultError)?;
        Ok(plain.to_vec())
    }

    /// Whether `text` was made by [`Vault::seal`]; rows imported from elsewhere hold plain text.
    #[must_use]
    pub fn is_sealed(text: &str) -> bool {
        text.starts_with(PREFIX)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_and_context_open_a_text() {
        let (vault, other) = (Vault::new(&[7; 32]).unwrap(), Vault::new(&[8; 32]).unwrap());
        let sealed = vault.seal("a:1", b"secret").unwrap();
        assert!(Vault::is_sealed(&sealed) && !sealed.contains("secret"));
        assert_ne!(sealed, vault.seal("a:1", b"secret").unwrap(), "each has its own nonce");
        assert_eq!(vault.open("a:1", &sealed).unwrap(), b"secret");
        assert_eq!(vault.open("a:2", &sealed), Err(VaultError));
        assert_eq!(other.open("a:1", &sealed), Err(VaultError));
        for broken in ["", "secret", "sealed1:", "sealed1:AAAA", "sealed1:%", &sealed[..sealed.len() - 1]] {
            assert_eq!(vault.open("a:1", broken), Err(VaultError), "{broken}");
        }
    }
}
