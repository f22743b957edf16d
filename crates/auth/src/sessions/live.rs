//! A session that is alive, as caches hold it, and the one query that finds it.

use common::UserId;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use store::ServiceClient;
use store::postgres::types::Json;
use uuid::Uuid;

use crate::Error;

/// A session that is alive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveSession {
    /// `auth.sessions.id`.
    pub id: Uuid,
    /// Whose it is.
    pub user_id: UserId,
    /// The user's address; empty for users without one.
    pub email: String,
    /// The PostgreSQL role that it acts as.
    pub role: String,
    /// When it began.
    pub created_at: Option<Timestamp>,
    /// When it ends by itself.
    pub not_after: Option<Timestamp>,
    pub(super) banned_until: Option<Timestamp>,
    /// The digest of its opaque token, when it has one.
    pub(super) token_hash: Option<String>,
}

impl LiveSession {
    /// Whether it still stands at `now`, and is not older than `timebox_secs` (0 for any age).
    pub(super) fn stands(&self, now: Timestamp, timebox_secs: u64) -> bool {
        let box_end = |it: Timestamp| {
            let timebox = SignedDuration::from_secs(i64::try_from(timebox_secs).unwrap_or(i64::MAX));
            it.saturating_add(timebox).unwrap_or(Timestamp::MAX)
        };
        self.not_after.is_none_or(|it| it > now)
            && self.banned_until.is_none_or(|it| it <= now)
            && (timebox_secs == 0 || self.created_at.is_none_or(|it| box_end(it) > now))
    }
}

const FIND: &str = "select jsonb_build_object('id', s.id, 'user_id', s.user_id, \
    'email', coalesce(t.email, u.email, ''), 'role', coalesce(t.role, nullif(u.role, ''), 'authenticated'), \
    'created_at', s.created_at, 'not_after', s.not_after, 'banned_until', u.banned_until, 'token_hash', t.token_hash) \
    from auth.sessions s join auth.users u on u.id = s.user_id left join auth.session_tokens t on t.session_id = s.id \
    where s.id = $1 and u.deleted_at is null";

/// The session `id`, if it exists and its user does.
pub(super) async fn find(db: &ServiceClient, id: Uuid) -> Result<Option<LiveSession>, Error> {
    let statement = db.prepare_cached(FIND).await?;
    let row = db.query_opt(&statement, &[&id]).await?;
    let decode = |it: store::postgres::Row| it.try_get::<_, Json<LiveSession>>(0).map(|it| it.0);
    Ok(row.map(decode).transpose()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bans_ends_and_time_boxes_end_a_session() {
        let at = |secs| Timestamp::from_second(secs).unwrap();
        let session = LiveSession {
            id: Uuid::nil(),
            user_id: UserId(Uuid::nil()),
            email: String::new(),
            role: String::new(),
            created_at: Some(at(0)),
            not_after: None,
            banned_until: None,
            token_hash: None,
        };
        let check = |session: &LiveSession, now, timebox| session.stands(at(now), timebox);
        assert!(check(&session, 1_000_000, 0) && check(&session, 59, 60) && !check(&session, 60, 60));
        let ended = LiveSession { not_after: Some(at(10)), ..session.clone() };
        assert!(check(&ended, 9, 0) && !check(&ended, 10, 0));
        let banned = LiveSession { banned_until: Some(at(10)), ..session };
        assert!(!check(&banned, 9, 0) && check(&banned, 10, 0));
    }
}
