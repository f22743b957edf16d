//! `POST /recover`: a mail that signs in to set a new password. Unknown addresses get the same answer.

use serde::Deserialize;
use store::ServiceClient;

use super::letter::{Letter, MAGIC_LINK, Purpose, RECOVERY, check_pace};
use super::{ATTEMPTS, audit};
use crate::error::AccountError;
use crate::queries::{self, Applied, Change, Save};
use crate::request::{Context, email, pkce, text};
use crate::user::Account;
use crate::{Auth, Error};

/// The body.
#[derive(Deserialize)]
pub(crate) struct Fields {
    email: Option<String>,
    #[serde(flatten)]
    pkce: pkce::Fields,
}

/// Mail a link that signs in.
pub(crate) async fn run(auth: &Auth, ctx: &Context, fields: Fields) -> Result<(), Error> {
    let Some(address) = text(fields.email) else {
        return Err(Error::invalid("Password recovery requires an email"));
    };
    if !ctx.project.auth.email_enabled {
        return Err(AccountError::EmailMailsDisabled.into());
    }
    let address = email::parse(&address)?;
    let challenge = fields.pkce.parse()?;
    check_pace(auth, ctx, &address).await?;
    for _ in 0..ATTEMPTS {
        let db = auth.database(&ctx.project).await?;
        let Some(account) = queries::by_email(&db, &address).await? else {
            return auth.outbox().pretend(&ctx.project, (RECOVERY.kind, &address), ctx.now);
        };
        if send(auth, ctx, &db, (account, RECOVERY, challenge.as_ref())).await? {
            return Ok(());
        }
    }
    Err(Error::Conflict)
}

/// Mail a link that signs in without a password; `false` when the user changed meanwhile.
pub(super) async fn send_magic_link(
    auth: &Auth,
    ctx: &Context,
    db: &ServiceClient,
    (account, challenge): (Account, Option<&pkce::Challenge>),
) -> Result<bool, Error> {
    send(auth, ctx, db, (account, MAGIC_LINK, challenge)).await
}

async fn send(
    auth: &Auth,
    ctx: &Context,
    db: &ServiceClient,
    (account, purpose, challenge): (Account, Purpose, Option<&pkce::Challenge>),
) -> Result<bool, Error> {
    let slot = auth.outbox().reserve(&ctx.project, account.user.recovery_sent_at, ctx.now)?;
    let Account { user: mut row, version, .. } = account;
    let letter = Letter::new(ctx, purpose, &row, row.address(), challenge.is_some())?;
    row.recovery_sent_at = Some(ctx.now);
    let mut change = Change::new(ctx.now);
    change.audit(audit(ctx, "user_recovery_requested", &row));
    let mail = letter.write(ctx, &mut change)?;
    change.flows.extend(super::token::pkce::begin(challenge, row.id, purpose.kind));
    change.save = Some(Save { version, row });
    let done = queries::apply(db, &change).await? == Applied::Done;
    if done {
        slot.send(&ctx.project, mail);
    }
    Ok(done)
}
