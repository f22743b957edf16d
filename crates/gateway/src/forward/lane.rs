//! One connection to a worker, and one exchange on it.
//!
//! hyper's connection is driven by the request itself, not by a task of its own: no request wakes another task, and what
//! the client does not take is not read from the worker. A connection that rests in the pool is driven by nobody.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::transport::{Probe, Transport};
use super::{WorkerAddress, WorkerSettings};

/// The largest head of an answer, in bytes.
const MAX_HEAD_BYTES: usize = 128 * 1024;

/// A connection to a worker, without a request on it.
#[derive(Debug)]
pub(super) struct Lane {
    sender: SendRequest<Body>,
    /// None when it has ended and what waited for it was sent back.
    connection: Option<Box<Connection<TokioIo<Transport>, Body>>>,
    ended: bool,
    probe: Probe,
    /// When it last had a request.
    pub(super) rested: Instant,
    /// Whether it has had one at all.
    pub(super) used: bool,
}

/// What comes of sending a request.
#[derive(Debug)]
pub(super) enum Exchange {
    /// The head of an answer.
    Answered(Response<Incoming>),
    /// The connection was closed before anything was written: the request is as it was.
    Unsent(Box<Request<Body>>),
    /// The connection was lost before an answer came; what became of the request is unknown.
    Lost(hyper::Error),
}

impl Lane {
    /// A new connection to `worker`.
    pub(super) async fn open(worker: &WorkerAddress, settings: &WorkerSettings) -> io::Result<Self> {
        let (transport, probe) = Transport::open(worker, settings).await?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_HEAD_BYTES);
        let (sender, connection) =
            builder.handshake(TokioIo::new(transport)).await.map_err(io::Error::other)?;
        let connection = Some(Box::new(connection));
        Ok(Self { sender, connection, ended: false, probe, rested: Instant::now(), used: false })
    }

    /// Send `request` and wait for the head of its answer.
    pub(super) async fn exchange(&mut self, request: Request<Body>) -> Exchange {
        if self.used {
            self.probe.ask();
        }
        self.used = true;
        // Only `drive` can make it ready, so that it needs no waker and no share of the task's budget.
        let mut answer = pin!(unconstrained(self.sender.try_send_request(request)));
        let answer = poll_fn(|context| {
            let mut asleep = Context::from_waker(Waker::noop());
            drive(&mut self.connection, &mut self.ended, context);
            match answer.as_mut().poll(&mut asleep) {
                Poll::Pending if self.ended => {
                    // What still waited to be written comes back when the connection goes.
                    self.connection = None;
                    answer.as_mut().poll(&mut asleep)
                }
                polled => polled,
            }
        });
        match answer.await {
            Ok(response) => Exchange::Answered(response),
            Err(mut error) => match error.take_message() {
                Some(request) => Exchange::Unsent(Box::new(request)),
                None => Exchange::Lost(error.into_error()),
            },
        }
    }

    /// Let the connection write and read what it can.
    pub(super) fn drive(&mut self, context: &mut Context<'_>) {
        drive(&mut self.connection, &mut self.ended, context);
    }

    /// Whether another request may follow, now that an answer was read to its end.
    pub(super) fn is_free(&mut self) -> bool {
        if !self.ended && !self.sender.is_ready() {
            self.drive(&mut Context::from_waker(Waker::noop()));
        }
        !self.ended && self.sender.is_ready()
    }

    /// Whether the worker has closed it while it rested.
    pub(super) fn is_stale(&mut self) -> bool {
        self.probe.ask();
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.ended
    }

    /// The connection itself, after an answer that ends HTTP on it (101), and what was read behind that answer.
    pub(super) async fn into_transport(mut self) -> Option<(Transport, Bytes)> {
        poll_fn(|context| {
            self.drive(context);
            if self.ended { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let parts = self.connection.take()?.into_parts();
        Some((parts.io.into_inner(), parts.read_buf))
    }
}

fn drive(
    connection: &mut Option<Box<Connection<TokioIo<Transport>, Body>>>,
    ended: &mut bool,
    context: &mut Context<'_>,
) {
    if *ended {
        return;
    }
    // Its own errors are told to whoever waits for the answer, or for its body.
    *ended = match connection {
        Some(connection) => connection.poll_without_shutdown(context).is_ready(),
        None => true,
    };
}
