//! Read replicas on two (and three) real PostgreSQL servers: where reads go, what callers see, what is survived.

mod losses;
mod routing;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use store::{CallerKey, Database, End, PoolSettings, ReplicaSettings, Session};
use testkit::TestStandby;

use crate::data_path::{single, statement};
use crate::support::{Fixture, eventually};

/// Nobody: a caller that never writes.
const BOB: &str = "bob";
/// Where a read was answered.
const HERE: &str = "select case when pg_is_in_recovery() then 'replica' else 'primary' end";

fn caller(subject: &str) -> Session {
    Session { caller: Some(CallerKey::of_subject(subject, None)), ..Session::default() }
}

impl Fixture {
    /// This fixture's database, with replicas at `urls`.
    async fn replicated(&self, urls: &[&str], max_lag: Duration) -> Arc<Database> {
        let servers = urls.iter().map(|it| self.server.replica(it).unwrap()).collect();
        let replicas = ReplicaSettings { servers, max_lag };
        let databases =
            store::Databases::with_replicas(self.server.clone(), replicas, PoolSettings::default());
        let database = databases.of(&self.project("one")).await;
        // The replicas are watched as long as this lives.
        LIVING.lock().unwrap().push(databases);
        database
    }
}

static LIVING: std::sync::Mutex<Vec<store::Databases>> = std::sync::Mutex::new(Vec::new());

/// A database with a table `notes` and one replica that answers.
async fn with_notes(db: &Fixture, standby: &TestStandby) -> Arc<Database> {
    db.execute("create table notes (id int primary key); grant all on notes to public").await;
    standby.catch_up().await;
    let database = db.replicated(&[standby.url()], ReplicaSettings::MAX_LAG).await;
    until(&database, BOB, "replica").await;
    database
}

/// Where a read of `subject` is answered.
async fn place(database: &Database, subject: &str) -> String {
    single(&database.read(&caller(subject), &statement(HERE, &[])).await.unwrap()).to_owned()
}

/// Wait until reads of `subject` are answered at `wanted`.
async fn until(database: &Database, subject: &str, wanted: &str) {
    eventually("where reads are answered", async || {
        let seen = place(database, subject).await;
        if seen == wanted { Ok(()) } else { Err(seen) }
    })
    .await;
}

/// `subject` writes a note.
async fn note(database: &Database, subject: &str, id: u32) {
    let insert = statement("insert into notes values ($1::int)", &[&id.to_string()]);
    database.write(&caller(subject), &insert, End::Commit).await.unwrap();
}

/// How many notes `subject` sees, and where.
async fn notes(database: &Database, subject: &str) -> (String, String) {
    let text = "select count(*), case when pg_is_in_recovery() then 'replica' else 'primary' end from notes";
    let answer = database.read(&caller(subject), &statement(text, &[])).await.unwrap();
    let row = answer.rows.first().unwrap();
    (row.text(0).unwrap().to_owned(), row.text(1).unwrap().to_owned())
}

/// What [`notes`] gives.
fn seen(count: u32, place: &str) -> (String, String) {
    (count.to_string(), place.to_owned())
}
