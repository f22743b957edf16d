//! The project as an identity provider for others: OAuth 2.1 with OpenID Connect.
//!
//! A client sends the user here ([`authorize`]), the site asks the user ([`consent`]), the client exchanges the code
//! ([`token`]). PKCE is a must, redirect addresses are compared letter by letter, secrets and codes are kept as digests.
//! Off by default: then every route answers 404.

pub(crate) mod authorize;
pub(crate) mod client;
pub(crate) mod consent;
pub(crate) mod credentials;
pub(crate) mod grants;
pub(crate) mod token;
pub(crate) mod userinfo;

use crate::request::Context;
use crate::{Error, OAuthError};

/// The scopes that there are.
pub(crate) const SCOPES: [&str; 5] = ["openid", "profile", "email", "phone", "offline_access"];

/// Refuse when the project is no identity provider.
pub(crate) fn enabled(ctx: &Context) -> Result<(), Error> {
    if ctx.project.auth.oauth_server.enabled { Ok(()) } else { Err(OAuthError::Disabled.into()) }
}

/// The scopes of a text with spaces between.
fn scopes(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').map(str::trim).filter(|it| !it.is_empty())
}

fn has_scope(text: &str, scope: &str) -> bool {
    scopes(text).any(|it| it == scope)
}
