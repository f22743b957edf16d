//! What is safe to repeat is run again when a connection was lost under it: a database that fails over costs it time and
//! nothing else. Who asks for the new connection waits for it.
//!
//! Above all routes whose handlers write nothing. Of the others nobody knows what became of them, and they are told so.

use std::future::Future;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::handler::Handler;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use tokio::time::sleep;

use crate::{Auth, Error, wire};

/// Before each repeat: a server that goes down takes its connections one after the other, and the next one may be about
/// to go. Not more often than this, because the request itself may be what ends them.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(300)];

/// `GET` by a handler that only reads, and reads no body.
pub(crate) fn reading<H: Handler<T, Auth>, T: 'static>(handler: H) -> MethodRouter<Auth> {
    get(handler).layer(from_fn(repeat))
}

async fn repeat(request: Request, next: Next) -> Response {
    let (head, _body) = request.into_parts();
    let run = || next.clone().run(Request::from_parts(head.clone(), Body::empty()));
    let mut response = run().await;
    for pause in PAUSES {
        if !wire::refusal(&response).is_some_and(is_loss) {
            break;
        }
        sleep(pause).await;
        response = run().await;
    }
    response
}

/// What comes of `run`, which is safe to repeat, also when it was done already.
pub(crate) async fn while_lost<T, F: Future<Output = Result<T, Error>>>(
    run: impl Fn() -> F,
) -> Result<T, Error> {
    for pause in PAUSES {
        match run().await {
            Err(error) if is_loss(&error) => sleep(pause).await,
            outcome => return outcome,
        }
    }
    run().await
}

fn is_loss(error: &Error) -> bool {
    matches!(error, Error::Store(store::Error::Lost(_)))
}
