//! Joining a topic: what the client wants, whether it may, and what it is told.
//!
//! Refusals are `{reason: "Code: text"}`, in Supabase's words.

use std::sync::Arc;

use common::Caller;
use serde_json::{Value, json};
use store::Database;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Connection, Done, Sender, Session, Work, address};
use crate::bus::Hold;
use crate::changes;
use crate::channel::Channel;
use crate::event::Event;
use crate::events;
use crate::frame::{Incoming, Said};
use crate::hub::{self, Wants};
use crate::replay::Replay;
use crate::rights::{self, Allowed};
use crate::{sessions, tokens};

/// The longest name of a topic.
const MAX_TOPIC_BYTES: usize = 1024;

/// What goes on beside for one channel.
const MOST_ASIDES: usize = 2;

/// Why a topic cannot be joined. `Display` is the reason that the client hears.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("TopicNameRequired: You must provide a topic name")]
    NoTopic,
    #[error("TopicNameInvalid: A topic name has no control characters and at most {MAX_TOPIC_BYTES} bytes")]
    BadTopic,
    #[error("ClientJoinRateLimitReached: Too many joins per second")]
    TooManyJoins,
    #[error("ChannelRateLimitReached: Too many channels")]
    TooManyChannels,
    #[error("PrivateOnly: This project only allows private channels")]
    PrivateOnly,
    #[error("{}: {_0}", _0.code())]
    Token(#[from] tokens::Error),
    #[error("InvalidJWTToken: {}", sessions::ENDED)]
    SessionEnded,
    #[error("UnableToCheckAuthorization: the token's session cannot be checked right now")]
    SessionUnknown,
    #[error("InvalidJoinPayload: the payload is no JSON that can be read")]
    Payload,
    #[error("{0}")]
    Replay(#[from] crate::replay::Error),
    #[error("Unauthorized: You do not have permissions to read from this Channel topic: {0}")]
    Unauthorized(String),
    #[error("UnableToCheckAuthorization: {0}")]
    Rights(#[from] rights::Error),
}

impl Refusal {
    /// The metric's label.
    fn label(&self) -> &'static str {
        match self {
            Self::NoTopic | Self::BadTopic => "topic",
            Self::TooManyJoins => "too_many_joins",
            Self::TooManyChannels => "too_many_channels",
            Self::PrivateOnly => "private_only",
            Self::Token(_) => "token",
            Self::SessionEnded => "session_ended",
            Self::SessionUnknown => "session_unknown",
            Self::Payload => "join_payload",
            Self::Replay(_) => "replay",
            Self::Unauthorized(_) => "unauthorized",
            Self::Rights(_) => "rights_unknown",
        }
    }
}

/// What the client asks for.
#[derive(Debug)]
struct Wanted {
    is_private: bool,
    acknowledges: bool,
    own: bool,
    /// Whether it wants to hear when the stream of changes stands.
    announced: bool,
    replay: Option<Replay>,
    presence: bool,
    /// The name among members; empty when the client leaves it to us.
    member: String,
    changes: Vec<changes::Wanted>,
}

/// A topic that may be joined, or not.
#[derive(Debug)]
pub(crate) struct Joined {
    sender: Sender,
    outcome: Result<Entry, Refusal>,
}

#[derive(Debug)]
struct Entry {
    wanted: Wanted,
    caller: Caller,
    token: u64,
    allowed: Allowed,
    replayed: Vec<Arc<Event>>,
    hold: Hold,
}

impl Session {
    pub(super) fn join(&mut self, message: &Incoming<'_>) -> Option<Work> {
        if !message.topic.starts_with("realtime:") {
            self.refuse(address(message), "unmatched topic");
            return None;
        }
        let sender = Sender::of(message);
        match self.admit(message) {
            Ok(entry) if self.must_wait(&entry) => Some(prepare(&self.connection, sender, entry)),
            outcome => {
                self.joined(Joined { sender, outcome });
                None
            }
        }
    }

    /// Whether others are to be asked.
    fn must_wait(&self, entry: &Entry) -> bool {
        let Connection { realtime, tenant, .. } = &self.connection;
        let stands = sessions::remembered(&realtime.ground.check, &tenant.project(), &entry.caller);
        entry.wanted.is_private || !tenant.bus.is_alone() || stands != Some(true)
    }

    /// What can be said at once.
    fn admit(&self, message: &Incoming<'_>) -> Result<Entry, Refusal> {
        let tenant = &self.connection.tenant;
        let name = message.topic.strip_prefix("realtime:").unwrap_or_default();
        if name.is_empty() {
            return Err(Refusal::NoTopic);
        }
        if name.len() > MAX_TOPIC_BYTES || name.chars().any(char::is_control) {
            return Err(Refusal::BadTopic);
        }
        let settings = tenant.settings();
        if !tenant.joins.take(1, settings.max_joins_per_second) {
            return Err(Refusal::TooManyJoins);
        }
        let is_new = !self.channels.contains_key(&*message.topic);
        let most = settings.max_channels_per_client as usize;
        // What was begun for channels that were left counts until it ends.
        let begun = self.asides.as_ref().map_or(0, |it| it.len());
        if (is_new && self.channels.len() >= most) || begun > most.saturating_mul(MOST_ASIDES) {
            return Err(Refusal::TooManyChannels);
        }
        let payload: Value = match message.payload {
            Said::Json(payload) => serde_json::from_str(payload).map_err(|_| Refusal::Payload)?,
            Said::Broadcast { .. } => Value::Null,
        };
        let wanted = Wanted::of(&payload)?;
        if settings.private_only && !wanted.is_private {
            return Err(Refusal::PrivateOnly);
        }
        let (caller, token) = self.caller_of(&payload)?;
        let hold = tenant.bus.hold(&hub::key(&message.topic, wanted.is_private));
        Ok(Entry { wanted, caller, token, allowed: Allowed::ALL, replayed: Vec::new(), hold })
    }

    /// By the token that the join brings, else by the one that the socket was opened with.
    fn caller_of(&self, payload: &Value) -> Result<(Caller, u64), tokens::Error> {
        let given = ["access_token", "user_token"].into_iter().find_map(|it| payload.get(it)?.as_str());
        match given.filter(|it| !it.is_empty() && !tokens::is_opaque(it)) {
            Some(token) => self.verify(token),
            None => {
                tokens::check(&self.connection.caller, tokens::now_secs())?;
                Ok((self.connection.caller.clone(), 0))
            }
        }
    }

    pub(super) fn joined(&mut self, Joined { sender, outcome }: Joined) {
        let entry = match outcome {
            Ok(entry) => entry,
            Err(refusal) => {
                events::refused(refusal.label());
                return self.refuse(sender.address(), &refusal.to_string());
            }
        };
        // A second joining replaces the first.
        self.remove(&sender.topic);
        let Entry { wanted, caller, token, allowed, replayed, hold } = entry;
        let (key, tenant) = (hub::key(&sender.topic, wanted.is_private), &self.connection.tenant);
        let wants =
            Wants { broadcast: allowed.read_broadcast, presence: wanted.presence && allowed.read_presence };
        let subscription = tenant.hub.subscribe(&key, &self.connection.outbox, wants);
        let topic = Arc::clone(subscription.name());
        let channel = Channel {
            join_ref: sender.join_ref.clone(),
            is_private: wanted.is_private,
            acknowledges: wanted.acknowledges,
            own: wanted.own,
            expires_secs: tokens::expires_secs(&caller),
            session: tenant.sessions.watch(&caller, &self.bell),
            caller,
            token,
            allowed,
            asked_at: Instant::now(),
            presence: wanted.presence,
            member: member(wanted.member),
            following: None,
            announcing: None,
            subscription,
            feed: tenant.feed(),
            _hold: hold,
        };
        self.channels.insert(topic, channel);
        self.connection.realtime.measures.channels.increment(1.0);
        let echoed: Vec<Value> = wanted.changes.iter().map(changes::Wanted::echo).collect();
        self.reply(sender.address(), true, &json!({ "postgres_changes": echoed }).to_string());
        self.push(&replayed);
        self.show_members(&sender.topic);
        if !wanted.changes.is_empty() {
            self.follow(&sender.topic, wanted.changes.into());
        }
        if wanted.announced {
            self.announce(&sender.topic);
        }
        self.plan_check(tokens::now_secs());
    }
}

impl Wanted {
    /// From a join's payload, in which anything may be missing or of another type.
    fn of(payload: &Value) -> Result<Self, Refusal> {
        let at = |path: &str| payload.pointer(path).unwrap_or(&Value::Null);
        let is_private = truth(at("/config/private"));
        Ok(Self {
            is_private,
            acknowledges: truth(at("/config/broadcast/ack")),
            own: truth(at("/config/broadcast/self")),
            announced: truth(at("/config/broadcast/replication_ready")),
            replay: Replay::parse(at("/config/broadcast/replay"), is_private)?,
            presence: truth(at("/config/presence/enabled")),
            member: at("/config/presence/key").as_str().unwrap_or_default().to_owned(),
            changes: changes::Wanted::list(payload.pointer("/config/postgres_changes")),
        })
    }
}

fn member(wanted: String) -> Arc<str> {
    if wanted.is_empty() { Uuid::new_v4().to_string().into() } else { wanted.into() }
}

fn truth(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| value.as_str().is_some_and(|it| it.eq_ignore_ascii_case("true")))
}

