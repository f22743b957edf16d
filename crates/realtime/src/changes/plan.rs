//! Who is to be told what of one table: subscribers gathered so that everything is decided, and written, once.
//!
//! A **spec** is what was asked for, as one role; a **group** are the callers whom policies cannot tell apart; a **view**
//! are visible columns; a **cohort** are the subscribers of one topic with the same specs, group and view. Built when
//! subscribers or facts change, used for every batch until then.

mod build;

use std::collections::HashMap;
use std::sync::Arc;

use store::Session;

use super::ask;
use super::condition::{Check, Question, Test};
use super::facts::TableFacts;
use super::guard::{Guard, Subject};
use super::payload::{self, View};
use super::registry::{Member, Members, Versions};
use super::scalar::{Family, Scalar};
use super::wanted::Spec;
use crate::change::{Change, Kind, MAX_ROW_BYTES, Table, Value};
use build::Builder;

/// Most entries of one subscriber: what [`Hit::mask`] has room for.
pub(super) const MOST_WANTED: usize = 100;

/// Everything that is known of a table before its rows come.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) versions: Versions,
    pub(super) facts: Arc<TableFacts>,
    pub(super) table: Arc<Table>,
    specs: Vec<Asked>,
    /// Specs whose first condition is equality, by column and value.
    equals: Vec<(usize, Family, HashMap<Scalar, Vec<usize>>)>,
    /// All other specs.
    others: Vec<usize>,
    pub(super) cohorts: Vec<Cohort>,
    pub(super) groups: Vec<Group>,
    pub(super) views: Vec<View>,
    pub(super) questions: Vec<AskedOf>,
    /// Where the primary key stands in the stream's rows.
    pub(super) key: Vec<usize>,
    /// What policies ask for, as far as it is understood.
    pub(super) guard: Guard<usize>,
}

/// What some subscribers asked for.
#[derive(Debug)]
struct Asked {
    spec: Arc<Spec>,
    tests: Vec<Test>,
    /// For each test the question that PostgreSQL answers.
    questions: Vec<Option<usize>>,
    /// Who asked, and the place of this spec among theirs.
    cohorts: Vec<(usize, usize)>,
}

/// A question about a column, asked as some role.
#[derive(Debug)]
pub(super) struct AskedOf {
    pub(super) at: usize,
    pub(super) question: Question,
    pub(super) session: Session,
    /// Text and operand.
    pub(super) name: Arc<str>,
}

/// Callers whom the table's policies cannot tell apart.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) session: Session,
    pub(super) subject: Subject,
    /// What its sight depends on: role and claims.
    pub(super) name: Arc<str>,
}

/// Subscribers who are told the same, or nothing.
#[derive(Debug)]
pub(super) struct Cohort {
    pub(super) topic: Arc<str>,
    /// The ids of its specs.
    pub(super) ids: Vec<i64>,
    /// Equal for those who are sent equal bytes: topic, specs and view.
    pub(super) class: usize,
    pub(super) view: usize,
    /// Whose policies decide, if any do.
    pub(super) group: Option<usize>,
    pub(super) refusal: Option<Refusal>,
    pub(super) members: Vec<Arc<Member>>,
}

/// Why subscribers are told of errors only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Refusal {
    Unauthorized,
    /// Whether somebody sees a row cannot be asked.
    NoPrimaryKey,
}

impl Refusal {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Unauthorized => ask::UNAUTHORIZED,
            Self::NoPrimaryKey => "Error 400: Bad Request, no primary key",
        }
    }

    /// Whether it holds for changes of this kind: deleted rows are seen by nobody's policies.
    pub(super) fn holds(self, kind: Kind) -> bool {
        self == Self::Unauthorized || kind != Kind::Delete
    }
}

/// A cohort and which of its specs a change is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) cohort: usize,
    /// Bit n stands for the n-th spec.
    pub(super) mask: u128,
}

impl Plan {
    /// For `members`, who were found with `versions`.
    pub(super) fn build(
        (versions, members): (Versions, Members),
        facts: &Arc<TableFacts>,
        table: &Arc<Table>,
    ) -> Self {
        let mut builder = Builder::new(Arc::clone(facts), Arc::clone(table));
        members.values().for_each(|it| builder.add(it));
        let mut plan = builder.finish(versions);
        plan.index();
        plan
    }

