//! The system node's side: the port that nodes talk to, and the watch over them.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use common::{NodeId, NodeName, Pillar};
use control_plane::{ControlPlane, Heartbeat, Offer, Standing, node_router};
use gateway::{Endpoint, Peer, Tls, TlsSettings};
use store::Redis;
use store::mtls::{Clients, Credentials};
use tokio::time::interval;
use uuid::Uuid;

use crate::layout::Layout;
use crate::secrets;
use crate::server::Life;

const EVERY: Duration = Duration::from_secs(5);

/// What the node port serves, and as whom.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) tls: Tls,
    pub(crate) endpoint: Endpoint,
    credentials: Credentials,
    address: SocketAddr,
}

impl Door {
    /// The port's address is in the certificate, for tools that look there.
    pub(crate) async fn prepare(
        plane: &ControlPlane,
        offer: Offer,
        layout: &Layout,
        address: SocketAddr,
    ) -> Result<Self> {
        let name = NodeName { pillar: Pillar::System, id: own_id(layout)? };
        let authority = plane.authority().await.context("open the cluster's authority")?;
        let identity = authority.identify(&name, &[address.ip()]).context("make our certificate")?;
        let credentials = Credentials::new(&identity)?;
        // A node that joins has no certificate yet.
        let config = credentials.server(Clients::optional(&[Pillar::Proxy, Pillar::Worker]))?;
        let router = node_router(plane.clone(), offer).layer(middleware::from_fn(introduce));
        let tls = Tls::between_nodes(config, TlsSettings::default());
        Ok(Self { tls, endpoint: router.into(), credentials, address })
    }
}

/// Tell the routes who the client's certificate says it is.
async fn introduce(mut request: Request, next: Next) -> Response {
    let node = request.extensions().get::<Peer>().and_then(|it| it.node.clone());
    if let Some(node) = node {
        request.extensions_mut().insert::<Arc<NodeName>>(node);
    }
    next.run(request).await
}

/// Watch over the nodes, and be one, until `life` has ended.
pub(crate) async fn keep(
    plane: ControlPlane,
    redis: Redis,
    (credentials, address): (Credentials, String),
    life: Life,
) {
    let mut ticks = interval(EVERY);
    let beating = async {
        loop {
            ticks.tick().await;
            let name = credentials.name();
            let standing = if life.draining.is_cancelled() { Standing::Draining } else { Standing::Ready };
            if let Err(error) = plane.register_self(&name.id, &beat(&address, standing)).await {
                tracing::debug!(%error, "the system node is not noted");
            }
            if credentials.is_due(SystemTime::now())
                && let Ok(authority) = plane.authority().await
                && let Ok(identity) = authority.identify(&name, &[])
                && let Err(error) = credentials.replace(&identity)
            {
                tracing::error!(%error, "the system node's certificate was not renewed");
            }
        }
    };
    tokio::select! {
        () = life.ended.cancelled() => {}
        () = beating => {}
        () = super::heed(plane.clone(), credentials.clone(), life.clone()) => {}
        () = plane.keep_nodes(&redis) => {}
    }
    let (name, left) = (credentials.name(), beat(&address, Standing::Left));
    let _unheard = tokio::time::timeout(Duration::from_secs(2), plane.register_self(&name.id, &left)).await;
}

impl Door {
    /// What [`keep`] needs to know of it.
    pub(crate) fn credentials(&self) -> (Credentials, String) {
        (self.credentials.clone(), self.address.to_string())
    }
}

fn beat(address: &str, state: Standing) -> Heartbeat {
    Heartbeat {
        address: address.to_owned(),
        zone: String::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state,
        started: false,
        requests_in_flight: 0,
        requests_per_sec: 0.0,
        csr: None,
    }
}

/// The same over restarts.
fn own_id(layout: &Layout) -> Result<NodeId> {
    let path = layout.secrets().join("node_id");
    if let Ok(text) = fs::read_to_string(&path) {
        return text.trim().parse().with_context(|| format!("{} is damaged; remove it", path.display()));
    }
    let unique = Uuid::new_v4().simple().to_string();
    let id: NodeId = format!("system-{}", unique.get(..10).unwrap_or_default()).parse()?;
    secrets::write_private(&path, id.as_str())?;
    Ok(id)
}
