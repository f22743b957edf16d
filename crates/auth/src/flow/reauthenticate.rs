//! `GET /reauthenticate`: a nonce by mail, or by SMS without an address, which a new password may need.

use super::letter::{self, Letter};
use super::phone::code::{Code, REAUTHENTICATION, Recipient};
use super::whoami::SignedIn;
use super::{ATTEMPTS, audit, whoami};
use crate::error::{AccountError, PhoneError};
use crate::mail::{Mail, Slot};
use crate::queries::{self, Applied, Change, Save};
use crate::request::Context;
use crate::sms::Channel;
use crate::user::{Account, User};
use crate::{Auth, Error};

/// Send the caller a nonce; the SMS provider's id of the message, if it told one.
pub(crate) async fn run(auth: &Auth, ctx: &Context) -> Result<Option<String>, Error> {
    let mut sent: Option<Code> = None;
    for _ in 0..ATTEMPTS {
        let SignedIn { account, db, .. } = whoami::signed_in(auth, ctx).await?;
        drop(db);
        let Account { user: mut row, version, .. } = account;
        check(&row)?;
        let mut change = Change::new(ctx.now);
        let (mut letter, mut message_id) = (None, None);
        if row.address().is_empty() {
            let code = match sent.take() {
                Some(code) => code,
                None => by_sms(auth, ctx, &row).await?,
            };
            change.mail.push(code.row(ctx, row.id));
            message_id.clone_from(&sent.insert(code).message_id);
        } else {
            letter = Some(by_mail(auth, ctx, &row, &mut change)?);
        }
        row.reauthentication_sent_at = Some(ctx.now);
        change.audit(audit(ctx, "user_reauthenticate_requested", &row));
        change.save = Some(Save { version, row });
        let db = auth.database(&ctx.project).await?;
        if queries::apply(&db, &change).await? == Applied::Done {
            if let Some((slot, mail)) = letter {
                slot.send(&ctx.project, mail);
            }
            return Ok(message_id);
        }
    }
    Err(Error::Conflict)
}

fn check(user: &User) -> Result<(), Error> {
    if user.address().is_empty() && user.number().is_empty() {
        return Err(Error::invalid("Reauthentication requires the user to have an email or a phone number"));
    }
    if !user.address().is_empty() {
        return if user.is_confirmed() { Ok(()) } else { Err(AccountError::VerifyEmailFirst.into()) };
    }
    if user.phone_confirmed_at.is_some() { Ok(()) } else { Err(PhoneError::VerifyFirst.into()) }
}

async fn by_sms(auth: &Auth, ctx: &Context, user: &User) -> Result<Code, Error> {
    let to = Recipient { phone: user.number(), channel: Channel::Sms, last: user.reauthentication_sent_at };
    Code::send(auth, ctx, REAUTHENTICATION, to).await
}

fn by_mail(auth: &Auth, ctx: &Context, user: &User, change: &mut Change) -> Result<(Slot, Mail), Error> {
    let slot = auth.outbox().reserve(&ctx.project, user.reauthentication_sent_at, ctx.now)?;
    let letter = Letter::new(ctx, letter::REAUTHENTICATION, user, user.address(), false)?;
    Ok((slot, letter.write(ctx, change)?))
}
