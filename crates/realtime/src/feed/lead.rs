//! Leading: the slot is found or made, its stream is read, what comes is handed on, and confirmed after that.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use store::replication::{Lsn, Publication, Slots, Start, Stream};
use store::{Error, PgError};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use super::assemble::{Assembler, Portion, Position};
use super::herald::Herald;
use super::slot::{self, Plan};
use super::{Entry, Ground};

/// Whose tables are followed: what people publish, and what is sent by SQL.
const PUBLICATIONS: [&str; 2] = ["supabase_realtime", "supabase_realtime_messages_publication"];
/// The first wait after a failure; doubles up to [`LONGEST_WAIT`] while nothing comes.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Between two looks whether a commit is visible. A commit that waits for a standby can take long.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(50);
/// Longest wait for a new slot, which waits for transactions that write.
const CREATE_LIMIT: Duration = Duration::from_secs(60);
/// How long a slot may be read by a session that has lost its client.
const FREE_LIMIT: Duration = Duration::from_secs(5);
/// Subscribers who have just come may have been another process's: they get what was committed so shortly before.
const RECENT: Duration = Duration::from_secs(30);
/// Failures in a row to decode, after which the slot is made anew.
const MAX_FAILURES: u32 = 5;

/// What a process knows of a stream, as its leader or as a follower.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Memory {
    /// Handed on up to here.
    pub(super) position: Position,
    /// Complete transactions only.
    pub(super) safe: Lsn,
    /// Subscribers were promised that nothing is missed.
    pub(super) is_promised: bool,
}

/// Why a stream is read no more.
enum Stop {
    /// There is nothing to read.
    NoPublication,
    /// There is more or less to read than before.
    OtherPublications,
    Failed(Error),
}

impl Stop {
    /// Whether another slot may help. A server that starts or stops, or lets nobody in right now, says nothing of the slot,
    /// and a new one would lose what this one keeps.
    fn is_of_the_slot(&self) -> bool {
        match self {
            Self::Failed(Error::Statement(error)) => {
                !["08", "28", "53", "57"].iter().any(|class| error.code.starts_with(class))
            }
            Self::Failed(_) | Self::NoPublication | Self::OtherPublications => false,
        }
    }
}

impl From<Error> for Stop {
    fn from(it: Error) -> Self {
        Self::Failed(it)
    }
}

/// The reader of a project's stream.
pub(super) struct Leader<'a> {
    pub(super) ground: &'a Ground,
    pub(super) entry: &'a Arc<Entry>,
    pub(super) herald: &'a Herald<'a>,
    pub(super) memory: &'a mut Memory,
    /// What the last stream read.
    pub(super) publications: Vec<Publication>,
}

