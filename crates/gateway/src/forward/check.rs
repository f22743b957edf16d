//! Asks a worker's `/ready` again and again, as long as it is on the list.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use tokio::time::{sleep, timeout};

use super::WorkerSettings;
use super::answer;
use super::lane::{Exchange, Lane};
use super::outgoing::Outgoing;
use super::worker::{Standing, Worker};

/// Between checks of a worker that takes no requests: it may be back at any moment.
const IMPATIENCE: Duration = Duration::from_millis(200);
/// Between any two checks, however often somebody asks for one.
const LEAST_PAUSE: Duration = Duration::from_millis(20);
/// So many checks without an answer in time mean that it is gone; one may be an unlucky moment.
const MAX_SILENCES: u32 = 2;
/// Of the answer's body.
const MAX_BYTES: usize = 4096;

/// Why a check says nothing good.
enum Silence {
    /// Nobody is there.
    Refused,
    /// The answer did not come in time, or not whole.
    Late,
}

/// Keep the standing of `worker` true until it leaves the list.
pub(super) async fn watch(worker: Arc<Worker>, settings: Arc<WorkerSettings>) {
    let mut silences = 0;
    let removed = worker.removed.clone();
    let watching = async {
        loop {
            let looked = timeout(settings.check_timeout, look(&worker, &settings)).await;
            match looked.unwrap_or(Err(Silence::Late)) {
                Ok(standing) => {
                    silences = 0;
                    worker.stand(standing);
                }
                Err(Silence::Refused) => worker.stand(Standing::Gone),
                Err(Silence::Late) => {
                    silences += 1;
                    if silences >= MAX_SILENCES {
                        worker.stand(Standing::Gone);
                    }
                }
            }
            worker.tidy(settings.idle_timeout);
            worker.tell();
            let fine = worker.standing() == Standing::Ready && silences == 0;
            let pause = if fine { settings.check_every } else { settings.check_every.min(IMPATIENCE) };
            sleep(LEAST_PAUSE).await;
            let _asked_or_due = timeout(pause, worker.look.notified()).await;
        }
    };
    tokio::select! {
        () = watching => {}
        () = removed.cancelled() => {
            worker.close();
            worker.tell();
        }
    }
}

/// Ask once: on a connection that rests, if there is one that still stands.
async fn look(worker: &Arc<Worker>, settings: &WorkerSettings) -> Result<Standing, Silence> {
    let mut question = Outgoing::question("/ready", &worker.address.authority());
    if let Some(mut lane) = worker.resting()
        && let Exchange::Answered(head) = lane.exchange(&mut question, false).await
    {
        return standing(answer::pass_on(head, lane, worker.visit())).await;
    }
    let mut lane = Lane::open(&worker.address, settings).await.map_err(|_| Silence::Refused)?;
    match lane.exchange(&mut question, false).await {
        Exchange::Answered(head) => standing(answer::pass_on(head, lane, worker.visit())).await,
        Exchange::Unsent
        | Exchange::Stale(_)
        | Exchange::Lost(_)
        | Exchange::Malformed(_)
        | Exchange::Broken => Err(Silence::Late),
    }
}

/// What `/ready` says; an upstream that has no such path takes requests, as far as anybody can know.
async fn standing(response: Response<Body>) -> Result<Standing, Silence> {
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_BYTES).collect().await.map_err(|_| Silence::Late)?;
    let draining = body.to_bytes().windows(8).any(|it| it == b"draining");
    Ok(match status {
        StatusCode::SERVICE_UNAVAILABLE if draining => Standing::Draining,
        it if it.is_server_error() => Standing::Unready,
        _ => Standing::Ready,
    })
}
