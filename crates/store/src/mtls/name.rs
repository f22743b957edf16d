//! What a certificate says about its holder: the node's name, and until when it holds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::NodeName;
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The node that `certificate` was issued to; `None` for certificates of nobody, or of more than one.
#[must_use]
pub fn peer_name(certificate: &CertificateDer<'_>) -> Option<NodeName> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let uris = names.value.general_names.iter().filter_map(|it| match it {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    match uris.collect::<Vec<_>>().as_slice() {
        [only] => only.parse().ok(),
        _ => None,
    }
}

/// From when until when `certificate` holds.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Option<(SystemTime, SystemTime)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let at = |secs: i64| Some(UNIX_EPOCH + Duration::from_secs(u64::try_from(secs).ok()?));
    let validity = parsed.validity();
    Some((at(validity.not_before.timestamp())?, at(validity.not_after.timestamp())?))
}
