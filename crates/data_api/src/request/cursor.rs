//! Walks over the text of one query parameter and remembers what was expected at the furthest point reached.
//!
//! Used by the grammars of `select`, filters and `order`. The wording of a failure (`unexpected … expecting …`) and
//! its position are part of the API's contract.

use super::SyntaxError;

/// A grammar did not match; the [`Cursor`] knows where and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mismatch;

/// What a grammar gives.
pub(super) type Parsed<T> = Result<T, Mismatch>;

/// A position in a text, and the furthest failure.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    failure: Failure,
}

#[derive(Debug, Default, Clone)]
struct Failure {
    at: usize,
    unexpected: Option<char>,
    expected: Vec<&'static str>,
}

impl Failure {
    /// Merge `other` in: the further one wins, at the same place both count.
    fn merge(&mut self, other: Self) {
        if self.expected.is_empty() || other.at > self.at {
            *self = other;
        } else if other.at == self.at {
            for label in other.expected {
                self.expect(label);
            }
        }
    }

    fn expect(&mut self, label: &'static str) {
        if !self.expected.contains(&label) {
            self.expected.push(label);
        }
    }
}

impl<'a> Cursor<'a> {
    /// At the start of `text`.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, failure: Failure::default() }
    }

    /// Byte offset.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Go back to an offset got from [`Cursor::at`].
    pub(super) fn rewind(&mut self, at: usize) {
        self.at = at;
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The text between an earlier offset and here.
    pub(super) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// The next character.
    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Whether nothing is left.
    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    /// Go on by one character.
    pub(super) fn advance(&mut self) {
        self.at += self.peek().map_or(0, char::len_utf8);
    }

    /// Take characters while `legal` holds.
    pub(super) fn take_while(&mut self, legal: impl Fn(char) -> bool) -> &'a str {
        let start = self.at;
        let rest = self.rest();
        self.at += rest.find(|it| !legal(it)).unwrap_or(rest.len());
        self.since(start)
    }

    /// Remember that `label` could have followed here.
    pub(super) fn note(&mut self, label: &'static str) {
        self.note_at(self.at, self.peek(), label);
    }

    fn note_at(&mut self, at: usize, unexpected: Option<char>, label: &'static str) {
        self.failure.merge(Failure { at, unexpected, expected: vec![label] });
    }

    /// Fail here: `label` should have followed.
    pub(super) fn fail<T>(&mut self, label: &'static str) -> Parsed<T> {
        self.note(label);
        Err(Mismatch)
    }

    /// Take `wanted` if it follows, else note `label`.
    pub(super) fn accept(&mut self, wanted: &str, label: &'static str) -> bool {
        let rest = self.rest();
        if rest.starts_with(wanted) {
            self.at += wanted.len();
            return true;
        }
        let differs = rest.chars().zip(wanted.chars()).find(|(is, should)| is != should);
        let unexpected = differs.map(|(is, _)| is);
        self.note_at(self.at, unexpected, label);
        false
    }

    /// As [`Cursor::accept`], with blanks and tabs around.
    pub(super) fn accept_lexeme(&mut self, wanted: &str, label: &'static str) -> bool {
        let start = self.at;
        self.skip_blanks();
        if self.accept(wanted, label) {
            self.skip_blanks();
            return true;
        }
        self.at = start;
        false
    }

    /// Take `wanted` or fail with `label`.
    pub(super) fn expect(&mut self, wanted: &str, label: &'static str) -> Parsed<()> {
        if self.accept(wanted, label) { Ok(()) } else { Err(Mismatch) }
    }

    /// As [`Cursor::expect`], with blanks and tabs around.
    pub(super) fn expect_lexeme(&mut self, wanted: &str, label: &'static str) -> Parsed<()> {
        if self.accept_lexeme(wanted, label) { Ok(()) } else { Err(Mismatch) }
    }

    /// Skip blanks and tabs.
    pub(super) fn skip_blanks(&mut self) {
        self.take_while(|it| it == ' ' || it == '\t');
    }

    /// Run `grammar`; when it fails without having taken anything, all it expected is told as `label`.
    pub(super) fn labelled<T>(
        &mut self,
        label: &'static str,
        grammar: impl FnOnce(&mut Self) -> Parsed<T>,
    ) -> Parsed<T> {
        let before = std::mem::take(&mut self.failure);
        let start = self.at;
        let parsed = grammar(self);
        let mut inner = std::mem::replace(&mut self.failure, before);
        if inner.expected.is_empty() {
            return parsed;
        }
        if (parsed.is_err() && self.at == start) || inner.at == start {
            inner.expected = vec![label];
        }
        self.failure.merge(inner);
        parsed
    }

    /// Run `grammar`; when it fails, go back to where it began.
    pub(super) fn attempt<T>(&mut self, grammar: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        let start = self.at;
        let parsed = grammar(self);
        if parsed.is_err() {
            self.at = start;
        }
        parsed
    }

    /// The furthest failure, told about `source` (`failed to parse filter (…)`).
    pub(super) fn error(self, source: &str) -> SyntaxError {
        let (line, column) = position(self.text, self.failure.at);
        let unexpected = match self.failure.unexpected {
            // Where the text might have ended, PostgREST quotes what follows otherwise.
            Some(it) if self.failure.expected.contains(&"end of input") => quote(it, '\''),
            Some(it) => quote(it, '"'),
            None => "end of input".to_owned(),
        };
        let details = match self.failure.expected.split_last() {
            None => format!("unexpected {unexpected}"),
            Some((last, [])) => format!("unexpected {unexpected} expecting {last}"),
            Some((last, others)) => {
                format!("unexpected {unexpected} expecting {} or {last}", others.join(", "))
            }
        };
        SyntaxError { message: format!("\"{source}\" (line {line}, column {column})"), details }
    }
}

/// Line and column (1-based, in characters, tabs to the next multiple of eight) of a byte offset.
fn position(text: &str, at: usize) -> (usize, usize) {
    text.get(..at).unwrap_or(text).chars().fold((1, 1), |(line, column), it| match it {
        '\n' => (line + 1, 1),
        '\t' => (line, column + 8 - (column - 1) % 8),
        _ => (line, column + 1),
    })
}

/// A character between quotes; other than printable ASCII by its number.
fn quote(it: char, mark: char) -> String {
    match it {
        _ if it == mark || it == '\\' => format!("{mark}\\{it}{mark}"),
        ' '..='~' => format!("{mark}{it}{mark}"),
        other => format!("{mark}\\{}{mark}", u32::from(other)),
    }
}
