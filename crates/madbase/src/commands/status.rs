//! `madbase status`: does it run, is it ready, and where?

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde::Serialize;

use super::NOT_RUNNING;
use crate::cli::DataDir;
use crate::layout::Layout;
use crate::lock;
use crate::output::Output;
use crate::run_file::{RunFile, RunningPostgres};

const PROBE_LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize)]
struct Status {
    running: bool,
    ready: bool,
    data_dir: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime_secs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    control_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    postgres: Option<RunningPostgres>,
}

/// Print it; exit code 3 when nothing runs.
pub(crate) async fn run(args: &DataDir, output: Output) -> Result<ExitCode> {
    let layout = Layout::at(args.path());
    let pid = lock::holder(&layout)?;
    let run = pid.and_then(|_| RunFile::read(&layout));
    let ready = match run.as_ref().and_then(|it| it.api_url.as_ref().or(it.control_url.as_ref())) {
        Some(url) => probe(url).await,
        None => false,
    };
    let status = Status {
        running: pid.is_some(),
        ready,
        data_dir: layout.shown(),
        pid,
        uptime_secs: run.as_ref().map(|it| unix_now().saturating_sub(it.started_at_secs)),
        version: run.as_ref().map(|it| it.version.clone()),
        api_url: run.as_ref().and_then(|it| it.api_url.clone()),
        control_url: run.as_ref().and_then(|it| it.control_url.clone()),
        postgres: run.and_then(|it| it.postgres),
    };
    output.show(&status, people);
    Ok(if status.running { ExitCode::SUCCESS } else { ExitCode::from(NOT_RUNNING) })
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs())
}

async fn probe(url: &str) -> bool {
    let Ok(client) = reqwest::Client::builder().timeout(PROBE_LIMIT).no_proxy().build() else { return false };
    client.get(format!("{url}/ready")).send().await.is_ok_and(|it| it.status().is_success())
}

fn people(status: &Status) -> String {
    let data = &status.data_dir;
    let Some(pid) = status.pid else {
        return format!("not running on {data}; start it: madbase start --data-dir {data}");
    };
    let ready = if status.ready { "ready" } else { "not ready" };
    let mut text = format!("running (process {pid}), {ready}\n\n");
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text += &format!("{name:<14} {value}\n");
        }
    };
    row("API", status.api_url.clone());
    row("Control plane", status.control_url.clone());
    row("Version", status.version.clone());
    row("PostgreSQL", status.postgres.as_ref().map(|it| format!("{} on port {}", it.major, it.port)));
    row("Uptime", status.uptime_secs.map(uptime));
    row("Data", Some(data.clone()));
    text
}

fn uptime(secs: u64) -> String {
    let (days, hours, minutes) = (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptimes_read_well() {
        let cases = [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3_700, "1 h 1 min"), (180_000, "2 d 2 h")];
        for (secs, text) in cases {
            assert_eq!(uptime(secs), text);
        }
    }
}
