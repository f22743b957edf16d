//! The statements on the control database, next to the types that they fill.
//!
//! A change and its line in the audit log are one statement: neither is ever there without the other.

use common::{ProjectId, ProjectRef};
use jiff::Timestamp;
use serde_json::Value;
use store::postgres::Row;

use crate::Error;
use crate::control_db::{ControlDb, Param};

/// A row of `madbase.projects`.
#[derive(Debug, Clone)]
pub(crate) struct ProjectRow {
    pub(crate) id: ProjectId,
    pub(crate) reference: ProjectRef,
    pub(crate) name: String,
    pub(crate) database: String,
    pub(crate) settings: Value,
    pub(crate) secrets: Vec<u8>,
    pub(crate) version: i64,
    pub(crate) fingerprint: String,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) deleted: bool,
}

impl ProjectRow {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            id: ProjectId(row.try_get(0)?),
            reference: row.try_get::<_, String>(1)?.parse()?,
            name: row.try_get(2)?,
            database: row.try_get(3)?,
            settings: row.try_get(4)?,
            secrets: row.try_get(5)?,
            version: row.try_get(6)?,
            fingerprint: row.try_get(7)?,
            created_at: row.try_get(8)?,
            updated_at: row.try_get(9)?,
            deleted: row.try_get(10)?,
        })
    }

    /// Whether it was provisioned at least once.
    pub(crate) fn is_ready(&self) -> bool {
        !self.fingerprint.is_empty()
    }
}

/// Who did what, for the audit log.
#[derive(Debug, Clone)]
pub(crate) struct Deed<'a> {
    pub(crate) who: &'a str,
    pub(crate) action: &'static str,
    pub(crate) detail: Value,
}

const FIND: &str = "\
    select id, ref, name, database, settings, secrets, version, fingerprint, created_at, updated_at, \
    deleted_at is not null from madbase.projects where ref = $1 and dropped_at is null";

const LIST: &str = "\
    select id, ref, name, database, settings, secrets, version, fingerprint, created_at, updated_at, \
    deleted_at is not null from madbase.projects where dropped_at is null order by created_at, ref limit 10000";

const INSERT: &str = "\
    with made as (\
      insert into madbase.projects (id, ref, name, database, secrets) values ($1, $2, $3, $4, $5) returning ref\
    ) insert into madbase.audit_log (who, action, project, detail) select $6, $7, ref, $8 from made";

const UPDATE: &str = "\
    with changed as (\
      update madbase.projects set name = $3, settings = $4, secrets = $5, updated_at = now(), \
        version = nextval('madbase.project_version') \
      where id = $1 and version = $2 and deleted_at is null returning ref, version\
    ), logged as (\
      insert into madbase.audit_log (who, action, project, detail) select $6, $7, ref, $8 from changed\
    ) select version from changed";

const MARK_DELETED: &str = "\
    with changed as (\
      update madbase.projects set deleted_at = now(), updated_at = now(), \
        version = nextval('madbase.project_version') where id = $1 and deleted_at is null returning ref\
    ), logged as (\
      insert into madbase.audit_log (who, action, project, detail) select $2, $3, ref, $4 from changed\
    ) select ref from changed";

const MARK_DROPPED: &str =
    "update madbase.projects set dropped_at = now(), secrets = '' where id = $1 and deleted_at is not null";

const MARK_CURRENT: &str = "update madbase.projects set fingerprint = $2 where id = $1";

const MARK_INSTALLATION: &str = "update madbase.installation set fingerprint = $1";

const STATE: &str = "\
    select i.fingerprint = $1 and not exists (\
        select from madbase.projects where dropped_at is null and (fingerprint <> $1 or deleted_at is not null)\
    ), p.id, p.secrets from madbase.installation as i left join madbase.projects as p \
    on p.ref = 'default' and p.dropped_at is null";

const AUDIT: &str = "\
    select id, at, who, action, project, detail from madbase.audit_log \
    where ($1::text is null or project = $1) and ($2::bigint is null or id < $2) order by id desc limit $3";

/// The project `reference`, also when it is half made or half deleted.
pub(crate) async fn find(db: &ControlDb, reference: &ProjectRef) -> Result<Option<ProjectRow>, Error> {
    let rows = db.query(FIND, &[&reference.as_str()]).await?;
    rows.first().map(ProjectRow::read).transpose()
}

