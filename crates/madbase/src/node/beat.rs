//! Heartbeats: every five seconds, and at once when something changes, a node says how it is (REQ H6).
//!
//! The system node may be away for any time: nothing here fails or stops for it. What it would have written, a node then
//! writes into the control database itself.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use control_plane::{ControlPlane, Heartbeat, Pulse, Standing};
use secrecy::SecretString;
use store::mtls::{Credentials, Identity, SigningRequest};
use tokio::time::{Instant, sleep};
use url::Url;

use gateway::Load;

use super::{Kept, join};
use crate::server::Life;

const EVERY: Duration = Duration::from_secs(5);
/// The last words of a node must not hold up its end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Where a node is.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// `host:port` as others reach it.
    pub(crate) address: String,
    /// As its operator calls it.
    pub(crate) zone: String,
}

/// A node's heart.
#[derive(Debug)]
pub(crate) struct Beating {
    credentials: Credentials,
    kept: Kept,
    system: Url,
    client: reqwest::Client,
    plane: ControlPlane,
    place: Place,
    load: Load,
    /// Whether anybody has heard us since the start.
    heard: bool,
    /// Whether the system node did not, last time: one line of the log for each change.
    silent: bool,
    /// Requests begun, at the last heartbeat.
    before: (u64, Instant),
}

impl Beating {
    /// Of the node that `kept` tells about.
    pub(crate) fn new(
        (credentials, kept, system): (Credentials, Kept, Url),
        plane: ControlPlane,
        place: Place,
        load: Load,
    ) -> Result<Self> {
        let tls = credentials.client(&[common::Pillar::System]).context("prepare TLS")?;
        let client = join::client(Arc::unwrap_or_clone(tls))?;
        let before = (load.begun(), Instant::now());
        Ok(Self {
            credentials,
            kept,
            system,
            client,
            plane,
            place,
            load,
            heard: false,
            silent: false,
            before,
        })
    }

    /// Until `life` has ended.
    pub(crate) async fn run(mut self, life: Life) {
        let mut standing = Standing::Ready;
        loop {
            self.beat(standing, &life).await;
            tokio::select! {
                () = life.ended.cancelled() => break,
                () = life.draining.cancelled(), if standing == Standing::Ready => standing = Standing::Draining,
                () = sleep(EVERY) => {}
            }
        }
        let _unheard = tokio::time::timeout(LAST_WORDS, self.say(Standing::Left, None)).await;
    }

    async fn beat(&mut self, standing: Standing, life: &Life) {
        let request = match self.credentials.is_due(SystemTime::now()) {
            true => SigningRequest::new().ok(),
            false => None,
        };
        let (key, csr) = request.map(|it| (it.key, it.csr)).unzip();
        let Some(pulse) = self.say(standing, csr).await else { return };
        self.heard = true;
        if let Err(error) = self.renew(key, &pulse) {
            tracing::error!(error = format!("{error:#}"), "the node's certificate was not renewed");
        }
        if pulse.drain && standing == Standing::Ready {
            tracing::info!("an operator asked this node to stop");
            life.stop.cancel();
        }
    }

    /// To the system node, else to the control database; `None` when nobody heard it.
    async fn say(&mut self, standing: Standing, csr: Option<String>) -> Option<Pulse> {
        let (begun, now) = (self.load.begun(), Instant::now());
        let secs = now.duration_since(self.before.1).as_secs_f32().max(0.001);
        let answered = u16::try_from((begun - self.before.0).min(u64::from(u16::MAX))).unwrap_or(u16::MAX);
        self.before = (begun, now);
        let beat = Heartbeat {
            address: self.place.address.clone(),
            zone: self.place.zone.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state: standing,
            started: !self.heard,
            requests_in_flight: self.load.in_flight().max(0),
            requests_per_sec: f32::from(answered) / secs,
            csr,
        };
        let name = self.credentials.name();
        match self.tell(&beat).await {
            Ok(pulse) => {
                if !self.heard || self.silent {
                    tracing::info!(node.id = %name.id, "the system node knows us");
                }
                self.silent = false;
                Some(pulse)
            }
            Err(error) => {
                if !self.silent {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "the system node does not hear us; requests go on");
                }
                self.silent = true;
                self.plane.heartbeat(&name, &Heartbeat { csr: None, ..beat }).await.ok()
            }
        }
    }

    async fn tell(&self, beat: &Heartbeat) -> Result<Pulse> {
        let url = self.system.join("/node/v1/heartbeat").context("the system node's address")?;
        let answer = self.client.post(url).json(beat).timeout(EVERY).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            anyhow::bail!("{status}: {text}");
        }
        serde_json::from_str(&text).context("read the system node's answer")
    }

    fn renew(&self, key: Option<SecretString>, pulse: &Pulse) -> Result<()> {
        let (Some(key), Some(chain), Some(authority)) = (key, &pulse.chain, &pulse.authority) else {
            return Ok(());
        };
        let identity = Identity { chain: chain.clone(), key, authority: authority.clone() };
        self.credentials.replace(&identity)?;
        tracing::info!("the node has a new certificate");
        self.kept.write(&identity, &self.system)
    }
}
