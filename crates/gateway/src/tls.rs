//! TLS on a listener (REQ H9): handshakes with a bound on their time and number, HTTP/2 or HTTP/1.1 by ALPN.
//!
//! [`Tls::public`] shows the world the certificates of [`Certificates`], which may change at any time, and answers the
//! TLS-ALPN-01 challenges of ACME (RFC 8737). [`Tls::between_nodes`] takes ready settings, which ask nodes for theirs.

mod certificates;
mod crowd;
mod files;
mod pem;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use common::{Challenges, NodeName};
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::{Acceptor, ClientHello};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

pub use certificates::Certificates;
pub use files::PemFiles;

use self::crowd::Crowd;
use crate::events::{self, Event};
use crate::rate_limit::counted;

/// The protocol in which authorities ask (RFC 8737 §3).
const CHALLENGE: &[u8] = b"acme-tls/1";
/// TLS 1.2 is still spoken by clients that are in use.
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// Why certificates or settings are of no use; says which file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {file}: {source}")]
    File {
        /// Its path.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no certificate where one should be.
    #[error("{place} holds no certificate in PEM form")]
    NoCertificate {
        /// The file, or the domain.
        place: String,
    },
    /// There is no key where one should be.
    #[error("{place} holds no private key in PEM form")]
    NoKey {
        /// The file, or the domain.
        place: String,
    },
    /// Certificate and key do not fit, or are of a kind that cannot be used.
    #[error("the certificate of {place} cannot be used: {source}")]
    Unfit {
        /// The file, or the domain.
        place: String,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The cryptographic library lacks something.
    #[error("TLS is not available: {0}")]
    Provider(#[source] rustls::Error),
}

/// Bounds of handshakes.
#[derive(Debug, Clone, Copy)]
pub struct TlsSettings {
    /// From the connection's start to the end of its handshake. Default 10 s.
    pub handshake_timeout: Duration,
    /// Handshakes under way at once; further ones wait within the same time. Default 256.
    pub max_handshakes: usize,
    /// Those of one address, or of one network of 64 bits by IPv6. Default 32.
    pub max_handshakes_of_one: usize,
    /// Open connections between nodes whose client shows no certificate; further ones are closed. Default 64.
    pub max_strangers: usize,
    /// How long such a connection may be silent, or not take its answer. Default 10 s.
    pub stranger_timeout: Duration,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            max_handshakes: 256,
            max_handshakes_of_one: 32,
            max_strangers: 64,
            stranger_timeout: Duration::from_secs(10),
        }
    }
}

/// What a listener needs to speak TLS. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    inner: Arc<Inner>,
}

struct Inner {
    config: Arc<ServerConfig>,
    certificates: Option<Arc<Certificates>>,
    challenges: OnceLock<Arc<dyn Challenges>>,
    settings: TlsSettings,
    handshakes: Semaphore,
    crowd: Crowd,
    /// Places for those without a certificate, where others have one.
    strangers: Option<Arc<Semaphore>>,
}

/// What the handshake told about the peer.
#[derive(Debug)]
pub(crate) struct Met<S> {
    pub(crate) stream: TlsStream<S>,
    /// The node that the peer's certificate names.
    pub(crate) node: Option<NodeName>,
    /// Of a peer without a certificate, where others have one.
    pub(crate) stranger: Option<Stranger>,
}

/// The place of a connection whose peer is nobody known.
#[derive(Debug)]
pub(crate) struct Stranger {
    _place: OwnedSemaphorePermit,
    /// How long it may be silent.
    pub(crate) timeout: Duration,
}

/// How a handshake ended without a connection.
#[derive(Debug)]
pub(crate) enum NoStream {
    /// An authority asked, and got its answer or none.
    Challenge { answered: bool },
    /// The peer's doing, or its loss.
    Failed(io::Error),
    /// It took too long.
    Late,
    /// All places for peers without a certificate are taken.
    Crowded,
}

