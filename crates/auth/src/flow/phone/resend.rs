//! `POST /resend` with a phone number: the last SMS once more. Unknown numbers get the same answer, so it never
//! holds the provider's id of the message.

use super::code::{CONFIRMATION, Code, PHONE_CHANGE, Purpose, Recipient};
use crate::error::PhoneError;
use crate::flow::{ATTEMPTS, audit};
use crate::queries::{self, Applied, Change, Save};
use crate::request::{Context, text};
use crate::sms::Channel;
use crate::user::{Account, User};
use crate::{Auth, Error};

/// Send the code of `purpose` once more to the user with the number `phone`.
pub(crate) async fn run(
    auth: &Auth,
    ctx: &Context,
    (kind, phone): (&'static str, &str),
) -> Result<(), Error> {
    if !ctx.project.auth.phone_enabled {
        return Err(PhoneError::ResendDisabled.into());
    }
    let purpose = if kind == "sms" { CONFIRMATION } else { PHONE_CHANGE };
    let mut sent: Option<Code> = None;
    for _ in 0..ATTEMPTS {
        let found = {
            let db = auth.database(&ctx.project).await?;
            queries::by_phone(&db, phone).await?
        };
        let target = found.as_ref().and_then(|it| recipient(&it.user, purpose));
        let (Some(Account { user: mut row, version, .. }), Some((to, last))) = (found, target) else {
            return auth.sms().pretend(&ctx.project, (kind, phone), ctx.now);
        };
        let code = match sent.take() {
            Some(code) => code,
            None => {
                Code::send(auth, ctx, purpose, Recipient { phone: &to, channel: Channel::Sms, last }).await?
            }
        };
        if purpose.token_type == CONFIRMATION.token_type {
            row.confirmation_sent_at = Some(ctx.now);
        } else {
            row.phone_change_sent_at = Some(ctx.now);
        }
        let mut change = Change::new(ctx.now);
        change.audit(audit(ctx, "user_recovery_requested", &row));
        change.mail.push(code.row(ctx, row.id));
        change.save = Some(Save { version, row });
        sent = Some(code);
        let db = auth.database(&ctx.project).await?;
        if queries::apply(&db, &change).await? == Applied::Done {
            return Ok(());
        }
    }
    Err(Error::Conflict)
}

/// The number that the code goes to, if one is waited for, and when it got the last one.
fn recipient(user: &User, purpose: Purpose) -> Option<(String, Option<jiff::Timestamp>)> {
    if purpose.token_type == CONFIRMATION.token_type {
        let waiting = user.phone_confirmed_at.is_none();
        waiting.then(|| (user.number().to_owned(), user.confirmation_sent_at))
    } else {
        text(user.phone_change.clone()).map(|it| (it, user.phone_change_sent_at))
    }
}
