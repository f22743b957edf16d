//! Asks a server how far it is, again and again, on a connection of its own; bounded in time, and for ever.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_postgres::{Client, Error, NoTls, Row, Statement};

use crate::config::Config;

/// Between questions.
const EVERY: Duration = Duration::from_millis(100);
/// Longest time for a connection.
const OPEN_LIMIT: Duration = Duration::from_secs(3);
/// Longest time for an answer; then the server counts as away.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// The first wait after a failure; doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Who is asked, and what becomes of the answers.
pub(super) trait Subject: Send {
    /// The question: one row.
    const TEXT: &'static str;

    /// A connection was made.
    fn connected(&mut self) {}

    /// The question is sent next.
    fn ask(&mut self) {}

    /// The answer to what was asked at `asked_at`.
    fn hear(&mut self, row: &Row, asked_at: Instant) -> Result<(), Error>;

    /// No answer, and why; said again after each attempt.
    fn lost(&mut self, why: &str);
}

/// Ask for ever.
pub(super) async fn watch(config: Config, mut subject: impl Subject) {
    let mut wait = FIRST_WAIT;
    loop {
        let begun = Instant::now();
        let Err(why) = attend(&config, &mut subject).await;
        subject.lost(&why);
        if begun.elapsed() > OPEN_LIMIT + LONGEST_WAIT {
            wait = FIRST_WAIT;
        }
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Until something fails.
async fn attend<S: Subject>(config: &Config, subject: &mut S) -> Result<Infallible, String> {
    let opened = timeout(OPEN_LIMIT, open(config, S::TEXT)).await;
    let (client, statement) = opened.map_err(|_| "no connection in time".to_owned())?.map_err(told)?;
    subject.connected();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        subject.ask();
        let asked_at = Instant::now();
        let answered = timeout(ANSWER_LIMIT, client.query_one(&statement, &[])).await;
        let row = answered.map_err(|_| "no answer in time".to_owned())?.map_err(told)?;
        subject.hear(&row, asked_at).map_err(told)?;
    }
}

async fn open(config: &Config, text: &str) -> Result<(Client, Statement), Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection of a watcher ended");
        }
    });
    let statement = client.prepare(text).await?;
    Ok((client, statement))
}

/// With what PostgreSQL or the system said, which the driver's error keeps behind.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn told(error: Error) -> String {
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
