//! Subscriptions against a real PostgreSQL: rows are really written, and their changes told as the stream would tell them.

mod filters;
mod payloads;
mod refusals;
mod rights;
mod scale;

use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value as Json;
use store::postgres::{Client, Row, SimpleQueryMessage};
use testkit::TestProject;
use uuid::Uuid;

use super::*;
use crate::change::{Change, Column, Kind, Value};
use crate::tokens;

/// A project with tables, and its subscriptions.
struct World {
    project: TestProject,
    admin: Client,
    changes: Changes,
}

/// A topic of a socket that subscribed.
struct Seat {
    outbox: Outbox,
    ids: Vec<i64>,
    subscription: Subscription,
}

impl World {
    /// A project in whose database `sql` was run; every table of `public` is published.
    async fn new(name: &str, sql: &str) -> Self {
        let project = testkit::project(name).await;
        let admin = project.admin().await;
        admin.batch_execute(sql).await.unwrap();
        admin.batch_execute("alter publication supabase_realtime add tables in schema public").await.unwrap();
        let changes = Changes::new(project.databases.clone(), Arc::clone(&project.project));
        Self { project, admin, changes }
    }

    async fn run(&self, sql: &str) {
        self.admin.batch_execute(sql).await.unwrap();
    }

    /// Subscribe in a topic of its own.
    async fn join(&self, caller: &Caller, wanted: Json) -> Result<Seat, Refusal> {
        self.join_topic(caller, wanted, &Uuid::new_v4().to_string()).await
    }

    async fn join_topic(&self, caller: &Caller, wanted: Json, topic: &str) -> Result<Seat, Refusal> {
        let list = if wanted.is_array() { wanted } else { json!([wanted]) };
        let outbox = Outbox::new(1, usize::MAX);
        let topic = format!("realtime:{topic}").into();
        let wanted = Wanted::list(Some(&list));
        let (ids, subscription) = self.changes.subscribe(caller, &wanted, &topic, &outbox).await?;
        Ok(Seat { outbox, ids, subscription })
    }

    fn role(&self, role: &str) -> Caller {
        self.project.caller(role)
    }

    /// The table as the stream would describe it.
    async fn table(&self, name: &str) -> Arc<Table> {
        let sql = format!(
            "select a.attname::text, a.atttypid, c.oid, c.relreplident = 'f',
                c.relreplident = 'f' or coalesce(a.attnum = any (k.indkey::int2[]), false)
             from pg_class c join pg_attribute a on a.attrelid = c.oid
             left join pg_index k on k.indrelid = c.oid and k.indisprimary
             where c.oid = 'public.{name}'::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum"
        );
        let rows = self.admin.query(&sql, &[]).await.unwrap();
        let column = |it: &Row| Column { name: it.get(0), type_oid: it.get(1), is_key: it.get(4) };
        let columns = rows.iter().map(column).collect();
        Arc::new(Table {
            oid: rows[0].get(2),
            schema: "public".into(),
            name: name.into(),
            is_full: rows[0].get(3),
            columns,
        })
    }

    /// The rows that `sql` returns, whole, as the stream would tell them.
    async fn rows(&self, sql: &str) -> Vec<Vec<Value>> {
        let text = |it: Option<&str>| it.map_or(Value::Null, |it| Value::Text(it.to_owned().into()));
        let messages = self.admin.simple_query(sql).await.unwrap();
        let rows = messages.iter().filter_map(|it| match it {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|idx| text(row.get(idx))).collect()),
            _ => None,
        });
        rows.collect()
    }

    /// Write rows by `sql` (with `returning *`) and tell the subscribers.
    async fn insert(&self, table: &Arc<Table>, sql: &str) {
        let rows = self.rows(sql).await;
        let changes = rows.into_iter().map(|it| change(table, Kind::Insert, Some(it), None)).collect();
        self.changes.apply(Arc::new(Batch { changes })).await;
    }

    /// Statements about the visibility of rows until now.
    fn asked(&self) -> u64 {
        self.changes.asker.asked.load(Ordering::Relaxed)
    }

    async fn apply(&self, changes: Vec<Change>) {
        self.changes.apply(Arc::new(Batch { changes })).await;
    }
}

fn change(table: &Arc<Table>, kind: Kind, new: Option<Vec<Value>>, old: Option<Vec<Value>>) -> Change {
    Change { table: Arc::clone(table), kind, committed_at: committed_at(), new, old }
}

fn committed_at() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_700_000_000_123)
}

impl Seat {
    /// The events that came, and nothing before them.
    fn events(&self) -> Vec<Arc<Event>> {
        let mut events = Vec::new();
        loop {
            let taken = self.outbox.take(&Context::from_waker(Waker::noop()), true).0;
            if taken.is_empty() {
                return events;
            }
            events.extend(taken);
        }
    }

    /// The payloads that came.
    fn payloads(&self) -> Vec<Json> {
        let payload = |it: &Arc<Event>| match &it.payload {
            crate::event::Payload::Json(it) => serde_json::from_slice(it).unwrap(),
            crate::event::Payload::Broadcast { .. } => panic!("a broadcast"),
        };
        self.events().iter().map(payload).collect()
    }

    /// One field of each record that came, or the errors that came instead.
    fn got(&self, field: &str) -> Vec<String> {
        let show = |it: Json| match &it["data"]["errors"] {
            Json::Null => it["data"]["record"][field].to_string(),
            errors => errors[0].as_str().unwrap().to_owned(),
        };
        self.payloads().into_iter().map(show).collect()
    }
}

/// A user's id that is easy to recognise.
fn user(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// A table whose rows belong to users.
const NOTES: &str = "
create table notes (id int primary key, owner uuid, body text);
alter table notes enable row level security;
create policy own on notes for select using (owner = auth.uid());
grant select on notes to anon, authenticated, service_role;";
