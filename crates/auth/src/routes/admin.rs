//! What the service key asks.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::flow::admin::{
    self as manage, AuditQuery, DeleteFields, InviteFields, LinkFields, ListQuery, UserFields,
};
use crate::request::{Body, Context, OptionalBody, Query, UserPath};
use crate::user::{AUDIENCE, Account, UserView};
use crate::{Auth, Error};

/// `GET /admin/users?page=&per_page=&filter=`.
pub(super) async fn list(
    State(auth): State<Auth>,
    ctx: Context,
    Query(query): Query<ListQuery>,
) -> Result<Response, Error> {
    ctx.admin()?;
    let page = manage::list(&auth, &ctx, query).await?;
    let users: Vec<UserView<'_>> = page.items.iter().map(UserView::from).collect();
    let headers = [("x-total-count", page.total.to_string()), ("link", page.link)];
    Ok((headers, Json(json!({"users": users, "aud": AUDIENCE}))).into_response())
}

/// `GET /admin/audit?page=&per_page=&query=`.
pub(super) async fn audit(
    State(auth): State<Auth>,
    ctx: Context,
    Query(query): Query<AuditQuery>,
) -> Result<Response, Error> {
    ctx.admin()?;
    let page = manage::audit(&auth, &ctx, query).await?;
    let headers = [("x-total-count", page.total.to_string()), ("link", page.link)];
    Ok((headers, Json(page.items)).into_response())
}

/// `POST /admin/users`.
pub(super) async fn create(
    State(auth): State<Auth>,
    ctx: Context,
    Body(fields): Body<UserFields>,
) -> Result<Response, Error> {
    ctx.admin()?;
    manage::create(&auth, &ctx, fields).await.map(|it| user(&it))
}

/// `GET /admin/users/{id}`.
pub(super) async fn read(
    State(auth): State<Auth>,
    ctx: Context,
    UserPath(id): UserPath,
) -> Result<Response, Error> {
    ctx.admin()?;
    manage::read(&auth, &ctx, &id).await.map(|it| user(&it))
}

/// `PUT /admin/users/{id}`.
pub(super) async fn update(
    State(auth): State<Auth>,
    ctx: Context,
    UserPath(id): UserPath,
    Body(fields): Body<UserFields>,
) -> Result<Response, Error> {
    ctx.admin()?;
    manage::update(&auth, &ctx, &id, fields).await.map(|it| user(&it))
}

/// `DELETE /admin/users/{id}`.
pub(super) async fn delete(
    State(auth): State<Auth>,
    ctx: Context,
    UserPath(id): UserPath,
    OptionalBody(fields): OptionalBody<DeleteFields>,
) -> Result<Json<Value>, Error> {
    ctx.admin()?;
    manage::delete(&auth, &ctx, &id, &fields).await?;
    Ok(Json(json!({})))
}

/// `POST /admin/generate_link`.
pub(super) async fn generate_link(
    State(auth): State<Auth>,
    ctx: Context,
    Body(fields): Body<LinkFields>,
) -> Result<Json<Value>, Error> {
    ctx.admin()?;
    manage::link(&auth, &ctx, fields).await.map(Json)
}

/// `POST /invite`.
pub(super) async fn invite(
    State(auth): State<Auth>,
    ctx: Context,
    Body(fields): Body<InviteFields>,
) -> Result<Response, Error> {
    ctx.admin()?;
    manage::invite(&auth, &ctx, fields).await.map(|it| user(&it))
}

fn user(account: &Account) -> Response {
    Json(UserView::from(account)).into_response()
}
