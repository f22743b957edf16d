//! A new key and the request that the authority signs. The key never leaves the node.

use std::fmt;

use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use secrecy::SecretString;

use super::MtlsError;

/// A key, and a request for a certificate of it.
pub struct SigningRequest {
    /// The key (PKCS #8, PEM), for [`super::Identity::key`].
    pub key: SecretString,
    /// The request (PKCS #10, PEM). It names nobody: the authority decides whose certificate it is.
    pub csr: String,
}

impl SigningRequest {
    /// A fresh P-256 key.
    ///
    /// # Errors
    /// [`MtlsError::Request`] without randomness.
    pub fn new() -> Result<Self, MtlsError> {
        let failed = |it: rcgen::Error| MtlsError::Request(it.into());
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let csr = params.serialize_request(&key).and_then(|it| it.pem()).map_err(failed)?;
        Ok(Self { key: key.serialize_pem().into(), csr })
    }
}

impl fmt::Debug for SigningRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningRequest(..)")
    }
}
