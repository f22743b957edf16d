//! Runs a statement on behalf of a caller: settings, transaction, and the checks that decide whether it is kept.

mod session;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use common::RestSettings;
use serde_json::Value;
use store::{Answer, Database, Delivery, End, Session, Statement};

use crate::content::Content;
use crate::error::{Error, RequestError};
use crate::events::Event;
use crate::plan::Shaped;
use crate::request::prefer::{Preferences, Tx};
use crate::request::{Action, MediaType, Request};
use crate::sql::column;

pub(crate) use crate::content::Form;
pub(crate) use session::{Head, session};

/// What a statement gave.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Rows there are, without the page.
    pub(crate) total: Option<i64>,
    /// Rows in the page, or rows affected.
    pub(crate) count: i64,
    /// The body.
    pub(crate) body: Content,
    /// The setting `response.headers`.
    pub(crate) headers: Option<String>,
    /// The setting `response.status`.
    pub(crate) status: Option<String>,
    /// Of an upsert: rows that were new.
    pub(crate) inserted: Option<i64>,
    /// Of an insert of one row: values of the primary key.
    pub(crate) location: Option<Vec<Option<String>>>,
}

impl Form {
    /// That of rows so shaped.
    pub(crate) fn of(shaped: &Shaped<'_>) -> Self {
        match shaped.media {
            MediaType::Plan(_) => Self::Plan,
            MediaType::Object { .. } if shaped.is_row => Self::Row,
            _ if shaped.is_row => Self::RowInArray,
            _ if shaped.is_binary() => Self::Binary,
            _ if shaped.is_jsonb() => Self::Jsonb,
            _ => Self::Text,
        }
    }
}

impl Outcome {
    fn read(answer: Answer, form: Form, database: &Arc<Database>) -> Self {
        if form == Form::Plan {
            return Self { body: plan_text(&answer).into(), count: 1, ..Self::default() };
        }
        if form.is_row() {
            return Self::row(answer, form, database);
        }
        let count = affected(&answer);
        let Some(row) = answer.rows.first() else { return Self { count, ..Self::default() } };
        let number = |idx: usize| row.text(idx).and_then(|it| it.parse().ok());
        Self {
            total: number(column::TOTAL),
            count,
            body: match answer.tail {
                None => Content::of(row.bytes(column::BODY), form),
                Some(tail) => Content::pieces(tail, form, database),
            },
            headers: row.text(column::HEADERS).map(str::to_owned),
            status: row.text(column::STATUS).map(str::to_owned),
            inserted: number(column::INSERTED),
            location: row.text(column::LOCATION).and_then(|it| serde_json::from_str(it).ok()),
        }
    }
}

impl Outcome {
    /// The only row, or none.
    fn row(answer: Answer, form: Form, database: &Arc<Database>) -> Self {
        let row = answer.rows.first();
        let count = i64::from(row.is_some());
        let body = match answer.tail {
            None => Content::of(row.and_then(|it| it.bytes(0)), form),
            Some(tail) => Content::pieces(tail, form, database),
        };
        Self { count, body, ..Self::default() }
    }
}

/// How many rows there are: what the row that carries everything says, else what PostgreSQL says of a plain change.
fn affected(answer: &Answer) -> i64 {
    match answer.rows.first() {
        Some(row) => row.text(column::COUNT).and_then(|it| it.parse().ok()).unwrap_or_default(),
        None => i64::try_from(answer.affected).unwrap_or(i64::MAX),
    }
}

/// The lines of `explain`.
fn plan_text(answer: &Answer) -> Bytes {
    let mut text = Vec::new();
    for row in &answer.rows {
        text.extend_from_slice(row.bytes(0).map(Bytes::as_ref).unwrap_or_default());
        text.push(b'\n');
    }
    text.into()
}

/// Where statements of one request run, and for whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Runner<'a> {
    /// The project's database.
    pub(crate) database: &'a Arc<Database>,
    /// What is set in the transaction.
    pub(crate) session: &'a Session,
    /// Whether the caller is more than anonymous.
    pub(crate) authenticated: bool,
}

