//! The nodes of a cluster: who may join, who is there, how they are, and telling proxies when that changes (REQ H6).
//!
//! A node joins once by a [`JoinToken`], gets its id and a certificate, and sends a [`Heartbeat`] every five seconds. Who
//! is silent for [`SILENCE`] counts as lost; that is decided by [`ControlPlane::keep_nodes`] alone, so that nobody is
//! lost because the control plane was away. Changes are told as [`CHANNEL`] by PostgreSQL and by Redis.

mod api;
mod queries;
mod token;

use std::collections::HashSet;
use std::time::Duration;

use common::{NodeId, NodeName, Pillar};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Notification, Notifications, Redis};
use uuid::Uuid;

pub use api::{Offer, node_router};
pub use token::{JoinToken, JoinTokenError};

use crate::{ControlPlane, Error, events};

/// Where changes of the set of nodes are told, on PostgreSQL and on Redis; the message is the node's id.
pub const CHANNEL: &str = "madbase:nodes";
/// A node that said nothing for so long counts as lost.
pub const SILENCE: Duration = Duration::from_secs(15);
/// Between two looks for silent nodes.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// The longest that a join token holds.
const MAX_TOKEN_LIFE_SECS: u32 = 7 * 86_400;
/// The most nodes of a cluster.
const MAX_NODES: i64 = 1000;

/// A node as it was last heard of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    /// Stable over restarts.
    pub id: String,
    /// `system`, `proxy` or `worker`.
    pub role: String,
    /// `host:port` where it serves.
    pub address: String,
    /// Where it stands, as its operator calls it; may be empty.
    pub zone: String,
    /// Of MadBase.
    pub version: String,
    /// `ready`, `draining`, `lost` or `left`.
    pub state: String,
    /// Requests that it is working on.
    pub requests_in_flight: i32,
    /// Requests answered a second, between the last two heartbeats.
    pub requests_per_sec: f32,
    /// When it joined.
    pub joined_at: Timestamp,
    /// The last heartbeat.
    pub last_seen_at: Timestamp,
}

/// What a node says about itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// `host:port` where it serves.
    pub address: String,
    /// Where it stands.
    #[serde(default)]
    pub zone: String,
    /// Of MadBase.
    pub version: String,
    /// How it is.
    pub state: Standing,
    /// It has just started: what an operator asked of it before is done.
    #[serde(default)]
    pub started: bool,
    /// Requests that it is working on.
    #[serde(default)]
    pub requests_in_flight: i32,
    /// Requests answered a second since the last heartbeat.
    #[serde(default)]
    pub requests_per_sec: f32,
    /// Asks for a new certificate: a request (PKCS #10, PEM).
    #[serde(default)]
    pub csr: Option<String>,
}

/// What a node says of its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Takes requests.
    Ready,
    /// Finishes what it has.
    Draining,
    /// Stops now.
    Left,
}

impl Standing {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Left => "left",
        }
    }
}

/// What a heartbeat is answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pulse {
    /// An operator wants the node to finish what it has and stop.
    pub drain: bool,
    /// The new certificate chain, when one was asked for.
    pub chain: Option<String>,
    /// The authority's certificate.
    pub authority: Option<String>,
}

impl ControlPlane {
    /// All nodes, by role and id. One round trip.
    ///
    /// # Errors
    /// [`Error::Store`] or [`Error::Timeout`] when the control database does not answer.
    pub async fn nodes(&self) -> Result<Vec<Node>, Error> {
        queries::list(&self.inner.db).await
    }

    /// Nodes that were removed, as long as a certificate of theirs may not have ended: nobody believes them. One round
    /// trip; changes are told as those of nodes are.
    ///
    /// # Errors
    /// As [`Self::nodes`].
    pub async fn removed_nodes(&self) -> Result<HashSet<NodeId>, Error> {
        queries::removed(&self.inner.db).await
    }

    /// Ids of nodes that came, went or changed, told by whichever process changed them. After
    /// [`store::Notification::Connected`] some may have been missed.
    #[must_use]
    pub fn node_changes(&self) -> Notifications {
        self.inner.provisioner.server.listen(&self.inner.config.control_database, CHANNEL)
    }

