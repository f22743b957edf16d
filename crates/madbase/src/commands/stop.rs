//! `madbase stop`: asks the server to drain, waits, and says what is left if something is.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use state::postgres::{Cluster, Durability, Recovered, postmaster};
use tokio::time::{Instant, sleep};

use crate::cli::DataDir;
use crate::layout::Layout;
use crate::lock;
use crate::output::Output;
use crate::run_file::RunFile;
use crate::settings::Environment;

/// Draining, closing pools and PostgreSQL's last checkpoint each have bounds; this is more than their sum.
const LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

/// Stop the server of the data directory, or what a killed one left behind.
pub(crate) async fn run(args: &DataDir, output: Output, environment: &Environment) -> Result<ExitCode> {
    let layout = Layout::at(args.path());
    let Some(pid) = lock::holder(&layout)? else {
        let orphan = stop_orphan(&layout, environment).await?;
        let text = match orphan {
            Recovered::StoppedOrphan => "madbase was not running; its PostgreSQL was, and is stopped now",
            Recovered::Nothing => "not running",
        };
        let stopped = orphan == Recovered::StoppedOrphan;
        output.show(&json!({ "stopped": stopped, "was_running": false }), |_| text.to_owned());
        return Ok(ExitCode::SUCCESS);
    };
    kill(Pid::from_raw(pid), Signal::SIGTERM).with_context(|| {
        format!("cannot signal process {pid}: run this as the user that started it, or as root")
    })?;
    wait(&layout, pid).await?;
    output.show(&json!({ "stopped": true, "was_running": true }), |_| "stopped".to_owned());
    Ok(ExitCode::SUCCESS)
}

async fn wait(layout: &Layout, pid: i32) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        if lock::holder(layout)? != Some(pid) {
            return Ok(());
        }
        sleep(POLL).await;
    }
    let left = postmaster(layout.root())
        .map_or_else(String::new, |it| format!(" and its PostgreSQL (process {it})"));
    bail!(
        "process {pid}{left} still runs after {} s. Its log may tell why; \
         to end it without draining: kill -9 {pid} (the next start recovers)",
        LIMIT.as_secs()
    )
}

async fn stop_orphan(layout: &Layout, environment: &Environment) -> Result<Recovered> {
    if !layout.has_data() || postmaster(layout.root()).is_none() {
        return Ok(Recovered::Nothing);
    }
    let cluster = Cluster::open(layout.root(), &environment.search(), Durability::Full)?;
    let recovered = cluster.recover().await?;
    RunFile::remove(layout);
    Ok(recovered)
}
