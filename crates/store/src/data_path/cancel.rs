//! Stopping a statement whose caller has gone: a request on a socket of its own, as the protocol wants it.
//!
//! A cancel request names a backend, not a statement, so it may hit whatever runs there when it arrives. Therefore the
//! connection takes no further jobs, what else is in flight is read-only and repeated elsewhere, and a statement that
//! may commit is never cancelled: during a commit, PostgreSQL would acknowledge what is not replicated.

use std::io;
use std::time::Duration;

use crate::config::Config;
use bytes::BytesMut;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::socket::{self, Address};

/// How long a statement may go on after its caller left: most end by themselves before that.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);
/// Longest time to cancel.
const LIMIT: Duration = Duration::from_secs(2);

/// A server process as a cancel request names it.
#[derive(Debug, Clone)]
pub(crate) struct Backend {
    pub(super) address: Address,
    pub(super) process: i32,
    pub(super) secret: i32,
}

/// Cancel what `backend` does; nobody hears of a failure, for then the statement just goes on.
pub(super) async fn cancel(backend: &Backend, config: &Config) {
    let outcome = tokio::time::timeout(LIMIT, request(backend, config)).await;
    tracing::debug!(?outcome, "cancelled a statement whose caller has gone");
}

async fn request(backend: &Backend, config: &Config) -> io::Result<()> {
    let mut socket = socket::connect(&backend.address, config).await?;
    let mut message = BytesMut::new();
    frontend::cancel_request(backend.process, backend.secret, &mut message);
    socket.write_all(&message).await?;
    socket.flush().await?;
    // The server closes the socket once the signal is on its way.
    socket.read(&mut [0; 16]).await.map(|_| ())
}
