//! `GET` and `DELETE /user/oauth/grants`: what a user has granted, and taking it back.

use serde_json::{Value, json};
use uuid::Uuid;

use super::consent::ClientView;
use super::{enabled, scopes};
use crate::flow::{audit, in_person};
use crate::queries::{self, Audit, Change};
use crate::request::Context;
use crate::user::object;
use crate::{Auth, Error, OAuthError};

/// What the caller has granted.
pub(crate) async fn list(auth: &Auth, ctx: &Context) -> Result<Value, Error> {
    enabled(ctx)?;
    let who = in_person(auth, ctx).await?;
    let grants = queries::grants(&who.db, who.account.user.id).await?;
    let view = |it: queries::Granting| {
        let scopes: Vec<&str> = scopes(&it.scopes).collect();
        json!({"client": ClientView::from(it.client), "scopes": scopes, "granted_at": it.granted_at})
    };
    Ok(grants.into_iter().map(view).collect::<Vec<_>>().into())
}

/// Take back what the caller has granted to a client, and end its sessions.
pub(crate) async fn revoke(auth: &Auth, ctx: &Context, client_id: Option<&str>) -> Result<(), Error> {
    enabled(ctx)?;
    let who = in_person(auth, ctx).await?;
    let client_id = client_id.filter(|it| !it.is_empty());
    let client_id = client_id.ok_or(Error::invalid("client_id query parameter is required"))?;
    let client_id: Uuid = client_id.parse().map_err(|_| Error::invalid("invalid client_id format"))?;
    let user = &who.account.user;
    if !queries::revoke(&who.db, user.id, client_id, ctx.now).await? {
        return Err(OAuthError::ConsentMissing.into());
    }
    let traits = object(json!({"oauth_client_id": client_id, "action": "revoke_oauth_grant"}));
    let mut change = Change::new(ctx.now);
    change.audit(Audit { traits, ..audit(ctx, "token_revoked", user) });
    queries::apply(&who.db, &change).await?;
    Ok(())
}