impl Leader<'_> {
    /// Read, and read again, for ever.
    pub(super) async fn run(&mut self) -> Infallible {
        let (mut wait, mut failures) = (FIRST_WAIT, 0);
        loop {
            let before = self.memory.position;
            let Err(stop) = self.read(failures >= MAX_FAILURES).await;
            let reason = self.tell(&stop);
            metrics::counter!("madbase_realtime_feed_restarts_total", "reason" => reason).increment(1);
            if self.memory.position > before {
                (wait, failures) = (FIRST_WAIT, 0);
            }
            failures += u32::from(stop.is_of_the_slot());
            sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Log it, and let subscribers know when they can expect nothing; a word for metrics.
    fn tell(&self, stop: &Stop) -> &'static str {
        let id = &self.entry.project;
        match stop {
            Stop::OtherPublications => "publications",
            Stop::NoPublication => {
                self.entry.fails("the publication supabase_realtime does not exist");
                "publications"
            }
            Stop::Failed(Error::Statement(error)) => {
                tracing::warn!(project.id = %id, code = error.code, %error, "PostgreSQL refuses the stream of changes");
                match advice(error) {
                    Some(advice) => self.entry.fails(advice),
                    None => self.entry.stumbles("PostgreSQL refuses the stream of changes"),
                }
                "refused"
            }
            Stop::Failed(error) => {
                let source = std::error::Error::source(error).map(tracing::field::display);
                tracing::info!(project.id = %id, %error, source, "the stream of changes is interrupted");
                self.entry.stumbles("the database cannot be reached");
                "lost"
            }
        }
    }

    async fn read(&mut self, renews: bool) -> Result<Infallible, Stop> {
        let slots = Slots::open(&self.ground.server, &self.entry.database).await?;
        self.keep_roots(&slots).await?;
        let publications = slots.publications(&PUBLICATIONS).await?;
        if publications.is_empty() {
            return Err(Stop::NoPublication);
        }
        let stream = self.open(&slots, &publications, renews).await?;
        // What was written while a publication was not there, or not read, came to nobody.
        let is_other = !self.publications.is_empty() && self.publications != publications;
        if is_other && self.memory.is_promised {
            self.herald.gap().await;
            self.entry.gap();
        }
        self.publications.clone_from(&publications);
        self.herald.begin(self.memory.position).await;
        self.memory.is_promised = true;
        self.entry.succeeds();
        self.pump(stream, &slots, &publications).await
    }

    /// Rows of partitions are told as rows of the table that people published, whose policies decide who sees them; also
    /// when somebody has made the publication anew.
    async fn keep_roots(&self, slots: &Slots) -> Result<(), Error> {
        let [ours, _] = PUBLICATIONS;
        match slots.publish_via_root(ours).await {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!(project.id = %self.entry.project, "rows of partitions are published as their tables'");
            }
            Err(Error::Statement(error)) => {
                tracing::warn!(project.id = %self.entry.project, %error, "rows of partitions are published under their names");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The stream, from where this process or the slot stands.
    async fn open(
        &mut self,
        slots: &Slots,
        publications: &[Publication],
        renews: bool,
    ) -> Result<Stream, Error> {
        let name = slot::name(&self.ground.locks, &self.entry.project);
        let found = slots.find(&name).await?;
        let plan = match slot::plan(found.as_ref(), !self.memory.is_promised, &self.ground.settings) {
            Plan::Resume if renews => Plan::Renew,
            plan => plan,
        };
        if found.is_some_and(|it| it.reader.is_some()) {
            // We have the lock: whoever reads has lost it.
            slots.free(&name).await?;
        }
        if plan == Plan::Renew {
            remove(slots, &name, "renewed").await?;
        }
        if plan != Plan::Resume {
            slots.create(&name, CREATE_LIMIT).await?;
            (self.memory.position, self.memory.safe) = (Position::default(), Lsn::ZERO);
            if self.memory.is_promised {
                self.herald.gap().await;
                self.entry.gap();
            }
        }
        let publications = publications.iter().map(|it| it.name.clone()).collect();
        let start = Start { slot: name, publications, from: self.memory.safe };
        patiently(|| Stream::start(&self.ground.server, &self.entry.database, &start)).await
    }

    async fn pump(
        &mut self,
        mut stream: Stream,
        slots: &Slots,
        publications: &[Publication],
    ) -> Result<Infallible, Stop> {
        let is_fresh = self.memory.position == Position::default();
        let oldest = is_fresh.then(|| self.entry.since - RECENT);
        let mut assembler = Assembler::new(self.memory.position, oldest);
        let every = self.ground.settings.check_every;
        let mut look = interval_at(Instant::now() + every, every);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = stream.next() => assembler.add(event?),
                _ = look.tick() => {
                    let there = alive_while(&mut stream, self.look(slots)).await??;
                    if there != publications {
                        return Err(Stop::OtherPublications);
                    }
                    continue;
                }
            }
            while !assembler.is_full()
                && let Some(event) = stream.try_next()?
            {
                assembler.add(event);
            }
            alive_while(&mut stream, until_visible(slots, &assembler.transactions())).await??;
            self.hand_on(&mut assembler, &mut stream).await?;
        }
    }

    /// To everybody; then the position is confirmed.
    async fn hand_on(&mut self, assembler: &mut Assembler, stream: &mut Stream) -> Result<(), Error> {
        let (portion, position, safe) = (assembler.take(), assembler.position(), assembler.safe());
        let is_empty = portion.is_empty();
        if !is_empty {
            self.count(&portion);
            let message = self.herald.write(&portion, position, safe);
            // A task of its own, so that it ends also when we lead no more meanwhile.
            let entry = Arc::clone(self.entry);
            let delivered = tokio::spawn(async move { entry.deliver(portion).await });
            self.memory.position = position;
            let herald = self.herald;
            let ((), done) =
                alive_while(stream, async { tokio::join!(herald.tell(message), delivered) }).await?;
            if let Err(error) = done {
                tracing::error!(project.id = %self.entry.project, %error, "changes were not delivered");
            }
        }
        if safe > self.memory.safe {
            self.memory.safe = safe;
        }
        stream.confirm(safe, !is_empty);
        Ok(())
    }

    fn count(&self, portion: &Portion) {
        metrics::counter!("madbase_realtime_feed_changes_total").increment(portion.changes.len() as u64);
        metrics::counter!("madbase_realtime_feed_messages_total").increment(portion.broadcasts.len() as u64);
        if !portion.changes.is_empty() || portion.truncated {
            self.ground.versions.iter().for_each(|it| it.observed(&self.entry.project));
        }
    }

    /// Measure the slot; the publications that there are now.
    async fn look(&self, slots: &Slots) -> Result<Vec<Publication>, Error> {
        let name = slot::name(&self.ground.locks, &self.entry.project);
        if let Some(slot) = slots.find(&name).await? {
            measure(&self.entry.database, slot.lag_bytes, slot.held_bytes);
        }
        slots.publications(&PUBLICATIONS).await
    }

    /// Nobody needs the slot.
    pub(super) async fn remove_slot(&self) {
        measure(&self.entry.database, 0, 0);
        let removing = async {
            let slots = Slots::open(&self.ground.server, &self.entry.database).await?;
            remove(&slots, &slot::name(&self.ground.locks, &self.entry.project), "idle").await
        };
        if let Err(error) = removing.await {
            tracing::warn!(project.id = %self.entry.project, %error, "a replication slot is left for later");
        }
    }
}

