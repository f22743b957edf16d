//! Second factors: what their users ask, and what the service key asks.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::flow::factors::{challenge as asking, enroll as adding, manage, verify as proving};
use crate::request::{Body, Context, OptionalBody, PathPair, UserPath};
use crate::session::Tokens;
use crate::user::Factor;
use crate::{Auth, Error};

/// `POST /factors`.
pub(super) async fn enroll(
    State(auth): State<Auth>,
    ctx: Context,
    Body(fields): Body<adding::Fields>,
) -> Result<Json<Value>, Error> {
    adding::run(&auth, &ctx, fields).await.map(Json)
}

/// `POST /factors/{id}/challenge`.
pub(super) async fn challenge(
    State(auth): State<Auth>,
    ctx: Context,
    UserPath(id): UserPath,
    OptionalBody(fields): OptionalBody<asking::Fields>,
) -> Result<Json<Value>, Error> {
    asking::run(&auth, &ctx, &id, fields).await.map(Json)
}

/// `POST /factors/{id}/verify`.
pub(super) async fn verify(
    State(auth): State<Auth>,
    ctx: Context,
    UserPath(id): UserPath,
    Body(fields): Body<proving::Fields>,
) -> Result<Tokens, Error> {
    proving::run(&auth, &ctx, &id, fields).await
}

/// `DELETE /factors/{id}`.
pub(super) async fn unenroll(
    State(auth): State<Auth>,
    ctx: Context,
    UserPath(id): UserPath,
) -> Result<Json<Value>, Error> {
    manage::unenroll(&auth, &ctx, &id).await.map(|id| Json(json!({"id": id})))
}

/// `GET /admin/users/{id}/factors`.
pub(super) async fn list(
    State(auth): State<Auth>,
    ctx: Context,
    UserPath(id): UserPath,
) -> Result<Json<Vec<Factor>>, Error> {
    ctx.admin()?;
    manage::list(&auth, &ctx, &id).await.map(Json)
}

/// `PUT /admin/users/{id}/factors/{factor_id}`.
pub(super) async fn edit(
    State(auth): State<Auth>,
    ctx: Context,
    PathPair(user, id): PathPair,
    Body(fields): Body<manage::Fields>,
) -> Result<Json<Factor>, Error> {
    ctx.admin()?;
    manage::edit(&auth, &ctx, (&user, &id), fields).await.map(Json)
}

/// `DELETE /admin/users/{id}/factors/{factor_id}`.
pub(super) async fn delete(
    State(auth): State<Auth>,
    ctx: Context,
    PathPair(user, id): PathPair,
) -> Result<Json<Factor>, Error> {
    ctx.admin()?;
    manage::delete(&auth, &ctx, (&user, &id)).await.map(Json)
}
