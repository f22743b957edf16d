//! What is worth knowing about the data API; the one place that turns it into log lines and metrics.

use std::time::Duration;

use common::ProjectRef;

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A request's statement is sent; its text holds no value of the client's.
    Statement {
        /// The text.
        text: &'a str,
    },
    /// A project's catalog was read.
    CatalogLoaded {
        /// Whose.
        project: &'a ProjectRef,
        /// Tables and views in it.
        tables: usize,
        /// Functions in it.
        functions: usize,
        /// How long it took.
        took: Duration,
    },
    /// A project's catalog could not be read; the old one, if any, stays.
    CatalogFailed {
        /// Whose.
        project: &'a ProjectRef,
        /// Why.
        error: &'a store::Error,
    },
    /// A setting that a project's database makes cannot be meant; the stored one holds.
    SettingRefused {
        /// Whose.
        project: &'a ProjectRef,
        /// The setting, without `pgrst.`.
        name: &'a str,
        /// Why.
        error: &'a str,
    },
    /// The function of `db-pre-config` failed; what it would set is left out.
    PreConfigFailed {
        /// Whose.
        project: &'a ProjectRef,
        /// Why; `None` when it took too long.
        error: Option<&'a store::Error>,
    },
    /// An answer is 5xx because of what the project's own database raised.
    Raised {
        /// The error.
        error: &'a crate::Error,
    },
    /// An answer was our fault.
    Failed {
        /// The error.
        error: &'a crate::Error,
    },
    /// The rest of an answer that had begun did not come.
    Cut {
        /// Why.
        error: &'a store::Cut,
    },
    /// An embed was addressed by its relation's name although it has an alias.
    LegacyTarget {
        /// The pairs of name and alias.
        hint: &'a str,
    },
}

impl Event<'_> {
    /// Write it to the log and count it.
    pub(crate) fn emit(&self) {
        match self {
            Self::Statement { text } => tracing::debug!(target: "data_api::statements", text, "statement"),
            Self::CatalogLoaded { project, tables, functions, took } => {
                metrics::histogram!("data_api_catalog_load_seconds").record(took.as_secs_f64());
                let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                tracing::info!(project.id = %project, tables, functions, duration_ms, "catalog loaded");
            }
            Self::CatalogFailed { project, error } => {
                metrics::counter!("data_api_catalog_failures_total").increment(1);
                let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
                tracing::warn!(project.id = %project, %error, source, "catalog not loaded");
            }
            Self::SettingRefused { project, name, error } => {
                tracing::warn!(project.id = %project, name, error, "a setting of the database is left out");
            }
            Self::PreConfigFailed { project, error } => {
                let error = error.map_or_else(|| "it took too long".into(), ToString::to_string);
                tracing::warn!(project.id = %project, error, "the function of db-pre-config failed");
            }
            // What a project's functions raise is the project's to look at; a loop of theirs must not fill our log.
            Self::Raised { error } => {
                metrics::counter!("data_api_raised_errors_total").increment(1);
                // Except where PostgreSQL itself may be in trouble (internal and system errors).
                if error.code().starts_with("XX") || error.code().starts_with("58") {
                    tracing::warn!(code = %error.code(), %error, "the database failed");
                } else {
                    tracing::debug!(code = %error.code(), %error, "the database refused");
                }
            }
            Self::Failed { error } => {
                let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
                tracing::error!(code = %error.code(), %error, source, "request failed");
            }
            Self::Cut { error } => {
                metrics::counter!("data_api_cut_answers_total").increment(1);
                let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
                tracing::warn!(%error, source, "answer cut");
            }
            Self::LegacyTarget { hint } => {
                metrics::counter!("data_api_legacy_targets_total").increment(1);
                tracing::debug!(hint, "an aliased embed was addressed by its relation's name");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::span::{Attributes, Id, Record};
    use tracing::{Level, Metadata, Subscriber};

    use super::*;
    use crate::Error;
    use crate::error::RequestError;

    /// Remembers the levels of what is logged.
    #[derive(Clone, Default)]
    struct Levels(Arc<Mutex<Vec<Level>>>);

    impl Subscriber for Levels {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            self.0.lock().unwrap().push(*event.metadata().level());
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    fn raised(code: &str) -> Error {
        let error = store::PgError { code: code.into(), message: "m".into(), detail: None, hint: None };
        Error::of_store(store::Error::Statement(error), true)
    }

    #[test]
    fn what_a_project_raises_never_fills_the_log_with_errors() {
        let levels = Levels::default();
        tracing::subscriber::with_default(levels.clone(), || {
            for code in ["P0002", "PT500", "38000", "54001", "XX000"] {
                assert!(raised(code).is_raised(), "{code}");
                Event::Raised { error: &raised(code) }.emit();
            }
        });
        let expected = [Level::DEBUG, Level::DEBUG, Level::DEBUG, Level::DEBUG, Level::WARN];
        assert_eq!(*levels.0.lock().unwrap(), expected);
        assert!(Error::from(RequestError::ResponseStatus).is_raised());
        assert!(!raised("22023").is_raised());
        assert!(!Error::Store(store::Error::PoolTimeout).is_raised());
    }
}
