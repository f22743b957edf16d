//! Relationships: how rows of one relation meet rows of another, found from foreign keys, also through views.

use std::collections::{BTreeSet, HashMap};

use serde::Deserialize;

use super::origins::{self, ColumnId};
use super::{Name, Table};

/// A way from one relation to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Relationship {
    /// The relation that embeds.
    pub(crate) origin: Name,
    /// The relation that is embedded.
    pub(crate) target: Name,
    /// Whether both are the same.
    pub(crate) is_self: bool,
    /// How their rows meet.
    pub(crate) link: Link,
    /// Whether the target is a view.
    pub(crate) target_is_view: bool,
    /// Whether the foreign key is the origin's.
    pub(crate) origin_refers: bool,
}

/// How rows meet. The order of the variants is the order in which candidates are listed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Link {
    /// The target refers to the origin.
    OneToMany(Key),
    /// The origin refers to the target.
    ManyToOne(Key),
    /// One refers to the other by a unique key.
    OneToOne(Key),
    /// A third relation refers to both.
    ManyToMany(Junction),
    /// A function of the origin's row gives the target's rows.
    Function {
        /// The function.
        function: Name,
        /// Whether it gives at most one row.
        to_one: bool,
    },
}

/// Columns that must be equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The foreign key constraint.
    pub(crate) constraint: String,
    /// Pairs of the origin's and the target's column.
    pub(crate) columns: Vec<(String, String)>,
}

/// A relation that refers to both ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Junction {
    /// The relation.
    pub(crate) table: Name,
    /// Its foreign key to the origin.
    pub(crate) source_constraint: String,
    /// Its foreign key to the target.
    pub(crate) target_constraint: String,
    /// Pairs of the origin's and the junction's column.
    pub(crate) source: Vec<(String, String)>,
    /// Pairs of the target's and the junction's column.
    pub(crate) target: Vec<(String, String)>,
}

impl Link {
    /// Whether a row of the origin meets at most one of the target.
    pub(crate) fn is_to_one(&self) -> bool {
        matches!(self, Self::ManyToOne(_) | Self::OneToOne(_) | Self::Function { to_one: true, .. })
    }

    /// The key, unless rows meet by a junction or function.
    pub(crate) fn key(&self) -> Option<&Key> {
        match self {
            Self::OneToMany(key) | Self::ManyToOne(key) | Self::OneToOne(key) => Some(key),
            Self::ManyToMany(_) | Self::Function { .. } => None,
        }
    }

    /// What a client writes after `!` to choose it.
    pub(crate) fn choice(&self) -> &str {
        match self {
            Self::OneToMany(key) | Self::ManyToOne(key) | Self::OneToOne(key) => &key.constraint,
            Self::ManyToMany(junction) => &junction.table.name,
            Self::Function { function, .. } => &function.name,
        }
    }
}

/// A primary, unique or foreign key, as loaded.
#[derive(Debug, Deserialize)]
pub(super) struct Constraint {
    pub(super) name: String,
    /// `p`, `u` or `f`.
    pub(super) kind: char,
    table_oid: u32,
    table: Name,
    numbers: Vec<i32>,
    columns: Vec<String>,
    foreign_oid: u32,
    foreign: Option<Name>,
    #[serde(default)]
    foreign_numbers: Option<Vec<i32>>,
    #[serde(default)]
    foreign_columns: Option<Vec<String>>,
}

/// A view, as loaded.
#[derive(Debug, Deserialize)]
pub(super) struct View {
    oid: u32,
    #[serde(flatten)]
    name: Name,
    /// Number and name of each column.
    columns: Vec<(i32, String)>,
    definition: String,
}

/// A function from a row to rows, as loaded.
#[derive(Debug, Deserialize)]
pub(super) struct RowFunction {
    function: Name,
    origin: Name,
    target: Name,
    to_one: bool,
}

/// What the relationships are found from.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) constraints: Vec<Constraint>,
    pub(super) views: Vec<View>,
    pub(super) functions: Vec<RowFunction>,
}

/// The columns of one table that a view shows: number → the view's names for it.
type Shown = HashMap<i32, Vec<String>>;

/// Views by the table that they show columns of.
#[derive(Debug)]
pub(super) struct Views<'a> {
    by_table: HashMap<u32, Vec<(&'a Name, Shown)>>,
}

