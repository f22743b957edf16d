//! The prepared statements of one connection: at most so many, the least recently used one goes first.
//!
//! A statement's name is the number of its slot, so a slot given to another statement is closed and parsed under the
//! same name, and nothing is ever left behind on the server. A slot counts as prepared only once PostgreSQL said so.

use std::collections::HashMap;
use std::sync::Arc;

/// What a statement is called on the server.
pub(super) type Name = [u8; 8];
/// One job may need this many at once: begin, settings, before, statement, constraints, rollback and spare.
const FEWEST: usize = 8;

/// The prepared statements of one connection.
#[derive(Debug)]
pub(super) struct Statements {
    index: HashMap<Box<str>, HashMap<Arc<str>, usize>>,
    slots: Vec<Slot>,
    limit: usize,
    clock: u64,
}

#[derive(Debug)]
struct Slot {
    role: Box<str>,
    text: Arc<str>,
    prepared: bool,
    used_at: u64,
    /// How often the slot was given to another statement.
    owner: u32,
}

/// Which statement a Parse was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    slot: usize,
    owner: u32,
}

/// How to use a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) name: Name,
    pub(super) ticket: Ticket,
    /// Not known to be prepared: parse it first.
    pub(super) parse: bool,
    /// The name may be taken: close it before parsing.
    pub(super) close: bool,
}

impl Statements {
    pub(super) fn new(limit: usize) -> Self {
        Self { index: HashMap::new(), slots: Vec::new(), limit: limit.max(FEWEST), clock: 0 }
    }

    /// A job begins: what it uses from now on is not given away before the next job begins.
    pub(super) fn begin_job(&mut self) {
        self.clock += 1;
    }

    /// The statement `text` as `role`.
    pub(super) fn take(&mut self, role: &str, text: &Arc<str>) -> Use {
        let known = self.index.get(role).and_then(|it| it.get(text)).copied();
        let (idx, close) = match known {
            Some(idx) => (idx, true),
            None => self.assign(role, text),
        };
        let clock = self.clock;
        let (prepared, owner) = self.slots.get_mut(idx).map_or((false, 0), |it| {
            it.used_at = clock;
            (it.prepared, it.owner)
        });
        Use {
            name: name(idx),
            ticket: Ticket { slot: idx, owner },
            parse: !prepared,
            close: close && !prepared,
        }
    }

    /// `ParseComplete` arrived.
    pub(super) fn confirm(&mut self, ticket: Ticket) {
        self.set(ticket, true);
    }

    /// The statement is in doubt: parse it again before the next use.
    pub(super) fn doubt(&mut self, ticket: Ticket) {
        self.set(ticket, false);
    }

    /// All are in doubt: the server has forgotten some, or their tables changed.
    pub(super) fn doubt_all(&mut self) {
        self.slots.iter_mut().for_each(|it| it.prepared = false);
    }

    fn set(&mut self, ticket: Ticket, prepared: bool) {
        if let Some(slot) = self.slots.get_mut(ticket.slot).filter(|it| it.owner == ticket.owner) {
            slot.prepared = prepared;
        }
    }

    /// A slot for a new statement, and whether it had another one before.
    fn assign(&mut self, role: &str, text: &Arc<str>) -> (usize, bool) {
        let slot = |owner| Slot {
            role: role.into(),
            text: Arc::clone(text),
            prepared: false,
            used_at: self.clock,
            owner,
        };
        let oldest = self.slots.iter().enumerate().min_by_key(|(_, it)| it.used_at);
        let (idx, taken) = match oldest {
            Some((idx, it)) if self.slots.len() >= self.limit && it.used_at < self.clock => {
                let fresh = slot(it.owner.wrapping_add(1));
                let old = self.slots.get_mut(idx).map(|it| std::mem::replace(it, fresh));
                self.unindex(old);
                (idx, true)
            }
            _ => {
                let fresh = slot(0);
                self.slots.push(fresh);
                (self.slots.len() - 1, false)
            }
        };
        self.index.entry(role.into()).or_default().insert(Arc::clone(text), idx);
        (idx, taken)
    }

    fn unindex(&mut self, slot: Option<Slot>) {
        let Some(Slot { role, text, .. }) = slot else { return };
        if let Some(texts) = self.index.get_mut(&role) {
            texts.remove(&text);
            if texts.is_empty() {
                self.index.remove(&role);
            }
        }
    }
}

/// Eight letters `a` to `p`: the slot's number in base 16.
fn name(slot: usize) -> Name {
    let mut name = [b'a'; 8];
    let mut rest = slot;
    for letter in name.iter_mut().rev() {
        let [low, ..] = rest.to_le_bytes();
        *letter += low & 15;
        rest >>= 4;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(statements: &mut Statements, role: &str, text: &str) -> Use {
        statements.begin_job();
        statements.take(role, &text.into())
    }

    #[test]
    fn prepared_only_after_it_was_confirmed() {
        let mut statements = Statements::new(8);
        let first = take(&mut statements, "anon", "select 1");
        assert!(first.parse && !first.close);
        let doubtful = take(&mut statements, "anon", "select 1");
        assert!(doubtful.parse && doubtful.close && doubtful.name == first.name);
        statements.confirm(first.ticket);
        assert!(!take(&mut statements, "anon", "select 1").parse);
        statements.doubt(first.ticket);
        assert!(take(&mut statements, "anon", "select 1").close);
        assert_ne!(take(&mut statements, "other", "select 1").name, first.name, "by role");
    }

    #[test]
    fn the_least_recently_used_slot_changes_hands() {
        let mut statements = Statements::new(8);
        let first = take(&mut statements, "", "0");
        statements.confirm(first.ticket);
        for text in 1..8 {
            take(&mut statements, "", &text.to_string());
        }
        take(&mut statements, "", "0");
        let ninth = take(&mut statements, "", "8");
        assert!(ninth.parse && ninth.close && ninth.name != first.name);
        assert_eq!(statements.slots.len(), 8);
        assert!(!take(&mut statements, "", "0").parse, "the recently used one stayed");
        let second = take(&mut statements, "", "1");
        assert!(second.parse && second.close, "the oldest one went");
        statements.confirm(Ticket { slot: ninth.ticket.slot, owner: 0 });
        assert!(take(&mut statements, "", "8").parse, "a late answer for the former owner does not count");
    }

    #[test]
    fn one_job_never_loses_its_own_statements() {
        let mut statements = Statements::new(8);
        statements.begin_job();
        let names: std::collections::HashSet<_> =
            (0..20).map(|it| statements.take("", &it.to_string().into()).name).collect();
        assert_eq!(names.len(), 20);
    }
}
