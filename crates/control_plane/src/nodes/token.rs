//! Join tokens: `mbj1.<id>.<secret>.<SHA-256 of the authority's certificate>`.
//!
//! The hash lets a node that knows nothing yet recognise the system node; the secret lets it in, once.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{Error, random};

const PREFIX: &str = "mbj1";

/// A token; shown in full by [`JoinToken::reveal`] only.
#[derive(Clone)]
pub struct JoinToken {
    pub(super) id: String,
    secret: SecretString,
    authority: String,
}

impl JoinToken {
    /// A new one, for clusters whose authority has this fingerprint.
    pub(super) fn fresh(authority: String) -> Result<Self, Error> {
        Ok(Self { id: random::base62(10)?, secret: random::base62(40)?.into(), authority })
    }

    /// SHA-256 of the authority's certificate, in hexadecimal.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The text. A secret: whoever has it can join.
    #[must_use]
    pub fn reveal(&self) -> SecretString {
        format!("{PREFIX}.{}.{}.{}", self.id, self.secret.expose_secret(), self.authority).into()
    }

    /// What is kept of the secret.
    pub(super) fn hash(&self) -> Vec<u8> {
        digest(&SHA256, self.secret.expose_secret().as_bytes()).as_ref().to_vec()
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The text is no join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a join token is mbj1.<id>.<secret>.<hash>, as `madbase cluster join-token` prints it")]
pub struct JoinTokenError;

impl FromStr for JoinToken {
    type Err = JoinTokenError;

    fn from_str(text: &str) -> Result<Self, JoinTokenError> {
        let parts: Vec<&str> = text.trim().split('.').collect();
        let [PREFIX, id, secret, authority] = parts.as_slice() else { return Err(JoinTokenError) };
        let alphanumeric = |it: &str, lengths: std::ops::RangeInclusive<usize>| {
            lengths.contains(&it.len()) && it.bytes().all(|it| it.is_ascii_alphanumeric())
        };
        let hash = authority.len() == 64 && authority.bytes().all(|it| it.is_ascii_hexdigit());
        if !(alphanumeric(id, 4..=32) && alphanumeric(secret, 20..=100) && hash) {
            return Err(JoinTokenError);
        }
        Ok(Self {
            id: (*id).to_owned(),
            secret: (*secret).to_owned().into(),
            authority: authority.to_ascii_lowercase(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_being_written_and_hides_its_secret() {
        let token = JoinToken::fresh("ab".repeat(32)).unwrap();
        let text = token.reveal();
        let read: JoinToken = text.expose_secret().parse().unwrap();
        assert_eq!((&read.id, read.hash(), read.authority()), (&token.id, token.hash(), token.authority()));
        assert!(!format!("{token:?}").contains(token.secret.expose_secret()));
        let one_less = &text.expose_secret()[..text.expose_secret().len() - 1];
        for bad in ["", "mbj1", "mbj2.aaaaaa.b.c", one_less, "mbj1.a.b.c.d"] {
            assert!(bad.parse::<JoinToken>().is_err(), "{bad}");
        }
    }
}
