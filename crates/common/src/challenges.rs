//! What an authority that speaks ACME (RFC 8555) asks of a server to see that a domain is its own, and who knows the
//! answers: any proxy may be asked, so they lie where all of them can look.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use secrecy::SecretString;

/// A certificate chain and its key, both PEM.
#[derive(Clone)]
pub struct Certified {
    /// The certificate, then those that signed it.
    pub chain: String,
    /// The key.
    pub key: SecretString,
}

impl fmt::Debug for Certified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certified(..)")
    }
}

/// An answer of [`Challenges`], to be awaited; `None` when there is no such challenge now.
pub type Challenged<'a, T> = Pin<Box<dyn Future<Output = Option<T>> + Send + 'a>>;

/// Knows the answers to the challenges that are open. Asked by strangers: answers, also "no", come from memory mostly.
pub trait Challenges: fmt::Debug + Send + Sync {
    /// HTTP-01 (RFC 8555 §8.3): the key authorization of `token`.
    fn key_authorization<'a>(&'a self, token: &'a str) -> Challenged<'a, String>;

    /// TLS-ALPN-01 (RFC 8737): the certificate to show for `domain`.
    fn certificate<'a>(&'a self, domain: &'a str) -> Challenged<'a, Certified>;
}
