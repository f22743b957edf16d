//! `grant_type=password`: two round trips and one hash in between, without a connection held.

use serde::Deserialize;

use crate::error::{AccountError, PhoneError};
use crate::flow::{audit, sign_in};
use crate::password::Verdict;
use crate::queries::{self, Change, Touch};
use crate::request::{Context, phone, text};
use crate::session::Tokens;
use crate::{Auth, Error, hooks};

/// The body.
#[derive(Deserialize)]
pub(crate) struct Fields {
    email: Option<String>,
    phone: Option<String>,
    password: Option<String>,
}

/// Who signs in.
enum By {
    /// In lower case.
    Email(String),
    /// Digits only.
    Phone(String),
}

/// Sign in by e-mail or phone, and password.
pub(crate) async fn run(auth: &Auth, ctx: &Context, fields: Fields) -> Result<Tokens, Error> {
    let by = address(ctx, text(fields.email), text(fields.phone))?;
    let password = fields.password.unwrap_or_default();
    let found = {
        let db = auth.database(&ctx.project).await?;
        match &by {
            By::Email(email) => queries::by_email(&db, email).await?,
            By::Phone(phone) => queries::by_phone(&db, phone).await?,
        }
    };
    let stored = found.as_ref().and_then(|it| it.user.encrypted_password.as_deref());
    let verdict = auth.passwords().compare(&password, stored).await?;
    if let Some(account) = &found {
        hooks::password_attempt(ctx, account, verdict != Verdict::Wrong).await?;
    }
    let account = match (found, verdict) {
        (Some(account), Verdict::Right | Verdict::Outdated) => account,
        (None, _) | (_, Verdict::Wrong) => return Err(Error::InvalidCredentials),
    };
    // Told only to who knows the password.
    if account.user.is_banned(ctx.now) {
        return Err(Error::BannedSignIn);
    }
    match by {
        By::Email(_) if !account.user.is_confirmed() => return Err(Error::EmailNotConfirmed),
        By::Phone(_) if account.user.phone_confirmed_at.is_none() => {
            return Err(PhoneError::NotConfirmed.into());
        }
        By::Email(_) | By::Phone(_) => {}
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

fn address(ctx: &Context, email: Option<String>, phone: Option<String>) -> Result<By, Error> {
    match (email, phone) {
        (Some(_), Some(_)) => {
            Err(Error::invalid("Only an email address or phone number should be provided on login."))
        }
        (Some(_), None) if !ctx.project.auth.email_enabled => Err(AccountError::EmailLoginsDisabled.into()),
        (Some(email), None) => Ok(By::Email(email.to_lowercase())),
        (None, Some(_)) if !ctx.project.auth.phone_enabled => Err(PhoneError::LoginsDisabled.into()),
        (None, Some(number)) => Ok(By::Phone(phone::bare(&number))),
        (None, None) => Err(Error::invalid("missing email or phone")),
    }
}
