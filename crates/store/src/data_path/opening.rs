//! Opening a connection: again and again, ever more slowly, as long as jobs wait for it and it may help.

use std::time::Duration;

use super::connection::Connection;
use super::pool::Pool;

/// The first wait after a failed attempt; doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait once a new job has come, so that the first one after the server's return finds it.
const HURRIED_WAIT: Duration = Duration::from_millis(100);

/// `None` when nobody needs the connection any more, or another task keeps trying.
pub(super) async fn open(pool: &Pool) -> Option<Connection> {
    let mut wait = FIRST_WAIT;
    loop {
        match pool.connect().await {
            Ok(connection) => return Some(connection),
            Err(broken) if pool.gives_up(&broken) => return None,
            Err(_) => {}
        }
        let hurried = async {
            pool.hurried().await;
            tokio::time::sleep(HURRIED_WAIT).await;
        };
        tokio::select! {
            () = pool.closing().cancelled() => {}
            () = tokio::time::sleep(wait) => {}
            () = hurried => {}
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
