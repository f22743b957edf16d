//! What the catalog says of tables with subscribers: columns, keys, who may see what, and what policies read.
//!
//! Facts are at most [`OLDEST`] old when a batch is matched with them, so a right that was taken away is gone after that
//! long; under row-level security PostgreSQL is asked about every row anyway. Cost: one round trip, two when policies
//! changed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use store::{Answer, Database, Error, Session, Statement};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::array;
use super::claims::{FINGERPRINT, Readers, Reads, SOURCE, Source};
use super::guard::Guard;
use super::json::Shape;
use super::published::{Name, Published};
use super::scalar::Family;

/// How old facts may be when they are used.
pub(super) const OLDEST: Duration = Duration::from_secs(1);
/// Tables remembered; beyond that all are forgotten and read anew.
const MOST: usize = 4096;

/// A table.
#[derive(Debug, PartialEq)]
pub(super) struct TableFacts {
    pub(super) oid: u32,
    pub(super) columns: Vec<ColumnFacts>,
    roles: HashMap<String, Rights>,
    /// Of its policies for `SELECT`.
    pub(super) reads: Reads,
    /// What they ask for, as far as it is understood.
    pub(super) guard: Guard<String>,
    /// Which of the given rows a caller sees; parameters are arrays of the primary key's columns. Answers with the rows'
    /// numbers (1-based), separated by commas.
    pub(super) visible: Arc<str>,
}

/// A column.
#[derive(Debug, PartialEq)]
pub(super) struct ColumnFacts {
    pub(super) name: String,
    /// As clients know it: `int8`, `_text`.
    pub(super) type_name: String,
    pub(super) family: Family,
    pub(super) shape: Shape,
    /// The type as it stands in statements.
    pub(super) cast: String,
    /// Of the primary key.
    pub(super) is_key: bool,
    pub(super) has_pattern: bool,
}

/// What a role may see of a table.
#[derive(Debug, PartialEq)]
pub(super) struct Rights {
    /// Rows are subject to policies.
    pub(super) is_checked: bool,
    /// Whether each column may be read.
    pub(super) columns: Vec<bool>,
}

impl Rights {
    /// Whether nothing at all may be seen.
    pub(super) fn is_none(&self) -> bool {
        !self.columns.contains(&true)
    }
}

impl TableFacts {
    /// The rights of `role`; none when there is no such role.
    pub(super) fn rights(&self, role: &str) -> Option<&Rights> {
        self.roles.get(role)
    }

    /// The column `name` and where it stands.
    pub(super) fn column(&self, name: &str) -> Option<(usize, &ColumnFacts)> {
        self.columns.iter().enumerate().find(|(_, it)| it.name == name)
    }
}

/// The facts of one project's tables.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    known: Mutex<Known>,
    published: Published,
}

#[derive(Debug, Default)]
struct Known {
    tables: HashMap<u32, Entry>,
    /// Roles that anybody subscribed as.
    roles: HashSet<String>,
    readers: Option<(String, Arc<Readers>)>,
}

#[derive(Debug)]
struct Entry {
    read_at: Instant,
    facts: Arc<TableFacts>,
}

impl Catalog {
    /// The published tables that each of `names` means, at most [`OLDEST`] ago.
    pub(super) async fn published(
        &self,
        database: &Database,
        names: HashSet<Name>,
    ) -> Result<HashMap<Name, Arc<[u32]>>, Error> {
        self.published.tables(database, names).await
    }

    /// The facts of the tables `oids` for `roles`, at most [`OLDEST`] old; tables that are gone are left out.
    pub(super) async fn tables(
        &self,
        database: &Database,
        oids: &[u32],
        roles: &[&str],
    ) -> Result<HashMap<u32, Arc<TableFacts>>, Error> {
        let mut known = self.known.lock().await;
        let is_new = roles.iter().filter(|it| !known.roles.contains(**it)).count() > 0;
        let now = Instant::now();
        if is_new || known.tables.len() > MOST {
            known.tables.clear();
            known.roles =
                if known.roles.len() > MOST { HashSet::new() } else { std::mem::take(&mut known.roles) };
            known.roles.extend(roles.iter().map(|it| (*it).to_owned()));
        }
        let is_fresh = |it: &u32| known.tables.get(it).is_some_and(|it| now - it.read_at <= OLDEST);
        let stale: Vec<u32> = oids.iter().copied().filter(|it| !is_fresh(it)).collect();
        if !stale.is_empty() {
            known.read(database, &stale).await?;
        }
        let found = oids.iter().filter_map(|it| Some((*it, Arc::clone(&known.tables.get(it)?.facts))));
        Ok(found.collect())
    }
}