impl Runner<'_> {
    /// Run a statement that only reads.
    ///
    /// # Errors
    /// [`Error::Database`] with SQLSTATE, [`Error::Store`], and what `check` finds.
    pub(crate) async fn read(
        &self,
        statement: &Statement,
        form: Form,
        check: Check,
    ) -> Result<Outcome, Error> {
        let session = self.session(form);
        Event::Statement { text: &statement.text }.emit();
        let answer = self.database.read(&session, statement).await.map_err(|it| self.error(it))?;
        let outcome = Outcome::read(answer, form, self.database);
        check.violation(outcome.count).map_or(Ok(outcome), |error| Err(error.into()))
    }

    /// Run a statement that may write; it is undone when `check` fails or `end` says so.
    ///
    /// # Errors
    /// As [`Runner::read`].
    pub(crate) async fn write(
        &self,
        statement: &Statement,
        form: Form,
        (check, keep): (Check, bool),
    ) -> Result<Outcome, Error> {
        let end = match (keep, check.is_needed()) {
            (false, _) => End::Rollback,
            (true, false) => End::Commit,
            (true, true) => {
                End::If(Box::new(move |answer: &Answer| check.violation(affected(answer)).is_none()))
            }
        };
        let session = self.session(form);
        Event::Statement { text: &statement.text }.emit();
        let answer = self.database.write(&session, statement, end).await.map_err(|it| self.error(it))?;
        let outcome = Outcome::read(answer, form, self.database);
        check.violation(outcome.count).map_or(Ok(outcome), |error| Err(error.into()))
    }

    /// The planner's guess of a statement's rows.
    ///
    /// # Errors
    /// As [`Runner::read`].
    pub(crate) async fn planned_rows(&self, statement: &Statement) -> Result<Option<i64>, Error> {
        let session = self.session(Form::Plan);
        let answer = self.database.read(&session, statement).await.map_err(|it| self.error(it))?;
        let text = answer.rows.first().and_then(|it| it.text(0)).unwrap_or_default();
        let plan: Value = serde_json::from_str(text).unwrap_or_default();
        Ok(plan.pointer("/0/Plan/Plan Rows").and_then(Value::as_i64))
    }

    /// The session; plans come line by line, and whole.
    fn session(&self, form: Form) -> Cow<'_, Session> {
        match form {
            Form::Plan => Cow::Owned(Session { delivery: Delivery::Whole, ..self.session.clone() }),
            Form::Text | Form::Binary | Form::Jsonb | Form::Row | Form::RowInArray => {
                Cow::Borrowed(self.session)
            }
        }
    }

    fn error(&self, error: store::Error) -> Error {
        Error::of_store(error, self.authenticated)
    }
}

/// What the number of rows must fulfil.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Check {
    /// Exactly one, for one object.
    singular: bool,
    /// Exactly one, for PUT.
    put: bool,
    /// At most so many.
    at_most: Option<i64>,
}

impl Check {
    /// What `request` asks for, answered as `media`.
    pub(crate) fn of(request: &Request<'_>, media: &MediaType) -> Self {
        let limits_rows =
            matches!(request.action, Action::Update | Action::Delete | Action::Call | Action::CallByGet);
        let put = request.action == Action::Put;
        Self {
            singular: matches!(media, MediaType::Object { .. }) && !put,
            put,
            at_most: if limits_rows { request.preferences.affected_limit() } else { None },
        }
    }

    fn is_needed(self) -> bool {
        self.singular || self.put || self.at_most.is_some()
    }

    fn violation(self, count: i64) -> Option<RequestError> {
        if self.put && count != 1 {
            return Some(RequestError::PutMismatch);
        }
        if self.singular && count != 1 {
            return Some(RequestError::NotSingular(count));
        }
        if self.at_most.is_some_and(|it| count > it) {
            return Some(RequestError::MaxAffected(count));
        }
        None
    }
}

/// Whether what is written is kept.
pub(crate) fn keeps(settings: &RestSettings, preferences: &Preferences) -> bool {
    match preferences.tx {
        Some(Tx::Commit) => true,
        Some(Tx::Rollback) => false,
        None => !settings.db_tx_end.starts_with("rollback"),
    }
}
