//! Several hosts of one server: which one to try first, and when to try the next one.
//!
//! After a failover the old primary may refuse connections, which costs nothing, or keep silent, which would cost
//! `connect_timeout` for each new connection. So the host that served last goes first, and one that keeps silent does
//! not keep the others waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::timeout;

use crate::config::Config;
use crate::socket::{self, Address};

/// How long a host may keep silent before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_millis(200);

/// Which of the addresses served last. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Favourite(Arc<AtomicUsize>);

/// What comes of `attempt` at the first address that it succeeds at, else its last failure; `None` without any address.
///
/// # Errors
/// The attempt's.
pub(crate) async fn first<T, E, F>(config: &Config, attempt: impl Fn(Address) -> F) -> Result<T, Option<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut addresses: Vec<_> = socket::addresses(config).into_iter().enumerate().collect();
    let Favourite(favourite) = config.favourite();
    addresses.sort_by_key(|(idx, _)| *idx != favourite.load(Ordering::Relaxed));
    let mut addresses = addresses.into_iter();
    let (mut trying, mut failure) = (FuturesUnordered::new(), None);
    loop {
        if let Some((idx, address)) = addresses.next() {
            let attempt = attempt(address);
            trying.push(async move { (idx, attempt.await) });
        }
        let ended = if addresses.len() > 0 {
            timeout(HEAD_START, trying.next()).await.unwrap_or_default()
        } else if let Some(ended) = trying.next().await {
            Some(ended)
        } else {
            return Err(failure);
        };
        match ended {
            Some((idx, Ok(opened))) => {
                favourite.store(idx, Ordering::Relaxed);
                return Ok(opened);
            }
            Some((_, Err(error))) => failure = Some(error),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Mutex;

    use super::*;

    /// Attempts at three hosts of which `serves` serves; in which order they were tried, and what it took.
    async fn check(config: &Config, serves: u16, silent: &[u16]) -> (Vec<u16>, bool, Duration) {
        let (tried, began) = (Mutex::new(Vec::new()), tokio::time::Instant::now());
        let opened = first(config, |address| {
            let Address::Tcp(_, port) = address else { unreachable!("only TCP") };
            tried.lock().unwrap().push(port);
            async move {
                if silent.contains(&port) {
                    pending::<()>().await;
                }
                if port == serves { Ok(port) } else { Err("refused") }
            }
        });
        let opened = opened.await;
        (tried.into_inner().unwrap(), opened == Ok(serves), began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn the_host_that_served_last_is_first_and_silence_costs_a_moment() {
        let config = Config::parse("postgres://h:1,h:2,h:3/x").unwrap();
        let at_once = Duration::ZERO;
        assert_eq!(check(&config, 1, &[]).await, (vec![1], true, at_once));
        assert_eq!(check(&config, 3, &[]).await, (vec![1, 2, 3], true, at_once));
        assert_eq!(check(&config.clone(), 3, &[1, 2]).await, (vec![3], true, at_once), "clones know it too");
        assert_eq!(check(&config, 2, &[3]).await, (vec![3, 1, 2], true, HEAD_START));
        assert_eq!(check(&config, 0, &[]).await, (vec![2, 1, 3], false, at_once));
        assert_eq!(check(&config, 2, &[]).await.0, [2]);
    }
}