impl<'a> Views<'a> {
    /// Those of the exposed schemas; all of them are followed.
    pub(super) fn new(views: &'a [View], exposed: &[String]) -> Self {
        let direct: HashMap<u32, Vec<(i32, ColumnId)>> =
            views.iter().map(|it| (it.oid, origins::direct(&it.definition))).collect();
        let mut by_table: HashMap<u32, Vec<(&Name, Shown)>> = HashMap::new();
        for view in views.iter().filter(|it| exposed.contains(&it.name.schema)) {
            let mut shown: HashMap<u32, Shown> = HashMap::new();
            for (number, origin) in direct.get(&view.oid).into_iter().flatten() {
                let Some((_, name)) = view.columns.iter().find(|(it, _)| it == number) else { continue };
                let (table, column) = origins::resolve(&direct, *origin);
                shown.entry(table).or_default().entry(column).or_default().push(name.clone());
            }
            for (table, columns) in shown {
                by_table.entry(table).or_default().push((&view.name, columns));
            }
        }
        Self { by_table }
    }

    /// Views that show all columns `numbers` of `table`, with each choice of names for them.
    fn showing(&self, table: u32, numbers: &[i32]) -> Vec<(&'a Name, Vec<String>)> {
        let mut found = Vec::new();
        for (view, shown) in self.by_table.get(&table).into_iter().flatten() {
            let mut choices: Vec<Vec<String>> = vec![Vec::new()];
            for number in numbers {
                let names = shown.get(number).map(Vec::as_slice).unwrap_or_default();
                choices = choices
                    .iter()
                    .flat_map(|it| {
                        names.iter().map(|name| [it.as_slice(), std::slice::from_ref(name)].concat())
                    })
                    .collect();
            }
            found.extend(choices.into_iter().map(|it| (*view, it)));
        }
        found
    }
}

/// One end of a foreign key: a table, or a view that shows its columns.
struct End<'a> {
    name: &'a Name,
    columns: Vec<String>,
    is_view: bool,
}

fn ends<'a>(
    views: &Views<'a>,
    oid: u32,
    name: &'a Name,
    numbers: &[i32],
    columns: &[String],
) -> Vec<End<'a>> {
    let table = End { name, columns: columns.to_vec(), is_view: false };
    let views = views.showing(oid, numbers).into_iter();
    let views = views.map(|(name, columns)| End { name, columns, is_view: true });
    std::iter::once(table).chain(views).collect()
}

/// Give views the primary keys of the tables behind them.
pub(super) fn add_view_keys(tables: &mut [Table], sources: &Sources, views: &Views<'_>) {
    let mut keys: HashMap<&Name, Vec<String>> = HashMap::new();
    for constraint in sources.constraints.iter().filter(|it| it.kind == 'p') {
        for (view, shown) in views.by_table.get(&constraint.table_oid).into_iter().flatten() {
            let names: Option<Vec<_>> =
                constraint.numbers.iter().map(|it| shown.get(it)?.first().cloned()).collect();
            if let Some(names) = names {
                keys.entry(view).or_default().extend(names);
            }
        }
    }
    for table in tables.iter_mut().filter(|it| it.is_view) {
        if let Some(key) = keys.remove(&table.name) {
            table.primary_key = key;
        }
    }
}

/// All relationships between relations of one exposed schema, by origin; candidates in the order they are listed.
pub(super) fn find(
    sources: &Sources,
    views: &Views<'_>,
    tables: &[Table],
    exposed: &[String],
) -> HashMap<Name, Vec<Relationship>> {
    let mut found = direct(sources, views, exposed);
    let junctions = junctions(&found, sources, tables);
    let inverse: Vec<_> = found.iter().map(|(it, origin_is_view)| invert(it, *origin_is_view)).collect();
    let mut by_origin: HashMap<Name, Vec<Relationship>> = HashMap::new();
    let all = found.drain(..).map(|(it, _)| it).chain(junctions).chain(inverse);
    for it in all.filter(|it| it.origin.schema == it.target.schema && exposed.contains(&it.origin.schema)) {
        let known = by_origin.entry(it.origin.clone()).or_default();
        // By a hidden junction nothing is embedded, but the origin counts as one that has relationships.
        if !matches!(&it.link, Link::ManyToMany(junction) if !exposed.contains(&junction.table.schema)) {
            known.push(it);
        }
    }
    for function in &sources.functions {
        if function.origin.schema != function.target.schema || !exposed.contains(&function.origin.schema) {
            continue;
        }
        let known = by_origin.entry(function.origin.clone()).or_default();
        known.retain(|it| it.target != function.function || matches!(it.link, Link::Function { .. }));
        known.push(computed(function));
    }
    for known in by_origin.values_mut() {
        known.sort();
    }
    by_origin
}

