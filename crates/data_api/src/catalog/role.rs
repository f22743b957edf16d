//! What `alter role … set` says about the roles that a request may run as.
//!
//! PostgreSQL applies those settings at login only; the API becomes a role later, so it makes them by itself.

use serde::Deserialize;
use store::Isolation;

/// The setting that is no setting of a running transaction, but of its start.
const ISOLATION: &str = "default_transaction_isolation";

/// A role with settings of its own.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Role {
    /// Its name.
    pub(crate) name: String,
    /// Its settings: `name=value`.
    pub(crate) settings: Vec<String>,
}

/// `name=value` pairs apart, the isolation level left out.
pub(crate) fn pairs(settings: &[String]) -> impl Iterator<Item = (&str, &str)> {
    settings.iter().filter_map(|it| it.split_once('=')).filter(|(name, _)| *name != ISOLATION)
}

/// The isolation level that settings ask for; `None` when they are silent.
pub(crate) fn isolation(settings: &[String]) -> Option<Isolation> {
    let level = settings.iter().filter_map(|it| it.split_once('=')).find(|(name, _)| *name == ISOLATION)?.1;
    Some(match level.to_ascii_lowercase().as_str() {
        "serializable" => Isolation::Serializable,
        "repeatable read" => Isolation::RepeatableRead,
        _ => Isolation::ReadCommitted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isolation_is_apart_from_other_settings() {
        let settings =
            ["statement_timeout=3s", "default_transaction_isolation=repeatable read"].map(str::to_owned);
        assert_eq!(pairs(&settings).collect::<Vec<_>>(), [("statement_timeout", "3s")]);
        assert_eq!(isolation(&settings), Some(Isolation::RepeatableRead));
        assert_eq!(isolation(&["a=b".to_owned()]), None);
    }
}
