//! What each core keeps for itself.
//!
//! Memory that one core writes and another one reads or writes moves between their caches, which takes as long as hundreds
//! of instructions. Threads that serve connections say by [`Here::settle`] which core they are; all other threads are one.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Cores that are kept apart; more share what they keep.
const SHELVES: usize = 16;

/// Which thread of those that serve connections this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Here(usize);

thread_local! {
    static HERE: Cell<usize> = const { Cell::new(0) };
}

impl Here {
    /// This thread.
    #[must_use]
    pub fn now() -> Self {
        Self(HERE.get())
    }

    /// From now on this thread is one by itself.
    pub fn settle() {
        static SETTLED: AtomicUsize = AtomicUsize::new(0);
        HERE.set(SETTLED.fetch_add(1, Ordering::Relaxed) + 1);
    }

    /// Its number among those that are kept apart.
    #[must_use]
    pub fn shelf(self) -> usize {
        self.0 % SHELVES
    }
}

/// One value for each core.
#[derive(Debug, Default)]
pub struct PerCore<T>([Apart<T>; SHELVES]);

/// As long as what caches hand over together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

impl<T> PerCore<T> {
    /// That of this thread.
    pub fn here(&self) -> &T {
        self.of(Here::now())
    }

    /// That of `core`.
    pub fn of(&self, core: Here) -> &T {
        let [first, ..] = &self.0;
        &self.0.get(core.shelf()).unwrap_or(first).0
    }

    /// Those of all.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|it| &it.0)
    }
}

/// A few places for values that were used a moment ago, in front of a cache that costs more to ask: one that counts uses
/// and keeps an order. A value stays until another one takes its place; its age is for the caller to judge.
#[derive(Debug)]
pub struct Shelves<T> {
    cores: PerCore<OnceLock<Box<[Place<T>]>>>,
    places: usize,
}

type Place<T> = Mutex<Option<T>>;

impl<T> Shelves<T> {
    /// So many `places` for each core, at least one.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self { cores: PerCore(std::array::from_fn(|_| Apart(OnceLock::new()))), places: places.max(1) }
    }

    /// What `look` makes of the value that this core has at `hash`.
    pub fn find<R>(&self, hash: u64, look: impl FnOnce(&T) -> Option<R>) -> Option<R> {
        let place = self.place(self.cores.here().get()?, hash)?;
        look(place.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?)
    }

    /// Put `value` at `hash`, for this core.
    pub fn put(&self, hash: u64, value: T) {
        let places = self.cores.here().get_or_init(|| (0..self.places).map(|_| Mutex::default()).collect());
        if let Some(place) = self.place(places, hash) {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        }
    }

    /// Whatever any core has at `hash` is gone.
    pub fn forget(&self, hash: u64) {
        for place in self.cores.all().filter_map(|it| self.place(it.get()?, hash)) {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Whatever any core has is gone.
    pub fn clear(&self) {
        for place in self.cores.all().filter_map(OnceLock::get).flatten() {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    fn place<'a>(&self, places: &'a [Place<T>], hash: u64) -> Option<&'a Place<T>> {
        places.get(usize::try_from(hash % self.places as u64).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elsewhere<R: Send>(act: impl FnOnce() -> R + Send) -> R {
        let act = || {
            Here::settle();
            act()
        };
        std::thread::scope(|scope| scope.spawn(act).join().unwrap())
    }

    #[test]
    fn each_core_finds_what_it_put_and_all_forget() {
        let shelves = Shelves::new(4);
        let find = |hash| shelves.find(hash, |it| Some(*it));
        shelves.put(1, 'a');
        assert_eq!((find(1), find(5), find(2)), (Some('a'), Some('a'), None));
        assert_eq!(elsewhere(|| find(1)), None);
        elsewhere(|| shelves.put(1, 'b'));
        assert_eq!(find(1), Some('a'));
        elsewhere(|| shelves.forget(1));
        assert_eq!(find(1), None);
        shelves.put(2, 'c');
        elsewhere(|| shelves.clear());
        assert_eq!(find(2), None);
    }

    #[test]
    fn threads_that_settle_are_apart_and_others_are_one() {
        let mine = Here::now();
        assert_eq!(std::thread::spawn(Here::now).join().unwrap(), mine);
        let (one, other) = (elsewhere(Here::now), elsewhere(Here::now));
        assert!(one != other && one != mine && other != mine);
        let counts = PerCore::<AtomicUsize>::default();
        counts.here().fetch_add(1, Ordering::Relaxed);
        counts.of(one).fetch_add(2, Ordering::Relaxed);
        assert_eq!(counts.all().map(|it| it.load(Ordering::Relaxed)).sum::<usize>(), 3);
    }
}
