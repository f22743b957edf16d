//! `PUT /admin/users/{id}`.

use super::create::hash;
use super::{UserFields, banned_until, user_id};
use crate::flow::{ATTEMPTS, audit};
use crate::queries::{self, Applied, Change, EndSessions, Save};
use crate::request::{Context, email, phone, text};
use crate::user::{Account, EMAIL, Identity, Object, PHONE, User, check_metadata, merge};
use crate::{Auth, Error, password};

/// Change a user, without mail.
pub(crate) async fn run(auth: &Auth, ctx: &Context, id: &str, fields: UserFields) -> Result<Account, Error> {
    let id = user_id(id)?;
    if let Some(plain) = text(fields.password.clone()) {
        password::check_strength(&plain, &ctx.project.auth)?;
        password::breach::check(ctx, &plain).await?;
    }
    let hash = hash(auth, &fields).await?;
    for _ in 0..ATTEMPTS {
        let db = auth.database(&ctx.project).await?;
        let account = queries::by_id(&db, id).await?.ok_or(Error::AdminUserMissing)?;
        let change = decide(ctx, account, &fields, hash.clone())?;
        match queries::apply_and_read(&db, &change, id).await? {
            (Applied::Done, Some(account)) => return Ok(account),
            (Applied::Taken, _) if text(fields.email.clone()).is_none() => return Err(Error::PhoneExists),
            (Applied::Taken, _) => return Err(Error::EmailExists),
            (Applied::Done | Applied::Stale, _) => {}
        }
    }
    Err(Error::Conflict)
}

fn decide(
    ctx: &Context,
    account: Account,
    fields: &UserFields,
    hash: Option<String>,
) -> Result<Change, Error> {
    let (identity, by_phone) = (account.email_identity().cloned(), account.phone_identity().cloned());
    let Account { user: mut row, version, .. } = account;
    let mut change = Change::new(ctx.now);
    if let Some(address) = text(fields.email.clone()) {
        row.email = Some(email::parse(&address)?);
    }
    if fields.email_confirm == Some(true) && !row.is_confirmed() {
        row.confirm(ctx.now);
        change.clear = Some(row.id);
    }
    if text(fields.email.clone()).is_some() || (fields.email_confirm == Some(true) && identity.is_some()) {
        row.add_provider(EMAIL);
        row.is_anonymous = false;
        change.identities.push(email_identity(ctx, &row, identity));
    }
    if fields.phone_confirm == Some(true) {
        row.phone_confirmed_at = Some(ctx.now);
    }
    if let Some(number) = text(fields.phone.clone()) {
        row.phone = Some(phone::parse(&number)?);
        row.add_provider(PHONE);
        row.is_anonymous = false;
        change.identities.push(phone_identity(ctx, &row, by_phone));
    }
    if let Some(hash) = hash {
        row.encrypted_password = Some(hash);
        change.end = Some(EndSessions { user_id: row.id, only: None, except: None });
    }
    row.role = text(fields.role.clone()).or(row.role);
    row.aud = text(fields.aud.clone()).or(row.aud);
    merge(&mut row.raw_user_meta_data, fields.user_metadata.clone().unwrap_or_default());
    merge(&mut row.raw_app_meta_data, fields.app_metadata.clone().unwrap_or_default());
    if fields.user_metadata.is_some() {
        check_metadata(row.raw_user_meta_data.as_ref())?;
    }
    if fields.app_metadata.is_some() {
        check_metadata(row.raw_app_meta_data.as_ref())?;
    }
    if let Some(duration) = text(fields.ban_duration.clone()) {
        row.banned_until = banned_until(&duration, ctx.now)?;
    }
    change.audit(audit(ctx, "user_modified", &row));
    change.save = Some(Save { version, row });
    Ok(change)
}

fn email_identity(ctx: &Context, row: &User, identity: Option<Identity>) -> Identity {
    let Some(mut identity) = identity else {
        return Identity::email(row, row.is_confirmed(), &Object::new()).made(ctx.now);
    };
    identity.identity_data.insert("email".into(), row.address().into());
    identity.identity_data.insert("email_verified".into(), row.is_confirmed().into());
    identity.updated_at = Some(ctx.now);
    identity
}

fn phone_identity(ctx: &Context, row: &User, identity: Option<Identity>) -> Identity {
    let verified = row.phone_confirmed_at.is_some();
    let Some(mut identity) = identity else {
        return Identity::phone(row, verified, &Object::new()).made(ctx.now);
    };
    identity.identity_data.insert("phone".into(), row.phone.clone().into());
    identity.identity_data.insert("phone_verified".into(), verified.into());
    identity.updated_at = Some(ctx.now);
    identity
}
