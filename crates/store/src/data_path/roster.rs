//! Who works on what: the open connections of a project and the jobs that wait for one. Decides, does nothing else.
//!
//! A read whose statement is known to be quick joins other quick ones as soon as the server's processors have
//! connections to work for. Else a read goes to an idle connection, else behind a read that was sent just now (so that a
//! slow one keeps nobody waiting), else it waits. A write goes to an idle connection and has it alone, or with others that
//! may share its transaction. Waiting jobs are taken in the order they came; a connection is kept free for reads, and one
//! is reserved when a write would otherwise never get one.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

use super::job::Job;
use super::pace::{Pace, Paces};

/// Most jobs in flight on one connection.
pub(super) const DEPTH: usize = 32;
/// Most jobs given to a connection at once that are not known to be quick.
const BUNDLE: usize = 8;
/// Most writes that share a transaction.
const MOST_WRITES: usize = 16;
/// Most jobs in flight on a connection that a job is put on without having waited.
const SHALLOW: usize = 2;
/// A connection whose front job runs longer than this gets no further jobs.
const SLOW: Duration = Duration::from_millis(5);
/// Most jobs that wait.
const MOST_WAITING: usize = 16 * 1024;

/// A connection as the roster sees it.
#[derive(Debug)]
struct Link {
    id: u64,
    jobs: Sender<Job>,
    in_flight: usize,
    /// Which of its jobs in flight are quick, in their order.
    quick: VecDeque<bool>,
    /// A write has it alone.
    writing: bool,
    /// Takes no more reads, so that a write gets it once it is idle.
    reserved: bool,
    /// When its front job was sent, or when it became idle.
    since: Instant,
}

/// Connections and waiting jobs of one project.
#[derive(Debug)]
pub(super) struct Roster {
    links: Vec<Link>,
    reads: VecDeque<Job>,
    writes: VecDeque<Job>,
    /// Connections being made.
    pub(super) opening: usize,
    /// Most connections.
    most: usize,
    /// So many busy connections keep the server's processors busy.
    spread: usize,
    paces: Paces,
    /// No new jobs; connections end when they have nothing to do.
    draining: bool,
    next_id: u64,
}

