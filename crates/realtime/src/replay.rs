//! The last private messages of a topic, for who joins it: what SQL sent since a time, as events.
//!
//! `config.broadcast.replay {since, limit}` of a join asks for them; who may not read the topic gets none.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use store::Database;

use crate::event::Event;
use crate::rights::Allowed;

/// The most messages that are replayed.
const MOST: i64 = 25;

const READ: &str = "\
    select id::text, coalesce(event, ''), payload::text, binary_payload from realtime.messages \
    where topic = $1 and extension = 'broadcast' and private \
        and inserted_at >= to_timestamp($2::float8 / 1000) at time zone 'utc' \
        and inserted_at >= now() at time zone 'utc' - interval '4 days' \
    order by inserted_at desc, id desc limit $3";

/// Which messages are wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Replay {
    /// Milliseconds since 1970 (UTC).
    since_ms: f64,
    limit: i64,
}

/// Why nothing is replayed. `Display` is a join's refusal, as Supabase words its kind.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// `since` or `limit` make no sense.
    #[error(
        "UnableToReplayMessages: Replay params are not valid: since is milliseconds since 1970, limit 1 to 25"
    )]
    Params,
    /// Only private topics are kept.
    #[error("UnableToReplayMessages: Replay is not allowed for public channels")]
    Public,
    /// The database did not answer.
    #[error("UnableToReplayMessages: the database did not answer")]
    Store(#[source] store::Error),
}

impl Replay {
    /// From `config.broadcast.replay` of a join; `None` when there is none. Numbers may come as strings.
    ///
    /// # Errors
    /// [`Error::Params`]; [`Error::Public`] when the topic is not private.
    pub(crate) fn parse(replay: &Value, is_private: bool) -> Result<Option<Self>, Error> {
        let Value::Object(wanted) = replay else {
            return if replay.is_null() { Ok(None) } else { Err(Error::Params) };
        };
        if !is_private {
            return Err(Error::Public);
        }
        let number = |it: &Value| match it {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_f64(),
        };
        // Within PostgreSQL's dates, by far.
        let possible = |it: &f64| (0.0..1e14).contains(it);
        let since_ms = wanted.get("since").and_then(number).filter(possible).ok_or(Error::Params)?;
        let limit = match wanted.get("limit") {
            None | Some(Value::Null) => MOST,
            Some(Value::String(text)) => text.trim().parse().map_err(|_| Error::Params)?,
            Some(other) => other.as_i64().ok_or(Error::Params)?,
        };
        Ok(Some(Self { since_ms, limit: limit.clamp(1, MOST) }))
    }

    /// The messages of `topic` (with `realtime:`, as events carry it), oldest first; none without the right to read them.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn events(
        self,
        database: &Database,
        allowed: Allowed,
        topic: &Arc<str>,
    ) -> Result<Vec<Arc<Event>>, Error> {
        if !allowed.read_broadcast {
            return Ok(Vec::new());
        }
        let mut events = self.read(database, topic).await.map_err(Error::Store)?;
        events.reverse();
        Ok(events)
    }

    async fn read(self, database: &Database, topic: &Arc<str>) -> Result<Vec<Arc<Event>>, store::Error> {
        let name = topic.strip_prefix("realtime:").unwrap_or(topic);
        let client = database.services().await?;
        let statement = client.prepare_cached(READ).await?;
        let rows = client.query(&statement, &[&name, &self.since_ms, &self.limit]).await?;
        let event = |row: &store::postgres::Row| {
            let (id, event): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let (json, raw): (Option<String>, Option<Vec<u8>>) = (row.try_get(2)?, row.try_get(3)?);
            let is_json = raw.is_none();
            let body = raw.map_or_else(|| json.unwrap_or_else(|| "null".to_owned()).into(), Bytes::from);
            let meta = json!({"replayed": true, "id": id}).to_string().into();
            Ok(Event::broadcast(topic, &event, (meta, body), is_json))
        };
        rows.iter().map(event).collect()
    }
}

#[cfg(test)]
mod tests;
