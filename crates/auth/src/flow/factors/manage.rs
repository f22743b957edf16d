//! Factors removed by their users, and listed, renamed and removed by the service key.

use serde::Deserialize;
use uuid::Uuid;

use super::{Kind, Owned, audit, find, owned};
use crate::error::FactorError;
use crate::flow::admin;
use crate::queries::Applied;
use crate::queries::factors::{self, Edit, Removal, told};
use crate::request::{Context, phone, text};
use crate::user::{Account, Factor};
use crate::{Auth, Error};

/// The body of an administrator's change.
#[derive(Deserialize)]
pub(crate) struct Fields {
    friendly_name: Option<String>,
    phone: Option<String>,
}

/// `DELETE /factors/{id}`: remove a factor of the caller.
pub(crate) async fn unenroll(auth: &Auth, ctx: &Context, id: &str) -> Result<Uuid, Error> {
    let Owned { account, session, factor, kind, db } = owned(auth, ctx, id).await?;
    if factor.is_verified() && !session.is_aal2() {
        return Err(FactorError::UnenrollNeedsAal2.into());
    }
    let removal = removal(ctx, (&account, &factor, kind), "unenroll_factor");
    match factors::remove(&db, &removal).await? {
        Applied::Done => Ok(factor.id),
        Applied::Stale | Applied::Taken => Err(FactorError::Missing.into()),
    }
}

/// `GET /admin/users/{id}/factors`.
pub(crate) async fn list(auth: &Auth, ctx: &Context, user_id: &str) -> Result<Vec<Factor>, Error> {
    admin::read(auth, ctx, user_id).await.map(|it| it.factors)
}

/// `PUT /admin/users/{id}/factors/{factor_id}`.
pub(crate) async fn edit(
    auth: &Auth,
    ctx: &Context,
    (user_id, id): (&str, &str),
    fields: Fields,
) -> Result<Factor, Error> {
    let account = admin::read(auth, ctx, user_id).await?;
    let factor = find(&account, id)?;
    let name = text(fields.friendly_name);
    let number = text(fields.phone).filter(|_| factor.factor_type == Kind::Phone.name());
    let change = Edit {
        now: ctx.now,
        user_id: account.user.id,
        factor_id: factor.id,
        friendly_name: name.clone(),
        phone: number.map(|it| phone::parse(&it)).transpose()?,
        audit: told(audit(ctx, "update_factor", &account.user, factor.id)),
    };
    let db = auth.database(&ctx.project).await?;
    match factors::edit(&db, &change).await? {
        Applied::Done => {}
        Applied::Taken if name.is_some() => {
            return Err(FactorError::NameTaken(name.unwrap_or_default()).into());
        }
        Applied::Taken => return Err(FactorError::PhoneTaken.into()),
        Applied::Stale => return Err(FactorError::Missing.into()),
    }
    drop(db);
    find(&admin::read(auth, ctx, user_id).await?, id)
}

/// `DELETE /admin/users/{id}/factors/{factor_id}`: as it was before.
pub(crate) async fn delete(auth: &Auth, ctx: &Context, (user_id, id): (&str, &str)) -> Result<Factor, Error> {
    let account = admin::read(auth, ctx, user_id).await?;
    let factor = find(&account, id)?;
    let kind = Kind::parse(&factor.factor_type)?;
    let db = auth.database(&ctx.project).await?;
    let removal = removal(ctx, (&account, &factor, kind), "factor_deleted");
    match factors::remove(&db, &removal).await? {
        Applied::Done => Ok(factor),
        Applied::Stale | Applied::Taken => Err(FactorError::Missing.into()),
    }
}

fn removal(
    ctx: &Context,
    (account, factor, kind): (&Account, &Factor, Kind),
    action: &'static str,
) -> Removal {
    Removal {
        now: ctx.now,
        user_id: account.user.id,
        factor_id: factor.id,
        method: kind.method(),
        audit: told(audit(ctx, action, &account.user, factor.id)),
    }
}
