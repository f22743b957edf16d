//! The REST interface on :8001. Everything but `/health` and `/ready` asks for the admin token.

mod body;
mod keys;
mod mail;
mod misc;
mod nodes;
mod projects;
mod signing;
mod wire;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{delete, get, post};
use secrecy::ExposeSecret as _;

pub(crate) use self::body::Body;
use crate::{ControlPlane, Error};

/// The largest body taken.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Who the audit log names for what the REST interface did: the token does not tell people apart yet.
const ADMIN: &str = "admin";

/// The REST interface of `plane`.
pub fn router(plane: ControlPlane) -> Router {
    let guarded = Router::new()
        .route("/projects", get(projects::list).post(projects::create))
        .route("/projects/{ref}", get(projects::show).patch(projects::rename).delete(projects::delete))
        .route("/projects/{ref}/settings", get(projects::settings).patch(projects::configure))
        .route("/projects/{ref}/mail/{name}/preview", get(mail::stored).post(mail::draft))
        .route("/projects/{ref}/keys", get(keys::show))
        .route("/projects/{ref}/keys/rotate", post(keys::rotate))
        .route("/projects/{ref}/keys/replace-jwt-secret", post(keys::replace_jwt_secret))
        .route("/projects/{ref}/signing-keys", get(signing::list).post(signing::prepare))
        .route("/projects/{ref}/signing-keys/rotate", post(signing::rotate))
        .route("/projects/{ref}/signing-keys/{kid}/revoke", post(signing::revoke))
        .route("/nodes", get(nodes::list))
        .route("/nodes/join-tokens", post(nodes::join_token))
        .route("/nodes/{id}", delete(nodes::remove))
        .route("/nodes/{id}/drain", post(nodes::drain))
        .route("/inbox", get(misc::inbox).delete(misc::clear_inbox))
        .route("/audit", get(misc::audit))
        .route("/certificates", get(misc::certificates))
        .fallback(|| async { Error::Route })
        .method_not_allowed_fallback(|| async { Error::Method })
        .layer(middleware::from_fn_with_state(plane.clone(), guard));
    Router::new()
        .route("/health", get(misc::health))
        .route("/ready", get(misc::ready))
        .nest("/api/v1", guarded)
        .fallback(|| async { Error::Route })
        .method_not_allowed_fallback(|| async { Error::Method })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(plane)
}

/// Lets a request pass that carries the admin token.
async fn guard(State(plane): State<ControlPlane>, request: Request, next: Next) -> Result<Response, Error> {
    let header = request.headers().get(http::header::AUTHORIZATION).map(http::HeaderValue::as_bytes);
    let token = header.and_then(bearer).ok_or(Error::Token)?;
    let expected = plane.inner.config.admin_token.expose_secret();
    // Hashes are of one length, so that neither content nor length of the token shows in the time taken.
    let [token, expected] = [token, expected.as_bytes()].map(|it| digest(&SHA256, it));
    verify_slices_are_equal(token.as_ref(), expected.as_ref()).map_err(|_| Error::Token)?;
    Ok(next.run(request).await)
}

/// The token behind `Bearer`, whose case does not matter (RFC 9110 §11.1).
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}
