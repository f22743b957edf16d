//! Changes of the database that a channel wants: subscribed to beside everything else, however long that takes.

use std::sync::Arc;
use std::time::Duration;

use common::Caller;
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Done, Session};
use crate::changes::{Changes, Refusal, Subscription, Wanted};
use crate::channel::Following;
use crate::event::Event;
use crate::feed::{Feed, Status};
use crate::outbox::Outbox;

/// Between attempts while the database does not answer.
const RETRY: Duration = Duration::from_secs(2);
const EXTENSION: &str = "postgres_changes";

/// A channel's changes come from now on, or never.
#[derive(Debug)]
pub(crate) struct Followed {
    topic: Arc<str>,
    outcome: Result<Subscription, String>,
}

/// What is needed to subscribe.
struct Subscribing {
    changes: Arc<Changes>,
    feed: Arc<Feed>,
    caller: Caller,
    wanted: Arc<[Wanted]>,
    topic: Arc<str>,
    outbox: Outbox,
}

impl Session {
    /// Subscribe to `wanted`, in place of what was subscribed to before.
    pub(super) fn follow(&mut self, topic: &str, wanted: Arc<[Wanted]>) {
        let Some(channel) = self.channels.get_mut(topic) else { return };
        let ends = CancellationToken::new();
        let subscribing = Subscribing {
            changes: Arc::clone(&self.connection.tenant.changes),
            feed: Arc::clone(&channel.feed),
            caller: channel.caller.clone(),
            wanted: Arc::clone(&wanted),
            topic: Arc::clone(channel.subscription.name()),
            outbox: self.connection.outbox.clone(),
        };
        let until = ends.clone();
        channel.following = Some(Following { wanted, subscription: None, _ends: ends.drop_guard() });
        self.aside(Box::pin(async move {
            let topic = Arc::clone(&subscribing.topic);
            match until.run_until_cancelled(subscribing.run()).await {
                Some(outcome) => Done::Followed(Box::new(Followed { topic, outcome })),
                None => Done::Nothing,
            }
        }));
    }

    pub(super) fn followed(&mut self, Followed { topic, outcome }: Followed) {
        let Some(following) = self.channels.get_mut(&topic).and_then(|it| it.following.as_mut()) else {
            return;
        };
        match outcome {
            Ok(subscription) => {
                following.subscription = Some(subscription);
                self.system(&topic, (EXTENSION, "ok"), "Subscribed to PostgreSQL");
            }
            Err(why) => self.system(&topic, (EXTENSION, "error"), &why),
        }
    }

    /// The channel's caller showed another token.
    pub(super) fn follow_as_now(&mut self, topic: &str) {
        let Some(channel) = self.channels.get(topic) else { return };
        match &channel.following {
            Some(Following { subscription: Some(subscription), .. }) => {
                subscription.update_caller(&channel.caller)
            }
            Some(Following { wanted, subscription: None, .. }) => {
                let wanted = Arc::clone(wanted);
                self.follow(topic, wanted);
            }
            None => {}
        }
    }
}

impl Subscribing {
    async fn run(self) -> Result<Subscription, String> {
        let mut told = None;
        let subscription = loop {
            match self.changes.subscribe(&self.caller, &self.wanted, &self.topic, &self.outbox).await {
                Ok((_ids, subscription)) => break subscription,
                Err(Refusal::Invalid(why)) => return Err(why),
                Err(refusal @ Refusal::Unavailable) => self.tell(&mut told, &refusal.to_string()),
            }
            sleep(RETRY).await;
        };
        let mut status = self.feed.status();
        loop {
            let now = status.borrow_and_update().clone();
            match now {
                Status::Live => return Ok(subscription),
                Status::Unavailable(why) => self.tell(&mut told, &why),
                Status::Starting => {}
            }
            if status.changed().await.is_err() {
                return Err("Changes are not available: the server is about to end".to_owned());
            }
        }
    }

    /// Say `why` nothing comes yet, once.
    fn tell(&self, told: &mut Option<String>, why: &str) {
        if told.as_deref() != Some(why) {
            *told = Some(why.to_owned());
            let channel = self.topic.strip_prefix("realtime:").unwrap_or_default();
            let payload =
                json!({"extension": EXTENSION, "status": "error", "message": why, "channel": channel});
            self.outbox.send(&Event::json(&self.topic, "system", payload.to_string()));
        }
    }
}
