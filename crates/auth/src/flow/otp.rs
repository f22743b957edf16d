//! `POST /otp` and `POST /magiclink`: sign in by a code or link; new users are signed up on the way.

use serde::Deserialize;

use super::ATTEMPTS;
use super::letter::{RECOVERY, check_pace};
use super::phone::otp as by_phone;
use super::phone::signup::NewPhoneUser;
use super::recover::send_magic_link;
use super::signup::{self, NewUser};
use crate::error::AccountError;
use crate::queries::{self, Applied, Change};
use crate::request::{Context, email, phone, pkce, text};
use crate::sms::Channel;
use crate::user::{Object, User, check_metadata};
use crate::{Auth, Error, hooks};

/// The body.
#[derive(Deserialize)]
pub(crate) struct Fields {
    email: Option<String>,
    phone: Option<String>,
    create_user: Option<bool>,
    data: Option<Object>,
    channel: Option<String>,
    #[serde(flatten)]
    pkce: pkce::Fields,
}

/// `POST /otp`: an address or a phone number; for a number, the SMS provider's id of the message.
pub(crate) async fn run(auth: &Auth, ctx: &Context, fields: Fields) -> Result<Option<String>, Error> {
    check_metadata(fields.data.as_ref())?;
    match (text(fields.email.clone()), text(fields.phone.clone())) {
        (Some(_), Some(_)) => Err(Error::invalid("Only an email address or phone number should be provided")),
        (Some(_), None) if text(fields.channel.clone()).is_some() => {
            Err(Error::invalid("Channel should only be specified with Phone OTP"))
        }
        (Some(_), None) => magic_link(auth, ctx, fields).await.map(|()| None),
        (None, Some(number)) => {
            let new = NewPhoneUser {
                phone: phone::parse(&number)?,
                password: None,
                data: fields.data.unwrap_or_default(),
                channel: Channel::parse(fields.channel, &ctx.project.auth)?,
            };
            by_phone::run(auth, ctx, new, fields.create_user != Some(false)).await
        }
        (None, None) => Err(Error::invalid("One of email or phone must be set")),
    }
}

/// `POST /magiclink`: an address.
pub(crate) async fn magic_link(auth: &Auth, ctx: &Context, fields: Fields) -> Result<(), Error> {
    let Some(address) = text(fields.email) else {
        return Err(Error::invalid("Password recovery requires an email"));
    };
    if !ctx.project.auth.email_enabled {
        return Err(AccountError::EmailLoginsDisabled.into());
    }
    let address = email::parse(&address)?;
    let challenge = fields.pkce.parse()?;
    let data = fields.data.unwrap_or_default();
    check_metadata(Some(&data))?;
    check_pace(auth, ctx, &address).await?;
    for _ in 0..ATTEMPTS {
        let db = auth.database(&ctx.project).await?;
        let account = match queries::by_email(&db, &address).await? {
            Some(account) if account.user.is_confirmed() => account,
            None if ctx.project.auth.conceal_accounts
                && (fields.create_user == Some(false) || ctx.project.auth.disable_signup) =>
            {
                return auth.outbox().pretend(&ctx.project, (RECOVERY.kind, &address), ctx.now);
            }
            None if fields.create_user == Some(false) => return Err(Error::OtpDisabled),
            None if ctx.project.auth.disable_signup => return Err(Error::SignupDisabled),
            Some(account) if ctx.project.auth.mailer_autoconfirm => account,
            None if ctx.project.auth.mailer_autoconfirm => {
                create(ctx, &db, &address, data.clone()).await?;
                continue;
            }
            Some(_) | None => {
                drop(db);
                let new = NewUser { email: address, password: None, data, challenge };
                // The confirmation mail signs in as well.
                return signup::by_email(auth, ctx, new).await.map(drop);
            }
        };
        if send_magic_link(auth, ctx, &db, (account, challenge.as_ref())).await? {
            return Ok(());
        }
    }
    Err(Error::Conflict)
}

/// A new user whose address will be confirmed by the link.
async fn create(
    ctx: &Context,
    db: &store::ServiceClient,
    address: &str,
    data: Object,
) -> Result<Applied, Error> {
    let mut user = User::new(Some(address.to_owned()), data.clone(), ctx.now);
    let mut change = Change::new(ctx.now);
    change.identities.push(signup::described(&mut user, &data));
    change.audit(super::audit(ctx, "user_signedup", &user));
    change.create.push(user);
    hooks::before_created(ctx, &change.create).await?;
    queries::apply(db, &change).await
}
