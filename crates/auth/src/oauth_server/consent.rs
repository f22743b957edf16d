//! `GET /oauth/authorizations/{id}` and `POST …/consent`: the site's page asks its user, and tells us.
//!
//! The request belongs to the first user who looks at it. What was granted before is not asked again.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::authorize::{failed, with};
use super::{enabled, scopes};
use crate::flow::in_person;
use crate::queries::{self, AuthorizationRow, ClientRow, Reply};
use crate::request::Context;
use crate::{Auth, Error, OAuthError, secret};

/// The body of an answer.
#[derive(Default, Deserialize)]
pub(crate) struct Fields {
    #[serde(default)]
    action: String,
}

/// A client as users are shown it.
#[derive(Serialize)]
pub(super) struct ClientView {
    id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logo_uri: Option<String>,
}

impl From<ClientRow> for ClientView {
    fn from(it: ClientRow) -> Self {
        Self { id: it.id, name: it.client_name, uri: it.client_uri, logo_uri: it.logo_uri }
    }
}

/// What is asked; or where to go when it was granted before.
pub(crate) async fn read(auth: &Auth, ctx: &Context, id: &str) -> Result<Value, Error> {
    enabled(ctx)?;
    ctx.check_origin()?;
    let who = in_person(auth, ctx).await?;
    let user = &who.account.user;
    let row = pending(&who.db, ctx, id, "authorization request cannot be processed").await?;
    let row = queries::claim_authorization(&who.db, row.id, user.id).await?;
    let row = row.ok_or(OAuthError::AuthorizationMissing)?;
    let granted = queries::consent(&who.db, user.id, row.client_id).await?.unwrap_or_default();
    if !granted.is_empty() && scopes(&row.scope).all(|it| super::has_scope(&granted, it)) {
        let url = approve(&who.db, ctx, (&row, user.id), None).await?;
        return Ok(json!({"redirect_url": url}));
    }
    let client = queries::client(&who.db, row.client_id).await?.ok_or(OAuthError::AuthorizationMissing)?;
    Ok(json!({
        "authorization_id": row.authorization_id,
        "redirect_uri": row.redirect_uri,
        "client": ClientView::from(client),
        "user": {"id": user.id, "email": user.address()},
        "scope": row.scope,
    }))
}

/// Grant or deny; where to go.
pub(crate) async fn answer(auth: &Auth, ctx: &Context, id: &str, fields: &Fields) -> Result<Value, Error> {
    enabled(ctx)?;
    ctx.check_origin()?;
    let who = in_person(auth, ctx).await?;
    if !matches!(fields.action.as_str(), "approve" | "deny") {
        return Err(Error::invalid("action must be 'approve' or 'deny'"));
    }
    let user_id = who.account.user.id;
    let row = pending(&who.db, ctx, id, "authorization request is no longer pending").await?;
    if row.user_id != Some(user_id) {
        return Err(OAuthError::AuthorizationMissing.into());
    }
    let url = if fields.action == "approve" {
        approve(&who.db, ctx, (&row, user_id), Some(&row.scope)).await?
    } else {
        let reply = Reply { id: row.id, user_id, now: ctx.now, code: None, scopes: None };
        answered(&who.db, &reply).await?;
        failed(&row.redirect_uri, "access_denied", "User denied the request", row.state.as_deref())?
    };
    Ok(json!({"redirect_url": url}))
}

/// The request, when it waits for an answer.
async fn pending(
    db: &store::ServiceClient,
    ctx: &Context,
    id: &str,
    answered: &'static str,
) -> Result<AuthorizationRow, Error> {
    let row = queries::authorization(db, id).await?.ok_or(OAuthError::AuthorizationMissing)?;
    if ctx.now > row.expires_at {
        queries::expire_authorization(db, row.id).await?;
        return Err(OAuthError::AuthorizationMissing.into());
    }
    if row.status != "pending" {
        return Err(Error::invalid(answered));
    }
    Ok(row)
}

/// Give the client its code.
async fn approve(
    db: &store::ServiceClient,
    ctx: &Context,
    (row, user_id): (&AuthorizationRow, Uuid),
    scopes: Option<&str>,
) -> Result<String, Error> {
    let code = secret::token()?;
    let stored = secret::stored(&code);
    let reply = Reply { id: row.id, user_id, now: ctx.now, code: Some(&stored), scopes };
    answered(db, &reply).await?;
    with(&row.redirect_uri, &[("code", Some(&code)), ("state", row.state.as_deref())])
}

/// Write the answer, once.
async fn answered(db: &store::ServiceClient, reply: &Reply<'_>) -> Result<(), Error> {
    if queries::answer_authorization(db, reply).await? {
        return Ok(());
    }
    Err(Error::invalid("authorization request is no longer pending"))
}
