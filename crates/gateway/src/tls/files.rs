//! Certificates in files: read as a whole, looked at again each second, whoever replaces them and however.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use common::Certified;
use secrecy::ExposeSecret as _;
use tokio::time::{MissedTickBehavior, interval};

use super::{Certificates, TlsError};
use crate::events::{self, Event};

/// The largest file that is read.
const MAX_BYTES: u64 = 1024 * 1024;
/// Between looks. A stolen key is replaced by hand; whoever does that looks at the result.
const EVERY: Duration = Duration::from_secs(1);

/// A certificate chain and its key in PEM files; both may be one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemFiles {
    /// The certificate, then those that signed it.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl PemFiles {
    pub(super) fn shown(&self) -> String {
        if self.certificate == self.key {
            return self.certificate.display().to_string();
        }
        format!("{} with {}", self.certificate.display(), self.key.display())
    }
}

pub(super) type Digest = [u8; 32];

/// What the files hold.
pub(super) fn read(files: &[PemFiles]) -> Vec<Result<Certified, TlsError>> {
    let both = |it: &PemFiles| Ok(Certified { chain: text(&it.certificate)?, key: text(&it.key)?.into() });
    files.iter().map(both).collect()
}

/// Equal for equal contents and equal failures.
pub(super) fn digest(contents: &[Result<Certified, TlsError>]) -> Digest {
    let mut context = Context::new(&SHA256);
    for it in contents {
        let mut add = |part: &str| {
            context.update(&part.len().to_be_bytes());
            context.update(part.as_bytes());
        };
        match it {
            Ok(it) => {
                add(&it.chain);
                add(it.key.expose_secret());
            }
            Err(error) => add(&error.to_string()),
        }
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

fn text(path: &Path) -> Result<String, TlsError> {
    let failed = |source| TlsError::File { file: path.display().to_string(), source };
    let mut text = String::new();
    let mut file = File::open(path).map_err(failed)?.take(MAX_BYTES + 1);
    let bytes = file.read_to_string(&mut text).map_err(failed)?;
    if bytes as u64 > MAX_BYTES {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB")));
    }
    Ok(text)
}

impl Certificates {
    /// Show what is new in `files`, for as long as this is polled. A broken file is told once, and what was shown stays.
    pub async fn follow(self: Arc<Self>, files: Vec<PemFiles>) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (certificates, files) = (Arc::clone(&self), files.clone());
            let looked = tokio::task::spawn_blocking(move || certificates.load(&files)).await;
            match looked {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => events::emit(Event::CertificateRefused(&error)),
                // The runtime ends.
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pair(name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn a_broken_file_is_an_error_once_and_the_next_good_one_counts() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
        let files = [PemFiles { certificate: certificate.clone(), key: key.clone() }];
        let certificates = Certificates::none();
        let missing = certificates.load(&files).unwrap_err().to_string();
        assert!(missing.contains("c.pem"), "{missing}");
        let (one, other) = (pair("one.org"), pair("two.org"));
        std::fs::write(&certificate, &one.0).unwrap();
        std::fs::write(&key, &one.1).unwrap();
        assert!(certificates.load(&files).unwrap());
        assert!(!certificates.load(&files).unwrap());
        // The certificate comes first, its key a moment later.
        std::fs::write(&certificate, &other.0).unwrap();
        assert!(matches!(certificates.load(&files), Err(TlsError::Unfit { .. })));
        assert!(!certificates.load(&files).unwrap(), "told once");
        assert!(!certificates.is_empty());
        std::fs::write(&key, &other.1).unwrap();
        assert!(certificates.load(&files).unwrap());
        std::fs::write(&key, "-----BEGIN PRIVATE KEY-----\n").unwrap();
        assert!(matches!(certificates.load(&files), Err(TlsError::NoKey { .. })));
        std::fs::write(&key, "x".repeat(2 << 20)).unwrap();
        assert!(matches!(certificates.load(&files), Err(TlsError::File { .. })));
    }

    #[test]
    fn one_file_may_hold_both() {
        let folder = tempfile::tempdir().unwrap();
        let both = folder.path().join("both.pem");
        let (certificate, key) = pair("one.org");
        std::fs::write(&both, key + &certificate).unwrap();
        let files = [PemFiles { certificate: both.clone(), key: both }];
        assert!(Certificates::none().load(&files).unwrap());
    }
}
