//! What a command prints: text for people or JSON for machines on standard output, errors on standard error.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

/// How this run prints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    yes: bool,
}

impl Output {
    /// `yes` answers every question in advance.
    pub(crate) fn new(json: bool, yes: bool) -> Self {
        Self { json, yes }
    }

    /// Ask a yes-or-no question.
    pub(crate) fn ask(self, question: &str) -> Answer {
        match () {
            () if self.yes => Answer::Yes,
            () if !can_ask() => Answer::NobodyThere,
            () if ask(question) => Answer::Yes,
            () => Answer::No,
        }
    }

    /// Whether a machine reads.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Print a value: as JSON, or as the text that `people` makes of it.
    pub(crate) fn show<T: Serialize>(self, value: &T, people: impl FnOnce(&T) -> String) {
        if self.json {
            let text = serde_json::to_string(value).unwrap_or_default();
            line(&text);
        } else {
            line(people(value).trim_end());
        }
    }

    /// Print what went wrong and why, outermost first.
    pub(crate) fn error(self, error: &anyhow::Error) {
        if self.json {
            let text = serde_json::json!({ "error": format!("{error:#}") });
            line(&text.to_string());
        } else {
            let _ = writeln!(io::stderr(), "error: {error:#}");
        }
    }
}

/// One line on standard output. A reader that has gone away is no reason to fail.
pub(crate) fn line(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// One line on standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// How a question was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes,
    No,
    /// There is no terminal, and no `--yes`.
    NobodyThere,
}

/// Whether a person can be asked.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Only a spelled-out yes counts.
fn ask(question: &str) -> bool {
    let _ = write!(io::stderr(), "{question} [y/N] ");
    let _ = io::stderr().flush();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes" | "Yes")
}

/// Columns padded to their widest cell; the first row is the heading.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width =
        |column: usize| rows.iter().filter_map(|it| it.get(column)).map(|it| it.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|it| width(it).unwrap_or_default()).collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["ref", "name"], ["default", "Über"], ["a", "b"]];
        let rows: Vec<Vec<String>> = rows.map(|it| it.map(str::to_owned).to_vec()).to_vec();
        assert_eq!(table(&rows), "ref      name\ndefault  Über\na        b\n");
    }
}
