//! The statements about nodes and join tokens. Each is complete in itself; an audit line is part of its change.

use std::collections::HashSet;
use std::time::Duration;

use common::{NodeId, NodeName, Pillar};
use jiff::Timestamp;
use store::postgres::Row;

use super::{Heartbeat, JoinToken, MAX_NODES, Node};
use crate::Error;
use crate::control_db::{ControlDb, Param};
use crate::queries::Deed;

const LIST: &str = "\
    select id, role, address, zone, version, state, requests_in_flight, requests_per_sec, joined_at, last_seen_at \
    from madbase.nodes order by role, id limit 1000";

const ADD_TOKEN: &str = "\
    with old as (delete from madbase.join_tokens where expires_at < now() - interval '30 days'), \
    made as (\
      insert into madbase.join_tokens (id, role, hash, expires_at) \
      values ($1, $2, $3, now() + make_interval(secs => $4)) returning role, expires_at\
    ), logged as (\
      insert into madbase.audit_log (who, action, detail) \
      select $5, 'node.join_token', jsonb_build_object('role', role, 'token', $1::text) from made\
    ) select expires_at from made";

const TOKEN_ROLE: &str = "\
    select role from madbase.join_tokens \
    where id = $1 and hash = $2 and used_at is null and expires_at > now() \
    and (select count(*) from madbase.nodes) < $3";

const JOIN: &str = "\
    with spent as (\
      update madbase.join_tokens set used_at = now(), node = $3 \
      where id = $1 and hash = $2 and used_at is null and expires_at > now() returning role\
    ), logged as (\
      insert into madbase.audit_log (who, action, detail) \
      select $3, 'node.join', jsonb_build_object('role', role, 'address', $4::text) from spent\
    ) insert into madbase.nodes (id, role, address, zone, version, state) \
    select $3, role, $4, $5, $6, 'left' from spent returning id";

const BEAT: &str = "\
    update madbase.nodes set address = $3, zone = $4, version = $5, \
      drain = drain and not $7, \
      state = case when $6 = 'ready' and drain and not $7 then 'draining' else $6 end, \
      requests_in_flight = $8, requests_per_sec = $9, last_seen_at = now() \
    where id = $1 and role = $2 returning drain";

const REGISTER: &str = "\
    insert into madbase.nodes (id, role, address, zone, version, state, requests_in_flight, requests_per_sec) \
    values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (id) do update set address = $3, zone = $4, version = $5, \
    state = $6, requests_in_flight = $7, requests_per_sec = $8, last_seen_at = now()";

const DRAIN: &str = "\
    with changed as (\
      update madbase.nodes set drain = true, state = case state when 'ready' then 'draining' else state end \
      where id = $1 and role <> 'system' returning id\
    ), logged as (\
      insert into madbase.audit_log (who, action, detail) \
      select $2, $3, $4::jsonb || jsonb_build_object('node', id) from changed\
    ) select id from changed";

const REMOVE: &str = "\
    with gone as (delete from madbase.nodes where id = $1 returning id, role), \
    old as (delete from madbase.removed_nodes where removed_at < now() - interval '40 days'), \
    refused as (\
      insert into madbase.removed_nodes (id) select id from gone where role <> 'system' on conflict do nothing\
    ), logged as (\
      insert into madbase.audit_log (who, action, detail) \
      select $2, $3, $4::jsonb || jsonb_build_object('node', id) from gone\
    ) select id from gone";

const REMOVED: &str = "select id from madbase.removed_nodes order by removed_at desc limit 10000";

const LOSE_SILENT: &str = "\
    update madbase.nodes set state = 'lost' \
    where state in ('ready', 'draining') and last_seen_at < now() - make_interval(secs => $1) returning id";

fn read(row: &Row) -> Result<Node, Error> {
    Ok(Node {
        id: row.try_get(0)?,
        role: row.try_get(1)?,
        address: row.try_get(2)?,
        zone: row.try_get(3)?,
        version: row.try_get(4)?,
        state: row.try_get(5)?,
        requests_in_flight: row.try_get(6)?,
        requests_per_sec: row.try_get(7)?,
        joined_at: row.try_get(8)?,
        last_seen_at: row.try_get(9)?,
    })
}

