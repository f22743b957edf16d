//! Our RSA key towards identity providers: it signs requests. Made once for each project, sealed at rest.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use common::Vault;
use rcgen::{CertificateParams, DnType, PKCS_RSA_SHA256, RsaKeySize, date_time_ymd};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Error;

/// A row of `auth.saml_keys`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredKey {
    id: Uuid,
    /// PKCS #8, sealed.
    private_key: String,
    /// Base64.
    certificate: String,
}

/// A key ready to sign.
pub(crate) struct ServiceKey {
    pair: KeyPair,
    /// Base64 of its certificate.
    pub(crate) certificate: String,
}

impl StoredKey {
    /// A new key. Takes a fifth of a second: not on a thread that serves requests.
    pub(crate) fn make(vault: &Vault) -> Result<Self, Error> {
        let pair =
            rcgen::KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).map_err(Error::internal)?;
        let mut params = CertificateParams::new(Vec::new()).map_err(Error::internal)?;
        params.distinguished_name.push(DnType::CommonName, "MadBase single sign-on");
        // Providers compare keys, not dates; this is the last year that every one can read.
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2049, 12, 31);
        let certificate = params.self_signed(&pair).map_err(Error::internal)?;
        let id = Uuid::new_v4();
        let private_key = vault.seal(&context(id), pair.serialized_der()).map_err(Error::internal)?;
        Ok(Self { id, private_key, certificate: BASE64_STANDARD.encode(certificate.der()) })
    }

    /// Make it ready to sign.
    pub(crate) fn open(&self, vault: &Vault) -> Result<ServiceKey, Error> {
        let plain = vault.open(&context(self.id), &self.private_key).map_err(Error::internal)?;
        let pair = KeyPair::from_pkcs8(&plain).map_err(|it| Error::internal(it.to_string()))?;
        Ok(ServiceKey { pair, certificate: self.certificate.clone() })
    }
}

impl ServiceKey {
    /// RSA with SHA-256 over `text`, in Base64.
    pub(super) fn sign(&self, text: &str) -> Result<String, Error> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let signed = self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature);
        signed.map_err(|_| Error::internal("the key does not sign"))?;
        Ok(BASE64_STANDARD.encode(signature))
    }
}

fn context(id: Uuid) -> String {
    format!("saml_keys.private_key:{id}")
}