    /// Whether it still holds.
    pub(super) fn is_current(&self, versions: Versions, facts: &Arc<TableFacts>, table: &Arc<Table>) -> bool {
        let is_same = Arc::ptr_eq(&self.table, table) || self.table == *table;
        self.versions == versions && Arc::ptr_eq(&self.facts, facts) && is_same
    }

    /// Put specs where a change finds them.
    fn index(&mut self) {
        for (idx, spec) in self.specs.iter().enumerate() {
            // Who is told of errors only is told whatever the row is.
            let is_refused = spec.asker(&self.cohorts).is_some_and(|it| it.refusal.is_some());
            let equality = spec.tests.iter().find_map(|it| match &it.check {
                Check::Equal(family, scalar) if !it.negate => Some((it.at, *family, scalar)),
                _ => None,
            });
            let Some((at, family, scalar)) = equality.filter(|_| !is_refused) else {
                self.others.push(idx);
                continue;
            };
            let place = self.equals.iter().position(|it| it.0 == at).unwrap_or_else(|| {
                self.equals.push((at, family, HashMap::new()));
                self.equals.len() - 1
            });
            if let Some((_, _, specs)) = self.equals.get_mut(place) {
                specs.entry(scalar.clone()).or_default().push(idx);
            }
        }
    }

    /// Who is to be told of `change`, as far as specs say; `answers` are PostgreSQL's to each question about it.
    pub(super) fn hits(&self, change: &Change, answers: impl Fn(usize) -> Option<bool>) -> Vec<Hit> {
        let mut hits = Vec::new();
        let mut places: HashMap<usize, usize> = HashMap::new();
        let mut check = |idx: usize| {
            let Some(spec) = self.specs.get(idx) else { return };
            if !self.passes(spec, change, &answers) {
                return;
            }
            for (cohort, bit) in &spec.cohorts {
                let place = *places.entry(*cohort).or_insert_with(|| {
                    hits.push(Hit { cohort: *cohort, mask: 0 });
                    hits.len() - 1
                });
                hits.get_mut(place).into_iter().for_each(|it| it.mask |= 1 << bit);
            }
        };
        self.others.iter().copied().for_each(&mut check);
        for (at, family, specs) in &self.equals {
            let scalar = filtered(change, *at).and_then(|it| match it {
                Value::Text(text) => Scalar::parse(*family, std::str::from_utf8(text).ok()?),
                _ => None,
            });
            scalar.and_then(|it| specs.get(&it)).into_iter().flatten().copied().for_each(&mut check);
        }
        hits
    }

    /// Whether `change` is what `spec` asks for. What its subscribers are told must not depend on what they may not see: an
    /// error comes whatever the row is, and of a deleted row, which no policy decides, filters see what is sent.
    fn passes(&self, spec: &Asked, change: &Change, answers: impl Fn(usize) -> Option<bool>) -> bool {
        if !spec.spec.wants(change.kind) {
            return false;
        }
        let asker = spec.asker(&self.cohorts);
        if asker.and_then(|it| it.refusal).is_some_and(|it| it.holds(change.kind)) {
            return true;
        }
        let sees_key_only = change.kind == Kind::Delete && asker.is_some_and(|it| it.group.is_some());
        let passes = |(test, question): (&Test, &Option<usize>)| {
            (!sees_key_only || self.key.contains(&test.at))
                && test.passes(filtered(change, test.at), question.and_then(&answers))
        };
        spec.tests.iter().zip(&spec.questions).all(passes)
    }
}

impl Asked {
    /// One of those who asked: a spec is asked as one role, which decides who is refused, and whether policies hold.
    fn asker<'a>(&self, cohorts: &'a [Cohort]) -> Option<&'a Cohort> {
        self.cohorts.first().and_then(|(it, _)| cohorts.get(*it))
    }
}

/// The value that filters see; none that was cut.
pub(super) fn filtered(change: &Change, at: usize) -> Option<&Value> {
    let value = match change.kind {
        Kind::Insert | Kind::Update => payload::new_value(change, at)?,
        Kind::Delete => payload::old_value(change, at)?,
    };
    let is_whole = !matches!(value, Value::Text(text) if text.len() > MAX_ROW_BYTES);
    is_whole.then_some(value)
}
