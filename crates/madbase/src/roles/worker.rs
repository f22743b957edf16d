//! The muscle of a cluster: the data API behind a gateway of its own, which verifies keys and tokens again.

use std::time::Duration;

use anyhow::Result;
use axum::Router;
use control_plane::ControlPlane;
use gateway::{Endpoint, Gateway};
use store::{Databases, Redis};

use super::{Base, Installation, serve_data};
use crate::telemetry::Render;

/// What proxies and workers serve.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The door.
    pub(crate) api: Endpoint,
    /// The pools behind.
    pub(crate) databases: Databases,
    /// What the control database says.
    pub(crate) control_plane: ControlPlane,
    /// What processes share.
    pub(crate) redis: Redis,
}

/// Wire it; waits at most `patience` until the system node has prepared the databases.
pub(crate) async fn worker(installation: Installation, patience: Duration, render: Render) -> Result<Parts> {
    let base = Base::read(&installation, patience).await?;
    // Auth is not served here; it tells which sessions have ended.
    let (auth, data_api) = (base.auth(), base.data_api());
    let services = gateway::Services { auth: Router::new().into(), data_api: serve_data(data_api.clone()) };
    let gateway = base.gateway(installation, services, (auth, data_api), render);
    gateway.tell_writes(base.control_plane.versions());
    Ok(base.parts(gateway))
}

impl Base {
    /// What is served, with what it stands on.
    pub(super) fn parts(self, gateway: Gateway) -> Parts {
        let Self { databases, redis, control_plane, .. } = self;
        Parts { api: gateway::endpoint(gateway), databases, control_plane, redis }
    }
}
