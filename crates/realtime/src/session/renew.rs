//! Tokens that replace older ones on an open socket, and rights that are asked for again.

use std::sync::Arc;

use common::Caller;
use serde_json::Value;

use super::{Done, Session, Work};
use crate::rights::{self, Allowed};
use crate::{sessions, tokens};

/// What a channel's caller may do now.
#[derive(Debug)]
pub(crate) struct Renewed {
    topic: Arc<str>,
    allowed: Result<Allowed, rights::Error>,
}

/// A token that a channel's client has shown.
#[derive(Debug)]
pub(crate) struct Shown {
    topic: Arc<str>,
    caller: Caller,
    token: u64,
    /// Whether its session does.
    stands: bool,
}

impl Session {
    /// Who shows `token`, and a number to know the token by.
    pub(super) fn verify(&self, token: &str) -> Result<(Caller, u64), tokens::Error> {
        let number = self.connection.realtime.number_of(token);
        let known = self.channels.values().find(|it| it.token == number);
        let now_secs = tokens::now_secs();
        if let Some(channel) = known {
            tokens::check(&channel.caller, now_secs)?;
            return Ok((channel.caller.clone(), number));
        }
        let caller = tokens::verify(&self.connection.tenant.project(), token, now_secs)?;
        Ok((caller, number))
    }

    /// `access_token`: null, an opaque key or the same token again change nothing.
    pub(super) fn renew(&mut self, topic: &str, payload: &str) -> Option<Work> {
        let payload: Value = serde_json::from_str(payload).unwrap_or_default();
        let token = payload.get("access_token").and_then(Value::as_str)?;
        if tokens::is_opaque(token)
            || self.channels.get(topic)?.token == self.connection.realtime.number_of(token)
        {
            return None;
        }
        match self.verify(token) {
            Ok(shown) => self.look_at_session(topic, shown),
            Err(refused) => {
                self.stop(topic, &refused.to_string());
                None
            }
        }
    }

    /// The token is good; its session may have ended.
    fn look_at_session(&mut self, topic: &str, (caller, token): (Caller, u64)) -> Option<Work> {
        let topic = Arc::clone(self.channels.get(topic)?.subscription.name());
        let (realtime, project) = (Arc::clone(&self.connection.realtime), self.connection.tenant.project());
        match sessions::remembered(&realtime.ground.check, &project, &caller) {
            Some(stands) => self.shown(Shown { topic, caller, token, stands }),
            None => Some(Box::pin(async move {
                let asked = sessions::ask(&realtime.ground.check, &project, &caller).await;
                // While nobody knows, the channel goes on, and its session is asked for again every second.
                let stands = asked.unwrap_or(true);
                Done::Shown(Box::new(Shown { topic, caller, token, stands }))
            })),
        }
    }

    /// The channel's caller is who showed the token now.
    pub(super) fn shown(&mut self, Shown { topic, caller, token, stands }: Shown) -> Option<Work> {
        if !stands {
            self.stop(&topic, sessions::ENDED);
            return None;
        }
        let session = self.connection.tenant.sessions.watch(&caller, &self.bell);
        self.channels.get_mut(&topic)?.is_of((caller, token), session);
        self.plan_check(tokens::now_secs());
        self.follow_as_now(&topic);
        self.ask(&topic)
    }

    /// Ask for the rights that were not asked for in a while, one channel at a time.
    pub(super) fn recheck(&mut self) -> Option<Work> {
        let due = self.connection.realtime.config.check_every;
        let stale = self.channels.iter().filter(|(_, it)| it.is_private && it.asked_at.elapsed() >= due);
        let topic = stale.min_by_key(|(_, it)| it.asked_at).map(|(topic, _)| Arc::clone(topic))?;
        self.next_check = tokio::time::Instant::now();
        self.ask(&topic)
    }

    fn ask(&mut self, topic: &str) -> Option<Work> {
        let channel = self.channels.get_mut(topic).filter(|it| it.is_private)?;
        channel.asked_at = tokio::time::Instant::now();
        let (realtime, tenant) = (Arc::clone(&self.connection.realtime), Arc::clone(&self.connection.tenant));
        let (headers, caller) = (Arc::clone(&self.connection.headers), channel.caller.clone());
        let topic = Arc::clone(channel.subscription.name());
        Some(Box::pin(async move {
            let database = realtime.ground.databases.of(&tenant.project()).await;
            let name = topic.strip_prefix("realtime:").unwrap_or_default();
            let allowed = tenant.rights.of(&database, &caller, name, &headers).await;
            Done::Renewed(Box::new(Renewed { topic, allowed }))
        }))
    }

    pub(super) fn renewed(&mut self, Renewed { topic, allowed }: Renewed) {
        match allowed {
            Ok(allowed) if allowed.read_broadcast || allowed.read_presence => {
                let Some(channel) = self.channels.get_mut(&topic) else { return };
                channel.allowed = allowed;
                channel.want();
            }
            Ok(_) => {
                let name = topic.strip_prefix("realtime:").unwrap_or_default();
                let why = format!("You do not have permissions to read from this Channel topic: {name}");
                self.stop(&topic, &why);
            }
            // Nobody knows; what was allowed stays so until somebody does.
            Err(rights::Error::Unavailable(_)) => {}
            Err(error @ rights::Error::Policy { .. }) => self.stop(&topic, &error.to_string()),
        }
    }
}
