//! Every role in one process: `madbase start`. Creates and migrates databases.

use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use common::Project;
use gateway::Endpoint;
use realtime::Realtime;
use store::Databases;

use super::{Base, Installation, default_project, serve_data, serve_realtime, system};
use crate::telemetry::Render;

/// All services of a single node.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Served to everybody.
    pub(crate) api: Endpoint,
    /// Served to administrators.
    pub(crate) control: Router,
    /// The pools behind.
    pub(crate) databases: Databases,
    /// The project that exists from the first start on.
    pub(crate) default_project: Arc<Project>,
    /// Whose sockets are told when the process ends.
    pub(crate) realtime: Realtime,
}

/// Wire it.
pub(crate) async fn all(installation: Installation, render: Render) -> Result<Parts> {
    let base = Base::prepare(&installation).await?;
    let default_project = default_project(&base.control_plane).await?;
    let (auth, data_api) = (base.auth(), base.data_api());
    let realtime = base.realtime(&installation.realtime, &auth);
    auth.resume(&default_project);
    let services = gateway::Services {
        auth: Endpoint::behind(auth::router(auth.clone())),
        data_api: serve_data(data_api.clone()),
        realtime: serve_realtime(realtime.clone()),
    };
    let control = system::control(&base, &installation, render.clone());
    let gateway = base.gateway(installation, services, (auth, data_api), render);
    gateway.keep_responses(base.responses());
    let api = gateway::endpoint(gateway);
    Ok(Parts { api, control, databases: base.databases, default_project, realtime })
}