pub(super) async fn list(db: &ControlDb) -> Result<Vec<Node>, Error> {
    db.query(LIST, &[]).await?.iter().map(read).collect()
}

/// When it expires.
pub(super) async fn add_token(
    db: &ControlDb,
    token: &JoinToken,
    role: Pillar,
    life_secs: u32,
    who: &str,
) -> Result<Timestamp, Error> {
    let life = f64::from(life_secs);
    let rows = db.query(ADD_TOKEN, &[&token.id, &role.as_str(), &token.hash(), &life, &who]).await?;
    let made = rows.first().ok_or_else(|| Error::Stored("the token was not kept".into()))?;
    Ok(made.try_get(0)?)
}

/// The role that a token is for, as long as it can be used.
pub(super) async fn token_role(db: &ControlDb, token: &JoinToken) -> Result<Option<String>, Error> {
    let rows = db.query(TOKEN_ROLE, &[&token.id, &token.hash(), &MAX_NODES]).await?;
    Ok(rows.first().map(|it| it.try_get(0)).transpose()?)
}

/// Spend the token for a new node, which takes no requests before its first heartbeat; `false` when it cannot be used.
pub(super) async fn join(
    db: &ControlDb,
    token: &JoinToken,
    name: &NodeName,
    beat: &Heartbeat,
) -> Result<bool, Error> {
    let (id, hash) = (name.id.as_str(), token.hash());
    let params: [Param<'_>; 6] = [&token.id, &hash, &id, &beat.address, &beat.zone, &beat.version];
    Ok(!db.query(JOIN, &params).await?.is_empty())
}

/// Whether the node is asked to drain; `None` when there is no such node.
pub(super) async fn beat(db: &ControlDb, name: &NodeName, beat: &Heartbeat) -> Result<Option<bool>, Error> {
    let (id, role, state) = (name.id.as_str(), name.pillar.as_str(), beat.state.as_str());
    let params: [Param<'_>; 9] = [
        &id,
        &role,
        &beat.address,
        &beat.zone,
        &beat.version,
        &state,
        &beat.started,
        &beat.requests_in_flight,
        &beat.requests_per_sec,
    ];
    let rows = db.query(BEAT, &params).await?;
    Ok(rows.first().map(|it| it.try_get(0)).transpose()?)
}

pub(super) async fn register(db: &ControlDb, name: &NodeName, beat: &Heartbeat) -> Result<(), Error> {
    let (id, role, state) = (name.id.as_str(), name.pillar.as_str(), beat.state.as_str());
    let params: [Param<'_>; 8] = [
        &id,
        &role,
        &beat.address,
        &beat.zone,
        &beat.version,
        &state,
        &beat.requests_in_flight,
        &beat.requests_per_sec,
    ];
    db.query(REGISTER, &params).await.map(drop)
}

pub(super) async fn drain(db: &ControlDb, id: &str, deed: &Deed<'_>) -> Result<bool, Error> {
    Ok(!db.query(DRAIN, &[&id, &deed.who, &deed.action, &deed.detail]).await?.is_empty())
}

pub(super) async fn remove(db: &ControlDb, id: &str, deed: &Deed<'_>) -> Result<bool, Error> {
    Ok(!db.query(REMOVE, &[&id, &deed.who, &deed.action, &deed.detail]).await?.is_empty())
}

/// The nodes that were removed and whose certificates may not have ended.
pub(super) async fn removed(db: &ControlDb) -> Result<HashSet<NodeId>, Error> {
    let rows = db.query(REMOVED, &[]).await?;
    let id = |row: &Row| row.try_get::<_, &str>(0).ok()?.parse().ok();
    Ok(rows.iter().filter_map(id).collect())
}

/// The nodes that are lost from now on.
pub(super) async fn lose_silent(db: &ControlDb, silence: Duration) -> Result<Vec<String>, Error> {
    let rows = db.query(LOSE_SILENT, &[&silence.as_secs_f64()]).await?;
    rows.iter().map(|it| Ok(it.try_get(0)?)).collect()
}
