//! The mails of a change of address: to the new one and, where both must agree, to the old one.

use store::ServiceClient;

use super::Letters;
use crate::flow::letter::{EMAIL_CHANGE_CURRENT, EMAIL_CHANGE_NEW, Letter};
use crate::flow::token;
use crate::queries::{self, Applied, Change, Save};
use crate::request::{Context, pkce};
use crate::user::{Account, User};
use crate::{Auth, Error};

/// Write the mails about `row.email_change`, and note them in `change` and `row`.
pub(super) fn write(
    auth: &Auth,
    ctx: &Context,
    change: &mut Change,
    (row, challenge): (&mut User, Option<&pkce::Challenge>),
) -> Result<Letters, Error> {
    let mut letters = Letters::new();
    let slot = auth.outbox().reserve(&ctx.project, row.email_change_sent_at, ctx.now)?;
    row.email_change_sent_at = Some(ctx.now);
    row.email_change_confirm_status = Some(0);
    let pkce = challenge.is_some();
    let new_address = row.email_change.clone().unwrap_or_default();
    let letter = Letter::new(ctx, EMAIL_CHANGE_NEW, row, &new_address, pkce)?;
    letters.push((slot, letter.write(ctx, change)?));
    if ctx.project.auth.mailer_secure_email_change && !row.address().is_empty() {
        let slot = auth.outbox().reserve_anyway(&ctx.project, ctx.now)?;
        let letter = Letter::new(ctx, EMAIL_CHANGE_CURRENT, row, row.address(), pkce)?;
        letters.push((slot, letter.write(ctx, change)?));
    }
    change.flows.extend(token::pkce::begin(challenge, row.id, "email_change"));
    Ok(letters)
}

/// The mails of a pending change of address once more; `false` when the user changed meanwhile.
pub(in crate::flow) async fn resend(
    auth: &Auth,
    ctx: &Context,
    db: &ServiceClient,
    (account, challenge): (Account, Option<&pkce::Challenge>),
) -> Result<bool, Error> {
    let Account { user: mut row, version, .. } = account;
    let mut change = Change::new(ctx.now);
    let letters = write(auth, ctx, &mut change, (&mut row, challenge))?;
    change.save = Some(Save { version, row });
    let done = queries::apply(db, &change).await? == Applied::Done;
    if done {
        letters.into_iter().for_each(|(slot, mail)| slot.send(&ctx.project, mail));
    }
    Ok(done)
}
