//! Who is where: every worker's members of a project's topics, as far as this worker has heard. Pure: no clock, no I/O.
//!
//! A worker numbers its operations; only it adds and removes its own metas, so that two never contradict. A meta is known
//! by its worker and the number of its joining. What was heard is remembered by number, so operations may come twice, in
//! any order or never: a [`Snapshot`] mends what is missing, and the worker's highest number tells whether any is.
//!
//! Each change is gathered into its topic's [`Diff`] until [`State::take_diffs`]; a meta that came and went meanwhile is in
//! neither half.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use foldhash::quality::RandomState;
use serde::{Deserialize, Serialize};

use super::seen::Seen;

/// Which worker; a number of its own for each start.
pub(super) type WorkerId = u64;

/// A meta's identity: the worker, and the number of the operation that brought it.
pub(super) type Dot = (WorkerId, u64);

/// What a worker tells of one change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Op {
    /// A meta came; its number is the operation's.
    #[serde(rename = "j")]
    Join(u64, Meta),
    /// The operation's number, and that of the meta that left.
    #[serde(rename = "l")]
    Leave(u64, u64),
}

/// A member's meta.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(String, String, String)", into = "(String, String, String)")]
pub(super) struct Meta {
    pub(super) topic: Arc<str>,
    pub(super) key: Arc<str>,
    /// A JSON object, its `phx_ref` included.
    pub(super) text: Arc<str>,
}

impl From<(String, String, String)> for Meta {
    fn from((topic, key, text): (String, String, String)) -> Self {
        Self { topic: topic.into(), key: key.into(), text: text.into() }
    }
}

impl From<Meta> for (String, String, String) {
    fn from(it: Meta) -> Self {
        (it.topic.as_ref().into(), it.key.as_ref().into(), it.text.as_ref().into())
    }
}

/// All metas that a worker has after its operation `clock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) clock: u64,
    pub(super) metas: Vec<(u64, Meta)>,
}

/// What changed in a topic: metas by key, with their identities.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Diff {
    pub(super) joins: Metas,
    pub(super) leaves: Metas,
}

/// Metas by key, in the order of their arrival here.
pub(super) type Metas = BTreeMap<Arc<str>, Vec<(Dot, Arc<str>)>>;

/// A project's members.
#[derive(Debug)]
pub(super) struct State {
    own: WorkerId,
    clock: u64,
    workers: HashMap<WorkerId, Worker, RandomState>,
    topics: HashMap<Arc<str>, Topic, RandomState>,
    changed: HashSet<Arc<str>, RandomState>,
}

#[derive(Debug, Default)]
struct Worker {
    seen: Seen,
    live: BTreeMap<u64, (Arc<str>, Arc<str>)>,
}

#[derive(Debug, Default)]
struct Topic {
    metas: Metas,
    diff: Diff,
}

impl State {
    pub(super) fn new(own: WorkerId) -> Self {
        let workers = HashMap::from_iter([(own, Worker::default())]);
        Self { own, clock: 0, workers, topics: HashMap::default(), changed: HashSet::default() }
    }

    /// The number of this worker's last operation.
    pub(super) fn clock(&self) -> u64 {
        self.clock
    }

    /// How many metas this worker has itself.
    pub(super) fn own_len(&self) -> usize {
        self.workers.get(&self.own).map_or(0, |it| it.live.len())
    }

    /// The number of this worker's next operation.
    pub(super) fn next(&self) -> u64 {
        self.clock + 1
    }

    /// A member of this worker's own comes: what the others are told.
    pub(super) fn join(&mut self, meta: Meta) -> Op {
        self.clock += 1;
        let op = Op::Join(self.clock, meta);
        self.apply(self.own, op.clone());
        op
    }

    /// One of this worker's own metas leaves: what the others are told.
    pub(super) fn leave(&mut self, number: u64) -> Op {
        self.clock += 1;
        let op = Op::Leave(self.clock, number);
        self.apply(self.own, op.clone());
        op
    }

    /// `worker` tells of an operation.
    pub(super) fn apply(&mut self, worker: WorkerId, op: Op) {
        let known = self.workers.entry(worker).or_default();
        match op {
            Op::Join(number, meta) => {
                if known.seen.insert(number) {
                    self.add((worker, number), meta);
                }
            }
            Op::Leave(number, left) => {
                known.seen.insert(number);
                // It may not have come yet, and must not come any more.
                known.seen.insert(left);
                self.remove((worker, left));
            }
        }
    }

    /// `worker` tells of all that it has.
    pub(super) fn merge(&mut self, worker: WorkerId, snapshot: Snapshot) {
        let known = self.workers.entry(worker).or_default();
        let there: BTreeSet<u64> = snapshot.metas.iter().map(|(number, _)| *number).collect();
        let live = known.live.range(..=snapshot.clock).map(|(number, _)| *number);
        let gone: Vec<u64> = live.filter(|it| !there.contains(it)).collect();
        let new: Vec<_> = snapshot.metas.into_iter().filter(|(it, _)| !known.seen.contains(*it)).collect();
        known.seen.insert_up_to(snapshot.clock);
        gone.into_iter().for_each(|it| self.remove((worker, it)));
        new.into_iter().for_each(|(it, meta)| self.add((worker, it), meta));
    }

    /// Whether an operation of `worker` up to `clock` is missing.
    pub(super) fn lacks(&self, worker: WorkerId, clock: u64) -> bool {
        !self.workers.get(&worker).map_or(clock == 0, |it| it.seen.covers(clock))
    }

