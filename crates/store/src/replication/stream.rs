//! One stream: a session of PostgreSQL's replication protocol that reads a slot. The server tells, we confirm.

use std::fmt::Write as _;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _};
use postgres_protocol::message::backend::{self, ErrorResponseBody, Message as Protocol};
use postgres_protocol::message::frontend;
use tokio::time::{Instant, sleep_until, timeout};

use super::decode::{Decoder, Message};
use super::{Event, Lsn};
use crate::data_path::broken::Broken;
use crate::data_path::wire::Wire;
use crate::data_path::{frames, startup};
use crate::{Error, Server};

/// `CopyBothResponse`: the stream begins.
const COPY_BOTH_TAG: u8 = b'W';
/// Longest wait for the stream's begin, all hosts tried.
const START_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two messages of ours, by which the server knows that we live. It asks to be answered within `wal_sender_timeout`,
/// of which 3 s is the least that is sensible.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// The longest silence of the server, which each of our messages asks to answer.
const SILENCE: Duration = Duration::from_secs(15);
/// Positions that only say how far the server has read need not be told at once.
const LAZY: Duration = Duration::from_millis(200);

/// What to read.
#[derive(Debug, Clone)]
pub struct Start {
    /// The slot, which nobody else reads.
    pub slot: String,
    /// Whose tables: publications that exist.
    pub publications: Vec<String>,
    /// From here on, or from the slot's confirmed position if that is later; [`Lsn::ZERO`] for that position.
    pub from: Lsn,
}

/// A stream of changes; ends when it is dropped.
pub struct Stream {
    wire: Wire,
    decoder: Decoder,
    /// What need not come again.
    confirmed: Lsn,
    /// `confirmed` has changed and must be told at once.
    urgent: bool,
    /// `confirmed` has changed.
    lazy: bool,
    /// When the server heard us last.
    told: Instant,
    /// When we heard the server last.
    heard: Instant,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("confirmed", &self.confirmed).finish_non_exhaustive()
    }
}

impl Stream {
    /// Begin to read a slot of `database` as the administrator, who needs the right to replicate.
    ///
    /// # Errors
    /// [`Error::Statement`] when the slot does not exist (SQLSTATE 42704), is read by somebody else (55006) or is lost
    /// (55000), [`Error::Connect`] when there is no server, or only one that cannot write.
    pub async fn start(server: &Server, database: &str, start: &Start) -> Result<Self, Error> {
        let config = server.replication_config(database);
        let opening = async {
            let session = startup::open(&config).await.map_err(error)?;
            let now = Instant::now();
            let mut stream = Self {
                wire: Wire::new(session.socket, session.input),
                decoder: Decoder::default(),
                confirmed: Lsn::ZERO,
                urgent: false,
                lazy: false,
                told: now,
                heard: now,
            };
            frontend::query(&command(start), &mut stream.wire.output).map_err(|it| error(it.into()))?;
            stream.begin().await.map_err(error)?;
            Ok(stream)
        };
        timeout(START_TIMEOUT, opening).await.unwrap_or_else(|late| Err(Error::Connect(late.into())))
    }

    async fn begin(&mut self) -> Result<(), Broken> {
        poll_fn(|cx| self.wire.poll_flush(cx)).await?;
        loop {
            match frames::peek(&self.wire.input)? {
                Some((COPY_BOTH_TAG, total)) if self.wire.input.len() >= total => {
                    self.wire.input.advance(total);
                    return Ok(());
                }
                Some((backend::ERROR_RESPONSE_TAG, total)) if self.wire.input.len() >= total => {
                    return Err(self.refused()?);
                }
                Some((backend::NOTICE_RESPONSE_TAG | backend::PARAMETER_STATUS_TAG, total))
                    if self.wire.input.len() >= total =>
                {
                    self.wire.input.advance(total);
                }
                Some((
                    COPY_BOTH_TAG
                    | backend::ERROR_RESPONSE_TAG
                    | backend::NOTICE_RESPONSE_TAG
                    | backend::PARAMETER_STATUS_TAG,
                    _,
                ))
                | None => poll_fn(|cx| self.wire.poll_read(cx)).await?,
                Some(_) => return Err(Broken::Protocol("PostgreSQL does not begin the stream")),
            }
        }
    }

    /// The error at the front of the input.
    fn refused(&mut self) -> Result<Broken, Broken> {
        match Protocol::parse(&mut self.wire.input)? {
            Some(Protocol::ErrorResponse(body)) => Ok(refusal(&body)?),
            _ => Err(Broken::Protocol("PostgreSQL sent a malformed error")),
        }
    }