impl Known {
    async fn read(&mut self, database: &Database, oids: &[u32]) -> Result<(), Error> {
        let read_at = Instant::now();
        let numbers: Vec<String> = oids.iter().map(ToString::to_string).collect();
        let numbers = array::literal(numbers.iter().map(|it| Some(it.as_bytes())));
        let roles = array::literal(self.roles.iter().map(|it| Some(it.as_bytes())));
        let (tables, fingerprint) = tokio::try_join!(
            ask(database, TABLES, vec![numbers, roles]),
            ask(database, FINGERPRINT, Vec::new())
        )?;
        let found: Vec<Raw> = tables.rows.iter().filter_map(|it| parse(it.bytes(0)?)).collect();
        let readers = if found.iter().any(|it| it.is_guarded) {
            self.readers(database, text(&fingerprint)).await?
        } else {
            Arc::default()
        };
        let mut before: HashMap<u32, Entry> =
            oids.iter().filter_map(|it| self.tables.remove_entry(it)).collect();
        for raw in found {
            let reads = if raw.is_guarded { readers.reads(raw.oid) } else { Reads::default() };
            let facts = raw.into_facts(reads);
            // The same object as long as nothing changed: what was made of it stays good.
            let same = before.remove(&facts.oid).map(|it| it.facts).filter(|it| **it == facts);
            let facts = same.unwrap_or_else(|| Arc::new(facts));
            self.tables.insert(facts.oid, Entry { read_at, facts });
        }
        Ok(())
    }

    /// What policies call, read anew when it changed.
    async fn readers(&mut self, database: &Database, fingerprint: String) -> Result<Arc<Readers>, Error> {
        if let Some((known, readers)) = &self.readers
            && *known == fingerprint
        {
            return Ok(Arc::clone(readers));
        }
        let answer = ask(database, SOURCE, Vec::new()).await?;
        let source = answer.rows.first().and_then(|it| parse::<Source>(it.bytes(0)?));
        let source = source.ok_or_else(|| Error::Lost("the catalog's answer cannot be read".into()))?;
        let readers = Arc::new(Readers::from(source));
        self.readers = Some((fingerprint, Arc::clone(&readers)));
        Ok(readers)
    }
}

/// Ask as the data path's own login, to whom no schema is visible but `pg_catalog`.
pub(super) async fn ask(
    database: &Database,
    text: &'static str,
    params: Vec<Vec<u8>>,
) -> Result<Answer, Error> {
    let session = Session { settings: vec![("search_path".into(), String::new())], ..Session::default() };
    let params = params.into_iter().map(|it| Some(Bytes::from(it))).collect();
    database.read(&session, &Statement { text: text.into(), params }).await
}

fn text(answer: &Answer) -> String {
    answer.rows.first().and_then(|it| it.text(0)).unwrap_or_default().to_owned()
}

fn parse<T: serde::de::DeserializeOwned>(json: &Bytes) -> Option<T> {
    serde_json::from_slice(json)
        .inspect_err(|error| tracing::error!(%error, "the catalog's answer cannot be read"))
        .ok()
}

/// A row of [`TABLES`].
#[derive(Debug, Deserialize)]
struct Raw {
    oid: u32,
    schema: String,
    name: String,
    /// Has row-level security.
    is_guarded: bool,
    columns: Vec<RawColumn>,
    /// The permissive ones for `SELECT`.
    policies: Vec<Option<String>>,
    /// Name, whether policies apply, the columns that may be read.
    roles: Vec<(String, bool, Vec<i16>)>,
}

#[derive(Debug, Deserialize)]
struct RawColumn {
    number: i16,
    name: String,
    type_name: String,
    /// Of the type below all domains.
    base: u32,
    kind: String,
    cast: String,
    /// Of an array's elements; 0 when it is none.
    element: u32,
    delimiter: Option<String>,
    is_key: bool,
    has_pattern: bool,
}

impl Raw {
    fn into_facts(self, reads: Reads) -> TableFacts {
        let visible = self.visible().into();
        let numbers: Vec<i16> = self.columns.iter().map(|it| it.number).collect();
        let rights = |(name, is_checked, readable): (String, bool, Vec<i16>)| {
            let columns = numbers.iter().map(|it| readable.contains(it)).collect();
            (name, Rights { is_checked, columns })
        };
        let roles = self.roles.into_iter().map(rights).collect();
        let columns = self.columns.into_iter().map(RawColumn::into_facts).collect();
        // Without it, callers with different ids may be decided as one.
        let guard = if reads.has_subject() { Guard::of(&self.policies) } else { Guard::Unknown };
        TableFacts { oid: self.oid, columns, roles, reads, guard, visible }
    }

