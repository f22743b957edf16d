//! Sign-in by SAML 2.0, and the identity providers of organisations.

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::external::{found, land};
use crate::error::SsoError;
use crate::flow::admin::sso as admin;
use crate::flow::sso as flow;
use crate::request::{Body, Context, MAX_BODY_BYTES, Query};
use crate::{Auth, Error};

/// The routes of this file.
pub(super) fn routes() -> Router<Auth> {
    Router::new()
        .route("/sso", post(start))
        .route("/sso/saml/metadata", get(metadata))
        .route("/sso/saml/acs", post(finish))
        .route("/admin/sso/providers", get(list).post(create))
        .route("/admin/sso/providers/{id}", get(read).put(update).delete(delete))
}

/// `POST /sso`: on to the identity provider.
async fn start(
    State(auth): State<Auth>,
    ctx: Context,
    body: Result<Body<flow::Fields>, Error>,
) -> Result<Response, Error> {
    flow::enabled(&ctx)?;
    let Body(fields) = body?;
    // Scripts cannot read where a redirect leads; they ask for the address instead.
    let skip = fields.skip_http_redirect == Some(true);
    let url = flow::start(&auth, &ctx, fields).await?;
    if skip {
        return Ok(Json(json!({"url": url})).into_response());
    }
    found(StatusCode::SEE_OTHER, &url)
}

#[derive(Deserialize)]
struct MetadataQuery {
    download: Option<String>,
}

/// `GET /sso/saml/metadata?download=true`.
async fn metadata(
    State(auth): State<Auth>,
    ctx: Context,
    Query(query): Query<MetadataQuery>,
) -> Result<Response, Error> {
    let download = query.download.as_deref() == Some("true");
    let text = flow::metadata(&auth, &ctx, download).await?;
    let xml = (header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    let how = if download {
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"metadata.xml\""))
    } else {
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=600"))
    };
    Ok(([xml, how], text).into_response())
}

/// `POST /sso/saml/acs`: the identity provider sent the user back.
async fn finish(State(auth): State<Auth>, ctx: Context, request: Request) -> Result<Response, Error> {
    flow::enabled(&ctx)?;
    let form = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES).await;
    let form = flow::Form::parse(&form.map_err(|_| Error::BodyTooLarge)?)?;
    land(&ctx, Box::pin(flow::finish(&auth, &ctx, &form)).await?)
}

/// `GET /admin/sso/providers?resource_id=&resource_id_prefix=`.
async fn list(
    State(auth): State<Auth>,
    ctx: Context,
    Query(filter): Query<admin::Filter>,
) -> Result<Json<Value>, Error> {
    ctx.admin()?;
    admin::list(&auth, &ctx, filter).await.map(Json)
}

/// `POST /admin/sso/providers`.
async fn create(
    State(auth): State<Auth>,
    ctx: Context,
    body: Result<Body<admin::Fields>, Error>,
) -> Result<Response, Error> {
    ctx.admin()?;
    flow::enabled(&ctx)?;
    let made = admin::create(&auth, &ctx, body?.0).await?;
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

/// `GET /admin/sso/providers/{id}`.
async fn read(State(auth): State<Auth>, ctx: Context, Id(id): Id) -> Result<Json<Value>, Error> {
    ctx.admin()?;
    admin::read(&auth, &ctx, &id).await.map(Json)
}

/// `PUT /admin/sso/providers/{id}`.
async fn update(
    State(auth): State<Auth>,
    ctx: Context,
    Id(id): Id,
    body: Result<Body<admin::Fields>, Error>,
) -> Result<Json<Value>, Error> {
    ctx.admin()?;
    flow::enabled(&ctx)?;
    admin::update(&auth, &ctx, &id, body?.0).await.map(Json)
}

/// `DELETE /admin/sso/providers/{id}`.
async fn delete(State(auth): State<Auth>, ctx: Context, Id(id): Id) -> Result<Json<Value>, Error> {
    ctx.admin()?;
    admin::delete(&auth, &ctx, &id).await.map(Json)
}

/// A part of the path; what is no text is no id.
struct Id(String);

impl axum::extract::FromRequestParts<Auth> for Id {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut http::request::Parts, auth: &Auth) -> Result<Self, Error> {
        let path = Path::<String>::from_request_parts(parts, auth).await;
        path.map(|Path(it)| Self(it)).map_err(|_| SsoError::ProviderMissing.into())
    }
}
