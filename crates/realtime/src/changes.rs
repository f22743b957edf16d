//! Subscriptions to database changes: from batches of changed rows to events in subscribers' outboxes.
//!
//! A join's entries are [`Wanted`]; [`Changes::subscribe`] checks them against the catalog and refuses what cannot be.
//! [`Changes::apply`] takes batches in the order of their commits: what nobody wants costs a look-up, filters come before
//! policies, and policies are asked once for all callers whom they cannot tell apart. A subscriber gets changes in their
//! order, no faster than it takes them, and one that takes nothing is closed ([`deliver`]). A right that is taken away is
//! gone within a second.

mod array;
mod ask;
mod check;
mod claims;
mod condition;
mod deliver;
mod facts;
mod filter;
mod guard;
mod json;
mod matching;
mod pattern;
mod payload;
mod plan;
mod published;
mod registry;
mod scalar;
#[cfg(test)]
mod tests;
mod wanted;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::{Caller, Project};
use serde_json::json;
use store::{Database, Databases, Error};
use tokio::time::{Instant, sleep};

use crate::change::{Batch, Table};
use crate::event::Event;
use crate::outbox::Outbox;
pub(crate) use check::Refusal;
use facts::{Catalog, TableFacts};
use matching::{Asker, Work};
use plan::Plan;
use registry::{Member, Registry};
pub(crate) use wanted::Wanted;

/// What those are told whose filters are too many.
const TOO_MUCH: &str = "Unable to subscribe to changes: the project's subscribers have too many different filters that only PostgreSQL can \
                        evaluate (patterns without regard to case, regular expressions, order of texts). Filter by equality";

/// How long a batch waits for a database that does not answer; then its changes are lost, and subscribers are told.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(250);
/// Plans remembered; beyond that all are made anew.
const MOST_PLANS: usize = 4096;

/// The subscriptions of one project in this process.
#[derive(Debug)]
pub(crate) struct Changes {
    databases: Databases,
    project: Arc<Project>,
    registry: Arc<Registry>,
    catalog: Catalog,
    asker: Asker,
    plans: Mutex<HashMap<u32, Arc<Plan>>>,
}

/// A subscription; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Subscription {
    registry: Arc<Registry>,
    id: u64,
}

impl Subscription {
    /// From now on rows are decided for `caller`: the token was refreshed. Holds for batches that come after.
    pub(crate) fn update_caller(&self, caller: &Caller) {
        self.registry.change_claims(self.id, &caller.claims);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.registry.remove(self.id);
    }
}

impl Changes {
    pub(crate) fn new(databases: Databases, project: Arc<Project>) -> Self {
        Self {
            databases,
            project,
            registry: Arc::default(),
            catalog: Catalog::default(),
            asker: Asker::default(),
            plans: Mutex::default(),
        }
    }

    /// Send what `wanted` asks for to `topic` in `outbox`, as far as `caller` may see it; all entries or none.
    ///
    /// Answers with the ids that changes will carry, one for each entry. Costs a round trip or two.
    ///
    /// # Errors
    /// [`Refusal`]: its text is what clients are told.
    pub(crate) async fn subscribe(
        &self,
        caller: &Caller,
        wanted: &[Wanted],
        topic: &Arc<str>,
        outbox: &Outbox,
    ) -> Result<(Vec<i64>, Subscription), Refusal> {
        let database = self.databases.of(&self.project).await;
        let specs = Box::pin(check::specs(&self.catalog, &database, caller, wanted)).await?;
        let ids = wanted.iter().map(Wanted::id).collect();
        let member = Member::new(topic, outbox, specs, &caller.claims);
        let id = self.registry.add(member).ok_or_else(|| Refusal::Invalid(TOO_MUCH.into()))?;
        Ok((ids, Subscription { registry: Arc::clone(&self.registry), id }))
    }

    /// Tell every subscriber that changes may be missing, and why.
    pub(crate) fn tell_gap(&self, message: &str) {
        for member in self.registry.all() {
            let channel = member.topic.strip_prefix("realtime:").unwrap_or(&member.topic);
            let payload = json!({
                "extension": "postgres_changes",
                "status": "error",
                "message": message,
                "channel": channel,
            });
            member.outbox.send(&Event::json(&member.topic, "system", payload.to_string()));
        }
    }

    /// Deliver `batch`. The next one must not come before this is done: that keeps the order, and holds the stream back
    /// when PostgreSQL or this process does not keep pace.
    pub(crate) async fn apply(&self, batch: Arc<Batch>) {
        let tables = self.tables(&batch);
        if tables.is_empty() {
            return;
        }
        let database = self.databases.of(&self.project).await;
        let Some(facts) = self.facts(&database, &tables).await else {
            self.tell_gap("Changes were lost: the database did not answer");
            return;
        };
        let work = |(table, rows): (Arc<Table>, Vec<usize>)| {
            let facts = facts.get(&table.oid)?;
            Some(Work::new(self.plan(&table, facts), rows))
        };
        let mut works: Vec<Work> = tables.into_iter().filter_map(work).collect();
        Box::pin(self.asker.decide(&database, &batch.changes, &mut works)).await;
        deliver::deliver(&batch.changes, &works).await;
    }

    /// The tables of `batch` that somebody wants, and where their changes stand.
    fn tables(&self, batch: &Batch) -> Vec<(Arc<Table>, Vec<usize>)> {
        let mut found: Vec<(Arc<Table>, Vec<usize>)> = Vec::new();
        let mut places: HashMap<*const Table, Option<usize>> = HashMap::new();
        for (idx, change) in batch.changes.iter().enumerate() {
            let place = *places.entry(Arc::as_ptr(&change.table)).or_insert_with(|| {
                if !self.registry.wants(&change.table.schema, &change.table.name) {
                    return None;
                }
                found.push((Arc::clone(&change.table), Vec::new()));
                Some(found.len() - 1)
            });
            let rows = place.and_then(|it| found.get_mut(it));
            rows.into_iter().for_each(|(_, rows)| rows.push(idx));
        }
        found
    }

    /// What the catalog says of `tables`; none when the database does not answer for long.
    async fn facts(
        &self,
        database: &Database,
        tables: &[(Arc<Table>, Vec<usize>)],
    ) -> Option<HashMap<u32, Arc<TableFacts>>> {
        let mut oids: Vec<u32> = tables.iter().map(|it| it.0.oid).collect();
        oids.sort_unstable();
        oids.dedup();
        let roles = self.registry.roles();
        let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let error = match self.catalog.tables(database, &oids, &roles).await {
                Ok(facts) => return Some(facts),
                Err(error) => error,
            };
            if Instant::now() > deadline || matches!(error, Error::Statement(_)) {
                tracing::error!(project.id = self.project.reference.as_str(), %error, "changes are lost");
                return None;
            }
            sleep(PAUSE).await;
        }
    }

    /// The plan for `table`: the last one, if nothing changed since.
    fn plan(&self, table: &Arc<Table>, facts: &Arc<TableFacts>) -> Arc<Plan> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let versions = self.registry.versions(&table.schema, &table.name);
        if let Some(plan) = plans.get(&table.oid)
            && plan.is_current(versions, facts, table)
        {
            return Arc::clone(plan);
        }
        let members = self.registry.members(&table.schema, &table.name);
        let plan = Arc::new(Plan::build(members, facts, table));
        if plans.len() >= MOST_PLANS {
            plans.clear();
        }
        plans.insert(table.oid, Arc::clone(&plan));
        plan
    }
}
