//! `grant_type=password`: two round trips and one hash in between, without a connection held.

use serde::Deserialize;

use crate::flow::{audit, sign_in};
use crate::password::Verdict;
use crate::queries::{self, Change, Touch};
use crate::request::{Context, text};
use crate::session::Tokens;
use crate::{Auth, Error};

/// The body.
#[derive(Deserialize)]
pub(crate) struct Fields {
    email: Option<String>,
    phone: Option<String>,
    password: Option<String>,
}

/// Sign in by e-mail and password.
pub(crate) async fn run(auth: &Auth, ctx: &Context, fields: Fields) -> Result<Tokens, Error> {
    let email = address(text(fields.email), text(fields.phone))?;
    let password = fields.password.unwrap_or_default();
    let found = {
        let db = auth.database(&ctx.project).await?;
        queries::by_email(&db, &email).await?
    };
    let stored = found.as_ref().and_then(|it| it.user.encrypted_password.as_deref());
    let verdict = auth.passwords().compare(&password, stored).await?;
    let account = match (found, verdict) {
        (Some(account), Verdict::Right | Verdict::Outdated) => account,
        (None, _) | (_, Verdict::Wrong) => return Err(Error::InvalidCredentials),
    };
    // Told only to who knows the password.
    if account.user.is_banned(ctx.now) {
        return Err(Error::BannedSignIn);
    }
    if !account.user.is_confirmed() {
        return Err(Error::EmailNotConfirmed);
    }
    let encrypted_password = match verdict {
        Verdict::Outdated => Some(auth.passwords().hash(&password).await?),
        Verdict::Right | Verdict::Wrong => None,
    };
    let user_id = account.user.id;
    let mut change = Change::new(ctx.now);
    let expected = account.user.encrypted_password.clone();
    change.touch = Some(Touch { user_id, expected, encrypted_password });
    change.audit(audit(ctx, "login", &account.user));
    let db = auth.database(&ctx.project).await?;
    sign_in(ctx, &db, change, user_id, "password").await?.ok_or(Error::InvalidCredentials)
}

fn address(email: Option<String>, phone: Option<String>) -> Result<String, Error> {
    match (email, phone) {
        (Some(_), Some(_)) => {
            Err(Error::invalid("Only an email address or phone number should be provided on login."))
        }
        (Some(email), None) => Ok(email.to_lowercase()),
        (None, Some(_)) => Err(Error::PhoneLoginsDisabled),
        (None, None) => Err(Error::invalid("missing email or phone")),
    }
}
