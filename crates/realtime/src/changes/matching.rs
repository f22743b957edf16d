//! From a table's changed rows to verdicts: specs first, then one question per group and batch to PostgreSQL.
//!
//! Tables are asked about side by side, a few groups of each at once. What a table's policies may cost in one batch is
//! bounded for all its callers together ([`Budget`]), so that those of other tables wait for one time limit at most.

mod budget;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use store::Database;
use tokio::time::Instant;

use self::budget::Budget;
use super::ask::{self, Verdict};
use super::payload;
use super::plan::{Cohort, Hit, Plan, filtered};
use crate::change::{Change, Kind, Value};

/// Statements that one batch has under way at once, about the rows of one table and about filters.
const MOST_AT_ONCE: usize = 8;
const MOST_FILTERS_AT_ONCE: usize = 8;
/// How long a group whose policies took too long is not asked again about that table, and a filter that did not at all.
const REST: Duration = Duration::from_secs(30);
/// Stands for all groups of a table.
const EVERYBODY: &str = "*";
/// Groups that rest; beyond that all are tried again.
const MOST_RESTING: usize = 4096;

/// The changes of one table in a batch.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) plan: Arc<Plan>,
    /// Where they stand in the batch, in order.
    pub(super) rows: Vec<usize>,
    /// For each row.
    pub(super) hits: Vec<Vec<Hit>>,
    /// For each group that was asked: its verdicts by row.
    verdicts: HashMap<usize, HashMap<usize, Verdict>>,
}

impl Work {
    pub(super) fn new(plan: Arc<Plan>, rows: Vec<usize>) -> Self {
        Self { plan, rows, hits: Vec::new(), verdicts: HashMap::new() }
    }

    /// What `cohort` is told of the row `idx`.
    pub(super) fn verdict(&self, cohort: &Cohort, change: &Change, idx: usize) -> Verdict {
        if let Some(refusal) = cohort.refusal.filter(|it| it.holds(change.kind)) {
            return Verdict::Failed(refusal.text().into());
        }
        match cohort.group {
            Some(group) if change.kind != Kind::Delete => {
                let verdict = self.verdicts.get(&group).and_then(|it| it.get(&idx));
                verdict.cloned().unwrap_or(Verdict::Hidden)
            }
            _ => Verdict::Visible,
        }
    }
}

/// Asks PostgreSQL; remembers whom not to ask for a while.
#[derive(Debug, Default)]
pub(super) struct Asker {
    /// Statements about rows, ever.
    pub(super) asked: AtomicU64,
    resting: Mutex<HashMap<(u32, Arc<str>), Instant>>,
}

impl Asker {
    /// Decide everything about `works`, whose rows are of `changes`.
    pub(super) async fn decide(&self, database: &Database, changes: &[Change], works: &mut [Work]) {
        for work in &mut *works {
            let answers = self.answers(database, changes, work).await;
            let hits = |(idx, row): (usize, &usize)| {
                let answer = |question: usize| answers.get(question)?.get(idx).copied().flatten();
                changes.get(*row).map(|it| work.plan.hits(it, answer)).unwrap_or_default()
            };
            work.hits = work.rows.iter().enumerate().map(hits).collect();
        }
        let mut tables: BTreeMap<u32, Vec<Sight>> = BTreeMap::new();
        for sight in works.iter().enumerate().flat_map(|it| sights(changes, it)) {
            tables.entry(sight.plan.facts.oid).or_default().push(sight);
        }
        let decided = join_all(tables.into_iter().map(|it| self.look(database, it))).await;
        for (sight, verdicts) in decided.into_iter().flatten() {
            let Some(work) = works.get_mut(sight.work) else { continue };
            let of_key = |key: usize| verdicts.get(key).cloned().unwrap_or(Verdict::Hidden);
            let by_row = sight.rows.into_iter().map(|(row, key)| (row, of_key(key))).collect();
            work.verdicts.insert(sight.group, by_row);
        }
    }

    /// What all groups see of the table `oid`.
    async fn look(
        &self,
        database: &Database,
        (oid, sights): (u32, Vec<Sight>),
    ) -> Vec<(Sight, Vec<Verdict>)> {
        let budget = Budget::new();
        let seen = |sight: Sight| async {
            let verdicts = self.see(database, &sight, &budget).await;
            let verdicts = verdicts.unwrap_or_else(|| vec![ask::slow(); sight.keys.len()]);
            (sight, verdicts)
        };
        let seen = stream::iter(sights).map(seen).buffer_unordered(MOST_AT_ONCE).collect().await;
        if budget.is_over() {
            tracing::warn!(table.oid = oid, "the policies of a table take too long: it rests");
            self.rest((oid, EVERYBODY.into()));
        }
        seen
    }

