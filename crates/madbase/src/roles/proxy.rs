//! The face of a cluster: the gateway with auth; what the workers do is forwarded to them.

use std::time::Duration;

use anyhow::Result;
use gateway::{Endpoint, Workers};

use super::worker::Parts;
use super::{Base, Installation, default_project};
use crate::telemetry::Render;

/// Wire it; `patience` as for [`super::worker()`], `workers` answer `/rest/v1` and `/realtime/v1`.
pub(crate) async fn proxy(
    installation: Installation,
    workers: Workers,
    patience: Duration,
    render: Render,
) -> Result<Parts> {
    let base = Base::read(&installation, patience).await?;
    let auth = base.auth();
    auth.resume(&default_project(&base.control_plane).await?);
    let services = gateway::Services {
        auth: Endpoint::behind(auth::router(auth.clone())),
        data_api: workers.clone().into(),
        realtime: workers.into(),
    };
    // It forwards requests; of the data API it needs what the projects' databases set for it: origins, names of roles.
    let settings = base.data_api();
    let gateway = base.gateway(installation, services, (auth, settings), render);
    gateway.keep_responses(base.responses());
    Ok(base.parts(gateway, None))
}
