//! What can go wrong below the services. `Display` may reach a client; sources are for the log only.

use common::ErrorKind;
use deadpool_postgres::TimeoutType;

/// An error that PostgreSQL reported, field by field (protocol message `ErrorResponse`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PgError {
    /// SQLSTATE, five characters.
    pub code: String,
    /// Primary message.
    pub message: String,
    /// `DETAIL`.
    pub detail: Option<String>,
    /// `HINT`.
    pub hint: Option<String>,
}

/// Why the store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// PostgreSQL refused the statement, the settings or the commit.
    #[error(transparent)]
    Statement(PgError),
    /// No connection, or it broke before the statement was sent: safe to repeat.
    #[error("the database cannot be reached")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The connection broke after the statement was sent: the outcome of a write is unknown.
    #[error("the connection to the database was lost")]
    Lost(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No connection became free in time.
    #[error("timed out acquiring a connection from the pool")]
    PoolTimeout,
    /// A `DATABASE_URL` that cannot be read.
    #[error("the database URL cannot be read: {0}")]
    Url(String),
    /// A `REDIS_URL` that cannot be read; it may hold a password, so it is not repeated.
    #[error("the Redis URL cannot be read; an example: redis://:password@host:6379/0")]
    RedisUrl,
    /// A migration failed; nothing of it was kept.
    #[error("migration of {schema} failed")]
    Migration {
        /// The schema whose migrations ran.
        schema: &'static str,
        /// What the migration runner said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Its name, for traces.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Statement(_) => "statement",
            Self::Connect(_) => "connect",
            Self::Lost(_) => "lost",
            Self::PoolTimeout => "pool_timeout",
            Self::Url(_) | Self::RedisUrl => "url",
            Self::Migration { .. } => "migration",
        }
    }

    /// The kind, for status, log level and metrics.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            // The server is a standby now: nothing was written, and the primary is elsewhere.
            Self::Statement(it) if it.code == "25006" => ErrorKind::Unavailable,
            Self::Statement(_) | Self::Url(_) | Self::RedisUrl => ErrorKind::Invalid,
            Self::Connect(_) | Self::Lost(_) | Self::PoolTimeout => ErrorKind::Unavailable,
            Self::Migration { .. } => ErrorKind::Internal,
        }
    }
}

impl From<deadpool_postgres::PoolError> for Error {
    fn from(it: deadpool_postgres::PoolError) -> Self {
        match it {
            deadpool_postgres::PoolError::Timeout(TimeoutType::Wait) => Self::PoolTimeout,
            // What PostgreSQL says while connecting is no answer to a statement.
            deadpool_postgres::PoolError::Backend(it) => Self::Connect(it.into()),
            other => Self::Connect(other.into()),
        }
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(it: tokio_postgres::Error) -> Self {
        match it.as_db_error() {
            // The server goes down or has crashed: not the statement's fault.
            Some(db) if matches!(db.code().code(), "57P01" | "57P02") => Self::Lost(it.into()),
            Some(db) if db.code().code() == "57P03" => Self::Connect(it.into()),
            Some(db) => Self::Statement(PgError {
                code: db.code().code().to_owned(),
                message: db.message().to_owned(),
                detail: db.detail().map(str::to_owned),
                hint: db.hint().map(str::to_owned),
            }),
            None if it.is_closed() => Self::Lost(it.into()),
            None => Self::Connect(it.into()),
        }
    }
}
