//! Counts tests in what test runners print.

use std::collections::VecDeque;
use std::fmt;
use std::ops::AddAssign;

/// Lines of a failing part that are shown.
const SHOWN_LINES: usize = 60;

/// How many tests did what. Shown as the last line of `madbase test`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

impl Counts {
    pub(super) fn add(&mut self, more: Self) {
        self.passed.add_assign(more.passed);
        self.failed.add_assign(more.failed);
        self.skipped.add_assign(more.skipped);
    }

    /// A part that failed without naming a test counts as one failure; one that passed without any, as one pass.
    pub(super) fn settled(mut self, succeeded: bool) -> Self {
        if !succeeded {
            self.failed = self.failed.max(1);
        } else if self == Self::default() {
            self.passed = 1;
        }
        self
    }

    /// From libtest: `test result: ok. 3 passed; 0 failed; 1 ignored; …`, once per binary.
    pub(super) fn of_libtest(text: &str) -> Self {
        let mut total = Self::default();
        for line in text.lines().filter_map(|it| it.strip_prefix("test result: ")) {
            total.add(Self {
                passed: number_before(line, "passed"),
                failed: number_before(line, "failed"),
                skipped: number_before(line, "ignored"),
            });
        }
        total
    }

    /// From our own runners: the last line that reads `N passed, N failed, N skipped`.
    pub(super) fn of_last_line(text: &str) -> Self {
        let line = text.lines().rev().find(|it| it.ends_with(" skipped") && it.contains(" passed, "));
        let number = |word| line.map_or(0, |it| number_before(it, word));
        Self { passed: number("passed"), failed: number("failed"), skipped: number("skipped") }
    }
}

/// The number in front of `word`.
fn number_before(line: &str, word: &str) -> u64 {
    let mut last = "";
    for token in line.split_whitespace() {
        if token.trim_end_matches([';', ',']) == word {
            return last.parse().unwrap_or_default();
        }
        last = token;
    }
    0
}

/// The end of a failing part's output, preceded by the names of its failing tests.
pub(super) fn end(text: &str) -> String {
    let mut tail = VecDeque::with_capacity(SHOWN_LINES);
    let mut names = Vec::new();
    for line in text.lines() {
        if line.starts_with("test ") && line.ends_with("FAILED") {
            names.push(line);
        }
        if tail.len() == SHOWN_LINES {
            tail.pop_front();
        }
        tail.push_back(line);
    }
    names.into_iter().chain(tail).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_of_all_binaries_are_summed_up() {
        let text = "running 3 tests\ntest a ... ok\n\
            test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
            test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(Counts::of_libtest(text), Counts { passed: 13, failed: 2, skipped: 1 });
    }

    #[test]
    fn a_runner_of_ours_counts_in_its_last_line() {
        let text = "1 passed, 1 failed, 0 skipped\nmore\n40 passed, 0 failed, 2 skipped\n";
        assert_eq!(Counts::of_last_line(text), Counts { passed: 40, failed: 0, skipped: 2 });
        assert_eq!(Counts::of_last_line("crashed"), Counts::default());
    }

    #[test]
    fn a_part_that_could_not_run_its_tests_has_failed() {
        assert_eq!(Counts::default().settled(false), Counts { failed: 1, ..Counts::default() });
        assert_eq!(Counts::default().settled(true), Counts { passed: 1, ..Counts::default() });
        let some = Counts { passed: 4, failed: 0, skipped: 1 };
        assert_eq!(some.settled(true), some);
        assert_eq!(some.settled(false).failed, 1);
    }

    #[test]
    fn the_end_names_failures_that_scrolled_away() {
        let text = format!("test early ... FAILED\n{}last", "noise\n".repeat(200));
        let end = end(&text);
        assert!(end.starts_with("test early ... FAILED\n") && end.ends_with("last"), "{end}");
        assert_eq!(end.lines().count(), SHOWN_LINES + 1);
    }
}
