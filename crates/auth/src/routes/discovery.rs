//! What auth tells about itself and a project: no user is involved, nothing is asked of the database.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use common::SmsProvider;
use http::header;
use serde_json::{Map, Value, json};

use crate::request::Context;

/// Ways of signing in that the settings list; those that exist today are on.
const PROVIDERS: [&str; 26] = [
    "anonymous_users",
    "apple",
    "azure",
    "bitbucket",
    "discord",
    "facebook",
    "snapchat",
    "figma",
    "fly",
    "github",
    "gitlab",
    "google",
    "keycloak",
    "kakao",
    "linkedin",
    "linkedin_oidc",
    "notion",
    "spotify",
    "slack",
    "slack_oidc",
    "workos",
    "twitch",
    "twitter",
    "email",
    "phone",
    "zoom",
];

/// `GET /health`.
pub(super) async fn health() -> Json<Value> {
    Json(json!({
        "version": concat!("madbase-", env!("CARGO_PKG_VERSION")),
        "name": "GoTrue",
        "description": "GoTrue is a user registration and authentication API",
    }))
}

/// `GET /settings`.
pub(super) async fn settings(ctx: Context) -> Json<Value> {
    let settings = &ctx.project.auth;
    let external: Map<String, Value> = PROVIDERS
        .iter()
        .map(|name| {
            let on = match *name {
                "email" => settings.email_enabled,
                "phone" => settings.phone_enabled,
                "anonymous_users" => settings.anonymous_users,
                name => settings.external.get(name).is_some_and(|it| it.enabled),
            };
            ((*name).to_owned(), on.into())
        })
        .collect();
    Json(json!({
        "external": external,
        "disable_signup": settings.disable_signup,
        "mailer_autoconfirm": settings.mailer_autoconfirm,
        "phone_autoconfirm": settings.sms_autoconfirm,
        "sms_provider": match &settings.sms_provider {
            Some(SmsProvider::Twilio { .. }) => "twilio",
            Some(SmsProvider::Webhook { .. }) => "webhook",
            None => "",
        },
        "saml_enabled": settings.saml_enabled && cfg!(feature = "saml"),
        "passkeys_enabled": settings.passkeys,
    }))
}

/// `GET /.well-known/jwks.json`.
pub(super) async fn jwks(ctx: Context) -> Response {
    cached(Json(ctx.project.jwt.jwks()))
}

/// `GET /.well-known/openid-configuration`.
pub(super) async fn openid_configuration(ctx: Context) -> Response {
    let issuer = ctx.issuer();
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/oauth/authorize"),
        "token_endpoint": format!("{issuer}/oauth/token"),
        "userinfo_endpoint": format!("{issuer}/oauth/userinfo"),
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "HS256", "ES256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "code_challenge_methods_supported": ["S256", "plain"],
        "scopes_supported": ["openid", "profile", "email", "phone"],
        "claims_supported": [
            "sub", "aud", "iss", "exp", "iat", "email", "email_verified", "phone_number",
            "phone_number_verified", "name", "picture", "updated_at",
        ],
    });
    let server = &ctx.project.auth.oauth_server;
    if server.enabled
        && server.allow_dynamic_registration
        && let Some(members) = document.as_object_mut()
    {
        members.insert("registration_endpoint".into(), format!("{issuer}/oauth/clients/register").into());
    }
    cached(Json(document))
}

/// Keys and documents may be kept for ten minutes.
fn cached(body: Json<Value>) -> Response {
    ([(header::CACHE_CONTROL, "public, max-age=600")], body).into_response()
}
