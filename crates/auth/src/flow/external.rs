//! Sign-in by an identity provider: to it ([`start`]), back from it ([`callback`]), and who that is ([`account`]).
//!
//! The state that travels is the random id of a row: it works once, for five minutes, and says nothing. What the
//! client may not see (our half of PKCE, the provider's tokens) stays in the database, sealed.

pub(crate) mod account;
mod callback;
mod link;
mod start;

#[cfg(feature = "saml")]
pub(crate) use account::ORGANISATION;
pub(crate) use account::{Arrival, Outcome};
pub(crate) use callback::{Landing, run as callback, token_context};
pub(crate) use link::link;
pub(crate) use start::{Parameters, linking, run as start};

use crate::providers::{self, NotFound, Provider};
use crate::request::Context;
use crate::{Auth, Error};

/// `authentication_method` of these flows, and `amr` of their sessions.
pub(crate) const METHOD: &str = "oauth";

/// The provider `name` of the project, ready for use.
async fn provider(auth: &Auth, ctx: &Context, name: &str) -> Result<Provider, NotFound> {
    let settings = &ctx.project.auth;
    if !name.starts_with("custom:") || settings.external.contains_key(name) {
        return providers::find(auth.providers(), settings, name).await;
    }
    if !settings.custom_providers {
        return Err(NotFound::Because("custom OAuth providers are disabled".into()));
    }
    let (custom, secret) = {
        let db = auth.database(&ctx.project).await.map_err(NotFound::Failed)?;
        match super::admin::custom::find(&db, ctx, name).await.map_err(NotFound::Failed)? {
            None => return Err(NotFound::Because(format!("custom provider {name} not found"))),
            Some((custom, _)) if !custom.enabled => {
                return Err(NotFound::Because(format!("custom provider {name} is disabled")));
            }
            Some(found) => found,
        }
    };
    providers::of_custom(auth.providers(), &custom, secret).await
}

impl NotFound {
    /// As a refusal: `words` makes one of what the client may read.
    fn into_error(self, words: impl FnOnce(String) -> crate::ExternalError) -> Error {
        match self {
            Self::Because(text) => words(text).into(),
            Self::Failed(error) => error,
        }
    }
}

/// Where providers send users back to.
fn redirect_uri(ctx: &Context) -> String {
    format!("{}/callback", ctx.issuer())
}
