//! What nodes ask on a port of their own: to join, and every five seconds to be known as alive.
//!
//! Whoever serves this terminates TLS and puts the [`NodeName`] of a client's certificate into the request's extensions.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::NodeName;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Heartbeat, JoinToken, Pulse};
use crate::routes::Body;
use crate::{ControlPlane, Error};

/// A certificate request and a few lines about a node.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// What a node that joins is told beside its certificate: settings, as a settings file names them.
#[derive(Clone, Default)]
pub struct Offer {
    /// `database-url`, `redis-url`, … Secrets among them.
    pub settings: BTreeMap<&'static str, SecretString>,
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.settings.keys()).finish()
    }
}

#[derive(Clone)]
struct Api {
    plane: ControlPlane,
    offer: Arc<Offer>,
}

/// The interface for nodes.
pub fn node_router(plane: ControlPlane, offer: Offer) -> Router {
    Router::new()
        .route("/health", get(async || Json(json!({"status": "ok"}))))
        .route("/node/v1/join", post(join))
        .route("/node/v1/heartbeat", post(heartbeat))
        .fallback(|| async { Error::Route })
        .method_not_allowed_fallback(|| async { Error::Method })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(Api { plane, offer: Arc::new(offer) })
}

/// What a node sends that wants to join.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Join {
    token: SecretString,
    csr: String,
    node: Heartbeat,
}

/// `POST /node/v1/join`: by token; the answer holds all that a node needs to run, secrets included.
async fn join(State(api): State<Api>, Body(join): Body<Join>) -> Result<Json<Value>, Error> {
    let token: JoinToken = join.token.expose_secret().parse().map_err(|_| Error::JoinToken)?;
    let (name, chain) = api.plane.join(&token, &join.csr, &join.node).await?;
    let settings = api.offer.settings.iter().map(|(key, value)| (*key, value.expose_secret()));
    Ok(Json(json!({
        "id": name.id.as_str(),
        "role": name.pillar.as_str(),
        "chain": chain,
        "authority": api.plane.authority().await?.certificate(),
        "master_key": URL_SAFE_NO_PAD.encode(api.plane.inner.config.master_key),
        "settings": settings.collect::<BTreeMap<_, _>>(),
    })))
}

/// `POST /node/v1/heartbeat`: by certificate.
async fn heartbeat(
    State(api): State<Api>,
    name: Option<Extension<Arc<NodeName>>>,
    Body(beat): Body<Heartbeat>,
) -> Result<Json<Pulse>, Error> {
    let Extension(name) = name.ok_or(Error::NodeCertificate)?;
    api.plane.heartbeat(&name, &beat).await.map(Json)
}
