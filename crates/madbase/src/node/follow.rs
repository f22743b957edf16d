//! A proxy's knowledge of the workers (REQ H6): told by PostgreSQL and Redis at once, asked for every 30 s besides.
//!
//! The list comes from the control database. While that does not answer, the last one holds.

use std::time::Duration;

use control_plane::{ControlPlane, NODES_CHANNEL, Node};
use gateway::{WorkerAddress, Workers};
use store::Redis;
use tokio::time::sleep;

/// The backstop.
const EVERY: Duration = Duration::from_secs(30);
/// After a question that nobody answered.
const RETRY: Duration = Duration::from_secs(1);

/// Keep `workers` up to date as long as this is polled.
pub(crate) async fn follow(plane: ControlPlane, redis: Redis, workers: Workers) {
    let mut told = redis.subscribe(NODES_CHANNEL);
    let mut notified = plane.node_changes();
    let mut silent = false;
    loop {
        let pause = match plane.nodes().await {
            Ok(nodes) => {
                workers.set(addresses(&nodes));
                silent = false;
                EVERY
            }
            Err(error) => {
                if !silent {
                    tracing::warn!(%error, "the list of workers cannot be read; the last one holds");
                }
                silent = true;
                RETRY
            }
        };
        tokio::select! {
            Some(_) = told.next() => {}
            Some(_) = notified.next() => {}
            () = sleep(pause) => {}
        }
    }
}

/// The workers that may be asked. Those that the system node has lost are left out, unless they are all that there is: the
/// proxy looks for itself who answers.
fn addresses(nodes: &[Node]) -> Vec<WorkerAddress> {
    let of = |states: &[&str]| -> Vec<WorkerAddress> {
        let wanted = nodes.iter().filter(|it| it.role == "worker" && states.contains(&it.state.as_str()));
        wanted.filter_map(address).collect()
    };
    let known = of(&["ready", "draining"]);
    if known.iter().any(|it| !it.draining) { known } else { of(&["ready", "draining", "lost"]) }
}

fn address(node: &Node) -> Option<WorkerAddress> {
    let (host, port) = node.address.rsplit_once(':')?;
    Some(WorkerAddress {
        id: node.id.clone(),
        host: host.to_owned(),
        port: port.parse().ok()?,
        encrypted: true,
        draining: node.state == "draining",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, role: &str, state: &str) -> Node {
        serde_json::from_value(serde_json::json!({
            "id": id, "role": role, "address": "10.0.0.5:8010", "zone": "", "version": "1", "state": state,
            "requests_in_flight": 0, "requests_per_sec": 0.0,
            "joined_at": "2026-01-01T00:00:00Z", "last_seen_at": "2026-01-01T00:00:00Z",
        }))
        .unwrap()
    }

    #[track_caller]
    fn check(nodes: &[Node], expected: &str) {
        let told = |it: WorkerAddress| if it.draining { format!("{}-", it.id) } else { it.id };
        let shown: Vec<String> = addresses(nodes).into_iter().map(told).collect();
        assert_eq!(shown.join(" "), expected);
    }

    #[test]
    fn workers_that_take_requests_are_used_and_lost_ones_only_when_there_is_no_other() {
        let all =
            [node("a", "worker", "ready"), node("b", "worker", "draining"), node("c", "worker", "lost")];
        check(&all, "a b-");
        check(&all[1..], "b- c");
        check(&[node("p", "proxy", "ready"), node("d", "worker", "left")], "");
    }
}
