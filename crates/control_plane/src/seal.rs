//! Secrets at rest: AES-256-GCM under the master key, bound to the project by its id as additional data.
//!
//! Layout of the stored bytes: format (1), nonce (12, random), ciphertext with its tag (16 longer than the text).

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use common::{ProjectId, Vault};

use crate::Error;

const FORMAT: u8 = 1;

/// The master key, ready for use.
pub(crate) struct Seal {
    key: RandomizedNonceKey,
    /// From which the keys of the projects' vaults are derived.
    root: hmac::Key,
}

impl Seal {
    /// From the 32 bytes of the key file.
    pub(crate) fn new(master_key: &[u8; 32]) -> Result<Self, Error> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, master_key).map_err(|_| Error::MasterKey)?;
        Ok(Self { key, root: hmac::Key::new(hmac::HMAC_SHA256, master_key) })
    }

    /// The vault of the project `id`: its key is derived, so it is stored nowhere.
    pub(crate) fn vault(&self, id: ProjectId) -> Result<Vault, Error> {
        let tag = hmac::sign(&self.root, format!("madbase vault\0{}", id.0).as_bytes());
        let key: &[u8; 32] = tag.as_ref().try_into().map_err(|_| Error::MasterKey)?;
        Vault::new(key).map_err(|_| Error::MasterKey)
    }

    /// The vault of what belongs to no project: the cluster's own keys.
    pub(crate) fn cluster_vault(&self) -> Result<Vault, Error> {
        let tag = hmac::sign(&self.root, b"madbase cluster vault");
        let key: &[u8; 32] = tag.as_ref().try_into().map_err(|_| Error::MasterKey)?;
        Vault::new(key).map_err(|_| Error::MasterKey)
    }

    /// Encrypt `plain` for the project `id`.
    pub(crate) fn close(&self, id: ProjectId, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let mut body = plain.to_vec();
        let aad = Aad::from(id.0.into_bytes());
        let nonce = self.key.seal_in_place_append_tag(aad, &mut body).map_err(|_| Error::Randomness)?;
        let mut sealed = vec![FORMAT];
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    /// Decrypt what [`Seal::close`] made.
    ///
    /// # Errors
    /// [`Error::MasterKey`] when the key is another one, or the bytes were changed or belong to another project.
    pub(crate) fn open(&self, id: ProjectId, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let Some((&FORMAT, rest)) = sealed.split_first() else { return Err(Error::MasterKey) };
        let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or(Error::MasterKey)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Error::MasterKey)?;
        let mut body = body.to_vec();
        let aad = Aad::from(id.0.into_bytes());
        let plain = self.key.open_in_place(nonce, aad, &mut body).map_err(|_| Error::MasterKey)?;
        Ok(plain.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn each_project_has_a_vault_of_its_own() {
        let (seal, other) = (Seal::new(&[7; 32]).unwrap(), Seal::new(&[8; 32]).unwrap());
        let (id, stranger) = (ProjectId(Uuid::from_u128(1)), ProjectId(Uuid::from_u128(2)));
        let sealed = seal.vault(id).unwrap().seal("a", b"secret").unwrap();
        assert_eq!(seal.vault(id).unwrap().open("a", &sealed).unwrap(), b"secret");
        assert!(seal.vault(stranger).unwrap().open("a", &sealed).is_err());
        assert!(other.vault(id).unwrap().open("a", &sealed).is_err());
    }

    #[test]
    fn only_the_same_key_and_project_open_a_seal() {
        let (seal, other) = (Seal::new(&[7; 32]).unwrap(), Seal::new(&[8; 32]).unwrap());
        let (id, stranger) = (ProjectId(Uuid::from_u128(1)), ProjectId(Uuid::from_u128(2)));
        let sealed = seal.close(id, b"secret").unwrap();
        assert_eq!(seal.open(id, &sealed).unwrap(), b"secret");
        assert!(!sealed.windows(6).any(|it| it == b"secret"));
        assert_ne!(sealed, seal.close(id, b"secret").unwrap(), "each seal has its own nonce");
        assert!(matches!(other.open(id, &sealed), Err(Error::MasterKey)));
        assert!(matches!(seal.open(stranger, &sealed), Err(Error::MasterKey)));
        for idx in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[idx] ^= 1;
            assert!(seal.open(id, &changed).is_err(), "byte {idx}");
            assert!(seal.open(id, &sealed[..idx]).is_err(), "cut at {idx}");
        }
    }
}
