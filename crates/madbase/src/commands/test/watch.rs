//! Runs one command of `madbase test`: keeps its output, shows that it is alive, ends it when it hangs.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::output;

/// No part takes longer unless it hangs: a cold build of everything takes a quarter of it on two cores.
const LIMIT: Duration = Duration::from_secs(40 * 60);
/// Without a terminal: how often we say that a part is still running.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Characters of the newest line that are shown.
const SHOWN_CHARS: usize = 90;

/// A command as data.
#[derive(Debug)]
pub(super) struct Command {
    program: String,
    args: Vec<String>,
    env: Vec<(&'static str, String)>,
    directory: PathBuf,
}

impl Command {
    pub(super) fn new<'a>(
        program: impl Into<String>,
        args: impl IntoIterator<Item = &'a str>,
        directory: &Path,
    ) -> Self {
        let args = args.into_iter().map(str::to_owned).collect();
        Self { program: program.into(), args, env: Vec::new(), directory: directory.to_owned() }
    }

    pub(super) fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    /// For people; variables may hold passwords and are left out.
    pub(super) fn shown(&self) -> String {
        let program =
            Path::new(&self.program).strip_prefix(&self.directory).unwrap_or(Path::new(&self.program));
        std::iter::once(program.display().to_string())
            .chain(self.args.iter().cloned())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Run it; whether it succeeded, and all it printed, which is also kept in `log`.
pub(super) async fn run(command: &Command, log: &Path, title: &str) -> Result<(bool, String)> {
    let mut file = open(log)?;
    let mut child = tokio::process::Command::new(&command.program)
        .args(&command.args)
        .envs(command.env.iter().map(|(name, value)| (name, value)))
        .env("CARGO_TERM_COLOR", "never")
        .env("TERM", "dumb")
        .current_dir(&command.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("run {}", command.shown()))?;
    let group = child.id().and_then(|it| i32::try_from(it).ok()).map(Pid::from_raw);
    let (lines, mut received) = mpsc::channel(1024);
    forward(child.stdout.take(), lines.clone());
    forward(child.stderr.take(), lines);
    let gathered = async {
        let text = gather(&mut received, &mut file, title).await?;
        let status = child.wait().await.context("wait for a command")?;
        Ok((status.success(), text))
    };
    let ended = tokio::select! {
        it = timeout(LIMIT, gathered) => it.ok(),
        _ = tokio::signal::ctrl_c() => {
            end(group);
            bail!("interrupted");
        }
    };
    end(group);
    ended.unwrap_or_else(|| bail!("{} hung: ended after {} min", command.shown(), LIMIT.as_secs() / 60))
}

/// What a command leaves running in its group goes with it.
fn end(group: Option<Pid>) {
    if let Some(group) = group {
        let _ = killpg(group, Signal::SIGTERM);
    }
}

fn open(log: &Path) -> Result<File> {
    let directory = log.parent().context("keep the output")?;
    fs::create_dir_all(directory)
        .and_then(|()| File::create(log))
        .with_context(|| format!("write {}", log.display()))
}

fn forward(pipe: Option<impl AsyncRead + Unpin + Send + 'static>, lines: mpsc::Sender<String>) {
    let Some(pipe) = pipe else { return };
    tokio::spawn(async move {
        let mut reader = BufReader::new(pipe).split(b'\n');
        while let Ok(Some(line)) = reader.next_segment().await {
            if lines.send(String::from_utf8_lossy(&line).into_owned()).await.is_err() {
                break;
            }
        }
    });
}

async fn gather(received: &mut mpsc::Receiver<String>, log: &mut File, title: &str) -> Result<String> {
    let begun = Instant::now();
    let bar = io::stderr().is_terminal().then(ProgressBar::new_spinner);
    if let Some(bar) = &bar {
        bar.set_style(ProgressStyle::with_template("{spinner} {msg} ({elapsed})")?);
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    let mut beat = interval(HEARTBEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    beat.reset();
    let (mut text, mut newest) = (String::new(), String::new());
    loop {
        tokio::select! {
            line = received.recv() => {
                let Some(line) = line else { break };
                writeln!(log, "{line}").context("keep the output")?;
                text += &line;
                text.push('\n');
                newest = line.trim().chars().take(SHOWN_CHARS).collect();
                if let Some(bar) = &bar {
                    bar.set_message(format!("{title}: {newest}"));
                }
            }
            _ = beat.tick(), if bar.is_none() => {
                output::note(&format!("{title}: {} s, {newest}", begun.elapsed().as_secs()));
            }
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(text)
}