impl Tls {
    /// For everybody, with `certificates`.
    ///
    /// # Errors
    /// [`TlsError::Provider`] when TLS 1.2 or 1.3 cannot be had.
    pub fn public(certificates: Arc<Certificates>, settings: TlsSettings) -> Result<Self, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&VERSIONS)
            .map_err(TlsError::Provider)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificates) as Arc<_>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = Ticketer::new().map_err(TlsError::Provider)?;
        Ok(Self::build(Arc::new(config), Some(certificates), settings))
    }

    /// For nodes, by settings of `store::mtls`.
    #[must_use]
    pub fn between_nodes(config: Arc<ServerConfig>, settings: TlsSettings) -> Self {
        Self::build(config, None, settings)
    }

    fn build(
        config: Arc<ServerConfig>,
        certificates: Option<Arc<Certificates>>,
        settings: TlsSettings,
    ) -> Self {
        let handshakes = Semaphore::new(settings.max_handshakes.min(Semaphore::MAX_PERMITS));
        let challenges = OnceLock::new();
        let crowd = Crowd::new(settings.max_handshakes_of_one);
        let places = || Arc::new(Semaphore::new(settings.max_strangers.min(Semaphore::MAX_PERMITS)));
        let strangers = certificates.is_none().then(places);
        let inner = Inner { config, certificates, challenges, settings, handshakes, crowd, strangers };
        Self { inner: Arc::new(inner) }
    }

    /// Answer authorities from `challenges`, by TLS-ALPN-01 here and by HTTP-01 in the gateway that knows this. Only the
    /// first call counts.
    pub fn answer_challenges(&self, challenges: Arc<dyn Challenges>) {
        let _ = self.inner.challenges.set(challenges);
    }

    /// Whether a client could be let in now.
    pub(crate) fn has_certificates(&self) -> bool {
        self.inner.certificates.as_ref().is_none_or(|it| !it.is_empty())
    }

    pub(crate) fn challenges(&self) -> Option<&Arc<dyn Challenges>> {
        self.inner.challenges.get()
    }

    /// The handshake on a fresh connection from `address`.
    pub(crate) async fn accept<S>(&self, stream: S, address: IpAddr) -> Option<Met<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let outcome = timeout(self.inner.settings.handshake_timeout, self.shake(stream, address)).await;
        match outcome.unwrap_or(Err(NoStream::Late)) {
            Ok(met) => {
                events::emit(Event::Encrypted);
                Some(met)
            }
            Err(why) => {
                events::emit(Event::NotEncrypted(&why));
                None
            }
        }
    }

    async fn shake<S>(&self, stream: S, address: IpAddr) -> Result<Met<S>, NoStream>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // Who says nothing holds no permit.
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await.map_err(NoStream::Failed)?;
        let asked = challenged_domain(&start.client_hello());
        let visitor = self.inner.crowd.enter(counted(address));
        let _share = visitor.permit().await.ok_or(NoStream::Late)?;
        let _permit = self.inner.handshakes.acquire().await.map_err(|_| NoStream::Late)?;
        let Some(domain) = asked else {
            let config = Arc::clone(&self.inner.config);
            let stream = start.into_stream(config).await.map_err(NoStream::Failed)?;
            let shown = stream.get_ref().1.peer_certificates();
            let node = shown.and_then(|it| store::mtls::peer_name(it.first()?));
            let stranger = if node.is_none() { self.place()? } else { None };
            return Ok(Met { stream, node, stranger });
        };
        let Some(config) = self.challenge(&domain).await else {
            return Err(NoStream::Challenge { answered: false });
        };
        let mut stream = start.into_stream(config).await.map_err(NoStream::Failed)?;
        let _the_answer_was_the_certificate = stream.shutdown().await;
        Err(NoStream::Challenge { answered: true })
    }

    /// A place for a peer without a certificate, if there are but few.
    fn place(&self) -> Result<Option<Stranger>, NoStream> {
        let Some(strangers) = &self.inner.strangers else { return Ok(None) };
        let place = Arc::clone(strangers).try_acquire_owned().map_err(|_all_taken| NoStream::Crowded)?;
        Ok(Some(Stranger { _place: place, timeout: self.inner.settings.stranger_timeout }))
    }

    /// Settings that show the answer to the challenge of `domain`.
    async fn challenge(&self, domain: &str) -> Option<Arc<ServerConfig>> {
        let answer = self.inner.challenges.get()?.certificate(domain).await?;
        let certified = pem::unread(domain, &answer).ok()?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&VERSIONS)
            .ok()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![CHALLENGE.to_vec()];
        Some(Arc::new(config))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

/// The domain that an authority asks about, when that is who comes: it offers its one protocol and nothing else.
fn challenged_domain(hello: &ClientHello<'_>) -> Option<String> {
    let mut offered = hello.alpn()?;
    let only = offered.next() == Some(CHALLENGE) && offered.next().is_none();
    hello.server_name().filter(|_| only).map(str::to_ascii_lowercase)
}
