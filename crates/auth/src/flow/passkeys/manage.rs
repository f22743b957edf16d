//! Passkeys listed, renamed and deleted: by their users, and by the service key.

use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{are_on, audit, keeper};
use crate::error::PasskeyError;
use crate::flow::whoami::SignedIn;
use crate::flow::{admin, whoami};
use crate::queries::factors::told;
use crate::queries::passkeys::{self, Passkey, PasskeyEdit};
use crate::request::{Context, text};
use crate::user::Account;
use crate::{Auth, Error};

/// The longest name, in bytes.
const MAX_NAME: usize = 120;

/// The body of a change.
#[derive(Deserialize)]
pub(crate) struct Fields {
    friendly_name: Option<String>,
}

/// `GET /passkeys`.
pub(crate) async fn list(auth: &Auth, ctx: &Context) -> Result<Vec<Value>, Error> {
    are_on(ctx)?;
    let SignedIn { account, db, .. } = whoami::signed_in(auth, ctx).await?;
    Ok(passkeys::list(&db, account.user.id).await?.iter().map(view).collect())
}

/// `PATCH /passkeys/{id}`.
pub(crate) async fn rename(auth: &Auth, ctx: &Context, id: &str, fields: Fields) -> Result<Value, Error> {
    are_on(ctx)?;
    let SignedIn { account, db, .. } = whoami::signed_in(auth, ctx).await?;
    let id: Uuid = id.parse().map_err(|_| PasskeyError::Missing)?;
    let name = text(fields.friendly_name).ok_or(Error::invalid("friendly_name is required"))?;
    if name.len() > MAX_NAME {
        return Err(Error::invalid("friendly_name must be 120 characters or less"));
    }
    let told = told(audit(ctx, "passkey_updated", &account.user, id));
    let user_id = account.user.id;
    let edit = PasskeyEdit { now: ctx.now, id, user_id, friendly_name: Some(name), audit: told };
    if !passkeys::edit(&db, &edit).await? {
        return Err(PasskeyError::Missing.into());
    }
    let renamed = passkeys::list(&db, user_id).await?.into_iter().find(|it| it.id == id);
    renamed.as_ref().map(view).ok_or(Error::Passkey(PasskeyError::Missing))
}

/// `DELETE /passkeys/{id}`.
pub(crate) async fn delete(auth: &Auth, ctx: &Context, id: &str) -> Result<(), Error> {
    are_on(ctx)?;
    let SignedIn { account, db, .. } = keeper(auth, ctx).await?;
    drop(db);
    remove(auth, ctx, &account, id).await
}

/// `GET /admin/users/{id}/passkeys`.
pub(crate) async fn list_of(auth: &Auth, ctx: &Context, user_id: &str) -> Result<Vec<Value>, Error> {
    let account = admin::read(auth, ctx, user_id).await?;
    let db = auth.database(&ctx.project).await?;
    Ok(passkeys::list(&db, account.user.id).await?.iter().map(view).collect())
}

/// `DELETE /admin/users/{id}/passkeys/{passkey_id}`.
pub(crate) async fn delete_of(auth: &Auth, ctx: &Context, (user_id, id): (&str, &str)) -> Result<(), Error> {
    let account = admin::read(auth, ctx, user_id).await?;
    remove(auth, ctx, &account, id).await
}

async fn remove(auth: &Auth, ctx: &Context, account: &Account, id: &str) -> Result<(), Error> {
    let id: Uuid = id.parse().map_err(|_| PasskeyError::Missing)?;
    let told = told(audit(ctx, "passkey_deleted", &account.user, id));
    let edit = PasskeyEdit { now: ctx.now, id, user_id: account.user.id, friendly_name: None, audit: told };
    let db = auth.database(&ctx.project).await?;
    if passkeys::edit(&db, &edit).await? { Ok(()) } else { Err(PasskeyError::Missing.into()) }
}

fn view(passkey: &Passkey) -> Value {
    let mut view = json!({"id": passkey.id, "created_at": passkey.created_at});
    if let Some(map) = view.as_object_mut() {
        if !passkey.friendly_name.is_empty() {
            map.insert("friendly_name".into(), passkey.friendly_name.as_str().into());
        }
        if let Some(used) = passkey.last_used_at {
            map.insert("last_used_at".into(), used.to_string().into());
        }
    }
    view
}