    /// Nothing when its policies take too long.
    async fn see(&self, database: &Database, sight: &Sight, budget: &Budget) -> Option<Vec<Verdict>> {
        let Some(group) = sight.plan.groups.get(sight.group) else { return Some(Vec::new()) };
        let oid = sight.plan.facts.oid;
        let name = (oid, Arc::clone(&group.name));
        if budget.is_over() || self.rests(&name) || self.rests(&(oid, EVERYBODY.into())) {
            return None;
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        let asking = ask::visible(database, &group.session, &sight.plan.facts.visible, &sight.keys);
        let began = Instant::now();
        let verdicts = budget.within(asking).await?;
        let is_slow = verdicts.contains(&ask::slow());
        budget.spend(began.elapsed(), is_slow);
        if is_slow {
            self.rest(name);
        }
        Some(verdicts)
    }

    /// What PostgreSQL says to each question of the plan about each row of `work`; nothing where it cannot say.
    async fn answers(&self, database: &Database, changes: &[Change], work: &Work) -> Vec<Vec<Option<bool>>> {
        let ask = |asked: &super::plan::AskedOf| {
            let value = |row: &usize| match filtered(changes.get(*row)?, asked.at)? {
                Value::Text(text) => Some(text.clone()),
                Value::Null | Value::Unchanged => None,
            };
            let values: Vec<Option<Bytes>> = work.rows.iter().map(value).collect();
            let (session, question) = (asked.session.clone(), asked.question.clone());
            let name = (work.plan.facts.oid, Arc::clone(&asked.name));
            async move {
                if self.rests(&name) {
                    return Vec::new();
                }
                let answer = ask::question(database, &session, &question, &values).await;
                answer.unwrap_or_else(|failure| {
                    tracing::warn!(error = %failure.told(), "a filter of a subscription cannot be evaluated");
                    if failure.is_slow() {
                        self.rest(name);
                    }
                    Vec::new()
                })
            }
        };
        let asked: Vec<_> = work.plan.questions.iter().map(ask).collect();
        stream::iter(asked).buffered(MOST_FILTERS_AT_ONCE).collect().await
    }

    #[cfg(test)]
    pub(super) fn rests_anybody(&self) -> bool {
        !self.resting().is_empty()
    }

    fn rests(&self, name: &(u32, Arc<str>)) -> bool {
        self.resting().get(name).is_some_and(|until| Instant::now() < *until)
    }

    fn rest(&self, name: (u32, Arc<str>)) {
        let mut resting = self.resting();
        if resting.len() >= MOST_RESTING {
            resting.clear();
        }
        resting.insert(name, Instant::now() + REST);
    }

    fn resting(&self) -> std::sync::MutexGuard<'_, HashMap<(u32, Arc<str>), Instant>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one group may see of one table's rows: a question that is asked at once.
#[derive(Debug)]
struct Sight {
    work: usize,
    plan: Arc<Plan>,
    group: usize,
    /// Different primary keys.
    keys: Vec<Vec<Bytes>>,
    /// Rows, and which key each has.
    rows: Vec<(usize, usize)>,
}

/// The questions about `work`: for each group about the rows that it wants.
fn sights(changes: &[Change], (number, work): (usize, &Work)) -> Vec<Sight> {
    let mut wanted: HashMap<usize, HashSet<usize>> = HashMap::new();
    for (idx, (hits, row)) in work.hits.iter().zip(&work.rows).enumerate() {
        let Some(change) = changes.get(*row) else { continue };
        let may_see = |it: &usize| {
            let group = work.plan.groups.get(*it);
            group
                .is_some_and(|it| work.plan.guard.may_hold(&it.subject, &|at| payload::new_value(change, at)))
        };
        let groups = hits.iter().filter_map(|it| work.plan.cohorts.get(it.cohort)?.group);
        for group in groups.filter(may_see) {
            wanted.entry(group).or_default().insert(idx);
        }
    }
    let sight = |(group, rows): (usize, HashSet<usize>)| {
        let mut sight =
            Sight { work: number, plan: Arc::clone(&work.plan), group, keys: Vec::new(), rows: Vec::new() };
        let mut known: HashMap<Vec<Bytes>, usize> = HashMap::new();
        for row in rows {
            let change = work.rows.get(row).and_then(|it| changes.get(*it));
            let Some(key) = change.and_then(|it| key(it, &work.plan.key)) else { continue };
            let number = *known.entry(key).or_insert_with_key(|key| {
                sight.keys.push(key.clone());
                sight.keys.len() - 1
            });
            sight.rows.push((row, number));
        }
        sight
    };
    wanted.into_iter().map(sight).filter(|it| !it.keys.is_empty()).collect()
}

/// The values of the primary key; none of a deleted row, which nobody is asked about.
fn key(change: &Change, columns: &[usize]) -> Option<Vec<Bytes>> {
    let value = |at: &usize| match payload::new_value(change, *at)? {
        Value::Text(text) => Some(text.clone()),
        Value::Null | Value::Unchanged => None,
    };
    (change.kind != Kind::Delete).then(|| columns.iter().map(value).collect())?
}