    /// `worker` is no more: who was there has left.
    pub(super) fn drop_worker(&mut self, worker: WorkerId) {
        let Some(known) = self.workers.get(&worker) else { return };
        let numbers: Vec<u64> = known.live.keys().copied().collect();
        numbers.into_iter().for_each(|it| self.remove((worker, it)));
        self.workers.remove(&worker);
    }

    /// All that this worker has itself.
    pub(super) fn snapshot(&self) -> Snapshot {
        let live = self.workers.get(&self.own).into_iter().flat_map(|it| &it.live);
        let metas = live.filter_map(|(number, (topic, key))| {
            let text = self.text(topic, key, (self.own, *number))?;
            Some((*number, Meta { topic: Arc::clone(topic), key: Arc::clone(key), text: Arc::clone(text) }))
        });
        Snapshot { clock: self.clock, metas: metas.collect() }
    }

    /// The metas of `topic` by key.
    pub(super) fn metas(&self, topic: &str) -> Option<&Metas> {
        self.topics.get(topic).map(|it| &it.metas)
    }

    /// How long the texts of `topic`'s members are together, keys included.
    pub(super) fn text_bytes(&self, topic: &str) -> usize {
        let of_key = |(key, metas): (&Arc<str>, &Vec<(Dot, Arc<str>)>)| {
            key.len() + metas.iter().map(|(_, text)| text.len()).sum::<usize>()
        };
        self.metas(topic).map_or(0, |it| it.iter().map(of_key).sum())
    }

    /// The metas of `topic` as those know them who were told of all diffs that were taken: what comes next is the next diff.
    pub(super) fn told(&self, topic: &str) -> Metas {
        let Some(topic) = self.topics.get(topic) else { return Metas::default() };
        let mut metas = topic.metas.clone();
        for (key, joins) in &topic.diff.joins {
            for (dot, _) in joins {
                take(&mut metas, key, *dot);
            }
        }
        for (key, leaves) in &topic.diff.leaves {
            metas.entry(Arc::clone(key)).or_default().extend(leaves.iter().cloned());
        }
        metas
    }

    /// The metas of `key` in `topic`, the newest last.
    pub(super) fn of_key(&self, topic: &str, key: &str) -> &[(Dot, Arc<str>)] {
        self.topics.get(topic).and_then(|it| it.metas.get(key)).map_or(&[], Vec::as_slice)
    }

    /// Where `worker`'s members are: topic and key, several times if it has several metas there.
    pub(super) fn places(&self, worker: WorkerId) -> impl Iterator<Item = &(Arc<str>, Arc<str>)> {
        self.workers.get(&worker).into_iter().flat_map(|it| it.live.values())
    }

    /// Topics of this worker's members in which no other with members has a smaller number: those that it tidies for all.
    pub(super) fn first_in(&self) -> Vec<Arc<str>> {
        let mine: BTreeSet<&Arc<str>> = self.places(self.own).map(|(topic, _)| topic).collect();
        let smaller = self.workers.keys().filter(|it| **it < self.own);
        let theirs: HashSet<&Arc<str>> =
            smaller.flat_map(|it| self.places(*it)).map(|(topic, _)| topic).collect();
        mine.into_iter().filter(|it| !theirs.contains(*it)).cloned().collect()
    }

    /// Whether [`State::take_diffs`] has any.
    pub(super) fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// What changed since this was asked last.
    pub(super) fn take_diffs(&mut self) -> Vec<(Arc<str>, Diff)> {
        let mut diffs = Vec::new();
        for name in std::mem::take(&mut self.changed) {
            let Some(topic) = self.topics.get_mut(&name) else { continue };
            let diff = std::mem::take(&mut topic.diff);
            if topic.metas.is_empty() {
                self.topics.remove(&name);
            }
            if !diff.joins.is_empty() || !diff.leaves.is_empty() {
                diffs.push((name, diff));
            }
        }
        diffs
    }

    fn text(&self, topic: &str, key: &str, dot: Dot) -> Option<&Arc<str>> {
        self.of_key(topic, key).iter().find(|(it, _)| *it == dot).map(|(_, text)| text)
    }

    fn add(&mut self, dot: Dot, meta: Meta) {
        let Meta { topic: name, key, text } = meta;
        if let Some(worker) = self.workers.get_mut(&dot.0) {
            worker.live.insert(dot.1, (Arc::clone(&name), Arc::clone(&key)));
        }
        let topic = self.topics.entry(Arc::clone(&name)).or_default();
        topic.metas.entry(Arc::clone(&key)).or_default().push((dot, Arc::clone(&text)));
        topic.diff.joins.entry(key).or_default().push((dot, text));
        self.changed.insert(name);
    }

    fn remove(&mut self, dot: Dot) {
        let place = self.workers.get_mut(&dot.0).and_then(|it| it.live.remove(&dot.1));
        let Some((name, key)) = place else { return };
        let Some(topic) = self.topics.get_mut(&name) else { return };
        let Some(text) = take(&mut topic.metas, &key, dot) else { return };
        if take(&mut topic.diff.joins, &key, dot).is_none() {
            topic.diff.leaves.entry(key).or_default().push((dot, text));
        }
        self.changed.insert(name);
    }
}

/// Take one meta out.
fn take(metas: &mut Metas, key: &Arc<str>, dot: Dot) -> Option<Arc<str>> {
    let of_key = metas.get_mut(key)?;
    let place = of_key.iter().position(|(it, _)| *it == dot)?;
    let (_, text) = of_key.remove(place);
    if of_key.is_empty() {
        metas.remove(key);
    }
    Some(text)
}

#[cfg(test)]
mod tests;
