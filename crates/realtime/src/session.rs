//! What a socket has joined, and what becomes of its messages. Knows nothing of bytes on the wire: frames go into
//! [`Unwritten`], and what must wait for a database becomes [`Work`] that the socket's task does.

mod announce;
mod broadcast;
mod follow;
mod join;
mod members;
mod renew;
mod unwritten;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use common::Caller;
use foldhash::fast::RandomState;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use tokio::time::Instant;

use self::announce::Announced;
use self::follow::Followed;
use self::join::Joined;
use self::renew::{Renewed, Shown};
pub(crate) use self::unwritten::Unwritten;
use crate::Inner;
use crate::channel::Channel;
use crate::event::{CHANGES, Event};
use crate::events;
use crate::frame::{self, Address, Incoming, Said, Version};
use crate::outbox::Outbox;
use crate::sessions::{self, Bell};
use crate::tenant::Tenant;
use crate::tokens;

/// What must wait for others.
pub(crate) type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

/// What came of it.
#[derive(Debug)]
pub(crate) enum Done {
    Joined(Box<Joined>),
    Renewed(Box<Renewed>),
    Followed(Box<Followed>),
    Shown(Box<Shown>),
    Announced(Announced),
    Nothing,
}

/// The connection that a session stands on.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) realtime: Arc<Inner>,
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) version: Version,
    /// By the key that the socket was opened with.
    pub(crate) caller: Caller,
    /// What policies see of the request's headers.
    pub(crate) headers: Arc<str>,
    pub(crate) outbox: Outbox,
}

/// One socket's channels.
pub(crate) struct Session {
    connection: Connection,
    /// By topic.
    channels: HashMap<Arc<str>, Channel, RandomState>,
    out: Unwritten,
    /// Nothing more is read from the client until it is done: its messages keep their order.
    work: Option<Work>,
    /// Goes on beside.
    asides: Option<Box<FuturesUnordered<Work>>>,
    /// Rings when a channel's session has ended.
    bell: Arc<Bell>,
    /// When tokens and rights are looked at again.
    next_check: Instant,
}

/// A message's own names for itself, kept while something is waited for.
#[derive(Debug, Clone)]
struct Sender {
    join_ref: Option<String>,
    reference: Option<String>,
    topic: Arc<str>,
}

impl Sender {
    fn of(message: &Incoming<'_>) -> Self {
        let own = |it: &Option<std::borrow::Cow<'_, str>>| it.as_deref().map(str::to_owned);
        Self {
            join_ref: own(&message.join_ref),
            reference: own(&message.reference),
            topic: (&*message.topic).into(),
        }
    }

    fn address(&self) -> Address<'_> {
        Address {
            join_ref: self.join_ref.as_deref(),
            reference: self.reference.as_deref(),
            topic: &self.topic,
        }
    }
}

fn address<'a>(message: &'a Incoming<'_>) -> Address<'a> {
    Address {
        join_ref: message.join_ref.as_deref(),
        reference: message.reference.as_deref(),
        topic: &message.topic,
    }
}

impl Session {
    pub(crate) fn new(connection: Connection) -> Self {
        let next_check = Instant::now() + connection.realtime.config.check_every;
        let (channels, out) = (HashMap::default(), Unwritten::default());
        Self { connection, channels, out, work: None, asides: None, bell: Arc::default(), next_check }
    }

    /// Whether the client's next message has to wait.
    pub(crate) fn is_busy(&self) -> bool {
        self.work.is_some()
    }

