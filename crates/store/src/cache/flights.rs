//! Work that several wait for: the first one does it, the others get what it brings back.
//!
//! A flight carries a mark, which says of when its answer is. Only who comes with the same mark may follow, so that
//! nobody is told what was true before he asked.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// The flights of one kind of work. Cheap to clone.
#[derive(Debug)]
pub struct Flights<K: Eq + Hash + Clone, T> {
    running: Arc<Mutex<HashMap<K, Running<T>>>>,
}

#[derive(Debug)]
struct Running<T> {
    mark: u64,
    landing: watch::Receiver<Option<T>>,
}

/// Who does the work, and who waits for it.
#[derive(Debug)]
pub enum Flight<K: Eq + Hash + Clone, T> {
    /// Nobody does it yet.
    Lead(Lead<K, T>),
    /// Somebody does.
    Follow(Follow<T>),
}

/// The one that works. Dropped before it has landed, it leaves its followers to themselves.
#[derive(Debug)]
pub struct Lead<K: Eq + Hash + Clone, T> {
    flights: Flights<K, T>,
    key: K,
    landing: watch::Sender<Option<T>>,
}

/// One that waits.
#[derive(Debug)]
pub struct Follow<T>(watch::Receiver<Option<T>>);

impl<K: Eq + Hash + Clone, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self { running: Arc::default() }
    }
}

impl<K: Eq + Hash + Clone, T> Clone for Flights<K, T> {
    fn clone(&self) -> Self {
        Self { running: Arc::clone(&self.running) }
    }
}

impl<K: Eq + Hash + Clone, T: Clone> Flights<K, T> {
    /// Follow the flight for `key` that has the same `mark`, else lead one; an older flight gets no more followers.
    #[must_use]
    pub fn board(&self, key: &K, mark: u64) -> Flight<K, T> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = running.get(key).filter(|it| it.mark == mark) {
            return Flight::Follow(Follow(flight.landing.clone()));
        }
        let (sender, landing) = watch::channel(None);
        running.insert(key.clone(), Running { mark, landing });
        Flight::Lead(Lead { flights: self.clone(), key: key.clone(), landing: sender })
    }
}

impl<K: Eq + Hash + Clone, T> Lead<K, T> {
    /// Give `value` to all who wait.
    pub fn land(self, value: T) {
        self.landing.send_replace(Some(value));
    }
}

impl<K: Eq + Hash + Clone, T> Drop for Lead<K, T> {
    fn drop(&mut self) {
        let mut running = self.flights.running.lock().unwrap_or_else(PoisonError::into_inner);
        let is_own = |it: &Running<T>| it.landing.same_channel(&self.landing.subscribe());
        if running.get(&self.key).is_some_and(is_own) {
            running.remove(&self.key);
        }
    }
}

impl<T: Clone> Follow<T> {
    /// What the flight brings; `None` when it brings nothing.
    pub async fn landed(mut self) -> Option<T> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|it| it.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(flights: &Flights<&'static str, u32>, mark: u64) -> Lead<&'static str, u32> {
        match flights.board(&"a", mark) {
            Flight::Lead(lead) => lead,
            Flight::Follow(_) => unreachable!("nobody leads mark {mark}"),
        }
    }

    fn follow(flights: &Flights<&'static str, u32>, mark: u64) -> Follow<u32> {
        match flights.board(&"a", mark) {
            Flight::Follow(follow) => follow,
            Flight::Lead(_) => unreachable!("somebody leads mark {mark}"),
        }
    }

    #[tokio::test]
    async fn one_works_and_the_others_get_it() {
        let flights = Flights::default();
        let first = lead(&flights, 1);
        let (one, two) = (follow(&flights, 1), follow(&flights, 1));
        first.land(7);
        assert_eq!((one.landed().await, two.landed().await), (Some(7), Some(7)));
        drop(lead(&flights, 1));
    }

    #[tokio::test]
    async fn who_comes_later_than_a_change_starts_anew() {
        let flights = Flights::default();
        let old = lead(&flights, 1);
        let new = lead(&flights, 2);
        let (waiting, late) = (follow(&flights, 2), follow(&flights, 2));
        old.land(1);
        new.land(2);
        assert_eq!((waiting.landed().await, late.landed().await), (Some(2), Some(2)));
        assert!(flights.running.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_flight_that_is_given_up_leaves_its_followers_to_themselves() {
        let flights = Flights::default();
        let first = lead(&flights, 1);
        let waiting = follow(&flights, 1);
        drop(first);
        assert_eq!(waiting.landed().await, None);
    }
}
