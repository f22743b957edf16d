//! The routes of `/auth/v1`; each handler is the list of its steps.

mod admin;
mod browser;
mod discovery;
mod external;
mod factors;
mod oauth;
#[cfg(feature = "webauthn")]
mod passkeys;
#[cfg(feature = "saml")]
mod sso;
#[cfg(not(feature = "saml"))]
#[path = "routes/sso_off.rs"]
mod sso;
mod users;

use axum::Router;
use axum::routing::{delete, get, post, put};

use crate::again::reading;
use crate::{Auth, Error, guard, wire};

/// The router of the auth service; the gateway has cut off `/auth/v1`.
///
/// Requests carry the extensions `Arc<common::Project>`, `common::PublicUrl`,
/// `common::ClientAddress` and, behind an API key, `common::Caller`.
pub fn router(auth: Auth) -> Router {
    let router = Router::new();
    #[cfg(feature = "webauthn")]
    let router = router.merge(passkeys::routes());
    router
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
        // Scanners of mails look at links by HEAD: that must not spend them.
        .route("/verify", get(browser::verify).head(async || Error::UnknownMethod).post(users::verify))
        .route("/user", reading(users::read).put(users::update))
        .route("/reauthenticate", get(users::reauthenticate))
        .route("/user/identities/{id}", delete(users::unlink))
        .merge(external::routes())
        .merge(oauth::routes())
        .merge(sso::routes())
        .route("/factors", post(factors::enroll))
        .route("/factors/{id}", delete(factors::unenroll))
        .route("/factors/{id}/challenge", post(factors::challenge))
        .route("/factors/{id}/verify", post(factors::verify))
        .route("/admin/users/{id}/factors", reading(factors::list))
        .route("/admin/users/{id}/factors/{factor_id}", put(factors::edit).delete(factors::delete))
        .route("/logout", post(users::logout))
        .route("/invite", post(admin::invite))
        .route("/admin/audit", reading(admin::audit))
        .route("/admin/generate_link", post(admin::generate_link))
        .route("/admin/users", reading(admin::list).post(admin::create))
        .route("/admin/users/{id}", reading(admin::read).put(admin::update).delete(admin::delete))
        .fallback(async || Error::UnknownPath)
        .method_not_allowed_fallback(async || Error::UnknownMethod)
        .layer(axum::middleware::from_fn_with_state(auth.clone(), guard::guard))
        .layer(axum::middleware::from_fn(wire::shape))
        .with_state(auth)
}
