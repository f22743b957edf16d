//! The routes of `/auth/v1`; each handler is the list of its steps.

mod admin;
mod browser;
mod discovery;
mod users;

use axum::Router;
use axum::routing::{delete, get, post};

use crate::{Auth, Error, wire};

/// The router of the auth service; the gateway has cut off `/auth/v1`.
///
/// Requests carry the extensions `Arc<common::Project>`, `common::PublicUrl`,
/// `common::ClientAddress` and, behind an API key, `common::Caller`.
pub fn router(auth: Auth) -> Router {
    Router::new()
        .route("/health", get(discovery::health))
        .route("/settings", get(discovery::settings))
        .route("/.well-known/jwks.json", get(discovery::jwks))
        .route("/.well-known/openid-configuration", get(discovery::openid_configuration))
        .route("/signup", post(users::signup))
        .route("/token", post(users::token))
        .route("/otp", post(users::otp))
        .route("/magiclink", post(users::magic_link))
        .route("/recover", post(users::recover))
        .route("/resend", post(users::resend))
        .route("/verify", get(browser::verify).post(users::verify))
        .route("/user", get(users::read).put(users::update))
        .route("/reauthenticate", get(users::reauthenticate))
        .route("/user/identities/{id}", delete(users::unlink))
        .route("/logout", post(users::logout))
        .route("/invite", post(admin::invite))
        .route("/admin/generate_link", post(admin::generate_link))
        .route("/admin/users", get(admin::list).post(admin::create))
        .route("/admin/users/{id}", get(admin::read).put(admin::update).delete(admin::delete))
        .fallback(async || Error::UnknownPath)
        .method_not_allowed_fallback(async || Error::UnknownMethod)
        .layer(axum::middleware::from_fn(wire::shape))
        .with_state(auth)
}
