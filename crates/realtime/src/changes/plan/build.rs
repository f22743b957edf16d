//! Building a plan: each subscriber's entries are resolved for the table, and equal things are found again.

use std::collections::HashMap;
use std::sync::Arc;

use common::jwt::Claims;
use serde_json::Value;

use super::{Asked, AskedOf, Cohort, Group, MOST_WANTED, Plan, Refusal};
use crate::change::Table;
use crate::changes::ask;
use crate::changes::condition::{Check, Question, Test};
use crate::changes::facts::{Rights, TableFacts};
use crate::changes::filter::Condition;
use crate::changes::guard::Subject;
use crate::changes::payload::View;
use crate::changes::registry::{Member, Versions};
use crate::changes::scalar::{Family, Scalar};
use crate::changes::wanted::Spec;

/// A plan that grows, and where its parts are found again.
#[derive(Debug)]
pub(super) struct Builder {
    facts: Arc<TableFacts>,
    table: Arc<Table>,
    specs: Vec<Asked>,
    cohorts: Vec<Cohort>,
    groups: Vec<Group>,
    views: Vec<View>,
    questions: Vec<AskedOf>,
    key: Vec<usize>,
    found: Found,
}

#[derive(Debug, Default)]
struct Found {
    /// With whether the role may read all columns of the filter.
    specs: HashMap<(Arc<Spec>, String), (usize, bool)>,
    views: HashMap<(String, Option<Vec<String>>), usize>,
    groups: HashMap<Arc<str>, usize>,
    classes: HashMap<Class, usize>,
    /// By class and group.
    cohorts: HashMap<(usize, Option<usize>), usize>,
    questions: HashMap<(String, usize, Question), usize>,
}

/// What subscribers share who are sent the same bytes.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Class {
    topic: Arc<str>,
    specs: Vec<usize>,
    view: usize,
    refusal: Option<Refusal>,
}

impl Builder {
    pub(super) fn new(facts: Arc<TableFacts>, table: Arc<Table>) -> Self {
        let at = |name: &str| table.columns.iter().position(|it| it.name == name);
        let key: Option<Vec<usize>> =
            facts.columns.iter().filter(|it| it.is_key).map(|it| at(&it.name)).collect();
        Self {
            specs: Vec::new(),
            cohorts: Vec::new(),
            groups: Vec::new(),
            views: Vec::new(),
            questions: Vec::new(),
            // Of a key that the stream tells in part only, nobody's sight can be asked.
            key: key.unwrap_or_default(),
            found: Found::default(),
            facts,
            table,
        }
    }

    pub(super) fn finish(self, versions: Versions) -> Plan {
        let at = |name: &str| self.table.columns.iter().position(|it| it.name == name);
        let guard = self.facts.guard.resolve(&at);
        Plan {
            versions,
            facts: self.facts,
            table: self.table,
            guard,
            specs: self.specs,
            equals: Vec::new(),
            others: Vec::new(),
            cohorts: self.cohorts,
            groups: self.groups,
            views: self.views,
            questions: self.questions,
            key: self.key,
        }
    }

    /// Put `member` into the cohorts of its entries: one for each choice of columns.
    pub(super) fn add(&mut self, member: &Arc<Member>) {
        let claims = member.claims();
        let facts = Arc::clone(&self.facts);
        let rights = facts.rights(&claims.role);
        let mut choices: Vec<(Option<Vec<String>>, bool, Vec<usize>)> = Vec::new();
        for spec in member.specs.iter().take(MOST_WANTED) {
            if !self.concerns(spec) {
                continue;
            }
            let (idx, is_allowed) = self.spec(spec, &claims.role, rights);
            match choices.iter_mut().find(|it| it.0 == spec.select && it.1 == is_allowed) {
                Some((_, _, specs)) if specs.contains(&idx) => {}
                Some((_, _, specs)) => specs.push(idx),
                None => choices.push((spec.select.clone(), is_allowed, vec![idx])),
            }
        }
        for (select, is_allowed, specs) in choices {
            let refusal = self.refusal(rights.filter(|_| is_allowed));
            let is_checked = refusal.is_none() && rights.is_some_and(|it| it.is_checked);
            let group = is_checked.then(|| self.group(&claims));
            let view = self.view(&claims.role, rights, select);
            let cohort = self.cohort(Class { topic: Arc::clone(&member.topic), specs, view, refusal }, group);
            self.cohorts.get_mut(cohort).into_iter().for_each(|it| it.members.push(Arc::clone(member)));
        }
    }

    fn concerns(&self, spec: &Spec) -> bool {
        let is_of = |wanted: &str, name: &str| wanted == "*" || wanted == name;
        is_of(&spec.schema, &self.table.schema) && is_of(&spec.table, &self.table.name)
    }

