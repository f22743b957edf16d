//! Statements made of parts: only those stand that there is something to do for.
//!
//! In the text, a line that ends in `--? part` stands where that part is asked for. When such a line begins a CTE
//! (`name as ( --? part`), the whole CTE does, up to its `),`. The text is ours, and so are the names of the parts;
//! there are as many statements as there are kinds of changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Texts that are kept; there are fewer kinds of changes than that.
const MOST: usize = 256;

/// A text with parts, and what was made of it.
#[derive(Debug)]
pub(super) struct Parts {
    text: &'static str,
    made: Mutex<Option<HashMap<u32, Arc<str>>>>,
}

impl Parts {
    pub(super) const fn new(text: &'static str) -> Self {
        Self { text, made: Mutex::new(None) }
    }

    /// The text with those of `parts` that are there.
    pub(super) fn with(&self, parts: &[(&str, bool)]) -> Arc<str> {
        let key = parts.iter().fold(0, |bits, (_, there)| (bits << 1) | u32::from(*there));
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let made = made.get_or_insert_default();
        if made.len() >= MOST && !made.contains_key(&key) {
            made.clear();
        }
        let make = || render(self.text, |name| parts.iter().any(|(it, there)| *it == name && *there)).into();
        Arc::clone(made.entry(key).or_insert_with(make))
    }
}

fn render(text: &str, has: impl Fn(&str) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let (kept, part) = match line.split_once(" --? ") {
            Some((kept, part)) => (kept, Some(part)),
            None => (line, None),
        };
        if part.is_none_or(&has) {
            out.extend([kept, "\n"]);
        } else if kept.ends_with(" as (") {
            lines.by_ref().find(|it| *it == "),");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "with a as ( --? x\n  select 1\n),\nb as (\n  select 2\n  where true --? y\n),\nselect 3";

    #[test]
    fn only_what_is_asked_for_stands() {
        assert_eq!(render(TEXT, |_| false), "b as (\n  select 2\n),\nselect 3\n");
        assert_eq!(render(TEXT, |it| it == "y"), "b as (\n  select 2\n  where true\n),\nselect 3\n");
        let all = "with a as (\n  select 1\n),\nb as (\n  select 2\n  where true\n),\nselect 3\n";
        assert_eq!(render(TEXT, |_| true), all);
    }

    #[test]
    fn texts_are_made_once_and_bounded() {
        let parts = Parts::new(TEXT);
        let (one, other) =
            (parts.with(&[("x", true), ("y", false)]), parts.with(&[("x", false), ("y", true)]));
        assert_ne!(one, other);
        assert!(Arc::ptr_eq(&one, &parts.with(&[("x", true), ("y", false)])));
    }
}