/// Hear other processes, and ask the project's policies.
fn prepare(connection: &Connection, sender: Sender, entry: Entry) -> Work {
    let (realtime, tenant) = (Arc::clone(&connection.realtime), Arc::clone(&connection.tenant));
    let headers = Arc::clone(&connection.headers);
    Box::pin(async move {
        entry.hold.ready().await;
        let asking = async {
            match sessions::ask(&realtime.ground.check, &tenant.project(), &entry.caller).await {
                Ok(true) => {}
                Ok(false) => return Err(Refusal::SessionEnded),
                Err(_unknown) => return Err(Refusal::SessionUnknown),
            }
            if !entry.wanted.is_private {
                return Ok(entry);
            }
            let database = realtime.ground.databases.of(&tenant.project()).await;
            let name = sender.topic.strip_prefix("realtime:").unwrap_or_default();
            let allowed = tenant.rights.of(&database, &entry.caller, name, &headers).await?;
            if !allowed.read_broadcast && !allowed.read_presence {
                return Err(Refusal::Unauthorized(name.to_owned()));
            }
            replay(&database, Entry { allowed, ..entry }, &sender.topic).await
        };
        let outcome = asking.await;
        Done::Joined(Box::new(Joined { sender, outcome }))
    })
}

async fn replay(database: &Database, mut entry: Entry, topic: &Arc<str>) -> Result<Entry, Refusal> {
    if let Some(replay) = entry.wanted.replay {
        entry.replayed = replay.events(database, entry.allowed, topic).await?;
    }
    Ok(entry)
}
