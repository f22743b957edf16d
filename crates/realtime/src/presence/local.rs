//! This worker's part: who of its own is where, what the others are still to be told, and which keys in Redis are to be
//! looked after.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::RandomState;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::limits::{PresenceRefusal, PresenceSettings, SHORT_BYTES, Window};
use super::state::{Meta, Op, State, WorkerId};
use super::text;

/// Operations that wait to be told; more are forgotten, and the others ask for all.
const MOST_UNTOLD: usize = 20_000;

/// One of this worker's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// A socket, until it closes.
    Socket(u64),
    /// A user, while heartbeats come.
    User(Arc<str>),
}

/// A topic and a key.
pub(super) type Place = (Arc<str>, Arc<str>);

/// All that is known of members.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) state: State,
    own: WorkerId,
    members: HashMap<Who, Member, RandomState>,
    window: Window,
    untold: Vec<Op>,
    /// Places whose keys in Redis may have to be written or removed.
    pub(super) touched: HashSet<Place, RandomState>,
}

#[derive(Debug)]
struct Member {
    window: Window,
    metas: HashMap<Arc<str>, Own, RandomState>,
}

/// A meta of this worker's own.
#[derive(Debug)]
struct Own {
    number: u64,
    key: Arc<str>,
    /// When it leaves by itself.
    until: Option<Instant>,
}

impl Local {
    pub(super) fn new(own: WorkerId, now: Instant) -> Self {
        Self {
            state: State::new(own),
            own,
            members: HashMap::default(),
            window: Window::new(now),
            untold: Vec::new(),
            touched: HashSet::default(),
        }
    }

    /// Whether there is anything to tell.
    pub(super) fn is_changed(&self) -> bool {
        !self.untold.is_empty() || self.state.is_changed()
    }

    /// Count an event of `who`.
    pub(super) fn admit(
        &mut self,
        who: Who,
        settings: &PresenceSettings,
        now: Instant,
    ) -> Result<(), PresenceRefusal> {
        let member = self.members.entry(who).or_insert_with(|| Member::new(now));
        if !member.window.admit(settings.client_events, settings.client_window, now) {
            return Err(PresenceRefusal::TooManyOfClient);
        }
        if !self.window.admit(settings.events_per_second, Duration::from_secs(1), now) {
            return Err(PresenceRefusal::TooManyOfProject);
        }
        Ok(())
    }

    /// Refuse `bytes` more to be said in `topic`, unless they are few or those who join are sent no more than allowed.
    pub(super) fn make_sure_of_room(
        &self,
        topic: &str,
        bytes: usize,
        settings: &PresenceSettings,
    ) -> Result<(), PresenceRefusal> {
        let is_full = || self.state.text_bytes(topic).saturating_add(bytes) > settings.max_state_bytes;
        if bytes > SHORT_BYTES && is_full() { Err(PresenceRefusal::TooLarge) } else { Ok(()) }
    }

    /// `who` is in a topic under a key, until then or until it leaves; what it was there before leaves. Refused when it is one
    /// too many.
    pub(super) fn put(
        &mut self,
        who: Who,
        (topic, key): (&Arc<str>, &str),
        said: &Map<String, Value>,
        (until, max_members): (Option<Instant>, usize),
    ) -> Result<(), PresenceRefusal> {
        let is_new = self.members.get(&who).is_none_or(|it| !it.metas.contains_key(topic));
        if is_new && self.state.own_len() >= max_members {
            return Err(PresenceRefusal::Full);
        }
        let previous = self.take(&who, topic).map(|number| text::reference((self.own, number)));
        let number = self.state.next();
        let text = text::meta(said, &text::reference((self.own, number)), previous.as_deref());
        let key: Arc<str> = key.into();
        let meta = Meta { topic: Arc::clone(topic), key: Arc::clone(&key), text: text.into() };
        let op = self.state.join(meta);
        self.tell(op);
        self.touched.insert((Arc::clone(topic), Arc::clone(&key)));
        let member = self.members.entry(who).or_insert_with(|| Member::new(Instant::now()));
        member.metas.insert(Arc::clone(topic), Own { number, key, until });
        Ok(())
    }

