//! HTTPS of the roles with a public door (REQ H9): the flags, and what follows from them in a running server.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use gateway::{Certificates, Gateway, PemFiles, Tls, TlsSettings};
use std::net::IpAddr;

use crate::ports::Port;

/// The flags.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Serve HTTPS with these certificates: PEM files, each the certificate and those that signed it, separated by commas.
    #[arg(long, env = "MADBASE_TLS_CERT", value_name = "FILE", value_delimiter = ',')]
    pub(crate) tls_cert: Vec<PathBuf>,
    /// The keys of --tls-cert, in the same order.
    #[arg(long, env = "MADBASE_TLS_KEY", value_name = "FILE", value_delimiter = ',')]
    pub(crate) tls_key: Vec<PathBuf>,
    /// Port of HTTPS, when there are certificates.
    #[arg(long, env = "MADBASE_TLS_PORT", default_value_t = 443, value_name = "PORT")]
    pub(crate) tls_port: u16,
}

/// The encrypted side of a door, before it is opened.
#[derive(Debug, Clone)]
pub(crate) struct Secure {
    /// What the listener speaks.
    pub(crate) tls: Tls,
    /// Its port.
    pub(crate) port: u16,
    certificates: Arc<Certificates>,
    files: Vec<PemFiles>,
}

impl Flags {
    /// What the flags ask for: certificates that can be used, and the port; nothing when they ask for nothing.
    pub(crate) fn take(&self, bind: IpAddr) -> Result<Option<(Port, Secure)>> {
        let files = self.files()?;
        if files.is_empty() {
            return Ok(None);
        }
        let certificates = Certificates::none();
        certificates.load(&files).context("--tls-cert and --tls-key")?;
        let tls = Tls::public(Arc::clone(&certificates), TlsSettings::default())?;
        let port = Port::take(bind, self.tls_port, "--tls-port")?;
        let number = port.address().port();
        Ok(Some((port, Secure { tls, port: number, certificates, files })))
    }

    fn files(&self) -> Result<Vec<PemFiles>> {
        if self.tls_cert.len() != self.tls_key.len() {
            bail!(
                "--tls-cert names {} files and --tls-key {}: name one key for each certificate",
                self.tls_cert.len(),
                self.tls_key.len()
            );
        }
        let both = self.tls_cert.iter().zip(&self.tls_key);
        Ok(both.map(|it| PemFiles { certificate: it.0.clone(), key: it.1.clone() }).collect())
    }
}

impl Secure {
    /// Let `gateway` send plain requests here, and show what changes in the files as long as the process runs.
    pub(crate) fn attach(&self, gateway: &Gateway) {
        gateway.encrypt(self.tls.clone(), self.port);
        if !self.files.is_empty() {
            tokio::spawn(Arc::clone(&self.certificates).follow(self.files.clone()));
        }
    }
}
