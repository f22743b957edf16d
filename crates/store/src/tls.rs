//! TLS to PostgreSQL, as `libpq` has it: what a URL says about it (`sslmode`, `sslrootcert`, `sslcert`, `sslkey`), and the
//! handshake on a connected socket.
//!
//! | `sslmode` | encrypted | the server's certificate |
//! |---|---|---|
//! | `disable` | no | – |
//! | `allow`, `prefer` (default) | if the server can | not looked at |
//! | `require` | yes | not looked at, unless `sslrootcert` is given: then as `verify-ca` |
//! | `verify-ca` | yes | signed by a known authority |
//! | `verify-full` | yes | signed by a known authority, for this host |
//!
//! Without `sslrootcert`, or with `sslrootcert=system`, the system's authorities are the known ones. Unix sockets are not
//! encrypted.

mod parameters;
mod verify;

use std::io;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) use parameters::{Parameters, split};

/// `SSLRequest`: length 8, code 1234.5679.
const REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// The protocol's name in the handshake; needed where the handshake comes without a request.
const PROTOCOL: &[u8] = b"postgresql";

/// Whether and how connections are encrypted.
#[derive(Clone)]
pub(crate) struct Tls {
    /// `None`: never.
    connector: Option<TlsConnector>,
    /// A connection that cannot be encrypted is none.
    required: bool,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("offered", &self.connector.is_some())
            .field("required", &self.required)
            .finish()
    }
}

/// What `sslmode` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl Tls {
    /// As `parameters` say; reads the files that they name.
    ///
    /// # Errors
    /// A sentence about the parameter or the file.
    pub(crate) fn new(parameters: &Parameters) -> Result<Self, String> {
        let root = parameters.root.as_deref();
        let mode = match parameters.mode {
            Mode::Require if root.is_some() => Mode::VerifyCa,
            mode => mode,
        };
        if mode == Mode::Disable {
            return Ok(Self { connector: None, required: false });
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = verify::verifier(mode, || authorities(root), &provider)?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|it| it.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match (&parameters.certificate, &parameters.key) {
            (None, None) => config.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let chain = certificates("sslcert", certificate)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|it| format!("sslkey={key}: {it}"))?;
                config.with_client_auth_cert(chain, key).map_err(|it| format!("sslcert and sslkey: {it}"))?
            }
            _ => return Err("sslcert and sslkey go together".into()),
        };
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self { connector: Some(TlsConnector::from(Arc::new(config))), required: mode >= Mode::Require })
    }

    /// Encrypt a fresh connection to `host`; `directly` leaves the request out (`sslnegotiation=direct`).
    ///
    /// # Errors
    /// Of kind `Unsupported` when trying again is of no use: a server without TLS, or a certificate that is refused.
    pub(crate) async fn encrypt(
        &self,
        mut stream: TcpStream,
        host: &str,
        directly: bool,
    ) -> io::Result<Encrypted> {
        let Some(connector) = &self.connector else { return Ok(Encrypted::No(stream)) };
        if !directly {
            stream.write_all(&REQUEST).await?;
            // Nothing but this byte is read in the clear, so nothing can be slipped in before the handshake.
            match stream.read_u8().await? {
                b'S' => {}
                _ if self.required => {
                    return Err(refused("the server does not speak TLS, as sslmode demands"));
                }
                b'N' => return Ok(Encrypted::No(stream)),
                _ => return Ok(Encrypted::Again),
            }
        }
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| refused("the host is no name for TLS"))?;
        match connector.connect(name, stream).await {
            Ok(stream) => Ok(Encrypted::Yes(Box::new(stream))),
            Err(_) if !self.required => Ok(Encrypted::Again),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(refused(format!("TLS: {error}"))),
            Err(error) => Err(error),
        }
    }
}

/// The outcome of [`Tls::encrypt`].
pub(crate) enum Encrypted {
    Yes(Box<TlsStream<TcpStream>>),
    /// The connection stays as it is.
    No(TcpStream),
    /// It is spoilt; another one may do without TLS.
    Again,
}

fn refused(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why)
}

fn certificates(name: &str, path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |it: rustls::pki_types::pem::Error| format!("{name}={path}: {it}");
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(wrong)?.collect();
    match found.map_err(wrong)? {
        empty if empty.is_empty() => Err(format!("{name}={path} holds no certificate in PEM form")),
        found => Ok(found),
    }
}

/// Those that may sign a server's certificate.
fn authorities(root: Option<&str>) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    match root {
        None | Some("system") => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(
                    "this system has no certificate authorities; name yours by sslrootcert=FILE".into()
                );
            }
        }
        Some(path) => {
            for certificate in certificates("sslrootcert", path)? {
                store.add(certificate).map_err(|it| format!("sslrootcert={path}: {it}"))?;
            }
        }
    }
    Ok(store)
}

/// What signs and checks.
type Provider = Arc<CryptoProvider>;
