//! What a caller may do in a private topic: row level security on `realtime.messages` decides.
//!
//! Rows that stand for messages are inserted as the schema's owner; which of them the caller sees is what it may read,
//! and which it may insert is what it may write; all is rolled back. One round trip on a connection of the services
//! (three messages sent together), the work of `realtime.rights` in the database. Policies see `realtime.topic()`,
//! `request.jwt.claims` and `request.headers`.
//!
//! One [`Rights`] per project. Answers are kept for a while by claims, topic and headers, so that another token asks anew;
//! failures are not kept. Who holds a socket asks again when its token changes and now and then.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use common::Caller;
use common::jwt::Claims;
use futures_util::future::join3;
use http::HeaderMap;
use moka::future::Cache;
use serde_json::{Map, Value};
use store::Database;
use tokio::time::timeout;

const ASK: &str = "select read_broadcast, write_broadcast, read_presence, write_presence \
    from realtime.rights($1, $2, $3, $4)";
/// No partition takes the row: nobody has made any for days.
const NO_PARTITION: &str = "23514";
/// What comes on top of the time that policies may take, for a connection that has gone silent.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What a caller may do in a topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Allowed {
    pub(crate) read_broadcast: bool,
    pub(crate) write_broadcast: bool,
    pub(crate) read_presence: bool,
    pub(crate) write_presence: bool,
}

impl Allowed {
    /// Of topics that are not private.
    pub(crate) const ALL: Self =
        Self { read_broadcast: true, write_broadcast: true, read_presence: true, write_presence: true };
}

/// Why nobody knows what a caller may do. `Display` is for the caller.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Error {
    /// A policy on `realtime.messages` raised, or took too long; or the role cannot be assumed.
    #[error("the policies of realtime.messages failed: {message} (SQLSTATE {code})")]
    Policy { code: String, message: String },
    /// The database did not answer; again later.
    #[error("the database did not answer")]
    Unavailable(#[source] Arc<store::Error>),
}

impl From<store::Error> for Error {
    fn from(it: store::Error) -> Self {
        match it {
            // Of these the policies are innocent: resources, an operator's doing, a standby.
            store::Error::Statement(ref error)
                if error.code.starts_with("53") || error.code.starts_with("58") || error.code == "25006" =>
            {
                Self::Unavailable(Arc::new(it))
            }
            store::Error::Statement(error) => Self::Policy { code: error.code, message: error.message },
            other => Self::Unavailable(Arc::new(other)),
        }
    }
}

/// Bounds.
#[derive(Debug, Clone)]
pub(crate) struct RightsSettings {
    /// How long an answer holds; at most five minutes.
    pub(crate) kept: Duration,
    /// Answers that are kept.
    pub(crate) entries: u64,
    /// The longest that the policies may take for one topic.
    pub(crate) patience: Duration,
}

impl Default for RightsSettings {
    fn default() -> Self {
        Self { kept: Duration::from_secs(60), entries: 10_000, patience: Duration::from_secs(3) }
    }
}

/// The rights in one project's topics.
#[derive(Debug)]
pub(crate) struct Rights {
    known: Cache<Key, Allowed>,
    begin: String,
    patience: Duration,
}

/// Who asks for what. Claims are compared by their text: it is what policies see.
#[derive(Debug, Clone)]
struct Key {
    claims: Arc<Claims>,
    topic: Arc<str>,
    headers: Arc<str>,
}

impl Key {
    fn parts(&self) -> (&str, &str, &str, &str) {
        (&self.topic, &self.claims.role, &self.claims.json, &self.headers)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl Rights {
    pub(crate) fn new(settings: &RightsSettings) -> Self {
        let known = Cache::builder()
            .max_capacity(settings.entries)
            .time_to_live(settings.kept.min(Duration::from_secs(300)))
            .build();
        // A figure of our own, hence fit for the text.
        let begin =
            format!("begin; set local statement_timeout = '{}ms'", settings.patience.as_millis().max(1));
        Self { known, begin, patience: settings.patience }
    }

    /// What `caller` may do in `topic` (without `realtime:`); `headers` as [`headers`] writes them. Callers that ask the
    /// same at once share one question.
    ///
    /// # Errors
    /// [`Error::Policy`] of this topic only; [`Error::Unavailable`].
    pub(crate) async fn of(
        &self,
        database: &Database,
        caller: &Caller,
        topic: &str,
        headers: &Arc<str>,
    ) -> Result<Allowed, Error> {
        let key =
            Key { claims: Arc::clone(&caller.claims), topic: topic.into(), headers: Arc::clone(headers) };
        let asked = key.clone();
        let asking = async {
            let asking = self.ask(database, &asked);
            match timeout(self.patience + ANSWER_TIMEOUT, asking).await {
                Ok(answer) => answer.map_err(Error::from),
                Err(late) => Err(Error::Unavailable(Arc::new(store::Error::Lost(late.into())))),
            }
        };
        self.known.try_get_with(key, asking).await.map_err(|it| Error::clone(&it))
    }

    async fn ask(&self, database: &Database, key: &Key) -> Result<Allowed, store::Error> {
        match self.ask_once(database, key).await {
            Err(store::Error::Statement(error)) if error.code == NO_PARTITION => {
                database.services().await?.batch_execute("select realtime.keep_partitions()").await?;
                self.ask_once(database, key).await
            }
            answer => answer,
        }
    }

    async fn ask_once(&self, database: &Database, key: &Key) -> Result<Allowed, store::Error> {
        let client = database.services().await?;
        let statement = client.prepare_cached(ASK).await?;
        let (topic, role, claims, headers) = key.parts();
        let params: [&(dyn store::postgres::types::ToSql + Sync); 4] = [&role, &claims, &headers, &topic];
        // All are sent at once. Whoever stops waiting leaves no transaction open: its end is sent already.
        let (begun, row, ended) = join3(
            client.batch_execute(&self.begin),
            client.query_one(&statement, &params),
            client.batch_execute("rollback"),
        )
        .await;
        begun?;
        let row = row?;
        ended?;
        Ok(Allowed {
            read_broadcast: row.try_get(0)?,
            write_broadcast: row.try_get(1)?,
            read_presence: row.try_get(2)?,
            write_presence: row.try_get(3)?,
        })
    }
}

/// What differs with every request, and the key.
const UNSEEN: [&str; 2] = ["x-request-id", "x-api-key"];

/// What policies see of a socket's request: headers that start with `x-`, as a JSON object. What differs with every request
/// is left out, so that answers can be kept, and so are keys.
pub(crate) fn headers(headers: &HeaderMap) -> Arc<str> {
    let names = headers.keys().filter(|it| it.as_str().starts_with("x-") && !UNSEEN.contains(&it.as_str()));
    let pairs = names.filter_map(|name| {
        let value = headers.get_all(name).iter().next_back()?;
        Some((name.as_str().to_owned(), Value::from(String::from_utf8_lossy(value.as_bytes()))))
    });
    Value::Object(pairs.collect::<Map<_, _>>()).to_string().into()
}

#[cfg(test)]
mod tests;