    /// A token that lets one node of `role` join within `life_secs`.
    ///
    /// # Errors
    /// [`Error::Body`] for system nodes and lives beyond a week; as [`Self::authority`].
    pub async fn create_join_token(
        &self,
        role: Pillar,
        life_secs: u32,
        who: &str,
    ) -> Result<(JoinToken, Timestamp), Error> {
        if role == Pillar::System {
            return Err(Error::Body("role must be proxy or worker".into()));
        }
        if !(1..=MAX_TOKEN_LIFE_SECS).contains(&life_secs) {
            return Err(Error::Body(format!("ttl_secs must be 1 to {MAX_TOKEN_LIFE_SECS}")));
        }
        let authority = self.authority().await?.fingerprint()?;
        let token = JoinToken::fresh(authority)?;
        let expires_at = queries::add_token(&self.inner.db, &token, role, life_secs, who).await?;
        Ok((token, expires_at))
    }

    /// Take a node in: its name and certificate chain. The token is spent by that.
    ///
    /// # Errors
    /// [`Error::JoinToken`] when it is unknown, used or expired; [`Error::Body`] for a request that cannot be read.
    async fn join(
        &self,
        token: &JoinToken,
        csr: &str,
        beat: &Heartbeat,
    ) -> Result<(NodeName, String), Error> {
        checked(beat)?;
        let db = &self.inner.db;
        let role = queries::token_role(db, token).await?.ok_or(Error::JoinToken)?;
        let pillar: Pillar = role.parse().map_err(|_| Error::JoinToken)?;
        let unique = Uuid::new_v4().simple().to_string();
        let id = format!("{pillar}-{}", unique.get(..10).unwrap_or_default());
        let id: NodeId = id.parse().map_err(|it: common::NodeNameError| Error::Broken(it.into()))?;
        let name = NodeName { pillar, id };
        let chain = self.authority().await?.issue(csr, &name, &addresses(&beat.address))?;
        // Of two that come with one token the first one counts; the other's certificate was shown to nobody.
        if !queries::join(db, token, &name, beat).await? {
            return Err(Error::JoinToken);
        }
        events::node_joined(&name);
        Ok((name, chain))
    }

    /// Take note of how the node `name` is; `name` is what its certificate says.
    ///
    /// # Errors
    /// [`Error::UnknownNode`] when it was removed.
    pub async fn heartbeat(&self, name: &NodeName, beat: &Heartbeat) -> Result<Pulse, Error> {
        checked(beat)?;
        let drain = queries::beat(&self.inner.db, name, beat).await?;
        let drain = drain.ok_or_else(|| Error::UnknownNode(name.id.to_string()))?;
        let Some(csr) = &beat.csr else { return Ok(Pulse { drain, chain: None, authority: None }) };
        let authority = self.authority().await?;
        let chain = authority.issue(csr, name, &addresses(&beat.address))?;
        Ok(Pulse { drain, chain: Some(chain), authority: Some(authority.certificate().to_owned()) })
    }

    /// Note that this very process is the system node `id`.
    ///
    /// # Errors
    /// [`Error::Store`] or [`Error::Timeout`] when the control database does not answer.
    pub async fn register_self(&self, id: &NodeId, beat: &Heartbeat) -> Result<(), Error> {
        let name = NodeName { pillar: Pillar::System, id: id.clone() };
        queries::register(&self.inner.db, &name, beat).await
    }

    /// Ask a node to finish what it has and stop; proxies send it nothing new from now on.
    ///
    /// # Errors
    /// [`Error::UnknownNode`].
    pub(crate) async fn drain_node(&self, id: &str, who: &str) -> Result<(), Error> {
        let found = queries::drain(&self.inner.db, id, &deed(who, "node.drain")).await?;
        if found { Ok(()) } else { Err(Error::UnknownNode(id.to_owned())) }
    }