/// Foreign keys from the referring side, with whether that is a view.
fn direct(sources: &Sources, views: &Views<'_>, exposed: &[String]) -> Vec<(Relationship, bool)> {
    let unique: BTreeSet<(u32, Vec<i32>)> = sources
        .constraints
        .iter()
        .filter(|it| it.kind != 'f')
        .map(|it| (it.table_oid, sorted(&it.numbers)))
        .collect();
    let mut found = Vec::new();
    for it in sources.constraints.iter().filter(|it| it.kind == 'f') {
        let (Some(foreign), Some(numbers), Some(columns)) =
            (&it.foreign, &it.foreign_numbers, &it.foreign_columns)
        else {
            continue;
        };
        let is_unique = unique.contains(&(it.table_oid, sorted(&it.numbers)));
        let targets = ends(views, it.foreign_oid, foreign, numbers, columns);
        for origin in ends(views, it.table_oid, &it.table, &it.numbers, &it.columns) {
            for target in &targets {
                if !exposed.contains(&target.name.schema) {
                    continue;
                }
                let pairs = origin.columns.iter().cloned().zip(target.columns.iter().cloned()).collect();
                let key = Key { constraint: it.name.clone(), columns: pairs };
                let relationship = Relationship {
                    origin: origin.name.clone(),
                    target: target.name.clone(),
                    is_self: origin.name == target.name,
                    link: if is_unique { Link::OneToOne(key) } else { Link::ManyToOne(key) },
                    target_is_view: target.is_view,
                    origin_refers: true,
                };
                found.push((relationship, origin.is_view));
            }
        }
    }
    found
}

fn sorted(numbers: &[i32]) -> Vec<i32> {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    numbers
}

/// The same relationship from its other end.
fn invert(it: &Relationship, origin_is_view: bool) -> Relationship {
    let turn = |key: &Key| Key {
        constraint: key.constraint.clone(),
        columns: key.columns.iter().map(|(one, other)| (other.clone(), one.clone())).collect(),
    };
    let link = match &it.link {
        Link::ManyToOne(key) => Link::OneToMany(turn(key)),
        Link::OneToOne(key) => Link::OneToOne(turn(key)),
        other => other.clone(),
    };
    Relationship {
        origin: it.target.clone(),
        target: it.origin.clone(),
        is_self: it.is_self,
        link,
        target_is_view: origin_is_view,
        origin_refers: false,
    }
}

/// Relations that refer to two others by columns of their primary key.
fn junctions(found: &[(Relationship, bool)], sources: &Sources, tables: &[Table]) -> Vec<Relationship> {
    let hidden = sources.constraints.iter().filter(|it| it.kind == 'p');
    let primary_keys: HashMap<&Name, &[String]> = hidden
        .map(|it| (&it.table, it.columns.as_slice()))
        .chain(tables.iter().map(|it| (&it.name, it.primary_key.as_slice())))
        .collect();
    let mut by_junction: HashMap<&Name, Vec<(&Relationship, &Key)>> = HashMap::new();
    for (it, _) in found {
        if let Link::ManyToOne(key) = &it.link {
            by_junction.entry(&it.origin).or_default().push((it, key));
        }
    }
    let mut junctions = Vec::new();
    for (table, legs) in by_junction {
        let Some(primary_key) = primary_keys.get(table) else { continue };
        let legs: Vec<_> = legs
            .into_iter()
            .filter(|(_, key)| key.columns.iter().all(|(column, _)| primary_key.contains(column)))
            .collect();
        for (source, source_key) in &legs {
            for (target, target_key) in legs.iter().filter(|(_, it)| it.constraint != source_key.constraint) {
                junctions.push(junction(table, (source, source_key), (target, target_key)));
            }
        }
    }
    junctions
}

fn junction(table: &Name, source: (&Relationship, &Key), target: (&Relationship, &Key)) -> Relationship {
    let turn = |key: &Key| key.columns.iter().map(|(one, other)| (other.clone(), one.clone())).collect();
    Relationship {
        origin: source.0.target.clone(),
        target: target.0.target.clone(),
        is_self: source.0.target == target.0.target,
        link: Link::ManyToMany(Junction {
            table: table.clone(),
            source_constraint: source.1.constraint.clone(),
            target_constraint: target.1.constraint.clone(),
            source: turn(source.1),
            target: turn(target.1),
        }),
        target_is_view: target.0.target_is_view,
        origin_refers: false,
    }
}

fn computed(function: &RowFunction) -> Relationship {
    Relationship {
        origin: function.origin.clone(),
        target: function.target.clone(),
        is_self: function.origin == function.target,
        link: Link::Function { function: function.function.clone(), to_one: function.to_one },
        target_is_view: false,
        origin_refers: false,
    }
}
