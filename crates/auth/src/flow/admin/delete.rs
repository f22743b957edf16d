//! `DELETE /admin/users/{id}`: the row goes, or stays as a shell that tells nothing and can never sign in.

use serde::Deserialize;
use uuid::Uuid;

use super::user_id;
use crate::flow::{ATTEMPTS, audit};
use crate::queries::{self, Applied, Change, EndSessions, Save};
use crate::request::Context;
use crate::user::{Account, Identity, Object, User};
use crate::{Auth, Error, secret};

/// The body, which may be missing.
#[derive(Default, Deserialize)]
pub(crate) struct Fields {
    #[serde(default)]
    should_soft_delete: bool,
}

/// Delete a user.
pub(crate) async fn run(auth: &Auth, ctx: &Context, id: &str, fields: &Fields) -> Result<(), Error> {
    let id = user_id(id)?;
    for _ in 0..ATTEMPTS {
        let db = auth.database(&ctx.project).await?;
        let account = queries::by_id(&db, id).await?.ok_or(Error::AdminUserMissing)?;
        if !fields.should_soft_delete {
            let mut change = Change::new(ctx.now);
            change.audit(audit(ctx, "user_deleted", &account.user));
            queries::apply(&db, &change).await?;
            return queries::delete_user(&db, id).await;
        }
        if account.user.deleted_at.is_some() {
            return Ok(());
        }
        if queries::apply(&db, &shell(ctx, account)).await? == Applied::Done {
            // A phone factor names a person, and nobody will sign in again.
            return queries::factors::forget(&db, id).await;
        }
    }
    Err(Error::Conflict)
}

fn shell(ctx: &Context, account: Account) -> Change {
    let Account { user: mut row, version, identities, .. } = account;
    let mut change = Change::new(ctx.now);
    change.audit(audit(ctx, "user_deleted", &row));
    row.email = obscure(&row, row.email.as_deref());
    row.phone = obscure(&row, row.phone.as_deref()).map(|it| it.chars().take(15).collect());
    row.email_change = Some(String::new());
    row.phone_change = Some(String::new());
    row.encrypted_password = None;
    row.raw_user_meta_data = Some(Object::new());
    row.raw_app_meta_data = Some(Object::new());
    row.deleted_at = Some(ctx.now);
    change.clear = Some(row.id);
    change.end = Some(EndSessions { user_id: row.id, only: None, except: None });
    for identity in identities {
        // The provider's id names a person as well; and whoever comes back with it is somebody new.
        change.disown.push(identity.id);
        change.identities.push(Identity {
            id: Uuid::new_v4(),
            provider_id: obscure(&row, Some(&identity.provider_id)).unwrap_or_default(),
            identity_data: Object::new(),
            updated_at: Some(ctx.now),
            ..identity
        });
    }
    change.save = Some(Save { version, row });
    change
}

/// A digest in place of what named a person; it keeps the unique indexes happy and frees the address.
fn obscure(row: &User, text: Option<&str>) -> Option<String> {
    let text = text.filter(|it| !it.is_empty())?;
    Some(secret::stored(&format!("{}{text}", row.id)).replace(':', "-"))
}