/// A commit is told before other sessions see its rows: policies and caches would still see what was before.
async fn until_visible(slots: &Slots, xids: &[u32]) -> Result<(), Error> {
    let mut wait = FIRST_LOOK;
    while !xids.is_empty() && !slots.are_visible(xids).await? {
        sleep(wait).await;
        wait = (wait * 2).min(LAST_LOOK);
    }
    Ok(())
}

fn measure(database: &str, lag_bytes: u64, held_bytes: u64) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    let (lag, held) = (lag_bytes as f64, held_bytes as f64);
    metrics::gauge!("madbase_realtime_feed_lag_bytes", "database" => database.to_owned()).set(lag);
    metrics::gauge!("madbase_realtime_feed_held_bytes", "database" => database.to_owned()).set(held);
}

/// What the operator can do about it.
fn advice(error: &PgError) -> Option<&'static str> {
    match error.code.as_str() {
        "55000" => Some("PostgreSQL must run with wal_level=logical"),
        "42501" => Some("the administrator's login may not replicate: alter role … replication"),
        "53400" => Some("PostgreSQL has no free replication slot: raise max_replication_slots"),
        "53300" => Some("PostgreSQL has no free sender: raise max_wal_senders"),
        _ => None,
    }
}

/// Remove the slot `name`; whoever reads it is ended.
pub(super) async fn remove(slots: &Slots, name: &str, reason: &'static str) -> Result<(), Error> {
    slots.free(name).await?;
    if patiently(|| slots.remove(name)).await? {
        metrics::counter!("madbase_realtime_feed_slots_removed_total", "reason" => reason).increment(1);
    }
    Ok(())
}

/// Again and again while a slot is read by a session that was ended a moment ago.
async fn patiently<T, F>(attempt: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let trying = async {
        loop {
            match attempt().await {
                Err(Error::Statement(it)) if it.code == "55006" => sleep(FIRST_WAIT / 2).await,
                other => return other,
            }
        }
    };
    timeout(FREE_LIMIT, trying).await.unwrap_or_else(|late| Err(Error::Connect(late.into())))
}

/// Do `work` while the server is told that we live.
async fn alive_while<T>(stream: &mut Stream, work: impl Future<Output = T>) -> Result<T, Error> {
    tokio::select! {
        biased;
        done = work => Ok(done),
        error = stream.stay_alive() => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_starts_or_is_full_costs_no_slot() {
        let check = |code: &str| {
            let (code, message) = (code.to_owned(), String::new());
            Stop::from(Error::Statement(PgError { code, message, detail: None, hint: None })).is_of_the_slot()
        };
        for passing in ["57P03", "57P01", "53300", "08006", "28000"] {
            assert!(!check(passing), "{passing}");
        }
        for lasting in ["55000", "58P01", "XX000", "42704"] {
            assert!(check(lasting), "{lasting}");
        }
    }
}
