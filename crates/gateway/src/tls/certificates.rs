//! The certificates that a listener shows: from files, and from what proxies share. Exchanged without a lock; open
//! connections keep what they began with.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use common::Certified;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::TlsError;
use super::files::{Digest, PemFiles, digest, read};
use super::pem::Shown;
use crate::events::{self, Event};

/// All certificates of a listener. The client's server name chooses; without one, or with an unknown one, the first.
#[derive(Debug, Default)]
pub struct Certificates {
    files: ArcSwap<Vec<Shown>>,
    shared: ArcSwap<Vec<Shown>>,
    /// What the files held when they were last looked at.
    seen: Mutex<Option<Digest>>,
}

impl Certificates {
    /// None yet.
    #[must_use]
    pub fn none() -> Arc<Self> {
        Arc::default()
    }

    /// Show what `files` hold from now on; whether that is something new.
    ///
    /// # Errors
    /// [`TlsError`] names the file; what was shown stays. The same broken content is not an error twice.
    pub fn load(&self, files: &[PemFiles]) -> Result<bool, TlsError> {
        let contents = read(files);
        let now = digest(&contents);
        if self.seen.lock().unwrap_or_else(PoisonError::into_inner).replace(now) == Some(now) {
            return Ok(false);
        }
        let mut found = Vec::with_capacity(files.len());
        for (file, content) in files.iter().zip(contents) {
            found.push(Shown::read(&file.shown(), &content?)?);
        }
        tell(&found);
        self.files.store(Arc::new(found));
        Ok(true)
    }

    /// Show these beside those of files; each with its domain, for messages. Those that cannot be used are told and left out.
    pub fn share(&self, certificates: &[(String, Certified)]) {
        let mut found = Vec::with_capacity(certificates.len());
        for (domain, certified) in certificates {
            match Shown::read(domain, certified) {
                Ok(shown) => found.push(shown),
                Err(error) => events::emit(Event::CertificateRefused(&error)),
            }
        }
        tell(&found);
        self.shared.store(Arc::new(found));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.load().is_empty() && self.shared.load().is_empty()
    }

    /// The certificate for `name` among those that `usable` accepts.
    fn choose(
        &self,
        name: Option<&str>,
        usable: impl Fn(&CertifiedKey) -> bool,
    ) -> Option<Arc<CertifiedKey>> {
        let (files, shared) = (self.files.load(), self.shared.load());
        let all = || files.iter().chain(shared.iter()).filter(|it| usable(&it.certified));
        let name = name.map(str::to_ascii_lowercase);
        let exact = || all().find(|it| name.as_ref().is_some_and(|name| it.names.contains(name)));
        let wild =
            || all().find(|it| name.as_ref().is_some_and(|name| it.names.iter().any(|it| covers(it, name))));
        // A certificate for another name tells the client more than a broken connection.
        let any = || all().next().or_else(|| files.iter().chain(shared.iter()).next());
        exact().or_else(wild).or_else(any).map(|it| Arc::clone(&it.certified))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        self.choose(hello.server_name(), |it| it.key.choose_scheme(schemes).is_some())
    }
}

/// Whether the wildcard `pattern` stands for `name`: for exactly one label (RFC 6125 §6.4.3).
fn covers(pattern: &str, name: &str) -> bool {
    let parent = pattern.strip_prefix("*.");
    parent.is_some_and(|it| name.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == it))
}

fn tell(found: &[Shown]) {
    for it in found {
        events::emit(Event::CertificateShown { names: &it.names, ends: it.ends });
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn certified(names: &[&str]) -> Certified {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
        let chain = CertificateParams::new(names).unwrap().self_signed(&key).unwrap().pem();
        Certified { chain, key: key.serialize_pem().into() }
    }

    #[test]
    fn the_server_name_chooses() {
        let certificates = Certificates::none();
        assert!(certificates.is_empty() && certificates.choose(None, |_| true).is_none());
        let listed = [&["first.org"][..], &["*.example.com"], &["api.example.com", "b.org"]];
        let pairs: Vec<_> = listed.iter().map(|it| (it[0].to_owned(), certified(it))).collect();
        certificates.share(&pairs);
        let shown = certificates.shared.load();
        let check = |name: Option<&str>| {
            let chosen = certificates.choose(name, |_| true).unwrap();
            shown.iter().position(|it| Arc::ptr_eq(&it.certified, &chosen)).unwrap()
        };
        for (name, expected) in [
            ("first.org", 0),
            ("api.example.com", 2),
            ("API.Example.COM", 2),
            ("b.org", 2),
            ("x.example.com", 1),
            ("x.y.example.com", 0),
            ("example.com", 0),
            ("unknown.org", 0),
        ] {
            assert_eq!(check(Some(name)), expected, "{name}");
        }
        assert_eq!(check(None), 0);
        let none_usable = certificates.choose(Some("b.org"), |_| false).unwrap();
        assert!(Arc::ptr_eq(&none_usable, &shown[0].certified));
    }

    #[test]
    fn what_cannot_be_used_is_left_out() {
        let certificates = Certificates::none();
        let alien = Certified { key: certified(&["a.org"]).key, ..certified(&["a.org"]) };
        let broken = Certified { chain: "none".into(), ..certified(&["b.org"]) };
        certificates.share(&[("a.org".into(), alien), ("b.org".into(), broken)]);
        assert!(certificates.is_empty());
    }
}