impl Roster {
    pub(super) fn new(most: usize, spread: usize) -> Self {
        let (reads, writes) = (VecDeque::new(), VecDeque::new());
        Self {
            links: Vec::new(),
            reads,
            writes,
            opening: 0,
            most: most.max(1),
            spread,
            paces: Paces::default(),
            draining: false,
            next_id: 0,
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }

    pub(super) fn open_count(&self) -> usize {
        self.links.len()
    }

    pub(super) fn busy_count(&self) -> usize {
        self.links.iter().filter(|it| it.in_flight > 0).count()
    }

    pub(super) fn waiting_count(&self) -> usize {
        self.reads.len() + self.writes.len()
    }

    /// Give `job` to a connection; a job that comes back must wait.
    pub(super) fn place(&mut self, mut job: Job, now: Instant) -> Option<Job> {
        let read = job.mode.is_read();
        let quick = self.is_quick(&mut job);
        loop {
            let Some(idx) = self.choose(read, quick, now) else { return Some(job) };
            let Some(link) = self.links.get_mut(idx) else { return Some(job) };
            match link.jobs.try_send(job) {
                Ok(()) => {
                    if link.in_flight == 0 {
                        link.since = now;
                    }
                    link.in_flight += 1;
                    link.quick.push_back(quick);
                    link.writing = !read;
                    return None;
                }
                // It has just ended.
                Err(it) => {
                    job = it.into_inner();
                    self.links.swap_remove(idx);
                }
            }
        }
    }

    /// Whether `job` is known to be quick; where that counts, it remembers to learn it.
    fn is_quick(&mut self, job: &mut Job) -> bool {
        job.has_pace() && job.pace.get_or_insert_with(|| self.paces.of(job.key)).is_quick()
    }

    fn choose(&self, read: bool, quick: bool, now: Instant) -> Option<usize> {
        let free = || self.links.iter().enumerate().filter(|(_, it)| !it.writing && !it.reserved);
        // The one used last: the others may fall asleep.
        let idle = || free().filter(|(_, it)| it.in_flight == 0).max_by_key(|(_, it)| it.since);
        if !read {
            let may = self.writes.is_empty() && self.writers() < self.most_writers();
            return if may { idle().map(|(idx, _)| idx) } else { None };
        }
        if !self.reads.is_empty() {
            return None;
        }
        let shared = || {
            let quick = |it: &Link| it.in_flight < SHALLOW && now.duration_since(it.since) < SLOW;
            free().filter(|(_, it)| quick(it)).min_by_key(|(_, it)| it.in_flight)
        };
        if quick
            && self.busy_count() >= self.spread
            && let Some(idx) = self.company(now)
        {
            return Some(idx);
        }
        let full = self.links.len() >= self.most;
        idle().or_else(|| if full { shared() } else { None }).map(|(idx, _)| idx)
    }

    /// The connection whose jobs a quick one can join: busy, quick, and moving.
    fn company(&self, now: Instant) -> Option<usize> {
        let links = self.links.iter().enumerate();
        links
            .filter(|(_, it)| !it.writing && !it.reserved && (1..DEPTH).contains(&it.in_flight))
            .filter(|(_, it)| now.duration_since(it.since) < SLOW && it.quick.iter().all(|it| *it))
            .min_by_key(|(_, it)| it.in_flight)
            .map(|(idx, _)| idx)
    }

    /// Let `job` wait behind the others; it comes back when too many do.
    pub(super) fn wait(&mut self, job: Job) -> Option<Job> {
        if self.waiting_count() >= MOST_WAITING {
            self.reads.retain(|it| !it.is_abandoned());
            self.writes.retain(|it| !it.is_abandoned());
        }
        if self.waiting_count() >= MOST_WAITING {
            return Some(job);
        }
        self.queue(&job).push_back(job);
        self.reserve();
        None
    }

    /// Let `job`, which lost its connection, wait before the others.
    pub(super) fn wait_first(&mut self, job: Job) {
        self.queue(&job).push_front(job);
        self.reserve();
    }

    fn queue(&mut self, job: &Job) -> &mut VecDeque<Job> {
        if job.mode.is_read() { &mut self.reads } else { &mut self.writes }
    }

    /// How many connections to make now; they count as being made. One at a time while that fails.
    pub(super) fn openings(&mut self, failing: bool) -> usize {
        let room = self.most.saturating_sub(self.links.len() + self.opening);
        let most = if failing { 1_usize.saturating_sub(self.opening) } else { room };
        let count = self.waiting_count().saturating_sub(self.opening).min(room).min(most);
        self.opening += count;
        count
    }

    /// A connection was made: its id, and its first jobs into `jobs`.
    pub(super) fn admit(&mut self, sender: Sender<Job>, now: Instant, jobs: &mut Vec<Job>) -> u64 {
        self.opening = self.opening.saturating_sub(1);
        self.next_id += 1;
        let id = self.next_id;
        self.links.push(Link {
            id,
            jobs: sender,
            in_flight: 0,
            quick: VecDeque::new(),
            writing: false,
            reserved: false,
            since: now,
        });
        self.settle(id, 0, now, jobs);
        id
    }

    /// Connection `id` has done `done` jobs: its next ones into `jobs`.
    pub(super) fn settle(&mut self, id: u64, done: usize, now: Instant, jobs: &mut Vec<Job>) {
        let Some(idx) = self.links.iter().position(|it| it.id == id) else { return };
        let writers = self.writers();
        let Some(link) = self.links.get_mut(idx) else { return };
        link.in_flight = link.in_flight.saturating_sub(done);
        link.quick.drain(..done.min(link.quick.len()));
        if done > 0 {
            link.since = now;
        }
        let was_writing = link.writing;
        link.writing &= link.in_flight > 0;
        if link.writing {
            return;
        }
        let may_write = writers - usize::from(was_writing) < self.most_writers();
        self.fill(idx, may_write, now, jobs);
        let idle = self.links.get(idx).is_some_and(|it| it.in_flight == 0);
        if self.draining && idle && self.waiting_count() == 0 {
            // Without its sender, the connection's task ends.
            self.links.swap_remove(idx);
        }
        self.reserve();
    }

    /// The next jobs of the link at `idx`, which is not writing.
    fn fill(&mut self, idx: usize, may_write: bool, now: Instant, jobs: &mut Vec<Job>) {
        drop_abandoned(&mut self.reads);
        drop_abandoned(&mut self.writes);
        // While more connections can come, nobody queues up behind another.
        let deep = self.links.len() >= self.most;
        let share = self.reads.len() / self.links.len().max(1);
        let depth = if deep { share.clamp(SHALLOW, BUNDLE) } else { 1 };
        let Some(link) = self.links.get_mut(idx) else { return };
        link.reserved &= !self.writes.is_empty();
        let started = link.in_flight == 0;
        if started && may_write && write_is_next(&self.writes, &self.reads, link.reserved) {
            (link.writing, link.reserved) = (true, false);
            while let Some(job) = self.writes.pop_front() {
                jobs.push(job);
                link.in_flight += 1;
                link.quick.push_back(false);
                let joins = |it: &Job| jobs.last().is_some_and(|last| it.follows(last));
                if link.in_flight >= MOST_WRITES || !self.writes.front().is_some_and(joins) {
                    break;
                }
            }
        } else if !link.reserved || !may_write {
            while link.in_flight < depth {
                let Some(job) = self.reads.pop_front() else { break };
                if !job.is_abandoned() {
                    let quick = job.pace.as_deref().is_some_and(Pace::is_quick);
                    jobs.push(job);
                    link.in_flight += 1;
                    link.quick.push_back(quick);
                }
            }
        }
        if started {
            link.since = now;
        }
    }

    /// Reserve as many busy connections as writes could use, lest reads keep them busy for ever.
    fn reserve(&mut self) {
        if self.links.len() < self.most {
            return;
        }
        let reserved = self.links.iter().filter(|it| it.reserved).count();
        let wanted = self.writes.len().min(self.most_writers().saturating_sub(self.writers()));
        for _ in reserved..wanted {
            let free = self.links.iter_mut().filter(|it| !it.writing && !it.reserved && it.in_flight > 0);
            let Some(link) = free.min_by_key(|it| it.in_flight) else { return };
            link.reserved = true;
        }
    }

    fn writers(&self) -> usize {
        self.links.iter().filter(|it| it.writing).count()
    }

    /// One connection is left to reads: writes may wait for locks.
    fn most_writers(&self) -> usize {
        self.most.saturating_sub(1).max(1)
    }

    /// Connection `id` is no more.
    pub(super) fn remove(&mut self, id: u64) {
        self.links.retain(|it| it.id != id);
    }

    /// End connection `id` when it had nothing to do for `limit`.
    pub(super) fn retire(&mut self, id: u64, limit: Duration, now: Instant) {
        let is_old = |it: &Link| it.in_flight == 0 && now.duration_since(it.since) >= limit;
        self.links.retain(|it| it.id != id || !is_old(it));
    }

    /// Connections that have nothing to do end now.
    pub(super) fn end_idle(&mut self) {
        self.links.retain(|it| it.in_flight > 0);
    }

    /// No new jobs; idle connections end now, the others when they are done.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        if self.waiting_count() == 0 {
            self.end_idle();
        }
    }

    /// Jobs that waited for `limit` or longer, and when to look again.
    pub(super) fn expire(&mut self, limit: Duration, now: Instant) -> (Vec<Job>, Option<Instant>) {
        let mut late = Vec::new();
        for queue in [&mut self.reads, &mut self.writes] {
            for job in std::mem::take(queue).into_iter().filter(|it| !it.is_abandoned()) {
                let is_late = now.duration_since(job.waiting_since) >= limit;
                if is_late { late.push(job) } else { queue.push_back(job) }
            }
        }
        let next = self.reads.iter().chain(&self.writes).map(|it| it.waiting_since + limit).min();
        (late, next)
    }

    /// All waiting jobs.
    pub(super) fn take_waiting(&mut self) -> Vec<Job> {
        self.reads.drain(..).chain(self.writes.drain(..)).collect()
    }
}

fn drop_abandoned(jobs: &mut VecDeque<Job>) {
    while jobs.front().is_some_and(Job::is_abandoned) {
        jobs.pop_front();
    }
}

fn write_is_next(writes: &VecDeque<Job>, reads: &VecDeque<Job>, reserved: bool) -> bool {
    match (writes.front(), reads.front()) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(write), Some(read)) => reserved || write.waiting_since <= read.waiting_since,
    }
}

#[cfg(test)]
mod tests;
