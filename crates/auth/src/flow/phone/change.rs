//! A new phone number of a signed-in user: at once where confirmations are off, else by a code to the new number.

use super::code::{Code, PHONE_CHANGE, Recipient};
use crate::flow::audit;
use crate::queries::Change;
use crate::request::Context;
use crate::sms::Channel;
use crate::user::{Identity, Object, PHONE, User};
use crate::{Auth, Error};

/// A number that a user wants to have.
pub(crate) struct NewNumber {
    /// Digits only.
    pub(crate) phone: String,
    pub(crate) channel: Channel,
}

/// Send the code that proves `new`.
pub(crate) async fn send(auth: &Auth, ctx: &Context, user: &User, new: &NewNumber) -> Result<Code, Error> {
    let to = Recipient { phone: &new.phone, channel: new.channel, last: user.phone_change_sent_at };
    Code::send(auth, ctx, PHONE_CHANGE, to).await
}

/// Note in `change` and `row` that `code` was sent to `phone`.
pub(crate) fn wait(ctx: &Context, change: &mut Change, row: &mut User, (phone, code): (&str, &Code)) {
    row.phone_change = Some(phone.to_owned());
    row.phone_change_sent_at = Some(ctx.now);
    change.mail.push(code.row(ctx, row.id));
}

/// The number in `row.phone_change` is proved: it replaces the old one in the row and in the identity by phone.
pub(crate) fn finish(ctx: &Context, change: &mut Change, row: &mut User, identity: Option<Identity>) {
    row.phone = row.phone_change.replace(String::new());
    row.confirm_phone(ctx.now);
    row.add_provider(PHONE);
    let mut identity = identity.unwrap_or_else(|| Identity::phone(row, true, &Object::new()).made(ctx.now));
    identity.identity_data.insert("phone".into(), row.number().into());
    identity.identity_data.insert("phone_verified".into(), true.into());
    identity.updated_at = Some(ctx.now);
    change.identities.push(identity);
    change.clear = Some(row.id);
    change.audit(audit(ctx, "user_modified", row));
}