    /// Everything in it is our own text or a quoted name of the catalog's.
    fn visible(&self) -> String {
        let mut arrays = String::new();
        let mut names = String::new();
        let mut equal = String::new();
        for (idx, column) in self.columns.iter().filter(|it| it.is_key).enumerate() {
            let (comma, and) = if idx > 0 { (", ", " and ") } else { ("", "") };
            let number = idx + 1;
            arrays.push_str(&format!("{comma}${number}::{}[]", column.cast));
            names.push_str(&format!("k{number}, "));
            equal.push_str(&format!("{and}t.{} = x.k{number}", quoted(&column.name)));
        }
        format!(
            "select string_agg(x.n::text, ',') from unnest({arrays}) with ordinality as x({names}n) \
             where exists (select from {}.{} as t where {equal})",
            quoted(&self.schema),
            quoted(&self.name)
        )
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl RawColumn {
    fn into_facts(self) -> ColumnFacts {
        let delimiter = self.delimiter.and_then(|it| it.chars().next()).unwrap_or(',');
        ColumnFacts {
            name: self.name,
            type_name: self.type_name,
            family: Family::of(self.base, self.kind.chars().next().unwrap_or('b')),
            shape: if self.element == 0 {
                Shape::of(self.base)
            } else {
                Shape::list(self.element, delimiter)
            },
            cast: self.cast,
            is_key: self.is_key,
            has_pattern: self.has_pattern,
        }
    }
}

/// [`Raw`] of the tables `$1` for the roles `$2`. Who may not use the schema may read nothing of the table.
const TABLES: &str = "
select json_build_object(
    'oid', c.oid::int8,
    'schema', s.nspname,
    'name', c.relname,
    'is_guarded', c.relrowsecurity,
    'policies', (select coalesce(json_agg(pg_catalog.pg_get_expr(p.polqual, p.polrelid)), '[]')
        from pg_catalog.pg_policy as p where p.polrelid = c.oid and p.polpermissive and p.polcmd in ('r', '*')),
    'columns', (select coalesce(json_agg(json_build_object(
            'number', a.attnum,
            'name', a.attname,
            'type_name', t.typname,
            'base', base.oid::int8,
            'kind', base.typtype,
            'cast', pg_catalog.format_type(a.atttypid, -1),
            'element', coalesce(element.oid::int8, 0),
            'delimiter', element.typdelim,
            'is_key', coalesce(a.attnum = any (k.indkey::int2[]), false),
            'has_pattern', exists (select from pg_catalog.pg_operator as o where o.oprname = '~~'
                and o.oprleft = case base.oid when 1043 then 25 else base.oid end)) order by a.attnum), '[]')
        from pg_catalog.pg_attribute as a
        join pg_catalog.pg_type as t on t.oid = a.atttypid
        left join pg_catalog.pg_index as k on k.indrelid = c.oid and k.indisprimary
        cross join lateral (
            with recursive chain as (
                select t.oid, t.typtype, t.typbasetype, t.typelem, t.typcategory
                union all
                select b.oid, b.typtype, b.typbasetype, b.typelem, b.typcategory
                from chain join pg_catalog.pg_type as b on b.oid = chain.typbasetype where chain.typtype = 'd')
            select * from chain where typtype <> 'd') as base
        left join pg_catalog.pg_type as element
            on element.oid = base.typelem and base.typelem <> 0 and base.typcategory = 'A'
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
    'roles', (select coalesce(json_agg(json_build_array(
            r.rolname,
            c.relrowsecurity and not r.rolsuper and not r.rolbypassrls
                and (c.relforcerowsecurity or not pg_catalog.pg_has_role(r.oid, c.relowner, 'usage')),
            (select coalesce(json_agg(a.attnum), '[]') from pg_catalog.pg_attribute as a
                where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                    and pg_catalog.has_schema_privilege(r.oid, s.oid, 'usage')
                    and pg_catalog.has_column_privilege(r.oid, c.oid, a.attnum, 'select')))), '[]')
        from pg_catalog.pg_roles as r where r.rolname = any ($2::text[]))
)::text
from pg_catalog.pg_class as c
join pg_catalog.pg_namespace as s on s.oid = c.relnamespace
where c.oid = any ($1::oid[])";
