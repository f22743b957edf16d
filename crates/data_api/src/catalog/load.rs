//! Reads a catalog: nine statements over `pg_catalog`, each row one JSON text.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use common::RestSettings;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use store::{Database, Session, Statement};

use super::links::{self, Constraint, RowFunction, Sources, View};
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
    let exposed = &settings.db_schemas;
    let schemas = crate::sql::array_literal(exposed.iter().map(String::as_str));
    let mut tables: Vec<Table> = rows(database, include_str!("load/tables.sql"), Some(&schemas)).await?;
    let mut functions: Vec<Function> =
        rows(database, include_str!("load/functions.sql"), Some(&schemas)).await?;
    let sources = Sources {
        constraints: rows::<Constraint>(database, include_str!("load/constraints.sql"), None).await?,
        views: rows::<View>(database, include_str!("load/views.sql"), None).await?,
        functions: rows::<RowFunction>(database, include_str!("load/row_functions.sql"), None).await?,
    };
    let casts: Vec<Cast> = rows(database, include_str!("load/representations.sql"), None).await?;
    let handlers: Vec<HandlerRow> = rows(database, include_str!("load/handlers.sql"), Some(&schemas)).await?;
    for function in &mut functions {
        function.settings.retain(|it| is_hoisted(it, &settings.db_hoisted_tx_settings));
    }
    links::add_view_keys(&mut tables, &sources, exposed);
    let relationships = links::find(&sources, &tables, exposed);
    let mut catalog = Catalog::default();
    for schema in exposed {
        catalog.schemas.entry(schema.clone()).or_default();
    }
    catalog.add_relations(tables, relationships);
    catalog.add_functions(functions);
    catalog.add_representations(casts);
    catalog.add_handlers(handlers);
    let uses: Vec<Uses> = rows(database, include_str!("load/uses.sql"), Some(&schemas)).await?;
    catalog.uses = uses.first().copied().unwrap_or(Uses { request: true, response: true });
    let roles: Vec<Role> = rows(database, include_str!("load/roles.sql"), None).await?;
    catalog.roles = roles.into_iter().map(|it| (it.name.clone(), it)).collect();
    Ok(catalog)
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

/// The rows of a statement, each from its first column's JSON.
async fn rows<T: DeserializeOwned>(
    database: &Database,
    text: &'static str,
    schemas: Option<&str>,
) -> Result<Vec<T>, store::Error> {
    let session = Session { settings: vec![("search_path".into(), String::new())], ..Session::default() };
    let params = schemas.map(|it| Some(Bytes::copy_from_slice(it.as_bytes()))).into_iter().collect();
    let statement = Statement { text: Arc::from(text), params };
    let answer = database.read(&session, &statement).await?;
    let parse = |row: &store::Row| {
        serde_json::from_slice(row.bytes(0).map(Bytes::as_ref).unwrap_or_default())
            .map_err(|error| store::Error::Connect(Box::new(error)))
    };
    answer.rows.iter().map(parse).collect()
}
