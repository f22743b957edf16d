//! Which tables can be subscribed to: those of the project's publication, by the names that clients give.
//!
//! Looked up once a second at most for each name, so that a thousand joins of one table cost no more than one.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use store::{Database, Error};
use tokio::time::Instant;

use super::array;
use super::facts::{OLDEST, ask};

/// Whose tables can be subscribed to.
const PUBLICATION: &str = "supabase_realtime";
/// Names remembered; beyond that all are forgotten.
const MOST: usize = 4096;

/// Schema and table; `*` is all.
pub(super) type Name = (String, String);

/// What was looked up lately.
#[derive(Debug, Default)]
pub(super) struct Published(Mutex<HashMap<Name, Found>>);

/// When, and the OIDs.
type Found = (Instant, Arc<[u32]>);

impl Published {
    /// The OIDs of the published tables that each of `names` means.
    pub(super) async fn tables(
        &self,
        database: &Database,
        names: HashSet<Name>,
    ) -> Result<HashMap<Name, Arc<[u32]>>, Error> {
        let now = Instant::now();
        let (mut found, mut missing) = (HashMap::new(), Vec::new());
        {
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for name in names {
                match known.get(&name).filter(|it| now - it.0 <= OLDEST) {
                    Some((_, oids)) => drop(found.insert(name, Arc::clone(oids))),
                    None => missing.push(name),
                }
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let looked = look(database, missing).await?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > MOST {
            known.clear();
        }
        known.extend(looked.iter().map(|(name, oids)| (name.clone(), (now, Arc::clone(oids)))));
        found.extend(looked);
        Ok(found)
    }
}

async fn look(database: &Database, names: Vec<Name>) -> Result<Vec<(Name, Arc<[u32]>)>, Error> {
    let schemas = array::literal(names.iter().map(|it| Some(it.0.as_bytes())));
    let tables = array::literal(names.iter().map(|it| Some(it.1.as_bytes())));
    let answer = ask(database, PUBLISHED, vec![PUBLICATION.into(), schemas, tables]).await?;
    let mut found: Vec<Vec<u32>> = vec![Vec::new(); names.len()];
    for row in &answer.rows {
        let number = |idx: usize| row.text(idx).and_then(|it| it.parse::<u32>().ok());
        let (Some(place), Some(oid)) = (number(0), number(1)) else { continue };
        let place = usize::try_from(place).ok().and_then(|it| found.get_mut(it.checked_sub(1)?));
        place.into_iter().for_each(|it| it.push(oid));
    }
    Ok(names.into_iter().zip(found.into_iter().map(Arc::from)).collect())
}

/// Number (1-based) of each entry of `$2` and `$3`, and the OID of a table that it means.
const PUBLISHED: &str = "
select w.n::text, c.oid::int8::text
from unnest($2::text[], $3::text[]) with ordinality as w (schema, name, n)
join pg_catalog.pg_publication_tables as p
    on (w.schema = '*' or p.schemaname = w.schema) and (w.name = '*' or p.tablename = w.name)
join pg_catalog.pg_namespace as s on s.nspname = p.schemaname
join pg_catalog.pg_class as c on c.relnamespace = s.oid and c.relname = p.tablename
where p.pubname = $1::text
limit 2000";
