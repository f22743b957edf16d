//! mTLS between nodes: a node's identity, and the TLS settings of both ends of a connection made from it.
//!
//! An [`Identity`] is three PEM texts: the node's certificate chain (the authority's certificate last), its key, and the
//! authority that signs for the cluster. [`Credentials`] hold one in use and can exchange it without touching open
//! connections. Peers know each other by the name in the certificate ([`NodeName`]), never by address: an address may
//! change, and says nothing about rights.
//!
//! ```no_run
//! # fn example(identity: store::mtls::Identity) -> Result<(), store::mtls::MtlsError> {
//! use common::Pillar;
//! use store::mtls::{Clients, Credentials};
//! let credentials = Credentials::new(&identity)?;
//! // A worker's listener: only proxies, and nodes of `madbase start`, get in.
//! let server = credentials.server(Clients::required(&[Pillar::Proxy, Pillar::System]))?;
//! // A proxy's connections to workers.
//! let client = credentials.client(&[Pillar::Worker])?;
//! // Later, when `credentials.is_due(now)`: sign a new request, then
//! credentials.replace(&identity)?;
//! # Ok(()) }
//! ```
//!
//! TLS 1.3 only, one cryptographic provider, no name of a host is looked at.

mod credentials;
mod name;
mod pin;
mod request;
mod verify;

use std::fmt;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::SecretString;

pub use credentials::{Clients, Credentials};
pub use name::peer_name;
pub use pin::{fingerprint, joining_client};
pub use request::SigningRequest;

use common::NodeName;

/// What a node shows and believes, as PEM.
#[derive(Clone)]
pub struct Identity {
    /// The node's certificate, then the authority's.
    pub chain: String,
    /// The key of the node's certificate (PKCS #8).
    pub key: SecretString,
    /// The certificates that may sign for peers: the authority's; during a change of authority both.
    pub authority: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// Why an identity, a certificate or a request is of no use.
#[derive(Debug, thiserror::Error)]
pub enum MtlsError {
    /// The text holds no such thing in PEM form.
    #[error("there is no {0} in PEM form")]
    Pem(&'static str),
    /// Chain, key and authority do not belong together, or cannot be used.
    #[error("the identity cannot be used: {0}")]
    Identity(#[source] rustls::Error),
    /// The certificate names no node.
    #[error("the certificate names no node of a cluster")]
    Nameless,
    /// A key or a request could not be made.
    #[error("a key or certificate request cannot be made")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<rustls::Error> for MtlsError {
    fn from(it: rustls::Error) -> Self {
        Self::Identity(it)
    }
}

/// The name in the first certificate of a PEM chain.
///
/// # Errors
/// [`MtlsError::Pem`] and [`MtlsError::Nameless`].
pub fn name_of(chain: &str) -> Result<NodeName, MtlsError> {
    let chain = certificates(chain)?;
    chain.first().and_then(peer_name).ok_or(MtlsError::Nameless)
}

/// From when until when the first certificate of a PEM chain holds.
///
/// # Errors
/// [`MtlsError::Pem`] when there is none that can be read.
pub fn validity_of(chain: &str) -> Result<(SystemTime, SystemTime), MtlsError> {
    let chain = certificates(chain)?;
    chain.first().and_then(name::validity).ok_or(MtlsError::Pem("certificate"))
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, MtlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    found.ok().filter(|it| !it.is_empty()).ok_or(MtlsError::Pem("certificate"))
}
