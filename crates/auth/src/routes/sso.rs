//! Sign-in by SAML 2.0: not built yet, so these routes answer as the original does where it is off.

use axum::Router;
use axum::routing::{any, get, post};

use crate::error::ExternalError;
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
    ExternalError::SamlDisabled.into()
}

async fn admin_off(ctx: Context) -> Error {
    match ctx.admin() {
        Ok(()) => ExternalError::SamlDisabled.into(),
        Err(error) => error,
    }
}
