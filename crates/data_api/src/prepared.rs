//! Reads that were planned before: a repeated one is neither parsed nor planned nor written as SQL again.
//!
//! Requests have one shape when they differ only in the operands of plain comparisons (`id=eq.5`). A shape is planned
//! once, with a mark in place of each operand; where a mark comes out as a parameter, operands go in later requests.
//! Asked by the routes before they parse. Lives in the catalog it was planned with, so it is gone when that changes.

mod cache;
mod shape;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use store::Statement;

use crate::catalog::Catalog;
use crate::plan::{self, Context};
use crate::request::prefer::{Count, Preferences};
use crate::request::{Action, Head, MediaType, Parameters, Query, Range, Request};
use crate::run::{Check, Form};
use crate::sql;

pub(crate) use cache::Reads;
pub(crate) use shape::Shape;

/// A read without its operands.
#[derive(Debug)]
pub(crate) struct PreparedRead {
    text: Arc<str>,
    params: Vec<Param>,
    schema: String,
    names_schema: bool,
    headers_only: bool,
    preferences: Preferences,
    range: Range,
    /// What the body is called.
    pub(crate) media: MediaType,
    /// What the number of rows must fulfil.
    pub(crate) check: Check,
    /// What the answer's body is.
    pub(crate) form: Form,
}

/// Where a parameter comes from.
#[derive(Debug)]
enum Param {
    /// The shape itself.
    Fixed(Option<Bytes>),
    /// The request: its operand of this index.
    Operand(usize),
}

impl Param {
    fn of(value: Option<Bytes>) -> Option<Self> {
        let Some(bytes) = value.as_deref().filter(|it| it.contains(&shape::MARK)) else {
            return Some(Self::Fixed(value));
        };
        shape::marked(bytes).map(Self::Operand)
    }
}

impl PreparedRead {
    /// Plan `shape`, which is that of `parameters`, for the relation `name`.
    ///
    /// `None` when there is an error to tell, which names what the client sent, or when the answer needs the plan itself.
    pub(crate) fn plan(
        (head, catalog): (Head<'_>, &Catalog),
        name: &str,
        parameters: &Parameters<'_>,
        shape: &Shape<'_>,
    ) -> Option<Self> {
        let marked = shape.marked(parameters);
        let request = Request::parse(head, Action::Read, &marked, Bytes::new()).ok()?;
        let count = request.preferences.count;
        if matches!(count, Some(Count::Planned | Count::Estimated)) {
            return None;
        }
        let context = Context { catalog, settings: head.settings, request: &request };
        let shaped = plan::read(context, name).ok()?;
        if matches!(shaped.media, MediaType::Plan(_)) || !plan::legacy_names(&shaped.rows).is_empty() {
            return None;
        }
        let Statement { text, params } = sql::read(&shaped, count, head.settings.db_max_rows);
        let params: Vec<_> = params.into_iter().map(Param::of).collect::<Option<_>>()?;
        let is_used = |idx| params.iter().any(|it| matches!(it, Param::Operand(it) if *it == idx));
        if !(0..shape.operands().len()).all(is_used) {
            return None;
        }
        Some(Self {
            text,
            params,
            schema: request.schema.to_owned(),
            names_schema: request.names_schema,
            headers_only: request.headers_only,
            range: request.range,
            check: Check::of(&request, &shaped.media),
            form: Form::of(&shaped),
            media: shaped.media,
            preferences: request.preferences,
        })
    }

    /// The statement for a request of this shape.
    pub(crate) fn statement(&self, shape: &Shape<'_>) -> Statement {
        let operands = shape.operands();
        let params = self.params.iter().map(|it| match it {
            Param::Fixed(value) => value.clone(),
            Param::Operand(idx) => operands.get(*idx).map(|it| Bytes::copy_from_slice(it.as_bytes())),
        });
        Statement { text: Arc::clone(&self.text), params: params.collect() }
    }

    /// What session and response need to know of the request; the query is left out.
    pub(crate) fn request(&self) -> Request<'_> {
        Request {
            action: Action::Read,
            headers_only: self.headers_only,
            schema: &self.schema,
            names_schema: self.names_schema,
            preferences: self.preferences.clone(),
            query: Query::default(),
            range: self.range,
            accepts: Vec::new(),
            content: MediaType::Json,
            payload: None,
        }
    }
}
