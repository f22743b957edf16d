//! `POST /admin/users`.

use uuid::Uuid;

use super::{UserFields, banned_until};
use crate::flow::audit;
use crate::queries::{self, Applied, Change};
use crate::request::{Context, email, phone, text};
use crate::user::{Account, Identity, Object, PHONE, User, check_metadata};
use crate::{Auth, Error, hooks, password};

/// A new user, without mail.
pub(crate) async fn run(auth: &Auth, ctx: &Context, fields: UserFields) -> Result<Account, Error> {
    let mut user = new_user(ctx, &fields)?;
    if let Some(plain) = text(fields.password.clone()) {
        password::breach::check(ctx, &plain).await?;
    }
    user.encrypted_password = hash(auth, &fields).await?;
    let mut change = Change::new(ctx.now);
    if !user.address().is_empty() {
        change.identities.push(Identity::email(&user, user.is_confirmed(), &Object::new()));
    }
    if user.phone.is_some() {
        change.identities.push(Identity::phone(&user, user.phone_confirmed_at.is_some(), &Object::new()));
    }
    change.audit(audit(ctx, "user_signedup", &user));
    let (user_id, by_phone) = (user.id, user.address().is_empty());
    change.create.push(user);
    hooks::before_created(ctx, &change.create).await?;
    let db = auth.database(&ctx.project).await?;
    match queries::apply_and_read(&db, &change, user_id).await? {
        (Applied::Done, Some(account)) => Ok(account),
        (Applied::Taken, _) if by_phone => Err(Error::PhoneExists),
        (Applied::Taken, _) => Err(Error::EmailExists),
        (Applied::Done | Applied::Stale, _) => Err(Error::Conflict),
    }
}

/// The hash of the new password, or the hash handed in.
pub(super) async fn hash(auth: &Auth, fields: &UserFields) -> Result<Option<String>, Error> {
    match (text(fields.password.clone()), text(fields.password_hash.clone())) {
        (Some(_), Some(_)) => Err(Error::invalid("Only a password or a password hash should be provided")),
        (Some(plain), None) => auth.passwords().hash(&plain).await.map(Some),
        (None, Some(hash)) if password::is_readable(&hash) => Ok(Some(hash)),
        (None, Some(_)) => Err(Error::invalid("The password hash is neither bcrypt nor argon2")),
        (None, None) => Ok(None),
    }
}

fn new_user(ctx: &Context, fields: &UserFields) -> Result<User, Error> {
    let address = text(fields.email.clone()).map(|it| email::parse(&it)).transpose()?;
    let number = text(fields.phone.clone()).map(|it| phone::parse(&it)).transpose()?;
    if address.is_none() && number.is_none() {
        return Err(Error::invalid("Cannot create a user without either an email or phone"));
    }
    if let Some(plain) = text(fields.password.clone()) {
        password::check_strength(&plain, &ctx.project.auth)?;
    }
    check_metadata(fields.user_metadata.as_ref())?;
    check_metadata(fields.app_metadata.as_ref())?;
    let mut user = User::new(address, fields.user_metadata.clone().unwrap_or_default(), ctx.now);
    user.is_anonymous = false;
    if let Some(id) = text(fields.id.clone()) {
        user.id = id.parse().map_err(|_| Error::invalid("ID must conform to the uuid v4 format"))?;
        if user.id == Uuid::nil() {
            return Err(Error::invalid("ID cannot be a nil uuid"));
        }
    }
    if number.is_some() {
        user.add_provider(PHONE);
    }
    user.phone = number;
    if fields.email_confirm == Some(true) && !user.address().is_empty() {
        user.confirm(ctx.now);
    }
    if fields.phone_confirm == Some(true) && user.phone.is_some() {
        user.phone_confirmed_at = Some(ctx.now);
    }
    user.aud = text(fields.aud.clone()).or(user.aud);
    user.role = text(fields.role.clone()).or(user.role);
    crate::user::merge(&mut user.raw_app_meta_data, fields.app_metadata.clone().unwrap_or_default());
    if let Some(duration) = text(fields.ban_duration.clone()) {
        user.banned_until = banned_until(&duration, ctx.now)?;
    }
    Ok(user)
}
