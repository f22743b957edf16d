//! Which numbers of a worker's operations have been heard of: ranges, so that all up to one take no room.

use std::collections::BTreeMap;

/// A set of numbers from 1 on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// First to last of each range; they neither overlap nor touch.
    ranges: BTreeMap<u64, u64>,
}

impl Seen {
    pub(super) fn contains(&self, number: u64) -> bool {
        self.ranges.range(..=number).next_back().is_some_and(|(_, last)| *last >= number)
    }

    /// Whether everything up to `number` is in it.
    pub(super) fn covers(&self, number: u64) -> bool {
        number == 0 || self.ranges.get(&1).is_some_and(|last| *last >= number)
    }

    /// Add one; whether it was not in it.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        if self.contains(number) {
            return false;
        }
        self.insert_range(number, number);
        true
    }

    /// Add all up to `number`.
    pub(super) fn insert_up_to(&mut self, number: u64) {
        if number > 0 {
            self.insert_range(1, number);
        }
    }

    fn insert_range(&mut self, mut first: u64, mut last: u64) {
        // Those that overlap or touch it start at its end plus one at the latest; looked at from there down.
        while let Some((start, end)) = self.ranges.range(..=last.saturating_add(1)).next_back() {
            let (start, end) = (*start, *end);
            if end.saturating_add(1) < first {
                break;
            }
            self.ranges.remove(&start);
            (first, last) = (first.min(start), last.max(end));
        }
        self.ranges.insert(first, last);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(steps in proptest::collection::vec((any::<bool>(), 1_u64..40), 0..60)) {
            let (mut seen, mut model) = (Seen::default(), BTreeSet::new());
            for (up_to, number) in steps {
                if up_to && number < 8 {
                    seen.insert_up_to(number);
                    model.extend(1..=number);
                } else {
                    prop_assert_eq!(seen.insert(number), model.insert(number));
                }
            }
            for number in 0..45 {
                prop_assert_eq!(seen.contains(number), model.contains(&number));
                prop_assert_eq!(seen.covers(number), (1..=number).all(|it| model.contains(&it)));
            }
            let last = model.iter().filter(|it| !model.contains(&(*it + 1))).count();
            prop_assert_eq!(seen.ranges.len(), last, "ranges that touch are one");
        }
    }
}
