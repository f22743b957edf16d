//! Lines of the log as JSON, with the ids of the trace that they belong to.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Lines of `0`, which are JSON objects, with `trace_id` and `span_id` where there is a trace.
#[derive(Debug)]
pub(super) struct WithTrace<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for WithTrace<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some((trace, span)) = trace::ids() else { return self.0.format_event(context, writer, event) };
        let mut line = String::with_capacity(256);
        self.0.format_event(context, Writer::new(&mut line), event)?;
        match line.strip_suffix("}\n") {
            Some(line) => writeln!(writer, "{line},\"trace_id\":\"{trace}\",\"span_id\":\"{span}\"}}"),
            None => writer.write_str(&line),
        }
    }
}