    /// Why subscribers with these rights are told errors only.
    fn refusal(&self, rights: Option<&Rights>) -> Option<Refusal> {
        let Some(rights) = rights.filter(|it| !it.is_none()) else { return Some(Refusal::Unauthorized) };
        let mut columns = self.facts.columns.iter().zip(&rights.columns);
        if columns.any(|(column, is_readable)| column.is_key && !is_readable) {
            return Some(Refusal::Unauthorized);
        }
        (rights.is_checked && self.key.is_empty()).then_some(Refusal::NoPrimaryKey)
    }

    fn spec(&mut self, spec: &Arc<Spec>, role: &str, rights: Option<&Rights>) -> (usize, bool) {
        let name = (Arc::clone(spec), role.to_owned());
        if let Some(found) = self.found.specs.get(&name) {
            return *found;
        }
        let facts = Arc::clone(&self.facts);
        let column = |it: &Condition| facts.column(&it.column);
        let is_readable = |idx: usize| rights.is_some_and(|it| it.columns.get(idx) == Some(&true));
        let is_allowed = spec.conditions.iter().all(|it| column(it).is_some_and(|(idx, _)| is_readable(idx)));
        let mut tests = Vec::new();
        let mut questions = Vec::new();
        // Who may not read what the filter reads is told of no change because of it.
        for condition in spec.conditions.iter().filter(|_| is_allowed) {
            let Some((_, column)) = column(condition) else { continue };
            let at = self.table.columns.iter().position(|it| it.name == column.name).unwrap_or(usize::MAX);
            let check = Check::of(condition, column);
            questions.push(match &check {
                Check::Asked(question) => Some(self.question(role, at, question)),
                _ => None,
            });
            tests.push(Test { at, negate: condition.negate, check });
        }
        let found = (self.specs.len(), is_allowed);
        self.specs.push(Asked { spec: Arc::clone(spec), tests, questions, cohorts: Vec::new() });
        self.found.specs.insert(name, found);
        found
    }

    fn question(&mut self, role: &str, at: usize, question: &Question) -> usize {
        let questions = &mut self.questions;
        *self.found.questions.entry((role.to_owned(), at, question.clone())).or_insert_with(|| {
            let name = format!("{}\0{}", question.text, String::from_utf8_lossy(&question.operand)).into();
            let session = ask::session(role, None);
            questions.push(AskedOf { at, question: question.clone(), session, name });
            questions.len() - 1
        })
    }

    fn group(&mut self, claims: &Claims) -> usize {
        let read = self.facts.reads.of(claims);
        let name: Arc<str> = format!("{} {read}", claims.role).into();
        let groups = &mut self.groups;
        *self.found.groups.entry(Arc::clone(&name)).or_insert_with(|| {
            let session = ask::session(&claims.role, Some(read));
            groups.push(Group { session, subject: subject(claims), name });
            groups.len() - 1
        })
    }

    fn view(&mut self, role: &str, rights: Option<&Rights>, select: Option<Vec<String>>) -> usize {
        let name = (role.to_owned(), select);
        if let Some(found) = self.found.views.get(&name) {
            return *found;
        }
        let is_shown = |idx: usize| {
            let is_readable = rights.is_some_and(|it| it.columns.get(idx) == Some(&true));
            let is_chosen = |columns: &Vec<String>| {
                self.facts.columns.get(idx).is_some_and(|it| it.is_key || columns.contains(&it.name))
            };
            is_readable && name.1.as_ref().is_none_or(is_chosen)
        };
        let is_checked = rights.is_none_or(|it| it.is_checked);
        self.views.push(View::new(&self.facts, &self.table, is_checked, is_shown));
        self.found.views.insert(name, self.views.len() - 1);
        self.views.len() - 1
    }

    fn cohort(&mut self, class: Class, group: Option<usize>) -> usize {
        let (topic, specs) = (Arc::clone(&class.topic), class.specs.clone());
        let (view, refusal) = (class.view, class.refusal);
        let count = self.found.classes.len();
        let class = *self.found.classes.entry(class).or_insert(count);
        if let Some(found) = self.found.cohorts.get(&(class, group)) {
            return *found;
        }
        let cohort = self.cohorts.len();
        let mut ids = Vec::with_capacity(specs.len());
        for (bit, spec) in specs.iter().enumerate() {
            let Some(spec) = self.specs.get_mut(*spec) else { continue };
            ids.push(spec.spec.id);
            spec.cohorts.push((cohort, bit));
        }
        self.cohorts.push(Cohort { topic, ids, class, view, group, refusal, members: Vec::new() });
        self.found.cohorts.insert((class, group), cohort);
        cohort
    }
}

fn subject(claims: &Claims) -> Subject {
    match claims.map.get("sub") {
        None | Some(Value::Null) => Subject::None,
        Some(Value::String(id)) if Scalar::parse(Family::Uuid, id).is_some() => Subject::Known(id.clone()),
        Some(_) => Subject::Unclear,
    }
}
