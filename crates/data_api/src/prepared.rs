//! Statements that were planned before: a repeated request is neither parsed nor planned nor written as SQL again.
//!
//! Requests have one shape when they differ only in the operands of plain comparisons (`id=eq.5`) and in the values of
//! a JSON body with the same keys. A shape is planned once, with a mark in place of each operand; where a mark comes out
//! as a parameter, operands go in later requests. Asked by the routes before they parse. Lives in the catalog it was
//! planned with, so it is gone when that changes.

mod cache;
mod shape;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use store::Statement;

use crate::catalog::{Catalog, Function};
use crate::plan::{self, Arguments, Context, Shaped};
use crate::request::prefer::{Count, Preferences};
use crate::request::{Action, Head, MediaType, Parameters, Query, Range, Request};
use crate::run::{Check, Form};
use crate::sql;

pub(crate) use cache::Kept;
pub(crate) use shape::Shape;

/// What is asked of a relation or function, before it is parsed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// Method, headers and the project's settings.
    pub(crate) head: Head<'a>,
    /// What is done.
    pub(crate) action: Action,
    /// The relation or function.
    pub(crate) name: &'a str,
    /// The query string.
    pub(crate) parameters: &'a Parameters<'a>,
}

/// A planned request without its operands and without its body.
#[derive(Debug)]
pub(crate) struct Prepared {
    text: Arc<str>,
    params: Vec<Param>,
    action: Action,
    schema: String,
    names_schema: bool,
    headers_only: bool,
    preferences: Preferences,
    range: Range,
    /// Whether `on_conflict=` was given.
    names_conflict: bool,
    /// Of a call: which of the functions of that name.
    overload: usize,
    /// Whether it runs as a read.
    pub(crate) is_read_only: bool,
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
    /// The request's body.
    Body,
}

impl Param {
    fn of(value: Option<Bytes>, body: Option<&Bytes>) -> Option<Self> {
        // Shared, not copied: the same place in memory.
        let place = |it: &Bytes| (it.as_ptr(), it.len());
        if body.is_some() && value.as_ref().map(place) == body.map(place) {
            return Some(Self::Body);
        }
        let Some(bytes) = value.as_deref().filter(|it| it.contains(&shape::MARK)) else {
            return Some(Self::Fixed(value));
        };
        shape::marked(bytes).map(Self::Operand)
    }
}

/// What planning gives that is kept.
struct Planned<'a> {
    statement: Statement,
    shaped: Shaped<'a>,
    overload: usize,
    is_read_only: bool,
}

impl<'a> Planned<'a> {
    /// `None` when there is an error to tell, or when values of the body go elsewhere than into its parameter.
    fn of(asked: Asked<'_>, context: Context<'a>) -> Option<Self> {
        let (request, max_rows) = (context.request, context.settings.db_max_rows);
        let count = request.preferences.count;
        match asked.action {
            Action::Read if matches!(count, Some(Count::Planned | Count::Estimated)) => None,
            Action::Read => {
                let shaped = plan::read(context, asked.name).ok()?;
                let statement = sql::read(&shaped, count, max_rows);
                Some(Self { statement, shaped, overload: 0, is_read_only: true })
            }
            Action::Insert | Action::Put | Action::Update | Action::Delete => {
                let plan = plan::write(context, asked.name).ok()?;
                let statement = sql::write(&plan, plan.has_location(request));
                Some(Self { statement, shaped: plan.shaped, overload: 0, is_read_only: false })
            }
            Action::Call => {
                let plan = plan::call(context, asked.name).ok()?;
                let Arguments::Json(_) = plan.arguments else { return None };
                let overloads = context.catalog.functions(request.schema, asked.name);
                let overload = overloads.iter().position(|it| std::ptr::eq(it, plan.function))?;
                let statement = sql::call(&plan, request.payload.as_ref(), count, max_rows);
                Some(Self { statement, shaped: plan.shaped, overload, is_read_only: plan.is_read_only })
            }
            Action::CallByGet => None,
        }
    }
}

impl Prepared {
    /// Plan `shape`, which is that of `asked` with `body`.
    ///
    /// `None` when there is an error to tell, which names what the client sent, or when the answer needs the plan itself.
    pub(crate) fn plan(asked: Asked<'_>, catalog: &Catalog, shape: &Shape<'_>, body: &Bytes) -> Option<Self> {
        let marked = shape.marked(asked.parameters);
        let request = Request::parse(asked.head, asked.action, &marked, body.clone()).ok()?;
        let context = Context { catalog, settings: asked.head.settings, request: &request };
        let Planned { statement, shaped, overload, is_read_only } = Planned::of(asked, context)?;
        if matches!(shaped.media, MediaType::Plan(_)) || !plan::legacy_names(&shaped.rows).is_empty() {
            return None;
        }
        let Statement { text, params } = statement;
        let body = request.payload.as_ref().map(|it| &it.body);
        let params: Vec<_> = params.into_iter().map(|it| Param::of(it, body)).collect::<Option<_>>()?;
        let is_used = |idx| params.iter().any(|it| matches!(it, Param::Operand(it) if *it == idx));
        if !(0..shape.operands().len()).all(is_used) {
            return None;
        }
        Some(Self {
            text,
            params,
            action: asked.action,
            schema: request.schema.to_owned(),
            names_schema: request.names_schema,
            headers_only: request.headers_only,
            range: request.range,
            names_conflict: request.query.on_conflict.is_some(),
            overload,
            is_read_only,
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
            Param::Body => shape.body().cloned(),
        });
        Statement { text: Arc::clone(&self.text), params: params.collect() }
    }

    /// The function that is called, among those of its name.
    pub(crate) fn function<'c>(&self, overloads: &'c [Function]) -> Option<&'c Function> {
        overloads.get(self.overload)
    }

    /// What session and response need to know of the request; query and body are left out.
    pub(crate) fn request(&self) -> Request<'_> {
        let on_conflict = self.names_conflict.then(Vec::new);
        Request {
            action: self.action,
            headers_only: self.headers_only,
            schema: &self.schema,
            names_schema: self.names_schema,
            preferences: self.preferences.clone(),
            query: Query { on_conflict, ..Query::default() },
            range: self.range,
            accepts: Vec::new(),
            content: MediaType::Json,
            payload: None,
        }
    }
}
