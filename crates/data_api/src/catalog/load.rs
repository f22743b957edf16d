//! Reads a catalog: nine statements over `pg_catalog`, each row one JSON text.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use common::RestSettings;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use store::{Answer, Database, Session, Statement};

use super::links::{self, Constraint, RowFunction, Sources, View, Views};
use super::role::Role;
use super::{Catalog, Expression, Function, Handler, Name, Parameter, Table, Uses};
use crate::request::MediaType;

/// Where the isolation level of a function's transaction is.
const ISOLATION: &str = "default_transaction_isolation";

/// Read what the exposed schemas of `settings` hold.
///
/// # Errors
/// [`store::Error`] when the database does not answer or a row cannot be read.
pub(super) async fn load(database: &Database, settings: &RestSettings) -> Result<Catalog, store::Error> {
    let answers = Answers::fetch(database, &settings.db_schemas).await?;
    let settings = settings.clone();
    // With thousands of relations it takes a while, in which no request should have to wait.
    let building = tokio::task::spawn_blocking(move || answers.build(&settings));
    building.await.map_err(|error| store::Error::Connect(Box::new(error)))?
}

/// What the database said.
#[derive(Debug)]
struct Answers {
    tables: Answer,
    functions: Answer,
    constraints: Answer,
    views: Answer,
    row_functions: Answer,
    representations: Answer,
    handlers: Answer,
    uses: Answer,
    roles: Answer,
}

impl Answers {
    async fn fetch(database: &Database, exposed: &[String]) -> Result<Self, store::Error> {
        let schemas = crate::sql::array_literal(exposed.iter().map(String::as_str));
        let schemas = Some(schemas.as_str());
        Ok(Self {
            tables: ask(database, include_str!("load/tables.sql"), schemas).await?,
            functions: ask(database, include_str!("load/functions.sql"), schemas).await?,
            constraints: ask(database, include_str!("load/constraints.sql"), None).await?,
            views: ask(database, include_str!("load/views.sql"), None).await?,
            row_functions: ask(database, include_str!("load/row_functions.sql"), None).await?,
            representations: ask(database, include_str!("load/representations.sql"), None).await?,
            handlers: ask(database, include_str!("load/handlers.sql"), schemas).await?,
            uses: ask(database, include_str!("load/uses.sql"), schemas).await?,
            roles: ask(database, include_str!("load/roles.sql"), None).await?,
        })
    }

    fn build(&self, settings: &RestSettings) -> Result<Catalog, store::Error> {
        let exposed = &settings.db_schemas;
        let mut tables: Vec<Table> = rows(&self.tables)?;
        let mut functions: Vec<Function> = rows(&self.functions)?;
        for function in &mut functions {
            function.settings.retain(|it| is_hoisted(it, &settings.db_hoisted_tx_settings));
        }
        let sources = Sources {
            constraints: rows::<Constraint>(&self.constraints)?,
            views: rows::<View>(&self.views)?,
            functions: rows::<RowFunction>(&self.row_functions)?,
        };
        let views = Views::new(&sources.views, exposed);
        links::add_view_keys(&mut tables, &sources, &views);
        let relationships = links::find(&sources, &views, &tables, exposed);
        let mut catalog = Catalog::default();
        for schema in exposed {
            catalog.schemas.entry(schema.clone()).or_default();
        }
        catalog.add_relations(tables, relationships);
        catalog.add_functions(functions);
        catalog.add_representations(rows(&self.representations)?);
        catalog.add_handlers(rows(&self.handlers)?);
        let uses: Vec<Uses> = rows(&self.uses)?;
        catalog.uses = uses.first().copied().unwrap_or(Uses {
            request: true,
            response: true,
            sets: true,
            watched: false,
        });
        catalog.roles = rows::<Role>(&self.roles)?.into_iter().map(|it| (it.name.clone(), it)).collect();
        Ok(catalog)
    }
}

