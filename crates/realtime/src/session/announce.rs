//! Tells a channel that asked for it (`config.broadcast.replication_ready`) when the project's stream of changes stands:
//! what SQL sends from then on arrives. Where it does not stand in time the channel ends, so that the client joins again.

use std::sync::Arc;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Done, Session};
use crate::feed::Status;

/// Supabase's words.
const STANDS: &str = "Replication connection established";
const LATE: &str = "Replication connection was not established in time";

/// Whether it stands.
#[derive(Debug)]
pub(crate) struct Announced {
    topic: Arc<str>,
    is_live: bool,
}

impl Session {
    /// Wait for the stream, beside everything else.
    pub(super) fn announce(&mut self, topic: &str) {
        let limit = self.connection.realtime.config.ready_timeout;
        let Some(channel) = self.channels.get_mut(topic) else { return };
        let (ends, mut status) = (CancellationToken::new(), channel.feed.status());
        let (until, topic) = (ends.clone(), Arc::clone(channel.subscription.name()));
        channel.announcing = Some(ends.drop_guard());
        self.aside(Box::pin(async move {
            let live = async { status.wait_for(|it| *it == Status::Live).await.is_ok() };
            match until.run_until_cancelled(timeout(limit, live)).await {
                Some(outcome) => Done::Announced(Announced { topic, is_live: outcome.unwrap_or(false) }),
                None => Done::Nothing,
            }
        }));
    }

    pub(super) fn announced(&mut self, Announced { topic, is_live }: &Announced) {
        if *is_live {
            self.system(topic, ("system", "ok"), STANDS);
        } else {
            self.stop(topic, LATE);
        }
    }
}
