//! Sign-in by SAML 2.0 in a build without it: these routes answer as where a project has it off.

use axum::Router;
use axum::routing::{any, get, post};

use crate::error::SsoError;
use crate::request::Context;
use crate::{Auth, Error};

/// The routes of this file.
pub(super) fn routes() -> Router<Auth> {
    Router::new()
        .route("/sso", post(off))
        .route("/sso/saml/metadata", get(off))
        .route("/sso/saml/acs", post(off))
        .route("/admin/sso/providers", any(admin_off))
        .route("/admin/sso/providers/{id}", any(admin_off))
}

async fn off() -> Error {
    SsoError::Disabled.into()
}

async fn admin_off(ctx: Context) -> Error {
    match ctx.admin() {
        Ok(()) => SsoError::Disabled.into(),
        Err(error) => error,
    }
}
