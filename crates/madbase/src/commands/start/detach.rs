//! `start --detach`: starts the same command in the background and waits for its banner.
//!
//! The background half writes its steps and then its banner, one JSON object a line, to a pipe; its log goes to
//! `madbase.log`. When the pipe closes without a banner, the start has failed.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use super::STEPS;
use crate::banner::Banner;
use crate::layout::Layout;
use crate::output::Output;
use crate::progress::{StepLine, Steps};

/// Start it, show its steps, print its banner.
pub(crate) async fn run(output: Output, layout: &Layout) -> Result<ExitCode> {
    layout.make()?;
    let mut child = spawn(layout)?;
    let pipe = child.stdout.take().context("read the background process")?;
    let mut steps = Steps::new(STEPS);
    let banner = tokio::select! {
        it = follow(pipe, &mut steps) => it?,
        _ = tokio::signal::ctrl_c() => {
            give_up(&mut child).await;
            bail!("interrupted; everything that was started is stopped");
        }
    };
    steps.done();
    let Some(banner) = banner else {
        let status = child.wait().await.context("wait for the background process")?;
        bail!("the start ended early ({status}). Its log: {}", layout.log().display());
    };
    output.show(&banner, Banner::people);
    if !output.is_json() {
        let data = layout.shown();
        crate::output::note(&format!(
            "Log: {}. Stop it: madbase stop --data-dir {data}",
            layout.log().display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn spawn(layout: &Layout) -> Result<Child> {
    let path = layout.log();
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(&path).with_context(|| {
        format!("cannot write {}: make it writable or choose another --data-dir", path.display())
    })?;
    let program = std::env::current_exe().context("find our own program")?;
    let args = std::env::args_os().skip(1).filter(|it| it != "--detach" && it != "--json");
    Command::new(program)
        .args(args)
        .args(["--background", "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("start the background process")
}

/// Show steps until the banner; `None` when the pipe closes first.
async fn follow(pipe: ChildStdout, steps: &mut Steps) -> Result<Option<Banner>> {
    let mut lines = BufReader::new(pipe).lines();
    while let Some(line) = lines.next_line().await.context("read the background process")? {
        if let Ok(it) = serde_json::from_str::<StepLine>(&line) {
            steps.show(it.step, &it.text);
        } else if let Ok(banner) = serde_json::from_str::<Banner>(&line) {
            return Ok(Some(banner));
        } else if let Some(error) = error_in(&line) {
            bail!(error);
        }
    }
    Ok(None)
}

fn error_in(line: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    value.get("error")?.as_str().map(str::to_owned)
}

async fn give_up(child: &mut Child) {
    if let Some(pid) = child.id().and_then(|it| i32::try_from(it).ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    let _ = child.wait().await;
}
