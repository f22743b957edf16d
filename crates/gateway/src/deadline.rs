//! How long an answer may take.
//!
//! A timer for each request would cost more than checking its key: a place in memory with an alignment that is costly to
//! get, and a lock of the runtime's wheel, twice. A request of an HTTP/1 connection needs none for most of its time, because
//! its connection looks after itself every few seconds and lets it look at the clock then.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// What comes of `answer` within `limit` after it `began`. Whoever awaits this polls it again at least as often as `looks`
/// says, when nothing else happens; `None` when nobody promises that.
pub(crate) async fn within<T>(
    (began, limit): (Instant, Duration),
    looks: Option<Duration>,
    answer: impl Future<Output = T>,
) -> Option<T> {
    let deadline = began + limit;
    let mut answer = pin!(answer);
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|context| {
        if let Poll::Ready(answer) = answer.as_mut().poll(context) {
            return Poll::Ready(Some(answer));
        }
        // With the next look it could be too late.
        if timer.is_none() && looks.is_some_and(|looks| Instant::now() + looks < deadline) {
            return Poll::Pending;
        }
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        timer.as_mut().poll(context).map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{interval, timeout};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    async fn check(looks: Option<Duration>, polled_every: Duration) -> Duration {
        let started = Instant::now();
        let mut within = pin!(within((started, LIMIT), looks, pending::<()>()));
        let mut poller = interval(polled_every);
        loop {
            tokio::select! {
                biased;
                outcome = within.as_mut() => {
                    assert_eq!(outcome, None);
                    return started.elapsed();
                }
                _ = poller.tick() => {}
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_holds_with_looks_and_without() {
        let hour = Duration::from_secs(3600);
        assert_eq!(check(None, hour).await.as_secs(), 60);
        for secs in [1, 7, 10, 59] {
            let looks = Duration::from_secs(secs);
            assert_eq!(check(Some(looks), looks).await.as_secs(), 60, "a look every {secs} s");
        }
        assert_eq!(check(Some(hour), hour).await.as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_time_is_the_answer() {
        let answer = async {
            tokio::time::sleep(Duration::from_secs(59)).await;
            7
        };
        assert_eq!(timeout(LIMIT * 2, within((Instant::now(), LIMIT), None, answer)).await, Ok(Some(7)));
    }
}
