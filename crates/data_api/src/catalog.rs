//! What exists in a project's database, as far as the API shows it: relations, relationships, functions, casts.
//!
//! Read by [`load`], immutable then; swapped as a whole when the schema changes ([`Catalogs`]).

mod cache;
mod dump;
mod function;
mod fuzzy;
mod links;
mod load;
mod origins;
pub(crate) mod role;
#[cfg(test)]
pub(crate) mod sample;
mod table;

use std::collections::HashMap;

use serde::Deserialize;

pub(crate) use cache::{Catalogs, Known};
pub(crate) use function::{Function, Parameter, Volatility};
pub(crate) use links::{Link, Relationship};
pub(crate) use table::{Column, Table};

use self::role::Role;
use crate::error::CatalogError;
use crate::prepared::Kept;
use crate::request::{Action, MediaType, Request};

/// A schema-qualified name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
pub(crate) struct Name {
    /// The schema.
    pub(crate) schema: String,
    /// The name in it.
    pub(crate) name: String,
}

/// SQL text that the database itself gave: a type, a default, the name of a cast function. Never client text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(transparent)]
pub(crate) struct Expression(String);

impl Expression {
    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What answers a media type in place of the built-in ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handler {
    /// The aggregate, or the domain whose cast is taken.
    pub(crate) function: Name,
    /// What the answer is called.
    pub(crate) media: MediaType,
    /// Whether the answer is bytes, which PostgreSQL writes as `\x…`.
    pub(crate) is_binary: bool,
    /// Whether the answer is `jsonb`, whose binary form begins with a version: PostgREST passes that byte on.
    pub(crate) is_jsonb: bool,
}

/// The relations and functions of one exposed schema.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    tables: HashMap<String, Table>,
    functions: HashMap<String, Vec<Function>>,
    /// By origin.
    relationships: HashMap<String, Vec<Relationship>>,
}

/// What exists.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    schemas: HashMap<String, Schema>,
    /// Implicit casts between domains and text or JSON: source, target, function.
    representations: HashMap<String, HashMap<String, Expression>>,
    /// By relation (`None`: any), then media type.
    handlers: HashMap<Option<Name>, HashMap<MediaType, Handler>>,
    /// Roles that a request may run as, if they have settings of their own.
    roles: HashMap<String, Role>,
    /// What the database's code does with a request's settings.
    pub(crate) uses: Uses,
    /// What was planned with it.
    pub(crate) prepared: Kept,
}

/// What the database's code may do with a request's settings; those that nobody reads are not made.
#[derive(Debug, Clone, Copy, Default, serde::Deserialize)]
pub(crate) struct Uses {
    /// Read `request.method`, `request.path`, `request.headers` or `request.cookies`.
    pub(crate) request: bool,
    /// Set `response.headers` or `response.status`.
    pub(crate) response: bool,
    /// Change settings, whichever.
    pub(crate) sets: bool,
    /// No use, but how it is known: whether changes of the code are told of.
    pub(crate) watched: bool,
}

/// With more tables than this in a schema, nothing similar is searched: it would cost more than it helps.
const MAX_TABLES_FOR_HINTS: usize = 500;

impl Catalog {
    /// The settings of a role: `name=value`.
    pub(crate) fn role_settings(&self, role: &str) -> &[String] {
        self.roles.get(role).map_or(&[], |it| &it.settings)
    }

    /// The relation `name` of `schema`.
    ///
    /// # Errors
    /// [`CatalogError::NoTable`], with a similar name when there is one.
    pub(crate) fn table(&self, schema: &str, name: &str) -> Result<&Table, CatalogError> {
        self.find_table(schema, name).ok_or_else(|| CatalogError::NoTable {
            schema: schema.to_owned(),
            table: name.to_owned(),
            suggestion: self
                .similar_table(schema, name)
                .map(|it| format!("Perhaps you meant the table '{schema}.{it}'")),
        })
    }

    /// The relation `name` of `schema`, if there is one.
    pub(crate) fn find_table(&self, schema: &str, name: &str) -> Option<&Table> {
        self.schemas.get(schema)?.tables.get(name)
    }

