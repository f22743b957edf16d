//! Presence for the rest of the program: users in channels, without a socket (REQ C4).

use std::sync::Arc;

use common::ProjectRef;
use serde_json::Value;
use store::Redis;
use tokio::time::Instant;

use super::local::{Local, Who};
use super::state::Metas;
use super::{Presence, PresenceRefusal, PresenceSettings, limits, text};
use crate::hub;
use crate::tenant::Tenant;

/// Who is in which channel of a project, over all workers. Cheap to clone; the last one dropped lets the users leave that
/// joined here. [`Realtime::presence`](crate::Realtime::presence) has the one whose users the project's sockets see.
///
/// Channels are named as clients name them: `public`, not `realtime:public`. Users join public channels; members of private
/// ones of the same name are counted and listed, too. A user leaves by itself when no
/// [`PresenceManager::heartbeat`] came for the TTL.
#[derive(Debug, Clone)]
pub struct PresenceManager {
    presence: Presence,
    /// Whose sockets are told of the users; it stays while somebody may join.
    tenant: Option<Arc<Tenant>>,
}

impl PresenceManager {
    /// One of its own. Must be called on a runtime; a moment later it knows who joined elsewhere.
    #[must_use]
    pub fn new(redis: &Redis, project: &ProjectRef, settings: PresenceSettings) -> Self {
        Self { presence: Presence::new(redis, project, settings, Arc::new(|_, _| {})), tenant: None }
    }

    /// That of `tenant`, whose sockets see the users among their members.
    pub(crate) fn of(tenant: Arc<Tenant>) -> Self {
        Self { presence: tenant.presence.clone(), tenant: Some(tenant) }
    }

    /// `user_id` is in `channel` and says `meta` of itself, a JSON object. Who joins again changes what it says.
    ///
    /// # Errors
    /// [`PresenceRefusal::NotAMap`], [`PresenceRefusal::TooLarge`], [`PresenceRefusal::Full`].
    pub fn join_channel(&self, user_id: &str, channel: &str, meta: &Value) -> Result<(), PresenceRefusal> {
        let shared = &self.presence.shared;
        let settings = &shared.settings;
        if user_id.len() > limits::SHORT_BYTES {
            return Err(PresenceRefusal::TooLarge);
        }
        let (said, bytes) = limits::said(meta, settings.max_meta_bytes)?;
        let (topic, until) = (topic(channel), Some(Instant::now() + settings.ttl));
        shared.change(|local| {
            local.make_sure_of_room(&topic, bytes, settings)?;
            local.put(Who::User(user_id.into()), (&topic, user_id), said, (until, settings.max_members))
        })
    }

    /// `user_id`, which joined here, is still in `channel`; `false` when it is not: join again.
    #[must_use]
    pub fn heartbeat(&self, user_id: &str, channel: &str) -> bool {
        let shared = &self.presence.shared;
        let until = Instant::now() + shared.settings.ttl;
        shared.local().renew(&Who::User(user_id.into()), &topic(channel), until)
    }

    /// `user_id`, which joined here, leaves `channel`.
    pub fn leave_channel(&self, user_id: &str, channel: &str) {
        self.presence.shared.change(|local| local.take(&Who::User(user_id.into()), &topic(channel)));
    }

    /// How many are in `channel`, each counted once however many connections it has.
    #[must_use]
    pub fn get_channel_online_count(&self, channel: &str) -> usize {
        self.metas(channel).len()
    }

    /// Who is in `channel`: `{id: {metas: […]}}`.
    #[must_use]
    pub fn channel_state(&self, channel: &str) -> Value {
        serde_json::from_str(&text::state(&self.metas(channel))).unwrap_or_default()
    }

    /// Those of the public and of the private topic of that name.
    fn metas(&self, channel: &str) -> Metas {
        let local = self.presence.shared.local();
        let of = |is_private| {
            local.state.metas(&hub::key(&topic(channel), is_private)).cloned().unwrap_or_default()
        };
        let mut all = of(false);
        for (key, metas) in of(true) {
            all.entry(key).or_default().extend(metas);
        }
        all
    }

    /// Those who joined here leave everywhere, now. Returns when the others were told; where there are sockets, which stay,
    /// they hear of it a moment later.
    pub async fn close(&self) {
        match self.tenant {
            Some(_) => self.presence.shared.change(Local::take_users),
            None => self.presence.close().await,
        }
    }
}

/// One without sockets, for tests.
#[cfg(test)]
pub(super) fn beside(presence: &Presence) -> PresenceManager {
    PresenceManager { presence: presence.clone(), tenant: None }
}

fn topic(channel: &str) -> Arc<str> {
    format!("realtime:{channel}").into()
}
