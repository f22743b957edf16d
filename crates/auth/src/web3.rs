//! Wallets: the message that somebody signed, and whether the signature is that of the address in it. Pure.
//!
//! The message is the one of EIP-4361 (Sign-In with Ethereum) and of its sibling for Solana.

mod ethereum;
mod message;
mod solana;

pub(crate) use message::Message;

use crate::{Error, OAuthError};

/// Which chain's wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chain {
    Ethereum,
    Solana,
}

impl Chain {
    /// From the name that requests carry.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "ethereum" => Some(Self::Ethereum),
            "solana" => Some(Self::Solana),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ethereum => "ethereum",
            Self::Solana => "solana",
        }
    }

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Ethereum => "Ethereum",
            Self::Solana => "Solana",
        }
    }
}

/// Read `text` and check that the owner of the address in it signed it.
///
/// # Errors
/// [`Error::Invalid`] for what cannot be read, [`OAuthError::Protocol`] for a signature of somebody else.
pub(crate) fn signed(chain: Chain, text: &str, signature: &str) -> Result<Message, Error> {
    if text.len() < 64 {
        return Err(Error::invalid("message is too short"));
    }
    if text.len() > 20 * 1024 {
        return Err(Error::invalid("message must not exceed 20KB"));
    }
    let signature = match chain {
        Chain::Ethereum => ethereum::parse_signature(signature)?,
        Chain::Solana => solana::parse_signature(signature)?,
    };
    let message = Message::parse(chain, text).map_err(|it| Error::Invalid(it.into()))?;
    let right = match chain {
        Chain::Ethereum => ethereum::verify(text, &message.address, &signature),
        Chain::Solana => solana::verify(text, (&message.address, &message.domain), &signature),
    };
    if right {
        return Ok(message);
    }
    Err(OAuthError::protocol("invalid_grant", "Signature does not match address in message").into())
}
