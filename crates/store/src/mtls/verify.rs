//! Who is believed: a chain that the authority signed, and a name of a pillar that is expected here.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use common::Pillar;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};

use super::credentials::{Clients, Ready, Refused, provider};
use super::peer_name;

type Signed = Result<HandshakeSignatureValid, Error>;

/// A listener's look at clients.
pub(super) struct PeerClients {
    current: Arc<ArcSwap<Ready>>,
    clients: Clients,
    refused: Refused,
}

impl PeerClients {
    pub(super) fn new(current: Arc<ArcSwap<Ready>>, clients: Clients, refused: Refused) -> Self {
        Self { current, clients, refused }
    }
}

impl fmt::Debug for PeerClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.clients.fmt(f)
    }
}

impl ClientCertVerifier for PeerClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        self.clients.required
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.current.load().clients.verify_client_cert(end_entity, intermediates, now)?;
        expect(end_entity, &self.clients.pillars, &self.refused)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Signed {
        self.current.load().clients.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Signed {
        self.current.load().clients.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current.load().clients.supported_verify_schemes()
    }
}

/// Gives the authorities that count now.
pub(super) type Roots = Box<dyn Fn() -> Arc<RootCertStore> + Send + Sync>;

/// A client's look at servers.
pub(super) struct PeerServers {
    roots: Roots,
    pillars: Vec<Pillar>,
    refused: Refused,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PeerServers {
    pub(super) fn new(roots: Roots, pillars: &[Pillar], refused: Refused) -> Self {
        let algorithms = provider().signature_verification_algorithms;
        Self { roots, pillars: pillars.to_vec(), refused, algorithms }
    }

    pub(super) fn check(
        &self,
        roots: &RootCertStore,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)?;
        expect(end_entity, &self.pillars, &self.refused)?;
        Ok(ServerCertVerified::assertion())
    }
}

impl fmt::Debug for PeerServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerServers").field("pillars", &self.pillars).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for PeerServers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(&(self.roots)(), end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Signed {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Signed {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The certificate is a node's, of one of `pillars` and none of those that are `refused`.
fn expect(certificate: &CertificateDer<'_>, pillars: &[Pillar], refused: &Refused) -> Result<(), Error> {
    let name = peer_name(certificate).filter(|it| pillars.contains(&it.pillar));
    // As for a certificate that is for something else: the peer is told no more.
    let name = name.ok_or(CertificateError::InvalidPurpose)?;
    if refused.load().contains(&name.id) { Err(CertificateError::Revoked.into()) } else { Ok(()) }
}
