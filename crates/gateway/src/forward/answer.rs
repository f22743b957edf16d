//! The body of a worker's answer: read from the worker as the client takes it, and nothing ahead of that.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use axum::body::Body;
use bytes::Bytes;
use http::Response;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::lane::Lane;
use super::worker::Turn;

/// A body on its way. Dropped before its end it closes the connection, which the worker takes for a client that left.
struct Answer {
    incoming: Incoming,
    /// None once the body has ended.
    lease: Option<Lease>,
}

struct Lease {
    lane: Lane,
    turn: Turn,
}

/// `response` with a body that gives `lane` back at its end.
pub(super) fn pass_on(response: Response<Incoming>, lane: Lane, turn: Turn) -> Response<Body> {
    let (head, incoming) = response.into_parts();
    let lease = Lease { lane, turn };
    if incoming.is_end_stream() {
        lease.give_back();
        return Response::from_parts(head, Body::new(Finished(incoming)));
    }
    Response::from_parts(head, Body::new(Answer { incoming, lease: Some(lease) }))
}

impl Lease {
    fn give_back(mut self) {
        if self.lane.is_free() {
            self.turn.worker().keep(self.lane);
        }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        // What the body waits for is done by `drive`, which has the waker.
        let mut asleep = Context::from_waker(Waker::noop());
        let mut polled = Pin::new(&mut this.incoming).poll_frame(&mut asleep);
        if let (Poll::Pending, Some(lease)) = (&polled, &mut this.lease) {
            lease.lane.drive(context);
            polled = Pin::new(&mut this.incoming).poll_frame(&mut asleep);
        }
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Err(_))) => this.lease = None,
            Poll::Ready(Some(Ok(_))) if !this.incoming.is_end_stream() => {}
            Poll::Ready(Some(Ok(_)) | None) => {
                if let Some(lease) = this.lease.take() {
                    lease.give_back();
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// A body that has nothing to come; it keeps what is known about the length, for answers to HEAD.
struct Finished(Incoming);

impl http_body::Body for Finished {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