    /// Go on with what was begun: ready when something came of it.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.bell.rang(context.waker()) {
            self.check_sessions();
            return Poll::Ready(());
        }
        if let Some(work) = &mut self.work
            && let Poll::Ready(done) = work.as_mut().poll(context)
        {
            self.work = None;
            self.resume(done);
            return Poll::Ready(());
        }
        let Some(asides) = &mut self.asides else { return Poll::Pending };
        match asides.poll_next_unpin(context) {
            Poll::Ready(Some(done)) => self.resume(done),
            Poll::Ready(None) => self.asides = None,
            Poll::Pending => return Poll::Pending,
        }
        Poll::Ready(())
    }

    fn aside(&mut self, work: Work) {
        self.asides.get_or_insert_default().push(work);
    }

    /// What is to be written.
    pub(crate) fn out(&mut self) -> &mut Unwritten {
        &mut self.out
    }

    /// Write what others sent, but no changes for a channel that was left, or ended, while they waited.
    pub(crate) fn push(&mut self, events: &[Arc<Event>]) {
        for event in events {
            if event.name == CHANGES && !self.channels.contains_key(&event.topic) {
                continue;
            }
            self.out.push(frame::pushed(event, self.connection.version).clone());
        }
    }

    /// A message of the client.
    pub(crate) fn receive(&mut self, message: &Incoming<'_>) {
        match (&*message.topic, &*message.event) {
            ("phoenix", "heartbeat") => self.reply(address(message), true, "{}"),
            (_, "phx_join") => self.work = self.join(message),
            (topic, "phx_leave") => {
                self.remove(topic);
                self.reply(address(message), true, "{}");
                self.closed(message.join_ref.as_deref(), topic);
            }
            (topic, _) if !self.channels.contains_key(topic) => {
                self.reply(address(message), false, r#"{"reason":"unmatched topic"}"#);
            }
            (_, "broadcast") => self.broadcast(message),
            (_, "access_token") => {
                if let Said::Json(payload) = message.payload {
                    self.work = self.renew(&message.topic, payload);
                }
            }
            (_, "presence") => self.presence(message),
            _ => {}
        }
    }

    /// What was waited for has come.
    fn resume(&mut self, done: Done) {
        match done {
            Done::Joined(joined) => self.joined(*joined),
            Done::Renewed(renewed) => self.renewed(*renewed),
            Done::Followed(followed) => self.followed(*followed),
            Done::Shown(shown) => self.work = self.shown(*shown),
            Done::Announced(announced) => self.announced(&announced),
            Done::Nothing => {}
        }
    }

    /// When [`Session::check`] wants to be called.
    pub(crate) fn next_check(&self) -> Instant {
        self.next_check
    }

    /// Leave everything.
    pub(crate) fn end(&mut self) {
        if self.channels.values().any(|it| it.presence) {
            self.connection.tenant.presence.leave_all(self.connection.outbox.id());
        }
        let topics: Vec<_> = self.channels.keys().cloned().collect();
        for topic in topics {
            self.remove(&topic);
        }
        (self.work, self.asides) = (None, None);
    }

    fn reply(&mut self, to: Address<'_>, is_ok: bool, response: &str) {
        if to.reference.is_some() {
            self.out.push(frame::reply(self.connection.version, to, is_ok, response));
        }
    }

    fn refuse(&mut self, to: Address<'_>, reason: &str) {
        self.reply(to, false, &json!({ "reason": reason }).to_string());
    }

    /// The channel is no more.
    fn closed(&mut self, join_ref: Option<&str>, topic: &str) {
        let to = Address { join_ref, reference: join_ref, topic };
        self.out.push(frame::message(self.connection.version, to, "phx_close", "{}"));
    }

    /// Tell the client how the service `extension` stands on the channel.
    fn system(&mut self, topic: &str, (extension, status): (&str, &str), message: &str) {
        let name = topic.strip_prefix("realtime:").unwrap_or(topic);
        let payload = json!({"extension": extension, "status": status, "message": message, "channel": name});
        let to = Address { join_ref: None, reference: None, topic };
        self.out.push(frame::message(self.connection.version, to, "system", &payload.to_string()));
    }

    /// End the channel, and say why.
    fn stop(&mut self, topic: &str, why: &str) {
        let Some(channel) = self.remove(topic) else { return };
        self.system(topic, ("system", "error"), why);
        self.closed(channel.join_ref.as_deref(), topic);
    }

    fn remove(&mut self, topic: &str) -> Option<Channel> {
        let removed = self.channels.remove(topic)?;
        if removed.presence {
            self.connection.tenant.presence.leave(removed.key(), self.connection.outbox.id());
        }
        self.connection.realtime.measures.channels.decrement(1.0);
        if self.channels.is_empty() {
            self.channels.shrink_to_fit();
        }
        Some(removed)
    }

    /// End the channels whose sessions have ended.
    fn check_sessions(&mut self) {
        let is_over = |it: &Channel| it.session.as_ref().is_some_and(|it| it.has_ended());
        let over: Vec<_> =
            self.channels.iter().filter(|(_, it)| is_over(it)).map(|it| Arc::clone(it.0)).collect();
        for topic in over {
            events::refused("session_ended");
            self.stop(&topic, sessions::ENDED);
        }
    }

    /// Look at tokens and rights.
    pub(crate) fn check(&mut self) {
        let now_secs = tokens::now_secs();
        let over: Vec<_> = self
            .channels
            .iter()
            .filter(|(_, it)| it.has_expired(now_secs))
            .map(|it| Arc::clone(it.0))
            .collect();
        for topic in over {
            self.stop(&topic, "Access token has expired");
        }
        self.plan_check(now_secs);
        self.work = self.recheck();
    }

    /// At the next expiry, and after a while in any case.
    fn plan_check(&mut self, now_secs: i64) {
        let soonest = self.channels.values().filter_map(|it| it.expires_secs).min();
        let left = soonest.map(|it| u64::try_from(it.saturating_sub(now_secs)).unwrap_or(0));
        let every = self.connection.realtime.config.check_every;
        let wait = left.map_or(every, |it| every.min(std::time::Duration::from_secs(it)));
        self.next_check = Instant::now() + wait;
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("channels", &self.channels).finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end();
    }
}
