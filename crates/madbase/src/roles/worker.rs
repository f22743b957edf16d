//! The muscle of a cluster: the data API and realtime behind a gateway of its own, which verifies keys and tokens again.

use std::time::Duration;

use anyhow::Result;
use axum::Router;
use control_plane::ControlPlane;
use gateway::{Endpoint, Gateway};
use realtime::Realtime;
use store::{Databases, Redis};

use super::{Base, Installation, serve_data, serve_realtime};
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
    /// Whose sockets are told when the process ends; none on proxies.
    pub(crate) realtime: Option<Realtime>,
}

/// Wire it; waits at most `patience` until the system node has prepared the databases.
pub(crate) async fn worker(installation: Installation, patience: Duration, render: Render) -> Result<Parts> {
    let base = Base::read(&installation, patience).await?;
    // Auth is not served here; it tells which sessions have ended.
    let (auth, data_api) = (base.auth(), base.data_api());
    let realtime = base.realtime(&installation.realtime, &auth);
    let services = gateway::Services {
        auth: Router::new().into(),
        data_api: serve_data(data_api.clone()),
        realtime: serve_realtime(realtime.clone()),
    };
    let gateway = base.gateway(installation, services, (auth, data_api), render);
    gateway.tell_writes(base.control_plane.versions());
    Ok(base.parts(gateway, Some(realtime)))
}

impl Base {
    /// What is served, with what it stands on.
    pub(super) fn parts(self, gateway: Gateway, realtime: Option<Realtime>) -> Parts {
        let Self { databases, redis, control_plane, .. } = self;
        Parts { api: gateway::endpoint(gateway), databases, control_plane, redis, realtime }
    }
}
