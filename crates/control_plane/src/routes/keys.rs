//! `/api/v1/projects/{ref}/keys`: what opens a project. Never cached, never logged.

use axum::Json;
use axum::extract::State;
use http::header::CACHE_CONTROL;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ADMIN;
use super::body::{Body, Reference};
use crate::queries::ProjectRow;
use crate::secrets::{Secrets, StoredLogin};
use crate::{Config, ControlPlane, Error};

type Uncached = ([(http::HeaderName, &'static str); 1], Json<Value>);

/// `GET /api/v1/projects/{ref}/keys`: API keys, JWT secret, public keys, database URLs.
pub(super) async fn show(
    State(plane): State<ControlPlane>,
    Reference(reference): Reference,
) -> Result<Uncached, Error> {
    let (row, secrets) = plane.opened(&reference).await?;
    shown(&plane, &row, &secrets)
}

/// `POST /api/v1/projects/{ref}/keys/rotate`: new `sb_publishable_…` and `sb_secret_…` keys. The old ones work until
/// the gateway's cache has forgotten them (60 s).
pub(super) async fn rotate(
    State(plane): State<ControlPlane>,
    Reference(reference): Reference,
) -> Result<Uncached, Error> {
    let row = plane.rotate(&reference, ADMIN).await?;
    let secrets = Secrets::open(&plane.inner.seal, &row)?;
    shown(&plane, &row, &secrets)
}

/// The secret of a project elsewhere.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    jwt_secret: Option<SecretString>,
}

/// `POST /api/v1/projects/{ref}/keys/replace-jwt-secret`: another shared secret, made or the one of the body, and with
/// it new `anon` and `service_role` keys.
pub(super) async fn replace_jwt_secret(
    State(plane): State<ControlPlane>,
    Reference(reference): Reference,
    body: Option<Body<Option<Given>>>,
) -> Result<Uncached, Error> {
    let given = body.and_then(|it| it.0).unwrap_or_default().jwt_secret;
    let given = given.as_ref().map(ExposeSecret::expose_secret);
    let row = plane.replace_jwt_secret(&reference, given, ADMIN).await?;
    let secrets = Secrets::open(&plane.inner.seal, &row)?;
    shown(&plane, &row, &secrets)
}

fn shown(plane: &ControlPlane, row: &ProjectRow, secrets: &Secrets) -> Result<Uncached, Error> {
    let url = |login: &StoredLogin| database_url(&plane.inner.config, &row.database, login);
    let body = json!({
        "ref": row.reference,
        "api_url": plane.inner.config.api_url(&row.reference),
        "anon": secrets.anon_key,
        "service_role": secrets.service_role_key,
        "publishable": secrets.publishable_key,
        "secret": secrets.secret_key,
        "jwt_secret": secrets.jwt_secret,
        "jwks": secrets.key_ring()?.jwks(),
        "database_url": url(&secrets.owner),
        "database_urls": {
            "owner": url(&secrets.owner),
            "authenticator": url(&secrets.authenticator),
            "services": url(&secrets.services),
        },
    });
    Ok(([(CACHE_CONTROL, "no-store")], Json(body)))
}

fn database_url(config: &Config, database: &str, login: &StoredLogin) -> String {
    // Underscores are the rule in our names, and need no escape in a URL.
    let escaped = |it: &str| utf8_percent_encode(it, NON_ALPHANUMERIC).to_string().replace("%5F", "_");
    let (user, password, database) = (escaped(&login.user), escaped(&login.password), escaped(database));
    format!("postgresql://{user}:{password}@{}:{}/{database}", config.database_host, config.database_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_escaped_in_urls() {
        let login = StoredLogin { user: "postgres_a".into(), password: "p".into() };
        let config = Config::new([0; 32], "t".to_owned().into());
        let url = database_url(&config, "my db/x", &login);
        assert_eq!(url, "postgresql://postgres_a:p@127.0.0.1:54322/my%20db%2Fx");
    }
}
