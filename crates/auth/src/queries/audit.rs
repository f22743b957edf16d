//! Pages of the audit log.

use serde_json::Value;
use store::ServiceClient;
use store::postgres::types::ToSql;

use super::decode;
use crate::Error;

/// What [`audit_page`] may search; anything else finds nothing.
const WHERE: &str = "where $1 = '' or case $1 when 'author' then a.payload ->> 'actor_username' ilike $2 \
     when 'action' then a.payload ->> 'action' ilike $2 when 'type' then a.payload ->> 'log_type' ilike $2 \
     else false end";
const PAGE: &str = "select to_jsonb(a) - 'instance_id' from auth.audit_log_entries a ";
const COUNT: &str = "select count(*) from auth.audit_log_entries a ";

/// `limit` entries from `offset` on, newest first, and how many there are; `search` is one of `author`, `action` and
/// `type` with a `like` pattern, or twice nothing.
pub(crate) async fn audit_page(
    db: &ServiceClient,
    limit: i64,
    offset: i64,
    (field, pattern): (&str, &str),
) -> Result<(Vec<Value>, i64), Error> {
    let rows = format!("{PAGE}{WHERE} order by a.created_at desc, a.id limit $3 offset $4");
    let count = format!("{COUNT}{WHERE}");
    let (rows, count) = futures_util::try_join!(db.prepare_cached(&rows), db.prepare_cached(&count))?;
    let window: [&(dyn ToSql + Sync); 4] = [&field, &pattern, &limit, &offset];
    let all: [&(dyn ToSql + Sync); 2] = [&field, &pattern];
    let (rows, count) = futures_util::try_join!(db.query(&rows, &window), db.query_one(&count, &all))?;
    let entries = rows.iter().map(decode).collect::<Result<_, _>>()?;
    Ok((entries, count.try_get(0)?))
}
