//! The way to identity providers and back, and the providers that a project's people define.

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::browser::{encode, with_fragment, with_query};
use crate::flow::admin::custom;
use crate::flow::external::{self as flow, Landing, Parameters};
use crate::providers::Custom;
use crate::request::{Body, Context, MAX_BODY_BYTES, Query};
use crate::session::Tokens;
use crate::{Auth, Error, ExternalError};

/// The routes of this file.
pub(super) fn routes() -> Router<Auth> {
    Router::new()
        .route("/authorize", get(authorize))
        .route("/callback", get(callback).post(callback_by_form))
        .route("/user/identities/authorize", get(link))
        .route("/admin/custom-providers", get(list).post(create))
        .route("/admin/custom-providers/{identifier}", get(read).put(update).delete(delete))
}

/// `GET /authorize?provider=&redirect_to=&scopes=&code_challenge=`: on to the provider.
async fn authorize(
    State(auth): State<Auth>,
    ctx: Context,
    RawQuery(query): RawQuery,
) -> Result<Response, Error> {
    let query = Parameters::parse(query.unwrap_or_default().as_bytes());
    let url = flow::start(&auth, &ctx, &query).await?;
    answer(&query, &url)
}

/// `GET /user/identities/authorize`: the same, to link what comes back to the signed-in user.
async fn link(State(auth): State<Auth>, ctx: Context, RawQuery(query): RawQuery) -> Result<Response, Error> {
    let query = Parameters::parse(query.unwrap_or_default().as_bytes());
    let url = flow::linking(&auth, &ctx, &query).await?;
    answer(&query, &url)
}

/// Scripts cannot read where a redirect leads; they ask for the address instead.
fn answer(query: &Parameters, url: &str) -> Result<Response, Error> {
    if query.get("skip_http_redirect") == Some("true") {
        return Ok(Json(json!({"url": url})).into_response());
    }
    found(StatusCode::FOUND, url)
}

/// `GET /callback?state=&code=`.
async fn callback(
    State(auth): State<Auth>,
    ctx: Context,
    RawQuery(query): RawQuery,
) -> Result<Response, Error> {
    let query = Parameters::parse(query.unwrap_or_default().as_bytes());
    land(&ctx, Box::pin(flow::callback(&auth, &ctx, &query)).await)
}

/// `POST /callback`: some providers send a form, which says more than a query may.
async fn callback_by_form(
    State(auth): State<Auth>,
    ctx: Context,
    request: Request,
) -> Result<Response, Error> {
    let form = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES).await;
    let form: Bytes = form.map_err(|_| Error::BodyTooLarge)?;
    land(&ctx, Box::pin(flow::callback(&auth, &ctx, &Parameters::parse(&form))).await)
}

/// Send the browser on.
pub(super) fn land(ctx: &Context, landing: Landing) -> Result<Response, Error> {
    let site = &ctx.project.auth.site_url;
    match landing {
        Landing::Lost(error) => {
            tell(ctx, &error);
            found(StatusCode::SEE_OTHER, &with_query(site, &words(&error).pairs()))
        }
        Landing::Failed { target, error } => {
            tell(ctx, &error);
            let words = words(&error);
            let target = with_query(&target, &words.pairs());
            let mut fragment = words.pairs();
            fragment.push(("sb", ""));
            found(StatusCode::FOUND, &with_fragment(&target, &encode(&fragment)))
        }
        Landing::Code { target, code } => found(StatusCode::FOUND, &with_query(&target, &[("code", &code)])),
        Landing::SignedIn { target, tokens } => {
            found(StatusCode::FOUND, &with_fragment(&target, &fragment(&tokens)))
        }
    }
}

/// A session, as clients read it from the fragment.
fn fragment(tokens: &Tokens) -> String {
    let (expires_at, expires_in) = (tokens.expires_at.to_string(), tokens.expires_in.to_string());
    let mut pairs: Vec<(&str, &str)> = vec![
        ("access_token", &tokens.access_token),
        ("expires_at", &expires_at),
        ("expires_in", &expires_in),
    ];
    if let Some(token) = &tokens.provider_refresh_token {
        pairs.push(("provider_refresh_token", token));
    }
    if let Some(token) = &tokens.provider_token {
        pairs.push(("provider_token", token));
    }
    pairs.push(("refresh_token", &tokens.refresh_token));
    pairs.push(("sb", ""));
    pairs.push(("token_type", "bearer"));
    encode(&pairs)
}

