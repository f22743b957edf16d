//! Why a connection could not be made or is no more. Cloned, because one loss ends many jobs.

use std::io;
use std::sync::Arc;

use crate::PgError;

/// Why there is no connection (any more). For the log: callers see [`crate::Error`].
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Broken {
    /// The socket.
    #[error("{0}")]
    Socket(Arc<io::Error>),
    /// PostgreSQL ended the connection, or refused it, and said why.
    #[error("{} ({})", .0.message, .0.code)]
    Refused(PgError),
    /// PostgreSQL sent what it must not send, or asks for what this client does not speak.
    #[error("{0}")]
    Protocol(&'static str),
    /// All hosts were tried in vain for too long.
    #[error("no answer in time")]
    TimedOut,
    /// A commit is kept on this server only: whether it lasts nobody knows.
    #[error("a commit was not replicated")]
    Unreplicated,
    /// The server is a standby now: of no use for writes.
    #[error("the server is read-only")]
    ReadOnly,
    /// The database was closed on our side.
    #[error("the database is closed")]
    Closed,
}

impl Broken {
    /// Whether trying again shortly cannot help: wrong password, no such role or database, one that
    /// takes no connections, no TLS.
    pub(super) fn is_permanent(&self) -> bool {
        match self {
            Self::Refused(it) => {
                it.code.starts_with("28") || matches!(it.code.as_str(), "3D000" | "42501" | "42704" | "55000")
            }
            Self::Protocol(_) | Self::Closed => true,
            Self::Socket(it) => it.kind() == io::ErrorKind::Unsupported,
            Self::TimedOut | Self::Unreplicated | Self::ReadOnly => false,
        }
    }
}

impl From<io::Error> for Broken {
    fn from(it: io::Error) -> Self {
        Self::Socket(Arc::new(it))
    }
}
