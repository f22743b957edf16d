//! An identity in use: TLS settings made from it always show and believe the newest one.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use common::{NodeId, NodeName, Pillar};
use rustls::client::ResolvesClientCert;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SignatureScheme};
use secrecy::ExposeSecret as _;

use super::verify::{PeerClients, PeerServers};
use super::{Identity, MtlsError, certificates, name};

/// Who may connect to a listener.
#[derive(Debug, Clone)]
pub struct Clients {
    pub(super) pillars: Vec<Pillar>,
    pub(super) required: bool,
}

impl Clients {
    /// Only nodes of these pillars.
    #[must_use]
    pub fn required(pillars: &[Pillar]) -> Self {
        Self { pillars: pillars.to_vec(), required: true }
    }

    /// Anybody without a certificate; with one, only nodes of these pillars. The listener of joins needs that.
    #[must_use]
    pub fn optional(pillars: &[Pillar]) -> Self {
        Self { pillars: pillars.to_vec(), required: false }
    }
}

/// A node's identity, ready for use. Cheap to clone; all clones change together.
#[derive(Clone)]
pub struct Credentials {
    current: Arc<ArcSwap<Ready>>,
    /// Who is not believed, whatever certificate it shows.
    refused: Refused,
}

/// Nodes that are not believed; shared with TLS settings in use.
pub(super) type Refused = Arc<ArcSwap<HashSet<NodeId>>>;

/// What one identity is made into.
pub(super) struct Ready {
    certified: Arc<CertifiedKey>,
    name: NodeName,
    validity: (SystemTime, SystemTime),
    pub(super) roots: Arc<RootCertStore>,
    /// Checks a client's chain against `roots`.
    pub(super) clients: Arc<dyn ClientCertVerifier>,
}

impl Credentials {
    /// Use `identity`.
    ///
    /// # Errors
    /// [`MtlsError`] when its parts cannot be read, do not fit each other, or name no node.
    pub fn new(identity: &Identity) -> Result<Self, MtlsError> {
        let current = Arc::new(ArcSwap::from_pointee(Ready::of(identity)?));
        Ok(Self { current, refused: Arc::default() })
    }

    /// Use `identity` from now on: for new connections, of settings made before too.
    ///
    /// # Errors
    /// As [`Self::new`]; the old identity stays.
    pub fn replace(&self, identity: &Identity) -> Result<(), MtlsError> {
        self.current.store(Arc::new(Ready::of(identity)?));
        Ok(())
    }

    /// Refuse handshakes with these nodes from now on, and with no others; of settings made before too. Connections that
    /// are open stay: who serves on them asks [`Self::refuses`].
    pub fn refuse(&self, nodes: HashSet<NodeId>) {
        self.refused.store(Arc::new(nodes));
    }

    /// Whether `node` is not believed.
    #[must_use]
    pub fn refuses(&self, node: &NodeId) -> bool {
        self.refused.load().contains(node)
    }

    /// The node's own name.
    #[must_use]
    pub fn name(&self) -> NodeName {
        self.current.load().name.clone()
    }

    /// When the certificate ends.
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        self.current.load().validity.1
    }

    /// Whether two thirds of the certificate's life are over, so that a new one should be asked for.
    #[must_use]
    pub fn is_due(&self, now: SystemTime) -> bool {
        let (from, until) = self.current.load().validity;
        let life = until.duration_since(from).unwrap_or_default();
        now.duration_since(from).unwrap_or_default() >= life * 2 / 3
    }

    /// Settings of a listener. ALPN offers h2 and HTTP/1.1.
    ///
    /// # Errors
    /// [`MtlsError::Identity`] when the provider lacks what TLS 1.3 needs.
    pub fn server(&self, clients: Clients) -> Result<Arc<ServerConfig>, MtlsError> {
        let verifier = PeerClients::new(Arc::clone(&self.current), clients, Arc::clone(&self.refused));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(Shown(Arc::clone(&self.current))));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // A resumed session would keep the peer's old certificate alive.
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// Settings of connections to nodes of `pillars`. ALPN is left to the caller's client.
    ///
    /// # Errors
    /// [`MtlsError::Identity`] when the provider lacks what TLS 1.3 needs.
    pub fn client(&self, pillars: &[Pillar]) -> Result<Arc<ClientConfig>, MtlsError> {
        let current = Arc::clone(&self.current);
        let roots = move || Arc::clone(&current.load().roots);
        let servers = PeerServers::new(Box::new(roots), pillars, Arc::clone(&self.refused));
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(servers))
            .with_client_cert_resolver(Arc::new(Shown(Arc::clone(&self.current))));
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl Ready {
    fn of(identity: &Identity) -> Result<Self, MtlsError> {
        let chain = certificates(&identity.chain)?;
        let key = PrivateKeyDer::from_pem_slice(identity.key.expose_secret().as_bytes());
        let key = key.map_err(|_| MtlsError::Pem("private key"))?;
        let own = chain.first().ok_or(MtlsError::Nameless)?;
        let name = name::peer_name(own).ok_or(MtlsError::Nameless)?;
        let validity = name::validity(own).ok_or(MtlsError::Nameless)?;
        let provider = provider();
        let certified = CertifiedKey::from_der(chain, key, &provider)?;
        let mut roots = RootCertStore::empty();
        for it in certificates(&identity.authority)? {
            roots.add(it)?;
        }
        let roots = Arc::new(roots);
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider)
            .build()
            .map_err(|it| MtlsError::Identity(rustls::Error::General(it.to_string())))?;
        Ok(Self { certified: Arc::new(certified), name, validity, roots, clients })
    }
}

/// Shows the newest certificate, whichever end asks.
struct Shown(Arc<ArcSwap<Ready>>);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().certified))
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
