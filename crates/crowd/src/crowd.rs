//! All connections of the process on one thread: opened a few at a time, kept alive, and read as fast as they come.

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use mio::event::Event;
use mio::{Events, Interest, Poll, Token};

use crate::clock::now_us;
use crate::plan::{Dialect, Plan, User};
use crate::socket::{Socket, State};
use crate::tally::Tally;
use crate::wire;

/// Opened or joined at once; more would only wait in the server's backlog.
const AT_ONCE: usize = 64;
/// Clients of Supabase send one every 25 s.
const HEARTBEAT_US: u64 = 20_000_000;
/// Opening and joining may take so long without any progress.
const PATIENCE_US: u64 = 30_000_000;
const BUFFER_BYTES: usize = 256 * 1024;

/// The connections, the sender last.
pub(crate) struct Crowd {
    pub(crate) plan: Plan,
    pub(crate) tally: Tally,
    sockets: Vec<Socket>,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    /// How many are connecting, upgrading or joining.
    busy: usize,
    beaten_us: u64,
    /// The first few things that went wrong, and how many did.
    pub(crate) failures: Vec<String>,
    pub(crate) failed: u64,
}

impl Crowd {
    pub(crate) fn new(plan: Plan) -> Result<Self> {
        Ok(Self {
            plan,
            tally: Tally::default(),
            sockets: Vec::new(),
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            buffer: vec![0; BUFFER_BYTES],
            busy: 0,
            beaten_us: now_us(),
            failures: Vec::new(),
            failed: 0,
        })
    }

    fn total(&self) -> usize {
        self.plan.sockets + usize::from(self.plan.sender_path.is_some())
    }

    /// Connections that are as far as `state` or farther, and not closed.
    pub(crate) fn count(&self, state: State) -> usize {
        self.sockets.iter().filter(|it| it.state != State::Closed && it.state as u8 >= state as u8).count()
    }

