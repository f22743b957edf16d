//! Nodes that an operator removed: nobody talks to them any more, and they stop.
//!
//! The list comes from the control database, which tells changes at once; it is asked for every 30 s besides. While it
//! does not answer, the last list holds.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use common::NodeId;
use control_plane::ControlPlane;
use store::mtls::Credentials;
use tokio::time::sleep;

use crate::server::Life;

/// The backstop.
const EVERY: Duration = Duration::from_secs(30);
/// After a question that nobody answered.
const RETRY: Duration = Duration::from_secs(1);

/// Believe none of the removed nodes, in the name of `credentials`.
///
/// # Errors
/// When this node is one of them, or the control database does not answer.
pub(crate) async fn admit(plane: &ControlPlane, credentials: &Credentials) -> Result<()> {
    credentials.refuse(read(plane).await?);
    if credentials.refuses(&credentials.name().id) {
        bail!(
            "this node was removed from its cluster: to let it in again, remove secrets/node.json and \
             secrets/cluster.toml from its data directory, and start it with --join and a new token"
        );
    }
    Ok(())
}

/// Keep the list up to date as long as this is polled; a node that finds itself on it stops.
pub(crate) async fn heed(plane: ControlPlane, credentials: Credentials, life: Life) {
    let mut notified = plane.node_changes();
    loop {
        let pause = match read(&plane).await {
            Ok(removed) => {
                credentials.refuse(removed);
                EVERY
            }
            Err(_unheard) => RETRY,
        };
        if credentials.refuses(&credentials.name().id) && !life.stop.is_cancelled() {
            tracing::error!("an operator removed this node from the cluster: it stops");
            life.stop.cancel();
        }
        tokio::select! {
            Some(_) = notified.next() => {}
            () = sleep(pause) => {}
        }
    }
}

async fn read(plane: &ControlPlane) -> Result<HashSet<NodeId>> {
    plane.removed_nodes().await.context("read who was removed from the cluster")
}
