//! `grant_type=web3`: a wallet's owner signed a message for this very site, just now.

use common::AuthSettings;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;

use crate::flow::external::account::WEB3;
use crate::flow::external::{Arrival, Outcome, account};
use crate::providers::Profile;
use crate::request::{Context, is_allowed_redirect};
use crate::session::Tokens;
use crate::web3::{self, Chain, Message};
use crate::{Auth, Error, ExternalError, OAuthError};

/// How old, or how far ahead, a message may be.
const VALIDITY: SignedDuration = SignedDuration::from_mins(10);

/// The body.
#[derive(Default, Deserialize)]
pub(crate) struct Fields {
    chain: Option<String>,
    message: Option<String>,
    signature: Option<String>,
}

/// Whether the project knows wallets at all: told before anybody reads what was sent.
pub(crate) fn check_on(settings: &AuthSettings) -> Result<(), Error> {
    if is_on(settings, Chain::Ethereum) || is_on(settings, Chain::Solana) {
        return Ok(());
    }
    Err(ExternalError::Web3Disabled("").into())
}

/// Sign in with a wallet.
pub(crate) async fn run(auth: &Auth, ctx: &Context, fields: Fields) -> Result<Tokens, Error> {
    let settings = &ctx.project.auth;
    let chain = Chain::parse(fields.chain.as_deref().unwrap_or_default()).ok_or(ExternalError::Chain)?;
    if !is_on(settings, chain) {
        let name = match chain {
            Chain::Ethereum => "Ethereum ",
            Chain::Solana => "Solana ",
        };
        return Err(ExternalError::Web3Disabled(name).into());
    }
    let (text, signature) = (fields.message.unwrap_or_default(), fields.signature.unwrap_or_default());
    let message = web3::signed(chain, &text, &signature)?;
    check_site(chain, &message, settings)?;
    check_times(chain, &message, ctx.now)?;
    let profile = profile(chain, &message)?;
    let arrival = Arrival {
        provider: WEB3,
        profile: &profile,
        email_optional: true,
        method: WEB3,
        flow: None,
        claim: None,
        session_ends: None,
    };
    match account::sign_in(auth, ctx, &arrival).await? {
        Outcome::SignedIn(tokens) => Ok(*tokens),
        Outcome::Claimed => Err(Error::Conflict),
    }
}

fn is_on(settings: &AuthSettings, chain: Chain) -> bool {
    settings.external.get(&format!("web3_{}", chain.name())).is_some_and(|it| it.enabled)
}

fn profile(chain: Chain, message: &Message) -> Result<Profile, Error> {
    let custom = json!({
        "address": message.address, "chain": chain.name(), "network": message.chain_id,
        "domain": message.domain, "statement": message.statement.as_deref().unwrap_or_default(),
    });
    let subject = format!("{WEB3}:{}:{}", chain.name(), message.address);
    Profile::of_wallet(&subject, &custom).ok_or(Error::Conflict)
}

fn refused(description: String) -> Result<(), OAuthError> {
    Err(OAuthError::protocol("invalid_grant", description))
}

/// The message must be for us: otherwise another site's sign-in would open this one.
fn check_site(chain: Chain, message: &Message, settings: &AuthSettings) -> Result<(), OAuthError> {
    let (uri, chain) = (&message.uri, chain.label());
    let host = uri.host_str().unwrap_or_default();
    let local = host == "localhost";
    if uri.scheme() != "https" && !local {
        return refused(format!("Signed {chain} message is using URI which does not use HTTPS"));
    }
    if !is_allowed_redirect(uri.as_str(), settings) {
        return refused(format!(
            "Signed {chain} message is using URI which is not allowed on this server, message was signed for another app"
        ));
    }
    let authority = uri.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let home = format!("https://{}/", message.domain);
    // Wallets show the domain and compare it with the page, so it counts where the address is a developer's own.
    let developers = local && message.domain.split(':').next() == Some("localhost");
    let matches = local || authority == message.domain;
    if !(developers || (matches && is_allowed_redirect(&home, settings))) {
        return refused(format!(
            "Signed {chain} message is using a Domain that does not match the one in URI which is not allowed on this server"
        ));
    }
    Ok(())
}

fn check_times(chain: Chain, message: &Message, now: Timestamp) -> Result<(), OAuthError> {
    let chain = chain.label();
    if message.not_before.is_some_and(|it| now < it) {
        return refused(format!("Signed {chain} message becomes valid in the future"));
    }
    if message.expires_at.is_some_and(|it| now > it) {
        return refused(format!("Signed {chain} message is expired"));
    }
    let age = now.duration_since(message.issued_at);
    if age > VALIDITY {
        return refused(format!("{chain} message was issued too long ago"));
    }
    if age < -VALIDITY {
        return refused(format!("{chain} message was issued too far in the future"));
    }
    Ok(())
}
