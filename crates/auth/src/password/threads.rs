//! Threads that hash, and nothing else: as many as cores, each with its own memory, kept between hashes.
//!
//! Argon2's memory is large on purpose. Getting it anew for every hash, cleared, costs a tenth of the hash; and a thread
//! that takes the next work by itself leaves no gap in which a core waits for the runtime to be told. Threads start when
//! there is work and end, with their memory, after a while without any.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use argon2::Block;
use tokio::sync::oneshot;

use crate::Error;

/// How long a thread keeps its memory without work.
const IDLE: Duration = Duration::from_secs(10);
/// Blocks of 1 KiB that a thread keeps: more than our own hashes need; what imported ones need beyond is given back.
const KEPT_BLOCKS: usize = 64 * 1024;

/// A bounded queue, and the threads that work it off.
#[derive(Debug)]
pub(super) struct Threads {
    shared: Arc<Shared>,
    most: usize,
    longest: usize,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Work>,
    alive: usize,
    idle: usize,
    /// Nobody will bring work any more.
    ended: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("waiting", &self.queue.len()).field("alive", &self.alive).finish()
    }
}

type Work = Box<dyn FnOnce(&mut Memory) + Send>;

/// A thread's memory for argon2.
#[derive(Debug, Default)]
pub(super) struct Memory(Vec<Block>);

impl Memory {
    /// `count` blocks of 1 KiB, filled with whatever was there before: argon2 reads none that it has not written.
    pub(super) fn blocks(&mut self, count: usize) -> &mut [Block] {
        if self.0.len() < count {
            self.0.resize(count, Block::new());
        }
        self.0.get_mut(..count).unwrap_or_default()
    }

    fn give_back(&mut self) {
        if self.0.len() > KEPT_BLOCKS {
            self.0 = Vec::new();
        }
    }
}

impl Threads {
    /// At most `most` threads, and `longest` pieces of work that wait for them.
    pub(super) fn new(most: usize, longest: usize) -> Self {
        let shared = Shared { state: Mutex::default(), wake: Condvar::new() };
        Self { shared: Arc::new(shared), most: most.max(1), longest: longest.max(1) }
    }

    /// What `work` gives; it is not begun when nobody waits for it any more.
    ///
    /// # Errors
    /// [`Error::Busy`] when too many wait.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, receiver) = oneshot::channel();
        self.submit(Box::new(move |memory| {
            if !sender.is_closed() {
                let _ = sender.send(work(memory));
            }
        }))?;
        receiver.await.map_err(Error::internal)?
    }

    fn submit(&self, work: Work) -> Result<(), Error> {
        let mut state = self.shared.lock();
        if state.queue.len() >= self.longest {
            return Err(Error::Busy);
        }
        state.queue.push_back(work);
        if state.idle == 0 && state.alive < self.most {
            let shared = Arc::clone(&self.shared);
            let started = std::thread::Builder::new().name("password".into()).spawn(move || shared.serve());
            match started {
                Ok(_) => state.alive += 1,
                // Others will come to it.
                Err(_) if state.alive > 0 => {}
                Err(error) => {
                    state.queue.pop_back();
                    return Err(Error::internal(error));
                }
            }
        }
        drop(state);
        self.shared.wake.notify_one();
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Work until there is none.
    fn serve(&self) {
        let mut memory = Memory::default();
        while let Some(work) = self.next() {
            // Whoever waits is told by the end of its channel.
            let _ = catch_unwind(AssertUnwindSafe(|| work(&mut memory)));
            memory.give_back();
        }
    }

    /// The next work; without any for a while this thread is no more.
    fn next(&self) -> Option<Work> {
        let mut state = self.lock();
        if state.queue.is_empty() && !state.ended {
            state.idle += 1;
            let waits = |it: &mut State| it.queue.is_empty() && !it.ended;
            (state, _) =
                self.wake.wait_timeout_while(state, IDLE, waits).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
        let work = state.queue.pop_front();
        if work.is_none() {
            state.alive -= 1;
        }
        work
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_by_at_most_so_many_threads() {
        let threads = Threads::new(2, 100);
        let work = (0..50).map(|it| threads.run(move |_| Ok((it, std::thread::current().id()))));
        let done: Vec<_> =
            futures_util::future::join_all(work).await.into_iter().map(Result::unwrap).collect();
        assert!(done.iter().enumerate().all(|(idx, (it, _))| idx == *it));
        let ids: std::collections::HashSet<_> = done.iter().map(|(_, id)| id).collect();
        assert!((1..=2).contains(&ids.len()), "{ids:?}");
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_panic_costs_nobody_else_anything() {
        let threads = Threads::new(1, 2);
        let (release, released) = std::sync::mpsc::channel::<()>();
        let blocked = threads.run(move |_| {
            let _ = released.recv();
            Ok(())
        });
        let mut blocked = Box::pin(blocked);
        assert!(futures_util::poll!(&mut blocked).is_pending());
        // Until the thread has taken it.
        while !threads.shared.lock().queue.is_empty() {
            tokio::task::yield_now().await;
        }
        let mut panics = Box::pin(threads.run(|_| -> Result<(), Error> { panic!("on purpose") }));
        let mut last = Box::pin(threads.run(|_| Ok(7)));
        assert!(futures_util::poll!(&mut panics).is_pending());
        assert!(futures_util::poll!(&mut last).is_pending());
        assert!(matches!(threads.run(|_| Ok(())).await, Err(Error::Busy)));
        drop(release);
        blocked.await.unwrap();
        assert!(matches!(panics.await, Err(Error::Internal(_))));
        assert_eq!(last.await.unwrap(), 7);
    }

    #[test]
    fn large_memory_is_given_back() {
        let mut memory = Memory::default();
        assert_eq!(memory.blocks(10).len(), 10);
        assert_eq!((memory.blocks(4).len(), memory.0.len()), (4, 10));
        memory.blocks(KEPT_BLOCKS + 1);
        memory.give_back();
        assert_eq!(memory.0.len(), 0);
    }
}