    /// Forget a node, and believe its certificate no longer; it cannot come back without a new token.
    ///
    /// # Errors
    /// [`Error::UnknownNode`].
    pub(crate) async fn remove_node(&self, id: &str, who: &str) -> Result<(), Error> {
        let found = queries::remove(&self.inner.db, id, &deed(who, "node.remove")).await?;
        if found { Ok(()) } else { Err(Error::UnknownNode(id.to_owned())) }
    }

    /// Watch over the nodes as long as this is polled: find the silent ones, and pass on to `redis` what changes.
    pub async fn keep_nodes(&self, redis: &Redis) {
        tokio::join!(self.find_silent(), self.pass_on(redis));
    }

    /// Count as lost who was silent for [`SILENCE`]; their ids.
    ///
    /// # Errors
    /// [`Error::Store`] or [`Error::Timeout`] when the control database does not answer.
    pub async fn lose_silent(&self) -> Result<Vec<String>, Error> {
        let lost = queries::lose_silent(&self.inner.db, SILENCE).await?;
        lost.iter().for_each(|it| events::node_lost(it));
        Ok(lost)
    }

    async fn find_silent(&self) {
        loop {
            // First of all: after a start everybody gets the time to be heard again.
            tokio::time::sleep(SILENCE).await;
            loop {
                match self.lose_silent().await {
                    Ok(_told) => {}
                    Err(error) => {
                        // Nobody could be heard meanwhile either.
                        events::nodes_unseen(&error);
                        break;
                    }
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    async fn pass_on(&self, redis: &Redis) {
        let mut changes = self.node_changes();
        while let Some(change) = changes.next().await {
            let id = match change {
                Notification::Message(id) => id,
                Notification::Connected => String::new(),
            };
            redis.publish(CHANNEL, &id).await;
        }
    }
}

fn deed<'a>(who: &'a str, action: &'static str) -> crate::queries::Deed<'a> {
    crate::queries::Deed { who, action, detail: json!({}) }
}

/// The IP address of `host:port`, for the certificate.
fn addresses(address: &str) -> Vec<std::net::IpAddr> {
    address.parse::<std::net::SocketAddr>().map(|it| it.ip()).into_iter().collect()
}

fn checked(beat: &Heartbeat) -> Result<(), Error> {
    let refuse = |text: &str| Err(Error::Body(text.to_owned()));
    let port = beat.address.rsplit_once(':').and_then(|(host, port)| {
        let sane = |it: char| it.is_ascii_alphanumeric() || "-._[]:".contains(it);
        (!host.is_empty() && host.chars().all(sane)).then(|| port.parse::<u16>().ok()).flatten()
    });
    if port.is_none_or(|it| it == 0) || beat.address.len() > 300 {
        return refuse("address must be host:port");
    }
    if beat.zone.len() > 100 || beat.zone.chars().any(char::is_control) {
        return refuse("zone must be at most 100 characters");
    }
    if beat.version.is_empty() || beat.version.len() > 100 || beat.version.chars().any(char::is_control) {
        return refuse("version must be 1 to 100 characters");
    }
    if beat.requests_in_flight < 0 || !beat.requests_per_sec.is_finite() || beat.requests_per_sec < 0.0 {
        return refuse("load must not be negative");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_is_bounded() {
        let check = |address: &str, zone: &str, rate: f32| {
            let beat = Heartbeat {
                address: address.into(),
                zone: zone.into(),
                version: "1".into(),
                state: Standing::Ready,
                started: false,
                requests_in_flight: 0,
                requests_per_sec: rate,
                csr: None,
            };
            checked(&beat).is_ok()
        };
        for good in ["10.0.0.5:8010", "[fd00::1]:8010", "worker-1.internal:8010"] {
            assert!(check(good, "eu", 1.5), "{good}");
        }
        for bad in ["", "10.0.0.5", ":8010", "a b:1", "x:0", "x:99999", "http://x:1"] {
            assert!(!check(bad, "eu", 1.5), "{bad}");
        }
        assert!(!check("x:1", "a\nb", 0.0) && !check("x:1", "", f32::NAN) && !check("x:1", "", -1.0));
    }
}
