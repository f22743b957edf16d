//! The data path against a real PostgreSQL: semantics, sharing, losses, and what goes over the wire.

mod callers;
mod large;
mod losses;
mod measures;
mod semantics;
mod statements;
mod together;
pub(crate) mod wire;
mod writes_together;

use bytes::Bytes;
use store::{Answer, End, Error, Session, Statement};

/// A statement with text parameters.
pub(crate) fn statement(text: &str, params: &[&str]) -> Statement {
    let params = params.iter().map(|it| Some(Bytes::copy_from_slice(it.as_bytes()))).collect();
    Statement { text: text.into(), params }
}

/// A session of `role` with further settings.
fn session(role: &str, settings: &[(&'static str, &str)]) -> Session {
    let role = [("role".into(), role.to_owned())];
    let settings = settings.iter().map(|(name, value)| ((*name).into(), (*value).to_owned()));
    Session { settings: role.into_iter().chain(settings).collect(), ..Session::default() }
}

/// The first column of the only row.
pub(crate) fn single(answer: &Answer) -> &str {
    assert_eq!(answer.rows.len(), 1, "{answer:?}");
    answer.rows.first().and_then(|it| it.text(0)).unwrap_or("<null>")
}

/// The SQLSTATE of a refused statement.
pub(crate) fn code(outcome: Result<Answer, Error>) -> String {
    match outcome {
        Err(Error::Statement(error)) => error.code,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn commit_if(commit: bool) -> End {
    End::If(Box::new(move |_| commit))
}