/// A failure as the site reads it.
struct Words {
    error: String,
    code: &'static str,
    description: String,
}

impl Words {
    fn pairs(&self) -> Vec<(&str, &str)> {
        let mut pairs = vec![("error", self.error.as_str())];
        if !self.code.is_empty() {
            pairs.push(("error_code", self.code));
        }
        pairs.push(("error_description", &self.description));
        pairs
    }
}

fn words(error: &Error) -> Words {
    if let Error::External(ExternalError::Denied { error, description }) = error {
        return Words { error: error.clone(), code: "", description: description.clone() };
    }
    let denied = ["signup_disabled", "user_banned", "provider_email_needs_verification"];
    let word = match error.status() {
        _ if denied.contains(&error.code()) => "access_denied",
        StatusCode::BAD_REQUEST => "invalid_request",
        StatusCode::UNAUTHORIZED => "unauthorized_client",
        StatusCode::FORBIDDEN => "access_denied",
        StatusCode::SERVICE_UNAVAILABLE => "temporarily_unavailable",
        _ => "server_error",
    };
    Words { error: word.into(), code: error.code(), description: error.to_string() }
}

/// The browser is sent on, so nobody else logs what happened.
fn tell(ctx: &Context, error: &Error) {
    use crate::events::{self, Event};
    let project = Some(ctx.project.reference.clone());
    events::tell(&Event::Refused { project, request_id: None, error });
}

pub(super) fn found(status: StatusCode, target: &str) -> Result<Response, Error> {
    let location = HeaderValue::from_str(target).map_err(Error::internal)?;
    let headers =
        [(header::LOCATION, location), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((status, headers).into_response())
}

#[derive(Deserialize)]
struct ListQuery {
    r#type: Option<String>,
}

/// `GET /admin/custom-providers?type=`.
async fn list(
    State(auth): State<Auth>,
    ctx: Context,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, Error> {
    ctx.admin()?;
    let providers = custom::list(&auth, &ctx, query.r#type.as_deref()).await?;
    Ok(Json(json!({"providers": providers})))
}

/// `POST /admin/custom-providers`.
async fn create(
    State(auth): State<Auth>,
    ctx: Context,
    Body(fields): Body<custom::Fields>,
) -> Result<Response, Error> {
    ctx.admin()?;
    let custom = custom::create(&auth, &ctx, fields).await?;
    Ok((StatusCode::CREATED, Json(custom)).into_response())
}

/// `GET /admin/custom-providers/{identifier}`.
async fn read(
    State(auth): State<Auth>,
    ctx: Context,
    Identifier(identifier): Identifier,
) -> Result<Json<Custom>, Error> {
    ctx.admin()?;
    custom::read(&auth, &ctx, &identifier).await.map(Json)
}

/// `PUT /admin/custom-providers/{identifier}`.
async fn update(
    State(auth): State<Auth>,
    ctx: Context,
    Identifier(identifier): Identifier,
    Body(fields): Body<custom::Fields>,
) -> Result<Json<Custom>, Error> {
    ctx.admin()?;
    custom::update(&auth, &ctx, &identifier, fields).await.map(Json)
}

/// `DELETE /admin/custom-providers/{identifier}`.
async fn delete(
    State(auth): State<Auth>,
    ctx: Context,
    Identifier(identifier): Identifier,
) -> Result<StatusCode, Error> {
    ctx.admin()?;
    custom::delete(&auth, &ctx, &identifier).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A part of the path; what is no text is no identifier.
struct Identifier(String);

impl axum::extract::FromRequestParts<Auth> for Identifier {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut http::request::Parts, auth: &Auth) -> Result<Self, Error> {
        let path = Path::<String>::from_request_parts(parts, auth).await;
        path.map(|Path(it)| Self(it)).map_err(|_| ExternalError::CustomMissing.into())
    }
}
