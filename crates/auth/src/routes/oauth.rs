//! The OAuth 2.1 server: what clients, the site's consent page, users and administrators ask of it.

use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::again::reading;
use crate::flow::external::Parameters;
use crate::oauth_server::credentials::TokenRequest;
use crate::oauth_server::{authorize, client, consent, enabled, grants, token, userinfo};
use crate::request::{Context, MAX_BODY_BYTES, Query};
use crate::{Auth, Error, OAuthError};

/// The routes of this file.
pub(super) fn routes() -> Router<Auth> {
    let metadata = "/.well-known/oauth-authorization-server";
    Router::new()
        .route(metadata, get(server_metadata))
        // RFC 8414 puts the path of the issuer behind the well-known one.
        .route(&format!("{metadata}/auth/v1"), get(server_metadata))
        .route("/oauth/authorize", get(authorization))
        .route("/oauth/token", post(exchange))
        .route("/oauth/userinfo", reading(user_info).post(user_info))
        .route("/oauth/authorizations/{id}", get(details))
        .route("/oauth/authorizations/{id}/consent", post(answer))
        .route("/oauth/clients/register", post(register))
        .route("/user/oauth/grants", reading(granted).delete(revoke))
        .route("/admin/oauth/clients", reading(list).post(create))
        .route("/admin/oauth/clients/{id}", reading(read).put(update).delete(delete))
        .route("/admin/oauth/clients/{id}/regenerate_secret", post(regenerate))
}

/// `GET /.well-known/oauth-authorization-server`.
async fn server_metadata(ctx: Context) -> Result<Response, Error> {
    enabled(&ctx)?;
    Ok(super::discovery::openid_configuration(ctx).await)
}

/// `GET /oauth/authorize`: on to the site's page that asks for consent.
async fn authorization(
    State(auth): State<Auth>,
    ctx: Context,
    RawQuery(query): RawQuery,
) -> Result<Response, Error> {
    let query = Parameters::parse(query.unwrap_or_default().as_bytes());
    let target = authorize::run(&auth, &ctx, &query).await?;
    let location = HeaderValue::from_str(&target).map_err(Error::internal)?;
    Ok((StatusCode::FOUND, [(header::LOCATION, location)]).into_response())
}

/// `POST /oauth/token`.
async fn exchange(State(auth): State<Auth>, ctx: Context, request: Request) -> Result<Response, Error> {
    enabled(&ctx)?;
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| Error::BodyTooLarge)?;
    let answer = token::run(&auth, &ctx, &TokenRequest::parse(&parts.headers, &body)?).await?;
    let headers = [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")];
    Ok((headers, Json(answer)).into_response())
}

/// `GET /oauth/userinfo`.
async fn user_info(State(auth): State<Auth>, ctx: Context) -> Result<Json<Value>, Error> {
    userinfo::run(&auth, &ctx).await.map(Json)
}

/// `GET /oauth/authorizations/{id}`.
async fn details(
    State(auth): State<Auth>,
    ctx: Context,
    Path(id): Path<String>,
) -> Result<Json<Value>, Error> {
    consent::read(&auth, &ctx, &id).await.map(Json)
}

/// `POST /oauth/authorizations/{id}/consent`.
async fn answer(
    State(auth): State<Auth>,
    ctx: Context,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Value>, Error> {
    enabled(&ctx)?;
    let fields = body(request, "invalid JSON body").await?;
    consent::answer(&auth, &ctx, &id, &fields).await.map(Json)
}

/// `POST /oauth/clients/register` (RFC 7591).
async fn register(State(auth): State<Auth>, ctx: Context, request: Request) -> Result<Response, Error> {
    enabled(&ctx)?;
    if !ctx.project.auth.oauth_server.allow_dynamic_registration {
        return Err(OAuthError::RegistrationDisabled.into());
    }
    let fields = body(request, "Invalid JSON body").await?;
    let view = client::register(&auth, &ctx, fields, "dynamic").await?;
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// `GET /user/oauth/grants`.
async fn granted(State(auth): State<Auth>, ctx: Context) -> Result<Json<Value>, Error> {
    grants::list(&auth, &ctx).await.map(Json)
}

#[derive(Deserialize)]
struct RevokeQuery {
    client_id: Option<String>,
}

/// `DELETE /user/oauth/grants?client_id=`.
async fn revoke(
    State(auth): State<Auth>,
    ctx: Context,
    Query(query): Query<RevokeQuery>,
) -> Result<StatusCode, Error> {
    grants::revoke(&auth, &ctx, query.client_id.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Refuse unless there is an OAuth server and the service key asks.
fn admin(ctx: &Context) -> Result<(), Error> {
    ctx.admin()?;
    enabled(ctx)
}

#[derive(Deserialize)]
struct PageQuery {
    page: Option<String>,
    per_page: Option<String>,
}

/// `GET /admin/oauth/clients?page=&per_page=`.
async fn list(
    State(auth): State<Auth>,
    ctx: Context,
    Query(query): Query<PageQuery>,
) -> Result<Response, Error> {
    admin(&ctx)?;
    let number = |text: Option<String>, default: i64| match text.filter(|it| !it.is_empty()) {
        None => Ok(default),
        Some(text) => text
            .parse::<u32>()
            .map(i64::from)
            .map_err(|_| Error::Invalid(format!("Bad Pagination Parameters: {text:?} is no number").into())),
    };
    let window = (number(query.page, 1)?, number(query.per_page, 50)?);
    let (clients, total, link) = client::list(&auth, &ctx, window).await?;
    let headers = [("x-total-count", total.to_string()), ("link", link)];
    Ok((headers, Json(json!({"clients": clients}))).into_response())
}

/// `POST /admin/oauth/clients`.
async fn create(State(auth): State<Auth>, ctx: Context, request: Request) -> Result<Response, Error> {
    admin(&ctx)?;
    let fields = body(request, "Invalid JSON body").await?;
    let view = client::register(&auth, &ctx, fields, "manual").await?;
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// `GET /admin/oauth/clients/{id}`.
async fn read(
    State(auth): State<Auth>,
    ctx: Context,
    Path(id): Path<String>,
) -> Result<Json<client::View>, Error> {
    admin(&ctx)?;
    client::read(&auth, &ctx, &id).await.map(Json)
}

/// `PUT /admin/oauth/clients/{id}`.
async fn update(
    State(auth): State<Auth>,
    ctx: Context,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<client::View>, Error> {
    admin(&ctx)?;
    let fields = body(request, "Invalid JSON body").await?;
    client::update(&auth, &ctx, &id, fields).await.map(Json)
}

/// `DELETE /admin/oauth/clients/{id}`.
async fn delete(State(auth): State<Auth>, ctx: Context, Path(id): Path<String>) -> Result<StatusCode, Error> {
    admin(&ctx)?;
    client::delete(&auth, &ctx, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /admin/oauth/clients/{id}/regenerate_secret`.
async fn regenerate(
    State(auth): State<Auth>,
    ctx: Context,
    Path(id): Path<String>,
) -> Result<Json<client::View>, Error> {
    admin(&ctx)?;
    client::regenerate(&auth, &ctx, &id).await.map(Json)
}

/// A JSON body, refused in the words that these routes have for it.
async fn body<T: DeserializeOwned>(request: Request, words: &'static str) -> Result<T, Error> {
    let bytes = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES).await;
    let bytes = bytes.map_err(|_| Error::BodyTooLarge)?;
    serde_json::from_slice(&bytes).map_err(|_| OAuthError::Json(words).into())
}
