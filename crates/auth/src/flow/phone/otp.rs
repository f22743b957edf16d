//! `POST /otp` with a phone number: a code that signs in; new users are signed up on the way.

use super::code::{CONFIRMATION, Code, Recipient};
use super::signup::{self, NewPhoneUser};
use crate::error::PhoneError;
use crate::flow::{ATTEMPTS, audit};
use crate::queries::{self, Applied, Change, Save};
use crate::request::Context;
use crate::user::Account;
use crate::{Auth, Error};

/// Send a code to `new.phone`; the provider's id of the message, if it told one.
pub(crate) async fn run(
    auth: &Auth,
    ctx: &Context,
    new: NewPhoneUser,
    create_user: bool,
) -> Result<Option<String>, Error> {
    let settings = &ctx.project.auth;
    if !settings.phone_enabled {
        return Err(PhoneError::Unsupported.into());
    }
    let mut sent = None;
    for _ in 0..ATTEMPTS {
        let found = {
            let db = auth.database(&ctx.project).await?;
            queries::by_phone(&db, &new.phone).await?
        };
        let done = match found {
            None if !create_user => return Err(Error::OtpDisabled),
            None if settings.disable_signup => return Err(Error::SignupDisabled),
            Some(account) if account.user.phone_confirmed_at.is_some() => {
                known(auth, ctx, &new, (account, &mut sent)).await?
            }
            found => signup::waiting(auth, ctx, (&new, None), (found, &mut sent)).await?.is_some(),
        };
        if done {
            return Ok(sent.and_then(|it: Code| it.message_id));
        }
    }
    Err(Error::Conflict)
}

async fn known(
    auth: &Auth,
    ctx: &Context,
    new: &NewPhoneUser,
    (account, sent): (Account, &mut Option<Code>),
) -> Result<bool, Error> {
    let Account { user: mut row, version, .. } = account;
    let code = match sent.take() {
        Some(code) => code,
        None => {
            let to = Recipient { phone: &new.phone, channel: new.channel, last: row.confirmation_sent_at };
            Code::send(auth, ctx, CONFIRMATION, to).await?
        }
    };
    row.confirmation_sent_at = Some(ctx.now);
    let mut change = Change::new(ctx.now);
    change.audit(audit(ctx, "user_recovery_requested", &row));
    change.mail.push(code.row(ctx, row.id));
    change.save = Some(Save { version, row });
    *sent = Some(code);
    let db = auth.database(&ctx.project).await?;
    Ok(queries::apply(&db, &change).await? == Applied::Done)
}