    /// Open all connections.
    pub(crate) fn open(&mut self) -> Result<()> {
        self.sockets.reserve_exact(self.total());
        while self.sockets.len() < self.total() || self.busy > 0 {
            while self.sockets.len() < self.total() && self.busy < AT_ONCE {
                let number = self.sockets.len();
                let mut socket = Socket::connect(number, self.plan.address).context("connect")?;
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut socket.stream, Token(number), interest)?;
                self.sockets.push(socket);
                self.busy += 1;
            }
            self.progress("open")?;
        }
        Ok(())
    }

    /// Join every connection to its topic; with nchan that was done by opening.
    pub(crate) fn join(&mut self) -> Result<()> {
        if self.plan.dialect == Dialect::Nchan {
            self.sockets
                .iter_mut()
                .filter(|it| it.state == State::Open)
                .for_each(|it| it.state = State::Joined);
            return Ok(());
        }
        let mut next = 0;
        while next < self.sockets.len() || self.busy > 0 {
            while next < self.sockets.len() && self.busy < AT_ONCE {
                let join = wire::join(&self.plan, &wire::topic(self.topic_of(next)), self.user_of(next));
                if let Some(socket) = self.sockets.get_mut(next).filter(|it| it.state == State::Open) {
                    socket.state = State::Joining;
                    self.busy += 1;
                    self.send(next, wire::TEXT, &join);
                }
                next += 1;
            }
            self.progress("join")?;
        }
        Ok(())
    }

    fn topic_of(&self, number: usize) -> usize {
        if number < self.plan.sockets { number % self.plan.topics } else { 0 }
    }

    fn user_of(&self, number: usize) -> Option<&User> {
        self.plan.users.get(number.checked_rem(self.plan.users.len())?)
    }

    /// A turn while something is opened or joined; an error when nothing has moved for long.
    fn progress(&mut self, what: &str) -> Result<()> {
        let (busy, since) = (self.busy, now_us());
        while busy > 0 && self.busy == busy {
            self.turn(Duration::from_millis(100))?;
            if now_us() - since > PATIENCE_US {
                bail!("nobody can {what} any more: {busy} wait, {} failed {:?}", self.failed, self.failures);
            }
        }
        Ok(())
    }

    /// Send a frame of connection `number`.
    pub(crate) fn send(&mut self, number: usize, opcode: u8, payload: &[u8]) {
        let Some(socket) = self.sockets.get_mut(number) else { return };
        let mut frame = Vec::with_capacity(payload.len() + 14);
        wire::put(&mut frame, opcode, payload);
        if let Err(error) = socket.send(&frame) {
            self.close(number, &error.to_string());
        }
    }

    /// Whether the sender's connection takes no more for the moment.
    pub(crate) fn is_sender_blocked(&self) -> bool {
        self.sockets.get(self.plan.sockets).is_none_or(Socket::is_blocked)
    }

    /// Number the messages from 0 again.
    pub(crate) fn restart(&mut self) {
        self.tally = Tally::default();
        self.sockets.iter_mut().for_each(|it| it.next = 0);
    }

    /// Wait for events, `limit` at most, and handle them.
    pub(crate) fn turn(&mut self, limit: Duration) -> Result<()> {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(1));
        match self.poll.poll(&mut events, Some(limit)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => other.context("wait for events")?,
        }
        let now = now_us();
        for event in &events {
            self.handle(event);
        }
        self.events = events;
        if now.saturating_sub(self.beaten_us) > HEARTBEAT_US && self.plan.dialect == Dialect::Realtime {
            self.beaten_us = now;
            (0..self.sockets.len()).for_each(|it| self.beat(it));
        }
        Ok(())
    }

    fn beat(&mut self, number: usize) {
        let state = self.sockets.get(number).map(|it| it.state);
        if matches!(state, Some(State::Open | State::Joining | State::Joined)) {
            self.send(number, wire::TEXT, wire::HEARTBEAT);
        }
    }

    fn handle(&mut self, event: &Event) {
        let number = event.token().0;
        let Some(socket) = self.sockets.get_mut(number).filter(|it| it.state != State::Closed) else {
            return;
        };
        if event.is_writable() {
            let sent = if socket.state == State::Connecting {
                let is_sender = number == self.plan.sockets;
                let own = self.plan.sender_path.as_deref().filter(|_| is_sender);
                let host = self.plan.address.to_string();
                socket.state = State::Upgrading;
                socket.send(&wire::upgrade(&host, own.unwrap_or(&self.plan.path)))
            } else {
                socket.flush()
            };
            if let Err(error) = sent {
                return self.close(number, &error.to_string());
            }
        }
        if event.is_readable() || event.is_read_closed() {
            self.read(number);
        }
    }

    fn read(&mut self, number: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(socket) = self.sockets.get_mut(number).filter(|it| it.state != State::Closed) {
            match socket.read(&mut buffer) {
                Ok((length, more)) => {
                    let used = self.take(number, buffer.get(..length).unwrap_or_default());
                    if let Some(socket) = self.sockets.get_mut(number) {
                        socket.keep(buffer.get(used..length).unwrap_or_default());
                    }
                    if !more {
                        break;
                    }
                }
                Err(error) => self.close(number, &format!("closed: {error}")),
            }
        }
        self.buffer = buffer;
    }

    /// Handle what came on connection `number`; how much of it was whole.
    fn take(&mut self, number: usize, bytes: &[u8]) -> usize {
        let mut used = 0;
        if self.sockets.get(number).is_some_and(|it| it.state == State::Upgrading) {
            match wire::upgraded(bytes) {
                Ok(Some(head)) => {
                    used = head;
                    self.settle(number, State::Open);
                }
                Ok(None) => return 0,
                Err(answer) => {
                    self.close(number, &answer);
                    return bytes.len();
                }
            }
        }
        let now = now_us();
        loop {
            match wire::frame(bytes.get(used..).unwrap_or_default()) {
                Ok(Some((opcode, payload, length))) => {
                    used += length;
                    self.frame(number, opcode, payload, now);
                }
                Ok(None) => return used,
                Err(reason) => {
                    self.close(number, reason);
                    return bytes.len();
                }
            }
        }
    }

    fn frame(&mut self, number: usize, opcode: u8, payload: &[u8], now: u64) {
        match opcode {
            wire::PING => self.send(number, wire::PONG, payload),
            wire::CLOSE => {
                let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned();
                self.close(number, &format!("the server closed: {reason}"));
            }
            wire::TEXT | wire::BINARY => match wire::delivery(payload) {
                Some((made_us, message)) => self.delivered(number, payload, (made_us, message), now),
                None => self.control(number, payload),
            },
            _ => {}
        }
    }

    fn delivered(&mut self, number: usize, payload: &[u8], made: (u64, Option<u32>), now: u64) {
        let is_theirs =
            self.user_of(number).is_none_or(|it| wire::find(payload, it.mark.as_bytes()).is_some());
        let Some(socket) = self.sockets.get_mut(number) else { return };
        let in_order = made.1.is_none_or(|it| it == socket.next);
        socket.next = made.1.unwrap_or_default().wrapping_add(1);
        if !(is_theirs && in_order) {
            self.tally.wrong += 1;
            self.note(|| format!("wrong: {}", shown(payload)));
        }
        self.tally.add(made.0, now);
    }

    /// Everything that is no delivery: replies, `system`, and what ends a channel.
    fn control(&mut self, number: usize, payload: &[u8]) {
        if self.plan.dialect == Dialect::Nchan {
            return;
        }
        let has = |text: &str| wire::find(payload, text.as_bytes()).is_some();
        let is_joining = self.sockets.get(number).is_some_and(|it| it.state == State::Joining);
        let is_ok = has(r#""status":"ok""#);
        if has(r#""phx_close""#) || has(r#""phx_error""#) || has(r#""status":"error""#) {
            self.close(number, &shown(payload));
        } else if is_joining && is_ok && !has(r#""phoenix""#) {
            let wanted = if self.plan.changes.is_empty() { r#""phx_reply""# } else { r#""system""# };
            if has(wanted) {
                self.settle(number, State::Joined);
            }
        }
    }

    fn settle(&mut self, number: usize, state: State) {
        if let Some(socket) = self.sockets.get_mut(number) {
            if matches!(socket.state, State::Connecting | State::Upgrading | State::Joining) {
                self.busy -= 1;
            }
            socket.state = state;
        }
    }

    fn close(&mut self, number: usize, reason: &str) {
        self.settle(number, State::Closed);
        if let Some(socket) = self.sockets.get_mut(number) {
            let _ = self.poll.registry().deregister(&mut socket.stream);
            let _ = socket.stream.shutdown(std::net::Shutdown::Both);
        }
        self.failed += 1;
        self.note(|| format!("connection {number}: {reason}"));
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if self.failures.len() < 5 {
            self.failures.push(text());
        }
    }
}

fn shown(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload.get(..payload.len().min(300)).unwrap_or_default()).into_owned()
}