/// Every project that has anything in the cluster, oldest first.
pub(crate) async fn list(db: &ControlDb) -> Result<Vec<ProjectRow>, Error> {
    db.query(LIST, &[]).await?.iter().map(ProjectRow::read).collect()
}

/// A new project, not provisioned yet.
pub(crate) struct NewRow<'a> {
    pub(crate) id: ProjectId,
    pub(crate) reference: &'a ProjectRef,
    pub(crate) name: &'a str,
    pub(crate) database: &'a str,
    pub(crate) secrets: &'a [u8],
}

pub(crate) async fn insert(db: &ControlDb, row: &NewRow<'_>, deed: &Deed<'_>) -> Result<(), Error> {
    let reference = row.reference.as_str();
    let params: [Param<'_>; 8] = [
        &row.id.0,
        &reference,
        &row.name,
        &row.database,
        &row.secrets,
        &deed.who,
        &deed.action,
        &deed.detail,
    ];
    db.query(INSERT, &params).await?;
    Ok(())
}

/// Store name, settings and secrets of `row` if nobody changed it since it was read; the new version.
pub(crate) async fn update(db: &ControlDb, row: &ProjectRow, deed: &Deed<'_>) -> Result<i64, Error> {
    let params: [Param<'_>; 8] = [
        &row.id.0,
        &row.version,
        &row.name,
        &row.settings,
        &row.secrets,
        &deed.who,
        &deed.action,
        &deed.detail,
    ];
    let rows = db.query(UPDATE, &params).await?;
    let changed = rows.first().ok_or_else(|| Error::Contended(row.reference.clone()))?;
    Ok(changed.try_get(0)?)
}

/// Mark as deleted; `false` when it was already.
pub(crate) async fn mark_deleted(db: &ControlDb, id: ProjectId, deed: &Deed<'_>) -> Result<bool, Error> {
    let rows = db.query(MARK_DELETED, &[&id.0, &deed.who, &deed.action, &deed.detail]).await?;
    Ok(!rows.is_empty())
}

/// Nothing is left of it in the cluster: forget its secrets.
pub(crate) async fn mark_dropped(db: &ControlDb, id: ProjectId) -> Result<(), Error> {
    db.query(MARK_DROPPED, &[&id.0]).await.map(drop)
}

/// The project's database is at `fingerprint`.
pub(crate) async fn mark_current(db: &ControlDb, id: ProjectId, fingerprint: &str) -> Result<(), Error> {
    db.query(MARK_CURRENT, &[&id.0, &fingerprint]).await.map(drop)
}

/// Everything is at `fingerprint`.
pub(crate) async fn mark_installation(db: &ControlDb, fingerprint: &str) -> Result<(), Error> {
    db.query(MARK_INSTALLATION, &[&fingerprint]).await.map(drop)
}

/// What start-up wants to know, by one query.
#[derive(Debug)]
pub(crate) struct State {
    /// Control database, default project and every other project are at the fingerprint asked for.
    pub(crate) is_current: bool,
    /// The default project's id and sealed secrets.
    pub(crate) default: Option<(ProjectId, Vec<u8>)>,
}

pub(crate) async fn state(db: &ControlDb, fingerprint: &str) -> Result<State, Error> {
    let rows = db.query(STATE, &[&fingerprint]).await?;
    let Some(row) = rows.first() else { return Ok(State { is_current: false, default: None }) };
    let id: Option<uuid::Uuid> = row.try_get(1)?;
    let secrets: Option<Vec<u8>> = row.try_get(2)?;
    Ok(State { is_current: row.try_get(0)?, default: id.map(ProjectId).zip(secrets) })
}

/// One line of the audit log.
#[derive(Debug, serde::Serialize)]
pub(crate) struct AuditLine {
    pub(crate) id: i64,
    pub(crate) at: Timestamp,
    pub(crate) who: String,
    pub(crate) action: String,
    pub(crate) project: Option<String>,
    pub(crate) detail: Value,
}

/// The newest `limit` lines, of `project` when given, older than line `before` when given.
pub(crate) async fn audit(
    db: &ControlDb,
    project: Option<&str>,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<AuditLine>, Error> {
    let rows = db.query(AUDIT, &[&project, &before, &limit]).await?;
    let read = |row: &Row| {
        Ok(AuditLine {
            id: row.try_get(0)?,
            at: row.try_get(1)?,
            who: row.try_get(2)?,
            action: row.try_get(3)?,
            project: row.try_get(4)?,
            detail: row.try_get(5)?,
        })
    };
    rows.iter().map(read).collect()
}
