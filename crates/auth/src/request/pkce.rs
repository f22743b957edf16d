//! PKCE (RFC 7636): a challenge given at the start, a verifier shown at the end.

use serde::Deserialize;

use super::text;
use crate::{Error, secret};

/// The fields of a body that begin a PKCE flow.
#[derive(Clone, Default, Deserialize)]
pub(crate) struct Fields {
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
}

/// A checked challenge.
#[derive(Clone)]
pub(crate) struct Challenge {
    pub(crate) challenge: String,
    /// `s256` or `plain`.
    pub(crate) method: String,
}

impl Fields {
    /// From two texts of a query.
    pub(crate) fn new(challenge: Option<&str>, method: Option<&str>) -> Self {
        Self {
            code_challenge: challenge.map(str::to_owned),
            code_challenge_method: method.map(str::to_owned),
        }
    }

    /// Both fields or none.
    ///
    /// # Errors
    /// [`Error::Invalid`] when one is missing or malformed.
    pub(crate) fn parse(self) -> Result<Option<Challenge>, Error> {
        match (text(self.code_challenge), text(self.code_challenge_method)) {
            (None, None) => Ok(None),
            (Some(challenge), Some(method)) => Challenge::parse(challenge, &method).map(Some),
            _ => Err(Error::invalid("PKCE flow requires code_challenge_method and code_challenge")),
        }
    }
}

impl Challenge {
    fn parse(challenge: String, method: &str) -> Result<Self, Error> {
        if !(43..=128).contains(&challenge.len()) {
            return Err(Error::invalid("code challenge has to be between 43 and 128 characters"));
        }
        if !challenge.bytes().all(|it| it.is_ascii_alphanumeric() || b"-._~".contains(&it)) {
            return Err(Error::invalid(
                "code challenge can only contain alphanumeric characters, hyphens, periods, underscores and tildes",
            ));
        }
        let method = method.to_ascii_lowercase();
        if !matches!(method.as_str(), "s256" | "plain") {
            return Err(Error::invalid("Invalid code_challenge_method"));
        }
        Ok(Self { challenge, method })
    }
}

/// Whether `verifier` belongs to a challenge made by `method`.
pub(crate) fn fits(challenge: &str, method: &str, verifier: &str) -> bool {
    match method {
        "s256" => secret::same(&secret::s256(verifier), challenge),
        "plain" => secret::same(verifier, challenge),
        _ => false,
    }
}
