//! What a job sends, encoded by the caller so that the connection's task only copies it.
//!
//! Refuses what the protocol cannot carry, so that nothing can fail later.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::{Delivery, Error, Isolation, PgError, Session, Statement};

/// Values of a statement without parameters.
pub(super) const NO_VALUES: &[u8] = &[0, 0, 0, 0, 0, 0];
/// A write with more values has its transaction for itself.
const MOST_SHARED_BYTES: usize = 32 * 1024;
/// PostgreSQL takes no larger message.
const MAX_BYTES: usize = 0x3fff_ffff;

/// A statement with its settings, ready to send. `…_values` are the tail of a Bind message: formats, parameters,
/// result formats.
#[derive(Debug)]
pub(super) struct Request {
    /// The role that it runs as: prepared statements are kept by role, since RLS plans depend on it.
    pub(super) role: Box<str>,
    pub(super) isolation: Option<Isolation>,
    /// How many `set_config` calls precede it.
    pub(super) settings: usize,
    pub(super) settings_values: Bytes,
    pub(super) before: Option<Arc<str>>,
    pub(super) text: Arc<str>,
    pub(super) values: Bytes,
    /// A large row may come in pieces.
    pub(super) streams: bool,
    /// Leaves to others in its transaction what it found; see [`Request::joins`].
    sociable: bool,
    /// A position is asked for: of a read what was replayed before it, of a write what was written with it.
    pub(super) position: bool,
}

impl Request {
    /// Encode; a read gets `transaction_read_only` as its last setting.
    ///
    /// # Errors
    /// [`Error::Statement`] for what PostgreSQL's protocol has no room for.
    pub(super) fn encode(session: &Session, statement: &Statement, read_only: bool) -> Result<Self, Error> {
        let texts = session.before.iter().chain([&statement.text]);
        if texts.into_iter().any(|it| it.as_bytes().contains(&0)) {
            return Err(refused("22021", "a statement cannot contain a zero byte"));
        }
        let own = read_only.then_some(("transaction_read_only", "on"));
        let given = session.settings.iter().map(|(name, value)| (&**name, value.as_str()));
        let settings = session.settings.len() + usize::from(read_only);
        let size: usize = session.settings.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
        let mut out = BytesMut::with_capacity(size + 64);
        let pairs =
            given.chain(own).flat_map(|(name, value)| [Some(name.as_bytes()), Some(value.as_bytes())]);
        values(&mut out, settings * 2, pairs)?;
        let settings_values = out.split().freeze();
        values(&mut out, statement.params.len(), statement.params.iter().map(Option::as_deref))?;
        let role = session.settings.iter().find(|(name, _)| name == "role");
        let small = out.len() <= MOST_SHARED_BYTES;
        Ok(Self {
            role: role.map_or("", |(_, value)| value).into(),
            isolation: session.isolation,
            settings,
            settings_values,
            before: session.before.clone(),
            text: Arc::clone(&statement.text),
            values: out.freeze(),
            streams: session.delivery == Delivery::Streamed,
            sociable: session.is_sociable && (read_only || small),
            position: false,
        })
    }
}

impl Request {
    /// Whether others may share its transaction.
    pub(super) fn is_sociable(&self) -> bool {
        self.sociable
    }

    /// Whether this may run in the transaction of `other`, after it: for the same caller, with the very same settings,
    /// which both leave as they are.
    pub(super) fn joins(&self, other: &Self) -> bool {
        let alone = |it: &Self| !it.sociable || it.isolation.is_some() || it.before.is_some() || it.position;
        !alone(self)
            && !alone(other)
            && self.settings > 0
            && self.settings == other.settings
            && self.role == other.role
            && self.settings_values == other.settings_values
    }
}

/// The tail of a Bind message: all parameters and all result columns in text format.
fn values<'a>(
    out: &mut BytesMut,
    count: usize,
    values: impl Iterator<Item = Option<&'a [u8]>>,
) -> Result<(), Error> {
    let count = u16::try_from(count).map_err(|_| refused("54023", "too many parameters"))?;
    out.put_i16(0);
    out.put_u16(count);
    for value in values {
        let Some(value) = value else {
            out.put_i32(-1);
            continue;
        };
        let length = value.len();
        if length + out.len() > MAX_BYTES - 1024 {
            return Err(refused("54000", "the parameters are larger than PostgreSQL's largest message"));
        }
        out.put_i32(i32::try_from(length).unwrap_or(i32::MAX));
        out.put_slice(value);
    }
    out.put_i16(0);
    Ok(())
}

fn refused(code: &str, message: &str) -> Error {
    Error::Statement(PgError { code: code.to_owned(), message: message.to_owned(), detail: None, hint: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(text: &str, params: Vec<Option<Bytes>>) -> Statement {
        Statement { text: text.into(), params }
    }

    #[test]
    fn values_carry_lengths_and_nulls() {
        let statement = statement("select $1, $2", vec![Some(Bytes::from_static(b"hi")), None]);
        let request = Request::encode(&Session::default(), &statement, false).unwrap();
        assert_eq!(&*request.values, b"\0\0\0\x02\0\0\0\x02hi\xff\xff\xff\xff\0\0");
        assert_eq!((request.settings, &*request.settings_values), (0, NO_VALUES));
    }

    #[test]
    fn the_role_is_found_and_reads_are_read_only() {
        let settings = vec![("role".into(), "anon".to_owned()), ("a.b".into(), "c".to_owned())];
        let session = Session { settings, ..Session::default() };
        let request = Request::encode(&session, &statement("select 1", vec![]), true).unwrap();
        assert_eq!((&*request.role, request.settings), ("anon", 3));
        assert!(request.settings_values.ends_with(b"\0\0\0\x15transaction_read_only\0\0\0\x02on\0\0"));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (text, params, code) in
            [("select 1\0", vec![], "22021"), ("select 1", vec![None; 70_000], "54023")]
        {
            match Request::encode(&Session::default(), &statement(text, params), false) {
                Err(Error::Statement(error)) => assert_eq!(error.code, code),
                other => panic!("{other:?}"),
            }
        }
    }
}