    /// `who` leaves `topic`: the number of its meta there.
    pub(super) fn take(&mut self, who: &Who, topic: &str) -> Option<u64> {
        let (topic, own) = self.members.get_mut(who)?.metas.remove_entry(topic)?;
        let number = own.number;
        self.leave(topic, own);
        Some(number)
    }

    /// `who` leaves every topic, and is forgotten.
    pub(super) fn take_all(&mut self, who: &Who) {
        let Some(member) = self.members.remove(who) else { return };
        member.metas.into_iter().for_each(|(topic, own)| self.leave(topic, own));
    }

    /// All users leave every topic; sockets stay.
    pub(super) fn take_users(&mut self) {
        let users = self.members.keys().filter(|it| matches!(it, Who::User(_)));
        let users: Vec<Who> = users.cloned().collect();
        users.iter().for_each(|it| self.take_all(it));
    }

    /// `who` lives until `until` in `topic`; whether it is there.
    pub(super) fn renew(&mut self, who: &Who, topic: &str, until: Instant) -> bool {
        let own = self.members.get_mut(who).and_then(|it| it.metas.get_mut(topic));
        own.map(|it| it.until = Some(until)).is_some()
    }

    /// Those whose time is over leave; who is nowhere is forgotten, a socket when its events count no more.
    pub(super) fn expire(&mut self, now: Instant, client_window: Duration) {
        let mut over = Vec::new();
        self.members.retain(|who, member| {
            over.extend(member.metas.extract_if(|_, own| own.until.is_some_and(|it| it <= now)));
            let counts = matches!(who, Who::Socket(_)) && !member.window.is_over(client_window, now);
            counts || !member.metas.is_empty()
        });
        over.into_iter().for_each(|(topic, own)| self.leave(topic, own));
    }

    /// Another worker's members are gone; their keys may have to go, too.
    pub(super) fn drop_worker(&mut self, worker: WorkerId) {
        let places: Vec<Place> = self.state.places(worker).cloned().collect();
        self.touched.extend(places);
        self.state.drop_worker(worker);
    }

    /// What the others are to be told, and this worker's clock then.
    pub(super) fn take_untold(&mut self) -> (Vec<Op>, u64) {
        (std::mem::take(&mut self.untold), self.state.clock())
    }

    fn leave(&mut self, topic: Arc<str>, own: Own) {
        let op = self.state.leave(own.number);
        self.tell(op);
        self.touched.insert((topic, own.key));
    }

    fn tell(&mut self, op: Op) {
        if self.untold.len() >= MOST_UNTOLD {
            self.untold.clear();
        }
        self.untold.push(op);
    }
}

impl Member {
    fn new(now: Instant) -> Self {
        Self { window: Window::new(now), metas: HashMap::default() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_nowhere_is_forgotten() {
        let settings = PresenceSettings::default();
        let mut local = Local::new(1, Instant::now());
        let (topic, meta) = ("realtime:a".into(), json!({}));
        for socket in 1..=3 {
            local.admit(Who::Socket(socket), &settings, Instant::now()).unwrap();
            let place = (&topic, "key");
            local.put(Who::Socket(socket), place, meta.as_object().unwrap(), (None, 10)).unwrap();
        }
        local.take(&Who::Socket(1), &topic);
        local.take_all(&Who::Socket(2));
        local.expire(Instant::now(), settings.client_window);
        assert_eq!(local.members.len(), 2, "a client that left a topic has not left its limits");
        tokio::time::advance(settings.client_window).await;
        local.expire(Instant::now(), settings.client_window);
        assert_eq!(local.members.len(), 1);
        assert_eq!(local.state.own_len(), 1);
    }
}
