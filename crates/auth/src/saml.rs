//! SAML 2.0, our side of it (the service provider): what identity providers publish ([`metadata`]), how we ask them
//! ([`request`]), and what their answers are worth ([`response`]). No database, no network, no clock.
//!
//! An answer passes three gates. [`xml`] reads a strict subset, in which parsers cannot disagree. [`shape`] refuses
//! whatever could hold a second assertion or a signature over something else. The library verifies the signature and
//! the conditions; [`assertion`] checks the conditions again, on the very element whose signature was verified.

pub(crate) mod assertion;
mod key;
pub(crate) mod mapping;
pub(crate) mod metadata;
mod request;
mod response;
mod shape;
mod xml;

pub(crate) use assertion::Assertion;
pub(crate) use key::{ServiceKey, StoredKey};
pub(crate) use metadata::IdpMetadata;
pub(crate) use request::{Ask, sign_in_url};
pub(crate) use response::{Expected, FormError, Message, read};

/// Namespace of requests and responses.
const PROTOCOL: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
/// Namespace of assertions.
const ASSERTION: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
/// Namespace of metadata.
const METADATA: &str = "urn:oasis:names:tc:SAML:2.0:metadata";
/// Namespace of signatures.
const SIGNATURE: &str = "http://www.w3.org/2000/09/xmldsig#";
/// A page that the browser is sent to.
const REDIRECT: &str = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect";
/// A form that the browser sends.
const POST: &str = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST";

/// How far clocks of providers may be off.
pub(crate) const SKEW_SECS: i64 = 180;
/// For how long after it was issued an assertion may arrive.
pub(crate) const LIFETIME_SECS: i64 = 600;

/// How providers may name users.
pub(crate) const NAME_ID_FORMATS: [&str; 4] =
    [assertion::PERSISTENT, assertion::EMAIL, assertion::TRANSIENT, assertion::UNSPECIFIED];

/// Why a message is refused; for the log only, so that nobody learns by trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refusal(pub(crate) &'static str);

/// Our names towards providers.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    /// Who we are.
    pub(crate) entity_id: String,
    /// Where answers are posted.
    pub(crate) acs: String,
}

impl Service {
    /// The service whose auth is reached at `issuer`.
    pub(crate) fn new(issuer: &str) -> Self {
        Self { entity_id: format!("{issuer}/sso/saml/metadata"), acs: format!("{issuer}/sso/saml/acs") }
    }
}

/// Text for an element or a quoted attribute.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for it in text.chars() {
        match it {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            other => out.push(other),
        }
    }
    out
}
