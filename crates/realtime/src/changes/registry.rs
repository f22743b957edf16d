//! Who wants changes of which tables: subscribers by schema and table, with versions by which plans know that they are old.
//!
//! Looking up takes four steps whatever the number of subscribers, so that changes of tables that nobody wants cost
//! nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use common::Caller;
use common::jwt::Claims;

use super::wanted::Spec;
use crate::outbox::Outbox;
use crate::tokens;

/// Most different conditions that PostgreSQL has to decide for every change; each of them is a statement.
const MOST_ASKED: usize = 500;

/// A topic of a socket that wants changes.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) topic: Arc<str>,
    pub(super) outbox: Outbox,
    pub(super) specs: Vec<Arc<Spec>>,
    claims: RwLock<Arc<Claims>>,
    /// When the token ends, in seconds since 1970.
    expires_secs: AtomicI64,
    /// It left, though a batch that was begun before may still be for it.
    is_gone: AtomicBool,
}

impl Member {
    pub(super) fn new(
        topic: &Arc<str>,
        outbox: &Outbox,
        specs: Vec<Arc<Spec>>,
        claims: &Arc<Claims>,
    ) -> Self {
        let (expires_secs, is_gone) = (AtomicI64::new(expires_secs(claims)), AtomicBool::new(false));
        let claims = RwLock::new(Arc::clone(claims));
        Self { topic: Arc::clone(topic), outbox: outbox.clone(), specs, claims, expires_secs, is_gone }
    }

    /// Whether nothing may be sent to it any more.
    pub(super) fn is_over(&self, now_secs: i64) -> bool {
        self.is_gone.load(Ordering::Acquire) || self.expires_secs.load(Ordering::Acquire) <= now_secs
    }

    pub(super) fn claims(&self) -> Arc<Claims> {
        Arc::clone(&self.claims.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn expires_secs(claims: &Arc<Claims>) -> i64 {
    let caller = Caller { claims: Arc::clone(claims), authenticated: true };
    tokens::expires_secs(&caller).unwrap_or(i64::MAX)
}

/// Of the four places where subscribers of a table may be: equal as long as nobody came, went or changed there.
pub(super) type Versions = [u64; 4];
/// In the order of their coming.
pub(super) type Members = BTreeMap<u64, Arc<Member>>;

/// The subscribers of one project in this process.
#[derive(Debug, Default)]
pub(super) struct Registry(RwLock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Numbers members and versions.
    last: u64,
    members: Members,
    /// By schema and table; `*` is a name like any other.
    places: HashMap<String, HashMap<String, Place>>,
    roles: HashMap<String, usize>,
    /// By spec: how many members have it, and how much of it PostgreSQL decides.
    asked: HashMap<i64, (usize, usize)>,
}

#[derive(Debug, Default)]
struct Place {
    version: u64,
    members: Members,
}

impl Registry {
    /// Add `member`; its number takes it away again. `None` when PostgreSQL would have to decide too much.
    pub(super) fn add(&self, member: Member) -> Option<u64> {
        let mut inner = self.write();
        if !inner.has_room(&member) {
            return None;
        }
        inner.count_asked(&member, true);
        let id = inner.next();
        let member = Arc::new(member);
        inner.count_role(&member.claims().role, true);
        for (schema, table) in places(&member) {
            let version = inner.next();
            let tables = inner.places.entry(schema.to_owned()).or_default();
            let place = tables.entry(table.to_owned()).or_default();
            place.members.insert(id, Arc::clone(&member));
            place.version = version;
        }
        inner.members.insert(id, member);
        Some(id)
    }

    /// Take the member with this number away.
    pub(super) fn remove(&self, id: u64) {
        let mut inner = self.write();
        let Some(member) = inner.members.remove(&id) else { return };
        member.is_gone.store(true, Ordering::Release);
        inner.count_role(&member.claims().role, false);
        inner.count_asked(&member, false);
        for (schema, table) in places(&member) {
            let version = inner.next();
            let Some(tables) = inner.places.get_mut(schema) else { continue };
            if let Some(place) = tables.get_mut(table) {
                place.members.remove(&id);
                place.version = version;
                if place.members.is_empty() {
                    tables.remove(table);
                }
            }
            if tables.is_empty() {
                inner.places.remove(schema);
            }
        }
    }

    /// The member has another token now.
    pub(super) fn change_claims(&self, id: u64, claims: &Arc<Claims>) {
        let mut inner = self.write();
        let Some(member) = inner.members.get(&id).cloned() else { return };
        inner.count_role(&member.claims().role, false);
        inner.count_role(&claims.role, true);
        *member.claims.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(claims);
        member.expires_secs.store(expires_secs(claims), Ordering::Release);
        for (schema, table) in places(&member) {
            let version = inner.next();
            if let Some(place) = inner.places.get_mut(schema).and_then(|it| it.get_mut(table)) {
                place.version = version;
            }
        }
    }

    /// Whether anybody wants changes of this table.
    pub(super) fn wants(&self, schema: &str, table: &str) -> bool {
        self.read().at(schema, table).iter().any(Option::is_some)
    }

    /// The versions of this table's places.
    pub(super) fn versions(&self, schema: &str, table: &str) -> Versions {
        self.read().at(schema, table).map(|it| it.map_or(0, |it| it.version))
    }

    /// Who wants changes of this table.
    pub(super) fn members(&self, schema: &str, table: &str) -> (Versions, Members) {
        let inner = self.read();
        let places = inner.at(schema, table);
        let members =
            places.iter().flatten().flat_map(|it| &it.members).map(|(id, it)| (*id, Arc::clone(it)));
        (places.map(|it| it.map_or(0, |it| it.version)), members.collect())
    }

    /// Everybody.
    pub(super) fn all(&self) -> Vec<Arc<Member>> {
        self.read().members.values().cloned().collect()
    }

    /// The roles of all members.
    pub(super) fn roles(&self) -> Vec<String> {
        self.read().roles.keys().cloned().collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn at(&self, schema: &str, table: &str) -> [Option<&Place>; 4] {
        let at = |schema: &str, table: &str| self.places.get(schema).and_then(|it| it.get(table));
        [at(schema, table), at(schema, "*"), at("*", table), at("*", "*")]
    }

    /// Whether `member` asks nothing new of PostgreSQL, or no more than it is to decide.
    fn has_room(&self, member: &Member) -> bool {
        let new: HashMap<i64, usize> = member.specs.iter().map(|it| (it.id, it.asked)).collect();
        let more: usize = new.iter().filter(|(id, _)| !self.asked.contains_key(id)).map(|(_, it)| it).sum();
        more == 0 || more + self.asked.values().map(|(_, it)| it).sum::<usize>() <= MOST_ASKED
    }

    fn count_asked(&mut self, member: &Member, is_added: bool) {
        for spec in member.specs.iter().filter(|it| it.asked > 0) {
            let entry = self.asked.entry(spec.id).or_insert((0, spec.asked));
            entry.0 = if is_added { entry.0 + 1 } else { entry.0.saturating_sub(1) };
            if entry.0 == 0 {
                self.asked.remove(&spec.id);
            }
        }
    }

    fn count_role(&mut self, role: &str, is_added: bool) {
        let count = self.roles.entry(role.to_owned()).or_default();
        *count = if is_added { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.roles.remove(role);
        }
    }
}

fn places(member: &Member) -> BTreeSet<(&str, &str)> {
    member.specs.iter().map(|it| (it.schema.as_str(), it.table.as_str())).collect()
}
