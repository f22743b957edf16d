//! The cluster's own certificate authority: signs who a node is, so that nodes know each other (`store::mtls`).
//!
//! Made on first use and kept in the control database, its key sealed under the master key. What a request for a
//! certificate says about its sender is not looked at, but for its key: whoever calls [`Authority::issue`] has decided
//! which node that is.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use common::NodeName;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use store::mtls::{Identity, SigningRequest};

use crate::{ControlPlane, Error, random};

/// How long a node's certificate holds; heartbeats renew it after two thirds.
pub const NODE_LIFE: Duration = Duration::from_secs(30 * 86_400);
/// How long the authority holds.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Clocks of nodes may differ by that much.
const CLOCK_SKEW: Duration = Duration::from_secs(300);
/// What the sealed key is bound to.
const CONTEXT: &str = "authority.key";

const READ: &str = "select certificate, key from madbase.authority";
const KEEP: &str = "insert into madbase.authority (certificate, key) values ($1, $2) on conflict do nothing";

/// Signs for nodes. Holds the authority's key: make it when needed, and let it go.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

impl ControlPlane {
    /// The cluster's authority; made by whoever asks first.
    ///
    /// # Errors
    /// [`Error::MasterKey`] when the stored key does not open; [`Error::Store`] or [`Error::Timeout`] when PostgreSQL does
    /// not answer; [`Error::Stored`] when what it holds cannot be read.
    pub async fn authority(&self) -> Result<Authority, Error> {
        if let Some(authority) = self.stored_authority().await? {
            return Ok(authority);
        }
        let (certificate, key) = fresh()?;
        let sealed = self.inner.seal.cluster_vault()?.seal(CONTEXT, key.serialize_pem().as_bytes());
        let sealed = sealed.map_err(|_| Error::Randomness)?;
        self.inner.db.query(KEEP, &[&certificate, &sealed]).await?;
        // Another node may have been first; then its authority counts.
        self.stored_authority().await?.ok_or_else(|| Error::Stored("the authority is gone again".into()))
    }

    async fn stored_authority(&self) -> Result<Option<Authority>, Error> {
        let rows = self.inner.db.query(READ, &[]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (certificate, sealed): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let vault = self.inner.seal.cluster_vault()?;
        let key = vault.open(CONTEXT, &sealed).map_err(|_| Error::MasterKey)?;
        let unreadable = |it: rcgen::Error| Error::Stored(it.into());
        let key = String::from_utf8(key).map_err(|it| Error::Stored(it.utf8_error().into()))?;
        let key = KeyPair::from_pem(&key).map_err(unreadable)?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).map_err(unreadable)?;
        Ok(Some(Authority { certificate, issuer }))
    }
}

impl Authority {
    /// Its certificate (PEM): what nodes believe. Not secret.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// SHA-256 of its certificate in hexadecimal, for join tokens.
    ///
    /// # Errors
    /// [`Error::Stored`] when it cannot be read.
    pub fn fingerprint(&self) -> Result<String, Error> {
        store::mtls::fingerprint(&self.certificate).map_err(|it| Error::Stored(it.into()))
    }

    /// A certificate for `name` with the key of `csr` (PEM), for 30 days: the chain that the node shows. `addresses` go in
    /// for tools that check hosts; nodes do not look at them.
    ///
    /// # Errors
    /// [`Error::Body`] when the request cannot be read, or its signature is not its key's.
    pub fn issue(&self, csr: &str, name: &NodeName, addresses: &[IpAddr]) -> Result<String, Error> {
        let refused = |it: rcgen::Error| Error::Body(format!("csr: {it}"));
        let request = CertificateSigningRequestParams::from_pem(csr).map_err(refused)?;
        let params = of_node(name, addresses)?;
        let certificate = params.signed_by(&request.public_key, &self.issuer).map_err(refused)?;
        Ok(certificate.pem() + &self.certificate)
    }

    /// An identity for a node in this process: key, request and certificate at once.
    ///
    /// # Errors
    /// [`Error::Broken`] without randomness.
    pub fn identify(&self, name: &NodeName, addresses: &[IpAddr]) -> Result<Identity, Error> {
        let request = SigningRequest::new().map_err(|it| Error::Broken(it.into()))?;
        let chain = self.issue(&request.csr, name, addresses)?;
        Ok(Identity { chain, key: request.key, authority: self.certificate.clone() })
    }
}

fn of_node(name: &NodeName, addresses: &[IpAddr]) -> Result<CertificateParams, Error> {
    let mut params = lasting(NODE_LIFE)?;
    params.distinguished_name.push(DnType::CommonName, format!("{} {}", name.pillar, name.id));
    let uri = name.to_string().try_into().map_err(|it: rcgen::Error| Error::Broken(it.into()))?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// A certificate from now on, that names nobody yet.
fn lasting(life: Duration) -> Result<CertificateParams, Error> {
    let mut serial = [0; 16];
    random::fill(&mut serial)?;
    // Positive, as RFC 5280 §4.1.2.2 wants.
    serial[0] &= 0x7f;
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + life).into();
    Ok(params)
}

/// A new authority: its certificate and its key.
fn fresh() -> Result<(String, KeyPair), Error> {
    let failed = |it: rcgen::Error| Error::Broken(it.into());
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = lasting(AUTHORITY_LIFE)?;
    params.distinguished_name.push(DnType::CommonName, format!("MadBase cluster {}", random::base62(8)?));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok((certificate.pem(), key))
}
