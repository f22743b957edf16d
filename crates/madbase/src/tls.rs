//! HTTPS of the roles with a public door (REQ H9): the flags, and what follows from them in a running server.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use control_plane::{AcmeSettings, ChallengeKind, ControlPlane};
use gateway::{Certificates, Gateway, PemFiles, Tls, TlsSettings};
use store::Redis;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::ports::Port;

/// Certificates are looked at that often, whether a change was heard of or not.
const LOOK_EVERY: Duration = Duration::from_secs(60);

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
    /// Serve HTTPS with certificates got by ACME, one for each of these domains, separated by commas.
    #[arg(long, env = "MADBASE_ACME_DOMAIN", value_name = "DOMAIN", value_delimiter = ',', value_parser = acme_domain)]
    pub(crate) acme_domain: Vec<String>,
    /// Where the certificate authority may write to.
    #[arg(long, env = "MADBASE_ACME_EMAIL", value_name = "ADDRESS", value_parser = email)]
    pub(crate) acme_email: Option<String>,
    /// The certificate authority's directory; using it agrees to its terms.
    #[arg(
        long, env = "MADBASE_ACME_DIRECTORY", value_name = "URL", value_parser = directory,
        default_value = "https://acme-v02.api.letsencrypt.org/directory"
    )]
    pub(crate) acme_directory: String,
    /// PEM file of who signed for the directory's own TLS [default: the system's authorities].
    #[arg(long, env = "MADBASE_ACME_CA", value_name = "FILE")]
    pub(crate) acme_ca: Option<PathBuf>,
    /// How control of the domains is shown [default: one after the other].
    #[arg(long, env = "MADBASE_ACME_CHALLENGE", value_enum, value_name = "KIND")]
    pub(crate) acme_challenge: Option<Challenge>,
}

/// How control of a domain is shown.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Challenge {
    /// On port 443.
    #[value(name = "tls-alpn-01")]
    TlsAlpn,
    /// On port 80.
    #[value(name = "http-01")]
    Http,
}

/// The encrypted side of a door, before it is opened.
#[derive(Debug, Clone)]
pub(crate) struct Secure {
    /// What the listener speaks.
    tls: Tls,
    /// Its port.
    pub(crate) port: u16,
    certificates: Arc<Certificates>,
    files: Vec<PemFiles>,
    acme: Option<AcmeSettings>,
    /// Cancelled once an authority that asks finds us.
    open: CancellationToken,
}

impl Flags {
    /// What the flags ask for: certificates that can be used, and the port; nothing when they ask for nothing.
    pub(crate) fn take(&self, bind: IpAddr) -> Result<Option<(Port, Secure)>> {
        let (files, acme) = (self.files()?, self.acme()?);
        if files.is_empty() && acme.is_none() {
            return Ok(None);
        }
        let certificates = Certificates::none();
        certificates.load(&files).context("--tls-cert and --tls-key")?;
        let tls = Tls::public(Arc::clone(&certificates), TlsSettings::default())?;
        let port = Port::take(bind, self.tls_port, "--tls-port")?;
        let number = port.address().port();
        Ok(Some((
            port,
            Secure { tls, port: number, certificates, files, acme, open: CancellationToken::new() },
        )))
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

    fn acme(&self) -> Result<Option<AcmeSettings>> {
        if self.acme_domain.is_empty() {
            return Ok(None);
        }
        if let Some(root) = &self.acme_ca {
            std::fs::metadata(root).with_context(|| format!("--acme-ca: cannot read {}", root.display()))?;
        }
        Ok(Some(AcmeSettings {
            domains: self.acme_domain.clone(),
            email: self.acme_email.clone(),
            directory: self.acme_directory.clone(),
            root: self.acme_ca.clone(),
            challenge: self.acme_challenge.map(|it| match it {
                Challenge::TlsAlpn => ChallengeKind::TlsAlpn,
                Challenge::Http => ChallengeKind::Http,
            }),
        }))
    }
}

impl Secure {
    /// Let `gateway` send plain requests here; show what changes in files and in the control database, and get what is due,
    /// as long as the process runs.
    pub(crate) fn attach(&self, gateway: &Gateway, control_plane: &ControlPlane, redis: &Redis) {
        gateway.encrypt(self.tls.clone(), self.port);
        if !self.files.is_empty() {
            tokio::spawn(Arc::clone(&self.certificates).follow(self.files.clone()));
        }
        if let Some(acme) = self.acme.clone() {
            self.tls.answer_challenges(control_plane.challenges());
            tokio::spawn(share(control_plane.clone(), Arc::clone(&self.certificates)));
            let (plane, locks) = (control_plane.clone(), control_plane.locks(redis));
            let open = self.open.clone();
            tokio::spawn(async move {
                open.cancelled().await;
                plane.keep_certificates(acme, locks).await;
            });
        }
    }

    /// What the listener speaks, now that it and the plain one listen.
    pub(crate) fn open(self) -> Tls {
        self.open.cancel();
        self.tls
    }
}

/// Show what any process has got, soon after it came.
async fn share(control_plane: ControlPlane, certificates: Arc<Certificates>) {
    let mut changes = control_plane.certificate_changes();
    loop {
        match control_plane.certificates().await {
            Ok(found) => certificates.share(&found),
            Err(error) => tracing::warn!(%error, "certificates cannot be read; those before stay"),
        }
        if let Ok(None) = timeout(LOOK_EVERY, changes.next()).await {
            return;
        }
    }
}

/// A name that an authority can ask at.
fn acme_domain(text: &str) -> Result<String, &'static str> {
    let label = |it: &str| {
        (1..=63).contains(&it.len()) && it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-')
    };
    let good = text.len() <= 253 && text.contains('.') && text.split('.').all(label);
    let address = text.parse::<IpAddr>().is_ok();
    if good && !address {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(
            "a domain is letters, digits and '-' between dots, such as api.example.com; no wildcard, no address",
        )
    }
}

fn directory(text: &str) -> Result<String, &'static str> {
    let url = url::Url::parse(text).ok().filter(|it| it.scheme() == "https" && it.has_host());
    url.map(|_| text.to_owned()).ok_or("a directory is https://host/path")
}

fn email(text: &str) -> Result<String, &'static str> {
    let plain = |it: u8| it.is_ascii_graphic() && !b",;<>?&\"".contains(&it);
    let good = text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    if good && text.bytes().all(plain) { Ok(text.to_owned()) } else { Err("an address is name@host") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_for_a_name_that_the_world_can_ask_at() {
        for good in ["api.example.com", "API.Example.com", "a-b.c"] {
            assert_eq!(acme_domain(good), Ok(good.to_ascii_lowercase()));
        }
        for bad in ["", "localhost", "*.example.com", "a..b", "10.0.0.1", "a.b:443", "https://a.b", "ä.de"] {
            assert!(acme_domain(bad).is_err(), "{bad}");
        }
        assert!(directory("https://acme.example/dir").is_ok());
        assert!(directory("http://acme.example/dir").is_err());
        assert!(email("ada@example.com").is_ok());
        for bad in ["", "ada", "@x", "ada@", "a@b,c@d", "a b@c"] {
            assert!(email(bad).is_err(), "{bad}");
        }
    }
}
