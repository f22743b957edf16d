//! `POST /resend`: the last mail once more. Unknown addresses get the same answer.

use serde::Deserialize;

use super::letter::{Letter, SIGNUP, check_pace};
use super::{ATTEMPTS, audit, user};
use crate::error::AccountError;
use crate::queries::{self, Applied, Change, Save};
use crate::request::{Context, email, phone, pkce, text};
use crate::user::Account;
use crate::{Auth, Error};

/// The body.
#[derive(Deserialize)]
pub(crate) struct Fields {
    r#type: Option<String>,
    email: Option<String>,
    phone: Option<String>,
    #[serde(flatten)]
    pkce: pkce::Fields,
}

enum Kind {
    Signup,
    EmailChange,
    /// `sms` or `phone_change`.
    Sms(&'static str),
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Self::Signup => "signup",
            Self::EmailChange => "email_change",
            Self::Sms(kind) => kind,
        }
    }
}

/// Send a mail once more.
pub(crate) async fn run(auth: &Auth, ctx: &Context, fields: Fields) -> Result<(), Error> {
    let (kind, address) = parse(&fields)?;
    if let Kind::Sms(kind) = kind {
        return super::phone::resend::run(auth, ctx, (kind, &address)).await;
    }
    if !ctx.project.auth.email_enabled {
        return Err(AccountError::EmailMailsDisabled.into());
    }
    let challenge = fields.pkce.parse()?;
    check_pace(auth, ctx, &address).await?;
    for _ in 0..ATTEMPTS {
        let db = auth.database(&ctx.project).await?;
        let Some(account) = queries::by_email(&db, &address).await? else {
            return auth.outbox().pretend(&ctx.project, (kind.name(), &address), ctx.now);
        };
        let done = match kind {
            Kind::Signup if account.user.is_confirmed() => {
                return auth.outbox().pretend(&ctx.project, (kind.name(), &address), ctx.now);
            }
            Kind::Signup => confirmation(auth, ctx, &db, (account, challenge.as_ref())).await?,
            Kind::EmailChange => match text(account.user.email_change.clone()) {
                None => return auth.outbox().pretend(&ctx.project, (kind.name(), &address), ctx.now),
                Some(_) => user::resend_change(auth, ctx, &db, (account, challenge.as_ref())).await?,
            },
            Kind::Sms(_) => return Ok(()),
        };
        if done {
            return Ok(());
        }
    }
    Err(Error::Conflict)
}

fn by_number(
    kind: &'static str,
    address: Option<String>,
    phone: Option<String>,
) -> Result<(Kind, String), Error> {
    match (address, phone) {
        (Some(_), Some(_)) => {
            Err(Error::invalid("Only an email address or phone number should be provided."))
        }
        (None, Some(number)) => Ok((Kind::Sms(kind), phone::parse(&number)?)),
        (_, None) => Err(Error::invalid("Type provided requires a phone number")),
    }
}

fn parse(fields: &Fields) -> Result<(Kind, String), Error> {
    let (address, phone) = (text(fields.email.clone()), text(fields.phone.clone()));
    let kind = match fields.r#type.as_deref().unwrap_or_default() {
        "signup" => Kind::Signup,
        "email_change" => Kind::EmailChange,
        "sms" => return by_number("sms", address, phone),
        "phone_change" => return by_number("phone_change", address, phone),
        _ => {
            return Err(Error::invalid(
                "Missing one of these types: signup, email_change, sms, phone_change",
            ));
        }
    };
    match (address, phone) {
        (Some(_), Some(_)) => {
            Err(Error::invalid("Only an email address or phone number should be provided."))
        }
        (Some(address), None) => Ok((kind, email::parse(&address)?)),
        (None, Some(_)) => Err(Error::invalid("Type provided requires an email address")),
        (None, None) => Err(Error::invalid("Missing email address or phone number")),
    }
}

async fn confirmation(
    auth: &Auth,
    ctx: &Context,
    db: &store::ServiceClient,
    (account, challenge): (Account, Option<&pkce::Challenge>),
) -> Result<bool, Error> {
    let slot = auth.outbox().reserve(&ctx.project, account.user.confirmation_sent_at, ctx.now)?;
    let Account { user: mut row, version, .. } = account;
    let letter = Letter::new(ctx, SIGNUP, &row, row.address(), challenge.is_some())?;
    row.confirmation_sent_at = Some(ctx.now);
    let mut change = Change::new(ctx.now);
    change.audit(audit(ctx, "user_confirmation_requested", &row));
    let mail = letter.write(ctx, &mut change)?;
    change.flows.extend(super::token::pkce::begin(challenge, row.id, "email/signup"));
    change.save = Some(Save { version, row });
    let done = queries::apply(db, &change).await? == Applied::Done;
    if done {
        slot.send(&ctx.project, mail);
    }
    Ok(done)
}
