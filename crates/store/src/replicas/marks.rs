//! What each caller has written: the position that a replica must have replayed to serve that caller.
//!
//! A table of fixed size. Callers whose keys meet in one slot share the later position, which costs at most a read on
//! the primary. Nothing expires: a mark that all replicas have passed weighs nothing, so there is no time after which a
//! caller could miss its own write. What other processes write comes in by `told.rs`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Lsn;

/// Slots; 8 bytes each.
const SLOTS: usize = 1 << 16;
/// Higher than every position: a write whose position is known once the primary was asked after it. Two, so that what
/// is noted while the primary is asked waits for the next answer.
const PENDING: [u64; 2] = [u64::MAX, u64::MAX - 1];

/// Positions by caller.
#[derive(Debug)]
pub(super) struct Marks {
    slots: Box<[AtomicU64]>,
    /// Which of [`PENDING`] is noted now.
    second: AtomicBool,
    /// Whether there is something pending.
    pending: AtomicBool,
}

/// The primary is being asked; what was pending before gets its answer.
#[derive(Debug)]
pub(super) struct Question {
    pending: u64,
}

impl Marks {
    pub(super) fn new() -> Self {
        let slots = std::iter::repeat_with(AtomicU64::default).take(SLOTS).collect();
        Self { slots, second: AtomicBool::new(false), pending: AtomicBool::new(false) }
    }

    fn slot(&self, key: u64) -> Option<&AtomicU64> {
        // Keys are hashes: any bits of them are as good as others.
        self.slots.get(usize::try_from(key % SLOTS as u64).unwrap_or_default())
    }

    /// The caller has written up to `position`.
    pub(super) fn note(&self, key: u64, position: Lsn) {
        if position == Lsn::UNKNOWN {
            return self.note_unknown(key);
        }
        if let Some(slot) = self.slot(key) {
            slot.fetch_max(position.end().0, Ordering::AcqRel);
        }
    }

    /// The caller has, or may have, written: no replica serves it before the primary was asked how far it is.
    pub(super) fn note_unknown(&self, key: u64) {
        if let Some(slot) = self.slot(key) {
            loop {
                let current = self.current();
                slot.store(current, Ordering::Release);
                self.pending.store(true, Ordering::Release);
                // Else the question that this one was to wait for may have been answered meanwhile.
                if current == self.current() {
                    return;
                }
            }
        }
    }

    fn current(&self) -> u64 {
        let [first, second] = PENDING;
        if self.second.load(Ordering::Acquire) { second } else { first }
    }

    /// What a replica must have replayed for this caller.
    pub(super) fn needed(&self, key: u64) -> Lsn {
        Lsn(self.slot(key).map_or(u64::MAX, |it| it.load(Ordering::Acquire)))
    }

    /// The primary is asked for its position now; `None` when nobody waits for the answer.
    pub(super) fn ask(&self) -> Option<Question> {
        if !self.pending.swap(false, Ordering::AcqRel) {
            return None;
        }
        let pending = self.current();
        self.second.fetch_xor(true, Ordering::AcqRel);
        Some(Question { pending })
    }

    /// The primary answered: it had written no more than `position` when it was asked.
    pub(super) fn answer(&self, question: &Question, position: Lsn) {
        for slot in &self.slots {
            let _ = slot.compare_exchange(
                question.pending,
                position.end().0,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
        }
    }

    /// The primary did not answer: ask again.
    pub(super) fn unanswered(&self, question: &Question) {
        for slot in &self.slots {
            let _ =
                slot.compare_exchange(question.pending, self.current(), Ordering::AcqRel, Ordering::Relaxed);
        }
        self.pending.store(true, Ordering::Release);
    }

    /// Anybody may have written, and nobody told us.
    pub(super) fn doubt_all(&self) {
        self.doubt_beyond(Lsn::ZERO);
        let current = self.current();
        for slot in &self.slots {
            let _ = slot.compare_exchange(0, current, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// The primary is another one, or was restored: it has written less than some marks say, and those are of no use.
    pub(super) fn doubt_beyond(&self, position: Lsn) {
        for slot in &self.slots {
            let current = self.current();
            let _ = slot.fetch_update(Ordering::AcqRel, Ordering::Acquire, |it| {
                (it > position.0 && !PENDING.contains(&it)).then_some(current)
            });
        }
        self.pending.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_only_moves_on() {
        let marks = Marks::new();
        assert_eq!(marks.needed(7), Lsn::ZERO);
        marks.note(7, Lsn(500));
        marks.note(7, Lsn(400));
        assert_eq!((marks.needed(7), marks.needed(8)), (Lsn(500), Lsn::ZERO));
    }

    #[test]
    fn an_unknown_write_waits_for_a_question_asked_after_it() {
        let marks = Marks::new();
        assert!(marks.ask().is_none());
        marks.note_unknown(1);
        let first = marks.ask().unwrap();
        // While the primary is asked, another one is noted, and a known one arrives late.
        marks.note_unknown(2);
        marks.note(1, Lsn(10));
        marks.answer(&first, Lsn(1000));
        assert_eq!(marks.needed(1), Lsn(1000));
        assert!(marks.needed(2) > Lsn(u64::MAX - 2), "not before the next answer");
        let second = marks.ask().unwrap();
        marks.unanswered(&second);
        assert!(marks.needed(2) > Lsn(u64::MAX - 2));
        let third = marks.ask().unwrap();
        marks.answer(&third, Lsn(2000));
        assert_eq!((marks.needed(1), marks.needed(2)), (Lsn(1000), Lsn(2000)));
        assert!(marks.ask().is_none());
    }

    #[test]
    fn marks_of_a_lost_history_are_asked_for_again() {
        let marks = Marks::new();
        marks.note(1, Lsn(900));
        marks.note(2, Lsn(100));
        marks.doubt_beyond(Lsn(500));
        assert!(marks.needed(1) > Lsn(u64::MAX - 2));
        let question = marks.ask().unwrap();
        marks.answer(&question, Lsn(510));
        assert_eq!((marks.needed(1), marks.needed(2)), (Lsn(510), Lsn(100)));
    }

    #[test]
    fn after_a_gap_everybody_waits_for_the_primary_s_word() {
        let marks = Marks::new();
        marks.note(1, Lsn(900));
        marks.doubt_all();
        assert!([1, 2].iter().all(|it| marks.needed(*it) > Lsn(u64::MAX - 2)));
        let question = marks.ask().unwrap();
        marks.answer(&question, Lsn(1000));
        assert_eq!((marks.needed(1), marks.needed(2)), (Lsn(1000), Lsn(1000)));
    }
}
