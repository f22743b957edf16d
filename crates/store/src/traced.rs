//! Spans of questions to PostgreSQL, for OpenTelemetry: who asked what kind of thing, and what became of it.
//!
//! Never a statement: its text may name tables of a tenant, and its values are nobody's business.

use trace::Span;

use crate::{Answer, Error};

/// A statement of the data path was answered, or failed.
pub(crate) fn answered(span: Option<Span>, outcome: &Result<Answer, Error>) {
    let Some(span) = span else { return };
    match outcome {
        Ok(_) => {}
        Err(Error::Statement(error)) => refused(&span, &error.code),
        Err(error) => span.fail(error.label()),
    }
    span.end();
}

/// A statement of a service was answered, or failed.
pub(crate) fn served<T>(span: Span, outcome: &Result<T, tokio_postgres::Error>) {
    if let Err(error) = outcome {
        match error.code() {
            Some(code) => refused(&span, code.code()),
            None => span.fail("lost"),
        }
    }
    span.end();
}

fn refused(span: &Span, code: &str) {
    span.set("db.response.status_code", code.to_owned());
    span.fail(code.to_owned());
}
