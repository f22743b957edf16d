//! What anybody with an API key, and signed-in users, ask.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::flow::identities;
use crate::flow::phone::receipt;
use crate::flow::reauthenticate as proving_again;
use crate::flow::{logout as ending, otp as code, recover as recovery, resend as repeat, signup as joining};
use crate::flow::{token as grant, user as own, verify as proving};
use crate::request::{Body, Context, Query, UserPath};
use crate::user::UserView;
use crate::{Auth, Error};

/// `POST /signup`.
pub(super) async fn signup(
    State(auth): State<Auth>,
    ctx: Context,
    Body(fields): Body<joining::Fields>,
) -> Result<joining::Outcome, Error> {
    let request = joining::SignUp::parse(fields, &ctx.project.auth)?;
    joining::run(&auth, &ctx, request).await
}

#[derive(Deserialize)]
pub(super) struct TokenQuery {
    grant_type: Option<String>,
}

/// `POST /token?grant_type=`.
pub(super) async fn token(
    State(auth): State<Auth>,
    ctx: Context,
    Query(query): Query<TokenQuery>,
    Body(body): Body<Value>,
) -> Result<Response, Error> {
    let tokens = match query.grant_type.as_deref().unwrap_or_default() {
        "password" => grant::password::run(&auth, &ctx, fields(body)?).await?,
        "refresh_token" => grant::refresh::run(&auth, &ctx, fields(body)?).await?,
        "pkce" => grant::pkce::run(&auth, &ctx, fields(body)?).await?,
        "id_token" => Box::pin(grant::id_token::run(&auth, &ctx, fields(body)?)).await?,
        "web3" => {
            grant::web3::check_on(&ctx.project.auth)?;
            grant::web3::run(&auth, &ctx, fields(body)?).await?
        }
        _ => return Err(Error::UnsupportedGrant),
    };
    Ok(tokens.into_response())
}

/// `POST /otp`.
pub(super) async fn otp(
    State(auth): State<Auth>,
    ctx: Context,
    Body(fields): Body<code::Fields>,
) -> Result<Json<Value>, Error> {
    code::run(&auth, &ctx, fields).await.map(|it| Json(receipt(it)))
}

/// `POST /magiclink`.
pub(super) async fn magic_link(
    State(auth): State<Auth>,
    ctx: Context,
    Body(fields): Body<code::Fields>,
) -> Result<Json<Value>, Error> {
    code::magic_link(&auth, &ctx, fields).await?;
    Ok(Json(json!({})))
}

/// `POST /recover`.
pub(super) async fn recover(
    State(auth): State<Auth>,
    ctx: Context,
    Body(fields): Body<recovery::Fields>,
) -> Result<Json<Value>, Error> {
    recovery::run(&auth, &ctx, fields).await?;
    Ok(Json(json!({})))
}

/// `POST /resend`.
pub(super) async fn resend(
    State(auth): State<Auth>,
    ctx: Context,
    Body(fields): Body<repeat::Fields>,
) -> Result<Json<Value>, Error> {
    repeat::run(&auth, &ctx, fields).await?;
    Ok(Json(json!({})))
}

/// `POST /verify`.
pub(super) async fn verify(
    State(auth): State<Auth>,
    ctx: Context,
    Body(fields): Body<proving::Fields>,
) -> Result<Response, Error> {
    let request = proving::Verify::from_body(fields)?;
    Ok(match proving::run(&auth, &ctx, &request).await? {
        proving::Outcome::SignedIn(tokens) => tokens.into_response(),
        proving::Outcome::HalfDone => {
            Json(json!({"msg": super::browser::HALF_DONE, "code": "200"})).into_response()
        }
        proving::Outcome::Code(code) => Json(json!({"code": code})).into_response(),
    })
}

/// `GET /user`.
pub(super) async fn read(State(auth): State<Auth>, ctx: Context) -> Result<Response, Error> {
    let account = own::read(&auth, &ctx).await?;
    Ok(Json(UserView::from(&account)).into_response())
}

/// `PUT /user`.
pub(super) async fn update(
    State(auth): State<Auth>,
    ctx: Context,
    Body(fields): Body<own::Fields>,
) -> Result<Response, Error> {
    let account = own::update(&auth, &ctx, fields).await?;
    Ok(Json(UserView::from(&account)).into_response())
}

/// `GET /reauthenticate`.
pub(super) async fn reauthenticate(State(auth): State<Auth>, ctx: Context) -> Result<Json<Value>, Error> {
    proving_again::run(&auth, &ctx).await.map(|it| Json(receipt(it)))
}

/// `DELETE /user/identities/{id}`.
pub(super) async fn unlink(
    State(auth): State<Auth>,
    ctx: Context,
    UserPath(id): UserPath,
) -> Result<Json<Value>, Error> {
    identities::unlink(&auth, &ctx, &id).await?;
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
pub(super) struct LogoutQuery {
    scope: Option<String>,
}

/// `POST /logout?scope=`.
pub(super) async fn logout(
    State(auth): State<Auth>,
    ctx: Context,
    Query(query): Query<LogoutQuery>,
) -> Result<StatusCode, Error> {
    let scope = ending::Scope::parse(query.scope.as_deref())?;
    ending::run(&auth, &ctx, scope).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn fields<T: DeserializeOwned>(body: Value) -> Result<T, Error> {
    serde_json::from_value(body).map_err(|it| Error::BadJson(it.to_string()))
}
