//! `POST /oauth/token`: a code or a refresh token for tokens of the user, to be used by the client.

use serde_json::{Value, json};

use super::credentials::{self, TokenRequest};
use super::userinfo::{self, Naming};
use super::{enabled, has_scope};
use crate::flow::{audit, token as grant};
use crate::queries::{self, Audit, AuthorizationRow, Change, ClientRow};
use crate::request::Context;
use crate::request::pkce::fits;
use crate::session::{Opening, Tokens};
use crate::user::{Account, Object, object};
use crate::{Auth, Error, OAuthError, secret};

const METHOD: &str = "oauth_provider/authorization_code";
/// How long an ID token holds.
const ID_TOKEN_SECS: i64 = 3600;

/// Answer a token request.
pub(crate) async fn run(auth: &Auth, ctx: &Context, request: &TokenRequest) -> Result<Value, Error> {
    enabled(ctx)?;
    let client = credentials::client(auth, ctx, request).await?;
    let Some(grant_type) = request.field("grant_type") else {
        return refused("invalid_request", "grant_type is required");
    };
    if !client.may_use(grant_type) {
        let text = format!("Client is not allowed to use grant type: {grant_type:.100}");
        return Err(OAuthError::protocol("unsupported_grant_type", text).into());
    }
    match grant_type {
        "authorization_code" => by_code(auth, ctx, request, &client).await,
        _ => by_refresh_token(auth, ctx, request, &client).await,
    }
}

fn refused<T>(error: &'static str, description: &'static str) -> Result<T, Error> {
    Err(OAuthError::protocol(error, description).into())
}

async fn by_code(
    auth: &Auth,
    ctx: &Context,
    request: &TokenRequest,
    client: &ClientRow,
) -> Result<Value, Error> {
    let Some(code) = request.field("code") else {
        return refused("invalid_request", "code is required for authorization_code grant");
    };
    let db = auth.database(&ctx.project).await?;
    let found = queries::authorization_by_code(&db, &secret::stored(code)).await?;
    let Some(row) = found else { return refused("invalid_grant", "Invalid authorization code") };
    check(ctx, request, client, &row)?;
    let Some(user_id) = row.user_id else {
        return refused("invalid_grant", "Authorization code has no associated user");
    };
    let Some(account) = queries::by_id(&db, user_id).await?.filter(|it| it.user.deleted_at.is_none()) else {
        return refused("invalid_grant", "User not found for authorization code");
    };
    if account.user.is_banned(ctx.now) {
        return refused("access_denied", "User is banned");
    }
    let mut opening = Opening::new(ctx, user_id, METHOD)?;
    opening.session.oauth_client_id = Some(client.id);
    opening.session.scopes = Some(row.scope.clone());
    let mut change = Change::new(ctx.now);
    change.redeem = Some(row.id);
    let traits =
        object(json!({"provider_type": "oauth_provider_authorization_code", "client_id": client.id}));
    change.audit(Audit { traits, ..audit(ctx, "login", &account.user) });
    change.open(&opening);
    if queries::apply(&db, &change).await? != queries::Applied::Done {
        return refused("invalid_grant", "Invalid authorization code");
    }
    let tokens = Tokens::new(ctx, &account, &opening.session, opening.refresh_token).await?;
    let mut answer = view(&tokens);
    if has_scope(&row.scope, "openid")
        && let Some(members) = answer.as_object_mut()
    {
        members.insert("id_token".into(), id_token(ctx, &account, client, &row)?.into());
    }
    Ok(answer)
}

/// The code must be this client's, for this address, asked for by whoever has the verifier.
fn check(
    ctx: &Context,
    request: &TokenRequest,
    client: &ClientRow,
    row: &AuthorizationRow,
) -> Result<(), Error> {
    if ctx.now > row.expires_at {
        return refused("invalid_grant", "Authorization code has expired");
    }
    if row.client_id != client.id {
        return refused("invalid_grant", "Authorization code was not issued for this client");
    }
    let resource = row.resource.as_deref().unwrap_or_default();
    if request.field("resource").is_some_and(|it| it != resource) {
        return refused("invalid_grant", "Authorization code resource does not match the resource parameter");
    }
    if request.field("redirect_uri").is_some_and(|it| it != row.redirect_uri) {
        return refused("invalid_grant", "Invalid redirect_uri");
    }
    let (Some(challenge), Some(method)) = (&row.code_challenge, &row.code_challenge_method) else {
        return refused("invalid_grant", "PKCE verification failed: the request had no challenge");
    };
    match request.field("code_verifier") {
        None => refused(
            "invalid_grant",
            "PKCE verification failed: code_verifier is required when PKCE challenge is present",
        ),
        Some(verifier) if !fits(challenge, method, verifier) => refused(
            "invalid_grant",
            "PKCE verification failed: code challenge does not match previously saved code verifier",
        ),
        Some(_) => Ok(()),
    }
}

async fn by_refresh_token(
    auth: &Auth,
    ctx: &Context,
    request: &TokenRequest,
    client: &ClientRow,
) -> Result<Value, Error> {
    let Some(token) = request.field("refresh_token") else {
        return refused("invalid_request", "refresh_token is required for refresh_token grant");
    };
    let tokens = grant::refresh::run_for(auth, ctx, token, Some(client.id)).await?;
    Ok(view(&tokens))
}

/// Tokens without the user: a client gets that from userinfo, as far as it may.
fn view(tokens: &Tokens) -> Value {
    json!({
        "access_token": tokens.access_token,
        "token_type": "bearer",
        "expires_in": tokens.expires_in,
        "refresh_token": tokens.refresh_token,
    })
}

/// Who the user is, signed for the client (OpenID Connect Core §2).
fn id_token(
    ctx: &Context,
    account: &Account,
    client: &ClientRow,
    row: &AuthorizationRow,
) -> Result<String, Error> {
    let user = &account.user;
    let now = ctx.now.as_second();
    let mut claims: Object = object(json!({
        "iss": ctx.issuer(),
        "sub": user.id,
        "aud": [client.id],
        "iat": now,
        "exp": now + ID_TOKEN_SECS,
        "auth_time": user.last_sign_in_at.unwrap_or(ctx.now).as_second(),
        "client_id": client.id,
    }));
    if let Some(nonce) = &row.nonce {
        claims.insert("nonce".into(), nonce.clone().into());
    }
    userinfo::add(&mut claims, user, &row.scope, Naming::IdToken);
    ctx.project
        .jwt
        .sign(&claims)
        .filter(|it| !is_symmetric(it))
        .ok_or_else(|| Error::internal("the project has no key pair: ID tokens need one"))
}

/// Whether a token is signed with the shared secret, which clients cannot verify.
fn is_symmetric(token: &str) -> bool {
    use base64::Engine as _;
    let header = token.split('.').next().unwrap_or_default();
    let header = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    let header: Object = serde_json::from_slice(&header).unwrap_or_default();
    header.get("alg").and_then(Value::as_str).is_none_or(|it| it.starts_with("HS"))
}