    /// What comes next. Tells the server meanwhile that we live; may be cancelled and called again.
    ///
    /// # Errors
    /// [`Error::Lost`] when the stream has ended; what was not confirmed comes again in the next one.
    /// [`Error::Statement`] when the server cannot decode: SQLSTATE 42704 for a publication that did not exist at the time
    /// of the change.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            let wake = self.wake_at();
            // Also while there is always something to read.
            if wake <= Instant::now() {
                self.tell_if_due()?;
                continue;
            }
            tokio::select! {
                biased;
                read = poll_fn(|cx| Self::poll_turn(&mut self.wire, cx)) => {
                    read.map_err(lost)?;
                    self.heard = Instant::now();
                }
                () = sleep_until(wake) => {}
            }
        }
    }

    /// What has come already; `None` when more must be waited for. Never waits.
    ///
    /// # Errors
    /// As [`Stream::next`].
    pub fn try_next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            let Some((tag, total)) = frames::peek(&self.wire.input).map_err(lost)? else { return Ok(None) };
            let length = self.wire.input.len();
            if length < total {
                // By doubling, so that a length that is only claimed reserves little.
                self.wire.input.reserve((total - length).min(length.max(64 * 1024)));
                return Ok(None);
            }
            match tag {
                backend::COPY_DATA_TAG => {
                    let mut body = self.wire.input.split_to(total).freeze();
                    body.advance(5);
                    match self.decoder.message(body).map_err(lost)? {
                        Message::Event(event) => return Ok(Some(event)),
                        Message::Alive(end, asks) => {
                            self.urgent |= asks;
                            return Ok(Some(Event::Reached { end }));
                        }
                        Message::Other => {}
                    }
                }
                backend::ERROR_RESPONSE_TAG => {
                    let broken = self.refused().map_err(lost)?;
                    return Err(lost(broken));
                }
                backend::NOTICE_RESPONSE_TAG | backend::PARAMETER_STATUS_TAG => {
                    self.wire.input.advance(total);
                }
                _ => return Err(lost(Broken::Protocol("PostgreSQL ended the stream"))),
            }
        }
    }

    /// Nothing before `end` need come again. Told with the next message of ours: at once if `end` is later than before and
    /// `urgent`, else within moments.
    pub fn confirm(&mut self, end: Lsn, urgent: bool) {
        if end > self.confirmed {
            self.confirmed = end;
            self.lazy = true;
            self.urgent |= urgent;
        }
    }

    /// Tell the server what is confirmed, and wait until the socket has it.
    ///
    /// # Errors
    /// [`Error::Lost`] when the stream has ended.
    pub async fn tell(&mut self) -> Result<(), Error> {
        self.write_status(false);
        poll_fn(|cx| self.wire.poll_flush(cx)).await.map_err(lost)
    }

    /// Tell the server now and then that we live, while nothing is read. Never ends by itself; may be cancelled.
    pub async fn stay_alive(&mut self) -> Error {
        loop {
            sleep_until(self.told + TELL_EVERY).await;
            if let Err(error) = self.tell().await {
                return error;
            }
        }
    }

    /// Write what waits, read what comes.
    fn poll_turn(wire: &mut Wire, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if !wire.output.is_empty()
            && let Poll::Ready(Err(broken)) = wire.poll_flush(cx)
        {
            return Poll::Ready(Err(broken));
        }
        wire.poll_read(cx)
    }

    fn wake_at(&self) -> Instant {
        if self.urgent {
            self.told
        } else if self.lazy {
            self.told + LAZY
        } else {
            self.told + TELL_EVERY
        }
    }

    fn tell_if_due(&mut self) -> Result<(), Error> {
        if self.heard.elapsed() > SILENCE {
            return Err(lost(Broken::TimedOut));
        }
        // An answer proves that the server lives, when nothing else does.
        self.write_status(self.heard.elapsed() > TELL_EVERY / 2);
        Ok(())
    }

    /// `Standby status update`; `asks` for a sign of life.
    fn write_status(&mut self, asks: bool) {
        (self.urgent, self.lazy, self.told) = (false, false, Instant::now());
        let output = &mut self.wire.output;
        output.put_u8(backend::COPY_DATA_TAG);
        output.put_u32(4 + 1 + 8 * 4 + 1);
        output.put_u8(b'r');
        for _received_flushed_applied in 0..3 {
            output.put_u64(self.confirmed.0);
        }
        // Our clock; the server uses it for nothing but its views.
        output.put_u64(0);
        output.put_u8(u8::from(asks));
    }
}

/// The names are ours or quoted.
fn command(start: &Start) -> String {
    let quoted = |it: &str| format!("\"{}\"", it.replace('"', "\"\""));
    let mut names = String::new();
    for (idx, name) in start.publications.iter().enumerate() {
        let _ = write!(names, "{}{}", if idx > 0 { "," } else { "" }, quoted(name));
    }
    format!(
        "START_REPLICATION SLOT {} LOGICAL {} (proto_version '1', publication_names '{}')",
        quoted(&start.slot),
        start.from,
        names.replace('\'', "''")
    )
}

fn refusal(body: &ErrorResponseBody) -> Result<Broken, Broken> {
    Ok(Broken::Refused(frames::failure(body.fields())?.error))
}

/// Before the stream begins.
fn error(broken: Broken) -> Error {
    match broken {
        Broken::Refused(it) if !is_going_down(&it.code) => Error::Statement(it),
        other => Error::Connect(other.into()),
    }
}

/// While it runs.
fn lost(broken: Broken) -> Error {
    match broken {
        Broken::Refused(it) if !is_going_down(&it.code) => Error::Statement(it),
        other => Error::Lost(other.into()),
    }
}

/// The server stops, starts, or somebody ended the session.
fn is_going_down(code: &str) -> bool {
    code.starts_with("57P")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_quotes() {
        let start = Start {
            slot: "a\"b".to_owned(),
            publications: vec!["plain".to_owned(), "it's \"x\"".to_owned()],
            from: Lsn(0x1_0000_0010),
        };
        assert_eq!(
            command(&start),
            "START_REPLICATION SLOT \"a\"\"b\" LOGICAL 1/10 \
             (proto_version '1', publication_names '\"plain\",\"it''s \"\"x\"\"\"')"
        );
    }
}
