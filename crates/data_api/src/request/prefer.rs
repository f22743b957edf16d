//! The `Prefer` header (RFC 7240): what the client would like, and which of it is granted.

use std::fmt::Write as _;

use http::{HeaderMap, header::HeaderName};

/// What the client prefers; the first word on a subject counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Preferences {
    /// `resolution=`
    pub(crate) resolution: Option<Resolution>,
    /// `return=`
    pub(crate) representation: Option<Return>,
    /// `count=`
    pub(crate) count: Option<Count>,
    /// `tx=`, when the project allows it.
    pub(crate) tx: Option<Tx>,
    /// `missing=`
    pub(crate) missing: Option<Missing>,
    /// `handling=`
    pub(crate) handling: Option<Handling>,
    /// `timezone=`
    pub(crate) timezone: Option<String>,
    /// `max-affected=`
    pub(crate) max_affected: Option<i64>,
    /// Words that mean nothing here, as sent.
    pub(crate) unknown: Vec<String>,
}

/// What an insert does about a row that is already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// Update it.
    MergeDuplicates,
    /// Leave it.
    IgnoreDuplicates,
}

/// What a write answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Return {
    /// The rows.
    Representation,
    /// Nothing.
    Minimal,
    /// Where the row is.
    HeadersOnly,
}

/// How the rows are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    /// All of them.
    Exact,
    /// By the planner's guess.
    Planned,
    /// Exactly up to the most rows that one answer holds, by guess beyond.
    Estimated,
}

/// How the transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tx {
    /// Kept.
    Commit,
    /// Undone.
    Rollback,
}

/// What an absent key of the body means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The column's default.
    Default,
    /// Null.
    Null,
}

/// What an unknown preference means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handling {
    /// An error.
    Strict,
    /// Nothing.
    Lenient,
}

/// The whole text of a preference.
trait Word: Copy + 'static {
    const ALL: &'static [(&'static str, Self)];
}

impl Word for Resolution {
    const ALL: &'static [(&'static str, Self)] = &[
        ("resolution=merge-duplicates", Self::MergeDuplicates),
        ("resolution=ignore-duplicates", Self::IgnoreDuplicates),
    ];
}

impl Word for Return {
    const ALL: &'static [(&'static str, Self)] = &[
        ("return=representation", Self::Representation),
        ("return=minimal", Self::Minimal),
        ("return=headers-only", Self::HeadersOnly),
    ];
}

impl Word for Count {
    const ALL: &'static [(&'static str, Self)] = &[
        ("count=exact", Self::Exact),
        ("count=planned", Self::Planned),
        ("count=estimated", Self::Estimated),
    ];
}

impl Word for Tx {
    const ALL: &'static [(&'static str, Self)] =
        &[("tx=commit", Self::Commit), ("tx=rollback", Self::Rollback)];
}

impl Word for Missing {
    const ALL: &'static [(&'static str, Self)] =
        &[("missing=default", Self::Default), ("missing=null", Self::Null)];
}

impl Word for Handling {
    const ALL: &'static [(&'static str, Self)] =
        &[("handling=strict", Self::Strict), ("handling=lenient", Self::Lenient)];
}

/// Set `slot` when `text` is one of its words; `true` when it is, even if the slot was taken.
fn take<W: Word>(slot: &mut Option<W>, text: &str) -> bool {
    let found = W::ALL.iter().find(|(word, _)| *word == text);
    if let Some((_, word)) = found {
        slot.get_or_insert(*word);
    }
    found.is_some()
}

fn word_of<W: Word + PartialEq>(value: Option<W>) -> Option<&'static str> {
    W::ALL.iter().find(|(_, it)| Some(*it) == value).map(|(word, _)| *word)
}

impl Preferences {
    /// Read all `Prefer` headers; `tx=` counts only when the project lets clients decide.
    pub(crate) fn parse(headers: &HeaderMap, tx_allowed: bool) -> Self {
        let mut it = Self::default();
        let name = HeaderName::from_static("prefer");
        let lines = headers.get_all(name).iter().filter_map(|it| it.to_str().ok());
        for text in lines.flat_map(|it| it.split(',')).map(str::trim) {
            it.take(text, tx_allowed);
        }
        it
    }

    fn take(&mut self, text: &str, tx_allowed: bool) {
        let mut tx = self.tx;
        let known = take(&mut self.resolution, text)
            || take(&mut self.representation, text)
            || take(&mut self.count, text)
            || take(&mut tx, text)
            || take(&mut self.missing, text)
            || take(&mut self.handling, text);
        if tx_allowed {
            self.tx = tx;
        }
        if known {
            return;
        }
        if let Some(timezone) = text.strip_prefix("timezone=") {
            self.timezone.get_or_insert_with(|| timezone.to_owned());
        } else if let Some(number) = text.strip_prefix("max-affected=") {
            self.max_affected = self.max_affected.or_else(|| number.parse().ok());
        } else {
            self.unknown.push(text.to_owned());
        }
    }

    /// Whether unknown preferences and `max-affected` are insisted on.
    pub(crate) fn is_strict(&self) -> bool {
        self.handling == Some(Handling::Strict)
    }

    /// The most rows that may be affected, if the client insists.
    pub(crate) fn affected_limit(&self) -> Option<i64> {
        if self.is_strict() { self.max_affected } else { None }
    }

    /// The value of `Preference-Applied`; `None` when nothing was granted.
    pub(crate) fn applied(&self) -> Option<String> {
        let words = [
            word_of(self.resolution),
            word_of(self.missing),
            word_of(self.representation),
            word_of(self.count),
            word_of(self.tx),
            word_of(self.handling),
        ];
        let mut text = String::new();
        for word in words.into_iter().flatten() {
            separate(&mut text);
            text.push_str(word);
        }
        if let Some(timezone) = &self.timezone {
            separate(&mut text);
            let _ = write!(text, "timezone={timezone}");
        }
        if let Some(limit) = self.affected_limit() {
            separate(&mut text);
            let _ = write!(text, "max-affected={limit}");
        }
        if text.is_empty() { None } else { Some(text) }
    }
}

fn separate(text: &mut String) {
    if !text.is_empty() {
        text.push_str(", ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("prefer", line.parse().unwrap());
        }
        let it = Preferences::parse(&headers, true);
        format!("{} | {}", it.applied().unwrap_or_default(), it.unknown.join(" "))
    }

    #[test]
    fn first_word_counts_and_order_is_fixed() {
        assert_eq!(
            check(&["count=exact,   tx=commit ,return=minimal, missing=default, handling=strict, any"]),
            "missing=default, return=minimal, count=exact, tx=commit, handling=strict | any"
        );
        assert_eq!(
            check(&["resolution=ignore-duplicates", "resolution=merge-duplicates, count=exact"]),
            "resolution=ignore-duplicates, count=exact | "
        );
    }

    #[test]
    fn max_affected_needs_strict() {
        assert_eq!(check(&["max-affected=10"]), " | ");
        assert_eq!(check(&["max-affected=10, handling=strict"]), "handling=strict, max-affected=10 | ");
    }
}
