//! Handshakes under way, by the address that they come from: no address takes all permits (REQ H9).
//!
//! An address is known only while it has connections whose handshake is not done, so their number bounds the table.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permits of each address.
#[derive(Debug)]
pub(super) struct Crowd {
    max: usize,
    places: Mutex<HashMap<IpAddr, Place>>,
}

#[derive(Debug)]
struct Place {
    permits: Arc<Semaphore>,
    visitors: usize,
}

/// One connection of an address; counts until it is dropped.
#[derive(Debug)]
pub(super) struct Visitor<'a> {
    crowd: &'a Crowd,
    address: IpAddr,
    permits: Arc<Semaphore>,
}

impl Crowd {
    /// `max` permits for each address.
    pub(super) fn new(max: usize) -> Self {
        Self { max: max.min(Semaphore::MAX_PERMITS), places: Mutex::default() }
    }

    pub(super) fn enter(&self, address: IpAddr) -> Visitor<'_> {
        let mut places = self.places();
        let place = places
            .entry(address)
            .or_insert_with(|| Place { permits: Arc::new(Semaphore::new(self.max)), visitors: 0 });
        place.visitors += 1;
        Visitor { crowd: self, address, permits: Arc::clone(&place.permits) }
    }

    fn places(&self) -> MutexGuard<'_, HashMap<IpAddr, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visitor<'_> {
    /// Wait for one of the address's permits.
    pub(super) async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }
}

impl Drop for Visitor<'_> {
    fn drop(&mut self) {
        let mut places = self.crowd.places();
        if let Some(place) = places.get_mut(&self.address) {
            place.visitors -= 1;
            if place.visitors == 0 {
                places.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn each_address_has_its_own_permits_and_is_forgotten() {
        let crowd = Crowd::new(1);
        let [one, other] = ["127.0.0.1", "127.0.0.2"].map(|it| it.parse().unwrap());
        let (first, second, third) = (crowd.enter(one), crowd.enter(one), crowd.enter(other));
        let held = first.permit().now_or_never().unwrap();
        assert!(second.permit().now_or_never().is_none(), "its address has had its share");
        assert!(third.permit().now_or_never().is_some());
        drop((held, first));
        assert!(second.permit().now_or_never().is_some());
        drop((second, third));
        assert!(crowd.places().is_empty());
    }
}
