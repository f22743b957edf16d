//! Passkeys: sign-in for anybody, keys of signed-in users, and what the service key asks.

use axum::extract::State;
use axum::routing::{delete as deleting, get, patch, post};
use axum::{Json, Router};
use http::StatusCode;
use serde_json::Value;

use crate::flow::passkeys::{Fields, authenticate, manage, register};
use crate::request::{Body, Context, PathPair, UserPath};
use crate::session::Tokens;
use crate::{Auth, Error};

/// All routes of passkeys.
pub(super) fn routes() -> Router<Auth> {
    Router::new()
        .route("/passkeys", get(list))
        .route("/passkeys/", get(list))
        .route("/passkeys/registration/options", post(registration_options))
        .route("/passkeys/registration/verify", post(registration_verify))
        .route("/passkeys/authentication/options", post(authentication_options))
        .route("/passkeys/authentication/verify", post(authentication_verify))
        .route("/passkeys/{id}", patch(rename).delete(delete))
        .route("/admin/users/{id}/passkeys", get(list_of))
        .route("/admin/users/{id}/passkeys/{passkey_id}", deleting(delete_of))
}

/// `POST /passkeys/registration/options`.
async fn registration_options(State(auth): State<Auth>, ctx: Context) -> Result<Json<Value>, Error> {
    register::options(&auth, &ctx).await.map(Json)
}

/// `POST /passkeys/registration/verify`.
async fn registration_verify(
    State(auth): State<Auth>,
    ctx: Context,
    Body(fields): Body<Fields>,
) -> Result<Json<Value>, Error> {
    register::verify(&auth, &ctx, fields).await.map(Json)
}

/// `POST /passkeys/authentication/options`.
async fn authentication_options(State(auth): State<Auth>, ctx: Context) -> Result<Json<Value>, Error> {
    authenticate::options(&auth, &ctx).await.map(Json)
}

/// `POST /passkeys/authentication/verify`.
async fn authentication_verify(
    State(auth): State<Auth>,
    ctx: Context,
    Body(fields): Body<Fields>,
) -> Result<Tokens, Error> {
    authenticate::verify(&auth, &ctx, fields).await
}

/// `GET /passkeys`.
async fn list(State(auth): State<Auth>, ctx: Context) -> Result<Json<Vec<Value>>, Error> {
    manage::list(&auth, &ctx).await.map(Json)
}

/// `PATCH /passkeys/{id}`.
async fn rename(
    State(auth): State<Auth>,
    ctx: Context,
    UserPath(id): UserPath,
    Body(fields): Body<manage::Fields>,
) -> Result<Json<Value>, Error> {
    manage::rename(&auth, &ctx, &id, fields).await.map(Json)
}

/// `DELETE /passkeys/{id}`.
async fn delete(State(auth): State<Auth>, ctx: Context, UserPath(id): UserPath) -> Result<StatusCode, Error> {
    manage::delete(&auth, &ctx, &id).await.map(|()| StatusCode::NO_CONTENT)
}

/// `GET /admin/users/{id}/passkeys`.
async fn list_of(
    State(auth): State<Auth>,
    ctx: Context,
    UserPath(id): UserPath,
) -> Result<Json<Vec<Value>>, Error> {
    ctx.admin()?;
    manage::list_of(&auth, &ctx, &id).await.map(Json)
}

/// `DELETE /admin/users/{id}/passkeys/{passkey_id}`.
async fn delete_of(
    State(auth): State<Auth>,
    ctx: Context,
    PathPair(user, id): PathPair,
) -> Result<StatusCode, Error> {
    ctx.admin()?;
    manage::delete_of(&auth, &ctx, (&user, &id)).await.map(|()| StatusCode::NO_CONTENT)
}