/// Whether a function's setting (`name=value`) holds for the whole transaction of its call.
fn is_hoisted(setting: &str, hoisted: &[String]) -> bool {
    let name = setting.split_once('=').map_or(setting, |it| it.0);
    name == ISOLATION || hoisted.iter().any(|it| it == name)
}

/// An implicit cast.
#[derive(Debug, Deserialize)]
struct Cast {
    source: String,
    target: String,
    function: Expression,
}

/// A media type handler.
#[derive(Debug, Deserialize)]
struct HandlerRow {
    function: Name,
    relation: Name,
    media: String,
    answer: String,
    is_binary: bool,
    is_jsonb: bool,
}

impl Catalog {
    fn add_relations(&mut self, tables: Vec<Table>, relationships: HashMap<Name, Vec<super::Relationship>>) {
        for table in tables {
            if let Some(schema) = self.schemas.get_mut(&table.name.schema) {
                schema.tables.insert(table.name.name.clone(), table);
            }
        }
        for (origin, known) in relationships {
            if let Some(schema) = self.schemas.get_mut(&origin.schema) {
                schema.relationships.insert(origin.name, known);
            }
        }
    }

    fn add_functions(&mut self, functions: Vec<Function>) {
        for function in functions {
            let unnamed = function.parameters.iter().filter(|it| it.name.is_empty()).count();
            if unnamed > 1 || (unnamed == 1 && !takes_a_body(&function)) {
                continue;
            }
            if let Some(schema) = self.schemas.get_mut(&function.name.schema) {
                schema.functions.entry(function.name.name.clone()).or_default().push(function);
            }
        }
        for overloads in self.schemas.values_mut().flat_map(|it| it.functions.values_mut()) {
            overloads.sort_by_cached_key(|it| {
                let described = |it: &Parameter| (it.name.clone(), it.type_name.as_str().to_owned());
                let parameters: Vec<_> = it.parameters.iter().map(described).collect();
                (parameters.len(), parameters)
            });
        }
    }

    fn add_representations(&mut self, casts: Vec<Cast>) {
        for cast in casts {
            self.representations.entry(cast.source).or_default().insert(cast.target, cast.function);
        }
    }

    fn add_handlers(&mut self, handlers: Vec<HandlerRow>) {
        for it in handlers {
            let is_any = it.relation.schema == "pg_catalog" && it.relation.name == "anyelement";
            let relation = if is_any { None } else { Some(it.relation) };
            let media = MediaType::parse(&it.answer);
            let handler =
                Handler { function: it.function, media, is_binary: it.is_binary, is_jsonb: it.is_jsonb };
            self.handlers.entry(relation).or_default().insert(MediaType::parse(&it.media), handler);
        }
    }
}

/// Whether the only parameter can take the request's body as it is.
fn takes_a_body(function: &Function) -> bool {
    function
        .unnamed_parameter()
        .is_some_and(|it| ["json", "jsonb", "text", "xml", "bytea"].contains(&it.type_name.as_str()))
}

async fn ask(database: &Database, text: &'static str, schemas: Option<&str>) -> Result<Answer, store::Error> {
    // Compiling takes longer than these statements do, and PostgreSQL would: it guesses them to be large.
    let settings = [("search_path", ""), ("jit", "off")].map(|(name, value)| (name.into(), value.to_owned()));
    let session = Session { settings: settings.into(), operation: "SELECT", ..Session::default() };
    let params = schemas.map(|it| Some(Bytes::copy_from_slice(it.as_bytes()))).into_iter().collect();
    database.read(&session, &Statement { text: Arc::from(text), params }).await
}

/// The rows of an answer, each from its first column's JSON.
fn rows<T: DeserializeOwned>(answer: &Answer) -> Result<Vec<T>, store::Error> {
    let parse = |row: &store::Row| {
        serde_json::from_slice(row.bytes(0).map(Bytes::as_ref).unwrap_or_default())
            .map_err(|error| store::Error::Connect(Box::new(error)))
    };
    answer.rows.iter().map(parse).collect()
}
