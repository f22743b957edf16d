//! The body of a worker's answer: read from the worker as the client takes it, and nothing ahead of that.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::Response;
use http_body::{Frame, SizeHint};

use super::lane::Lane;
use super::wire::{AnswerHead, Framing};
use super::worker::Turn;

/// A body on its way. Dropped before its end it closes the connection, which the worker takes for a client that left.
struct Answer(
    /// None once the body has ended.
    Option<Lease>,
);

struct Lease {
    lane: Lane,
    turn: Turn,
}

/// The answer that began with `head`, with a body that gives `lane` back at its end.
pub(super) fn pass_on(head: AnswerHead, mut lane: Lane, turn: Turn) -> Response<Body> {
    let body = match lane.whole() {
        Some(whole) => Body::from(whole),
        None if lane.framing().is_ended() => Body::empty(),
        None => return head.with(Body::new(Answer(Some(Lease { lane, turn })))),
    };
    Lease { lane, turn }.give_back();
    head.with(body)
}

impl AnswerHead {
    /// The answer with `body`.
    pub(super) fn with(self, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

impl Lease {
    fn give_back(self) {
        if self.lane.is_free() {
            self.turn.worker().keep(self.lane);
        }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(lease) = &mut self.0 else { return Poll::Ready(None) };
        let polled = lease.lane.poll_body(context);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Err(_))) => self.0 = None,
            Poll::Ready(Some(Ok(_))) if !lease.lane.framing().is_ended() => {}
            Poll::Ready(Some(Ok(_)) | None) => {
                if let Some(lease) = self.0.take() {
                    lease.give_back();
                }
            }
        }
        polled.map(|it| it.map(|it| it.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.0.as_ref().map(|it| it.lane.framing()) {
            None | Some(Framing::Ended) => SizeHint::with_exact(0),
            Some(Framing::Length(left)) => SizeHint::with_exact(left),
            Some(Framing::Chunked(_) | Framing::UntilClose) => SizeHint::default(),
        }
    }
}
