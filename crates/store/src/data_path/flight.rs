//! A job that was sent: what PostgreSQL has answered so far.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::feed::{self, Feed, PATIENCE};
use super::frames::{Failure, Frame};
use super::job::{Job, Mode};
use super::statements::Ticket;
use crate::replicas::Lsn;
use crate::spool::Spool;
use crate::tail::Tail;
use crate::{Answer, Row};

/// What the next `ReadyForQuery` ends.
#[derive(Debug)]
pub(super) enum Phase {
    /// The statement with its settings.
    Work,
    /// The commit or rollback that the caller chose after this answer.
    Ending(Answer),
    /// A rollback after an error inside BEGIN. The caller has been answered, or the job is to be sent again.
    Cleanup,
}

/// A job in flight.
#[derive(Debug)]
pub(super) struct Flight {
    /// `None` once answered.
    pub(super) job: Option<Job>,
    /// Jobs that follow in the same transaction.
    pub(super) rest: VecDeque<Job>,
    /// Writes of a shared transaction whose statements are done; they are answered when it has ended.
    pub(super) held: Vec<(Job, Answer)>,
    /// Several jobs share the transaction.
    pub(super) is_shared: bool,
    pub(super) phase: Phase,
    /// Where in the connection's output it starts; nothing of it was sent while less was written.
    pub(super) starts_at: u64,
    pub(super) sent_at: Instant,
    /// Statements whose Parse was sent and not confirmed, in order.
    pub(super) parsing: VecDeque<Ticket>,
    /// Which of the executed statements (0-based) is the caller's own.
    pub(super) own: usize,
    /// Which one answers with a position, as its last column.
    pub(super) position_at: usize,
    pub(super) position: Option<Lsn>,
    executed: usize,
    rows: Vec<Row>,
    affected: u64,
    pub(super) failure: Option<Failure>,
    /// Takes the last column of a large row.
    pub(super) feed: Option<Box<Feed>>,
    /// The other end of `feed`, until its caller is answered.
    tail: Option<Tail>,
}

impl Flight {
    pub(super) fn new(starts_at: u64) -> Self {
        Self {
            job: None,
            rest: VecDeque::new(),
            held: Vec::new(),
            is_shared: false,
            phase: Phase::Work,
            starts_at,
            sent_at: Instant::now(),
            parsing: VecDeque::new(),
            own: 0,
            position_at: usize::MAX,
            position: None,
            executed: 0,
            rows: Vec::new(),
            affected: 0,
            failure: None,
            feed: None,
            tail: None,
        }
    }

    /// The statement of the front job is done and another job's follows: that is at the front now. What a read gave is
    /// returned; a write waits for the end.
    pub(super) fn advance(&mut self) -> Option<(Option<Job>, Answer)> {
        let is_done = self.executed > self.own && self.failure.is_none();
        if !is_done || !matches!(self.phase, Phase::Work) {
            return None;
        }
        let next = self.rest.pop_front()?;
        let answer = self.answer();
        self.own += 1;
        if let Some(feed) = self.feed.take() {
            feed.finish(None);
        }
        match self.job.replace(next) {
            Some(write) if !write.mode.is_read() => {
                self.held.push((write, answer));
                None
            }
            read => Some((read, answer)),
        }
    }

    /// Whether the next row may be large and come in pieces: not when one did already, not when a cancel request is on
    /// its way that may hit this job by mistake, so that it can be repeated, and not of a write that others follow.
    pub(super) fn streams(&self, cancelling: bool) -> bool {
        let may = |job: &Job| {
            let repeatable = !self.is_shared || job.mode.is_read();
            job.request.streams && repeatable && (!cancelling || job.is_abandoned())
        };
        let is_own = self.executed == self.own && matches!(self.phase, Phase::Work);
        is_own && self.feed.is_none() && self.job.as_ref().is_some_and(may)
    }

    /// A large row begins, whose last column has `length` bytes. A job that only reads is to be answered now: it is
    /// returned with its answer. A write is answered when its transaction has ended, and no client delays that.
    pub(super) fn begin_large(&mut self, row: Row, length: usize, spool: &Spool) -> Option<(Job, Answer)> {
        if !self.wants_rows() {
            self.feed = Some(Box::new(Feed::discard(length)));
            return None;
        }
        let job = self.job.take_if(|it| matches!(it.mode, Mode::Read));
        let patience = if job.is_some() { PATIENCE } else { Duration::ZERO };
        let (feed, tail) = feed::channel(length, spool.clone(), patience);
        (self.feed, self.tail) = (Some(Box::new(feed)), Some(tail));
        self.rows.push(row);
        job.map(|it| (it, self.answer()))
    }

    /// Whether rows are for somebody: the caller's statement, and the caller still there.
    fn wants_rows(&self) -> bool {
        let waiting = self.job.as_ref().is_some_and(|it| !it.is_abandoned());
        waiting && self.executed == self.own && matches!(self.phase, Phase::Work)
    }

    /// Take a frame that belongs to this job; the ticket of a statement that is prepared now.
    pub(super) fn take(&mut self, frame: Frame) -> Option<Ticket> {
        match frame {
            Frame::Parsed => return self.parsing.pop_front(),
            Frame::Row(row) => {
                if self.executed == self.position_at {
                    self.position = row.last().and_then(Lsn::parse);
                } else if self.wants_rows() {
                    self.rows.push(row);
                }
            }
            Frame::Complete(affected) => {
                if self.executed == self.own && matches!(self.phase, Phase::Work) {
                    self.affected = affected;
                }
                self.executed += 1;
            }
            // The transaction has ended well; where is not known.
            Frame::Error(_) if self.executed == self.position_at && self.position_at > self.own => {
                self.position = Some(Lsn::UNKNOWN);
            }
            Frame::Error(failure) => {
                self.failure.get_or_insert(failure);
            }
            // The connection looks after those.
            Frame::Ready(_) | Frame::Large(..) => {}
        }
        None
    }

    pub(super) fn answer(&mut self) -> Answer {
        Answer {
            rows: std::mem::take(&mut self.rows),
            affected: self.affected,
            tail: self.tail.take(),
            position: self.position,
        }
    }
}
