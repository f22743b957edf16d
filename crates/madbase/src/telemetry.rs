//! Where logs, metrics and traces of a server go. Logs: standard error, text on a terminal, JSON lines elsewhere, or as
//! told.

mod line;
mod traces;

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use self::line::WithTrace;
pub(crate) use self::traces::Traces;
use crate::settings::Environment;

const DEFAULT_FILTER: &str = "info,tokio_postgres=warn,refinery_core=warn,hyper=warn";
/// Histograms gather raw samples until they are folded in.
const UPKEEP: Duration = Duration::from_secs(5);
/// Seconds, from a cached answer to a slow report.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Logs and traces of the process that serves as `service`.
pub(crate) fn begin(environment: &Environment, service: &'static str) -> Result<Traces> {
    log(environment.log.as_deref(), environment.log_format.as_deref())?;
    Traces::begin(&environment.traces, service)
}

/// Install the log; `filter` is what `MADBASE_LOG` says, `format` what `MADBASE_LOG_FORMAT` does.
pub(crate) fn log(filter: Option<&str>, format: Option<&str>) -> Result<()> {
    let filter = EnvFilter::try_new(filter.unwrap_or(DEFAULT_FILTER))
        .context("MADBASE_LOG cannot be read; an example: MADBASE_LOG=info,gateway=debug")?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let text = match format {
        None => io::stderr().is_terminal(),
        Some("text") => true,
        Some("json") => false,
        Some(_) => bail!("MADBASE_LOG_FORMAT must be text or json"),
    };
    if text {
        log.with_target(false).with_ansi(io::stderr().is_terminal()).init();
    } else {
        log.json().flatten_event(true).map_event_format(WithTrace).init();
    }
    Ok(())
}

/// Renders the metrics in Prometheus' text format.
pub(crate) type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// Install the recorder of metrics.
pub(crate) fn metrics() -> Result<Render> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)
        .context("set the buckets of histograms")?;
    let handle = builder.install_recorder().context("install the recorder of metrics")?;
    tokio::spawn(keep_up(handle.clone()));
    Ok(Arc::new(move || handle.render()))
}

async fn keep_up(handle: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}
