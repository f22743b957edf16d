//! The first connection of a node that joins: it knows no certificate yet, only the hash of the authority's, from its
//! token.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use common::Pillar;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::credentials::provider;
use super::verify::PeerServers;
use super::{MtlsError, certificates};

/// SHA-256 of the first certificate in `pem`, as 64 lower-case hexadecimal digits.
///
/// # Errors
/// [`MtlsError::Pem`] without a certificate.
pub fn fingerprint(pem: &str) -> Result<String, MtlsError> {
    let certificates = certificates(pem)?;
    let first = certificates.first().ok_or(MtlsError::Pem("certificate"))?;
    Ok(hash(first))
}

/// Settings of a connection to a system node whose authority has this [`fingerprint`]. No certificate is shown.
///
/// # Errors
/// [`MtlsError::Identity`] when the provider lacks what TLS 1.3 needs.
pub fn joining_client(authority: &str) -> Result<Arc<ClientConfig>, MtlsError> {
    let verifier = Pinned {
        authority: authority.to_ascii_lowercase(),
        servers: PeerServers::new(
            Box::new(|| Arc::new(RootCertStore::empty())),
            &[Pillar::System],
            Arc::default(),
        ),
    };
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn hash(certificate: &CertificateDer<'_>) -> String {
    digest(&SHA256, certificate).as_ref().iter().map(|it| format!("{it:02x}")).collect()
}

/// Believes a chain that holds the authority with the known hash, and is signed by it.
#[derive(Debug)]
struct Pinned {
    authority: String,
    servers: PeerServers,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let known = |it: &&CertificateDer<'_>| {
            verify_slices_are_equal(hash(it).as_bytes(), self.authority.as_bytes()).is_ok()
        };
        let authority = intermediates.iter().find(known).ok_or(CertificateError::UnknownIssuer)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        self.servers.check(&roots, end_entity, &[], now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.servers.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.servers.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.servers.supported_verify_schemes()
    }
}
