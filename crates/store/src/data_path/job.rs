//! One caller's work on its way: what to send, how it ends, and whom to answer.

use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::task::{Context, Poll};

use foldhash::quality::FixedState;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::pace::Pace;
use super::request::Request;
use crate::{Answer, End, Error};

/// How often a read is sent again after a lost connection. Twice, because a server that goes down takes its connections
/// one after the other; not more often, because the read itself may be what ends them.
const MOST_REPEATS: u8 = 2;

/// What a job may do and how its transaction ends.
#[derive(Debug)]
pub(crate) enum Mode {
    /// Read-only: may share its connection, may be repeated.
    Read,
    /// May write: alone on its connection, never repeated once sent.
    Write(End),
}

impl Mode {
    pub(super) fn is_read(&self) -> bool {
        matches!(self, Self::Read)
    }

    /// Whether sending it twice changes nothing more than sending it once.
    fn is_repeatable(&self) -> bool {
        matches!(self, Self::Read | Self::Write(End::Rollback))
    }
}

/// What the caller waits for.
pub(super) type Reply = oneshot::Sender<Result<Answer, Error>>;

/// One caller's work.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) mode: Mode,
    reply: Reply,
    /// Of a job that may share: stands for its statement where paces are kept.
    pub(super) key: u64,
    /// What is known about its statement; set when it is placed.
    pub(super) pace: Option<Arc<Pace>>,
    /// When it began to wait for a connection.
    pub(super) waiting_since: Instant,
    /// How often it was repeated after a lost connection.
    repeats: u8,
    /// Whether it has been repeated after a stale statement.
    pub(super) reparsed: bool,
}

impl Job {
    pub(super) fn new(request: Request, mode: Mode, reply: Reply) -> Self {
        // A collision only mistakes one statement's pace for another's.
        let key = if mode.is_read() || request.is_sociable() {
            FixedState::default().hash_one((&request.role, &request.text))
        } else {
            0
        };
        let (waiting_since, pace) = (Instant::now(), None);
        Self { request, mode, reply, key, pace, waiting_since, repeats: 0, reparsed: false }
    }

    /// Whether it may share the transaction of `other`, which goes before it: both are quick reads of one caller, or
    /// both are quick writes that leave the others' way free.
    pub(super) fn follows(&self, other: &Self) -> bool {
        let quick = |it: &Self| it.pace.as_deref().is_some_and(Pace::is_quick);
        let alike = match (&self.mode, &other.mode) {
            (Mode::Read, Mode::Read) | (Mode::Write(End::Commit), Mode::Write(End::Commit)) => true,
            (Mode::Read | Mode::Write(_), _) => false,
        };
        alike && quick(self) && quick(other) && self.request.joins(&other.request)
    }

    /// Whether paces of its statement are kept.
    pub(super) fn has_pace(&self) -> bool {
        self.mode.is_read() || self.request.is_sociable()
    }

    /// Whether the caller has gone: there is nobody to answer.
    pub(super) fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    /// Wait for the caller to go.
    pub(super) fn poll_abandoned(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.reply.poll_closed(cx)
    }

    /// Whether it may be stopped: nothing of it is ever committed, or not before its caller was asked.
    pub(super) fn is_cancellable(&self) -> bool {
        matches!(self.mode, Mode::Read | Mode::Write(End::Rollback | End::If(_)))
    }

    /// Whether it may be sent again although it was sent before; true a few times at most.
    pub(super) fn repeat(&mut self) -> bool {
        let may = self.mode.is_repeatable() && self.repeats < MOST_REPEATS;
        self.repeats += u8::from(may);
        may
    }

    /// Answer the caller, if still there.
    pub(super) fn answer(self, answer: Result<Answer, Error>) {
        let _ = self.reply.send(answer);
    }
}