    /// Whether `request` for the relation `name` may share its transaction: it changes no settings, and of inserts nobody
    /// can tell whether they came in one transaction or in several.
    pub(crate) fn is_sociable(&self, request: &Request<'_>, name: &str) -> bool {
        let alone = || match request.action {
            Action::Read => false,
            Action::Insert => {
                let table = self.find_table(request.schema, name);
                request.preferences.resolution.is_some() || !table.is_some_and(|it| it.is_plain)
            }
            _ => true,
        };
        !self.uses.sets && !alone()
    }

    /// All relations of `schema`.
    pub(crate) fn tables(&self, schema: &str) -> impl Iterator<Item = &Table> {
        self.schemas.get(schema).into_iter().flat_map(|it| it.tables.values())
    }

    fn similar_table(&self, schema: &str, name: &str) -> Option<&str> {
        let tables = &self.schemas.get(schema)?.tables;
        if tables.len() >= MAX_TABLES_FOR_HINTS {
            return None;
        }
        fuzzy::best(name, tables.keys().map(String::as_str), 0.75)
    }

    /// The functions called `name`, those with the fewest parameters first.
    pub(crate) fn functions(&self, schema: &str, name: &str) -> &[Function] {
        self.schemas.get(schema).and_then(|it| it.functions.get(name)).map_or(&[], Vec::as_slice)
    }

    /// All functions of `schema`, those of one name together and in the order of [`Catalog::functions`].
    pub(crate) fn overloads(&self, schema: &str) -> impl Iterator<Item = &[Function]> {
        self.schemas.get(schema).into_iter().flat_map(|it| it.functions.values().map(Vec::as_slice))
    }

    /// A function name like `name`.
    pub(crate) fn similar_function(&self, schema: &str, name: &str) -> Option<&str> {
        fuzzy::best(name, self.schemas.get(schema)?.functions.keys().map(String::as_str), 0.75)
    }

    /// Where the relation `origin` leads.
    pub(crate) fn relationships(&self, schema: &str, origin: &str) -> &[Relationship] {
        self.schemas.get(schema).and_then(|it| it.relationships.get(origin)).map_or(&[], Vec::as_slice)
    }

    /// A hint for a client that asked for a relationship that is not there.
    pub(crate) fn similar_relationship(&self, schema: &str, origin: &str, target: &str) -> Option<String> {
        let relationships = &self.schemas.get(schema)?.relationships;
        let Some(known) = relationships.get(origin) else {
            let similar = fuzzy::best(origin, relationships.keys().map(String::as_str), fuzzy::LEAST)?;
            return Some(format!("Perhaps you meant '{similar}' instead of '{origin}'."));
        };
        let targets = known.iter().map(|it| it.target.name.as_str());
        if targets.clone().any(|it| it == target) {
            return None;
        }
        let similar = fuzzy::best(target, targets, fuzzy::LEAST)?;
        Some(format!("Perhaps you meant '{similar}' instead of '{target}'."))
    }

    /// The function that turns a value of type `source` into `target`, if a data representation is defined.
    pub(crate) fn representation(&self, source: &str, target: &str) -> Option<&Expression> {
        self.representations.get(source)?.get(target)
    }

    /// What answers `media` for `relation` (`None`: for whatever has no answer of its own).
    pub(crate) fn handler(&self, relation: Option<&Name>, media: &MediaType) -> Option<&Handler> {
        // The map is asked by reference; relations with handlers are few, so the clone is rare.
        if self.handlers.is_empty() {
            return None;
        }
        self.handlers.get(&relation.cloned())?.get(media)
    }

    /// How many relations and functions it holds.
    pub(crate) fn size(&self) -> (usize, usize) {
        let tables = self.schemas.values().map(|it| it.tables.len()).sum();
        let functions = self.schemas.values().map(|it| it.functions.len()).sum();
        (tables, functions)
    }
}

/// The best of `candidates` for a list of parameter names: `(a, b)`.
pub(crate) fn similar_parameters(wanted: &str, candidates: &[String]) -> Option<String> {
    fuzzy::best(wanted, candidates.iter().map(String::as_str), fuzzy::LEAST).map(str::to_owned)
}
