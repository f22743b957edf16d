//! From PEM to a certificate that can be shown, with the names that it is for and the time that it holds.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::Certified;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use secrecy::ExposeSecret as _;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::TlsError;

/// A certificate as it is shown, and when.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) certified: Arc<CertifiedKey>,
    /// Names in lower case; `*.example.com` stands for one label.
    pub(super) names: Vec<String>,
    pub(super) ends: SystemTime,
}

impl Shown {
    /// Read `pem`; `place` names it to people.
    pub(super) fn read(place: &str, pem: &Certified) -> Result<Self, TlsError> {
        let certified = certified(place, pem)?;
        let (names, ends) = certified.cert.first().and_then(facts).unwrap_or((Vec::new(), UNIX_EPOCH));
        Ok(Self { certified: Arc::new(certified), names, ends })
    }
}

/// The chain with its key.
fn certified(place: &str, pem: &Certified) -> Result<CertifiedKey, TlsError> {
    let (chain, key) = parts(place, pem)?;
    CertifiedKey::from_der(chain, key, &default_provider())
        .map_err(|source| TlsError::Unfit { place: place.to_owned(), source })
}

/// The same, whatever the certificate says: that of a challenge has a critical extension, which rustls refuses to read.
pub(super) fn unread(place: &str, pem: &Certified) -> Result<CertifiedKey, TlsError> {
    let (chain, key) = parts(place, pem)?;
    let key = default_provider().key_provider.load_private_key(key);
    let key = key.map_err(|source| TlsError::Unfit { place: place.to_owned(), source })?;
    Ok(CertifiedKey::new(chain, key))
}

type Parts = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn parts(place: &str, pem: &Certified) -> Result<Parts, TlsError> {
    let place = || place.to_owned();
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.chain.as_bytes()).collect();
    let chain = chain.ok().filter(|it| !it.is_empty());
    let chain = chain.ok_or_else(|| TlsError::NoCertificate { place: place() })?;
    let key = PrivateKeyDer::from_pem_slice(pem.key.expose_secret().as_bytes());
    Ok((chain, key.map_err(|_| TlsError::NoKey { place: place() })?))
}

/// The names and the end of a certificate.
fn facts(certificate: &CertificateDer<'_>) -> Option<(Vec<String>, SystemTime)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let named = parsed.subject_alternative_name().ok()?;
    let names = named.iter().flat_map(|it| &it.value.general_names).filter_map(|it| match it {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    let ends = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
    Some((names.collect(), UNIX_EPOCH + Duration::from_secs(ends)))
}
