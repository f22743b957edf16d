//! Numbered steps of a start: a spinner on a terminal, plain lines elsewhere, JSON to a waiting parent.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use crate::output;

/// One line of the pipe between the two halves of `start --detach`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StepLine {
    /// From 1.
    pub(crate) step: u32,
    /// How many there are.
    pub(crate) of: u32,
    /// What is being done.
    pub(crate) text: String,
}

#[derive(Debug)]
enum Sink {
    Terminal(Option<ProgressBar>),
    Lines,
    Pipe,
}

/// Tells a person how far a start is. Steps go to standard error; standard output is for the result.
#[derive(Debug)]
pub(crate) struct Steps {
    of: u32,
    begun: u32,
    sink: Sink,
}

impl Steps {
    /// For a person, or for whoever reads standard error.
    pub(crate) fn new(of: u32) -> Self {
        let sink = if io::stderr().is_terminal() { Sink::Terminal(None) } else { Sink::Lines };
        Self { of, begun: 0, sink }
    }

    /// For the parent that reads our standard output.
    pub(crate) fn piped(of: u32) -> Self {
        Self { of, begun: 0, sink: Sink::Pipe }
    }

    /// The step before is done, this one begins.
    pub(crate) fn next(&mut self, text: &str) {
        self.show(self.begun + 1, text);
    }

    /// Show step `step`.
    pub(crate) fn show(&mut self, step: u32, text: &str) {
        self.done();
        self.begun = step;
        let (of, text) = (self.of, text.to_owned());
        match &mut self.sink {
            Sink::Terminal(bar) => *bar = Some(spinner(format!("[{step}/{of}] {text}"))),
            Sink::Lines => output::note(&format!("[{step}/{of}] {text}")),
            Sink::Pipe => {
                let line = StepLine { step, of, text };
                output::line(&serde_json::to_string(&line).unwrap_or_default());
            }
        }
    }

    /// The last step is done.
    pub(crate) fn done(&mut self) {
        if let Sink::Terminal(bar) = &mut self.sink
            && let Some(bar) = bar.take()
        {
            bar.set_style(style("{msg} ({elapsed})"));
            bar.finish();
        }
    }
}

fn spinner(message: String) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_style(style("{spinner} {msg} ({elapsed})"));
    bar.set_message(message);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
