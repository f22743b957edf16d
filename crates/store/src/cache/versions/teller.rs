//! The connection by which processes tell each other of writes, and hear of them; made anew whenever it breaks.
//!
//! Writers of one moment share one statement. `{origin} {project}` is a write, `{origin} {project} ?` one in doubt. The
//! same connection tells and hears, so that an answer on it proves that the others are heard.

use std::future::poll_fn;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{AsyncMessage, Client, NoTls};

use super::{Inner, Untold};
use crate::config::Config;

const CHANNEL: &str = "madbase_writes";
/// Between proofs that the connection stands.
const HEARTBEAT: Duration = Duration::from_millis(300);
/// Longest wait for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// Between attempts to connect.
const RETRY: Duration = Duration::from_millis(500);

/// Nothing is lost when the server crashes at once: nobody waits for its disk.
const BEGIN: &str = "set synchronous_commit = off; listen madbase_writes";
const TELL: &str = "select pg_catalog.pg_notify($1, it) from unnest($2::text[]) it";

/// Ends never.
pub(super) async fn keep_telling(inner: &Inner, config: &Config) {
    loop {
        let lost = tell_until_lost(inner, config).await;
        inner.end_lease();
        tracing::debug!(error = lost, "writes are not told");
        sleep(RETRY).await;
    }
}

/// Why it ended.
async fn tell_until_lost(inner: &Inner, config: &Config) -> String {
    let connected = timeout(ANSWER_LIMIT * 3, config.connect(NoTls)).await;
    let (client, mut connection) = match connected {
        Ok(Ok(connected)) => connected,
        Ok(Err(error)) => return error.to_string(),
        Err(elapsed) => return elapsed.to_string(),
    };
    let hearing = async {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            match message {
                Ok(AsyncMessage::Notification(it)) => inner.hear(it.payload()),
                Ok(_) => {}
                Err(error) => return error.to_string(),
            }
        }
        "the server closed the connection".to_owned()
    };
    tokio::select! {
        lost = hearing => lost,
        lost = tell(inner, &client) => lost,
    }
}

async fn tell(inner: &Inner, client: &Client) -> String {
    let begun = Instant::now();
    match timeout(ANSWER_LIMIT, client.batch_execute(BEGIN)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return error.to_string(),
        Err(elapsed) => return elapsed.to_string(),
    }
    // What was told before is missed.
    inner.begin_epoch();
    inner.renew_lease(begun);
    loop {
        let _ = timeout(HEARTBEAT, inner.wake.notified()).await;
        let untold = std::mem::take(&mut *inner.untold.lock().unwrap_or_else(PoisonError::into_inner));
        let messages: Vec<String> = untold.projects.iter().map(|it| inner.message(it)).collect();
        let begun = Instant::now();
        let answer = timeout(ANSWER_LIMIT, client.execute(TELL, &[&CHANNEL, &messages])).await;
        let lost = match answer {
            Ok(Ok(_)) => {
                inner.renew_lease(begun);
                for waiting in untold.waiting {
                    let _ = waiting.send(());
                }
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(elapsed) => elapsed.to_string(),
        };
        inner.put_back(untold);
        return lost;
    }
}

impl Inner {
    fn message(&self, (project, is_in_doubt): (&common::ProjectRef, &bool)) -> String {
        let doubt = if *is_in_doubt { " ?" } else { "" };
        format!("{:016x} {project}{doubt}", self.origin)
    }

    fn hear(&self, message: &str) {
        let mut words = message.split(' ');
        let origin = words.next().and_then(|it| u64::from_str_radix(it, 16).ok());
        let project = words.next().and_then(|it| it.parse().ok());
        match (origin, project) {
            (Some(origin), Some(project)) if origin != self.origin => {
                self.rise(&project, words.next().is_some());
            }
            (Some(_), Some(_)) => {}
            // From a later version, perhaps: of anything.
            (_, _) => self.begin_epoch(),
        }
    }

    /// It was not told; those who wait go on waiting.
    fn put_back(&self, untold: Untold) {
        let mut now = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        for (project, is_in_doubt) in untold.projects {
            *now.projects.entry(project).or_default() |= is_in_doubt;
        }
        now.waiting.extend(untold.waiting);
        now.waiting.retain(|it| !it.is_closed());
        drop(now);
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use crate::cache::versions::Versions;

    #[tokio::test]
    async fn only_others_are_listened_to() {
        let versions = Versions::alone();
        let project = "board".parse().unwrap();
        let now = || versions.of(&project);
        let start = now();
        let own = versions.inner.message((&project, &false));
        versions.inner.hear(&own);
        assert_eq!(now(), start);
        versions.inner.hear("0000000000000001 board");
        let second = now();
        assert!(second.is_some() && second != start);
        versions.inner.hear("something else");
        assert!(now().is_some() && now() != second);
        versions.inner.hear("0000000000000001 board ?");
        assert_eq!(now(), None);
    }
}
