//! `Server-Timing` (W3C): how long the stages of a request took, for projects that want it told.

use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use common::{Project, StageTimes};
use http::{HeaderName, HeaderValue, Response};

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Add the header to an answer of the data API whose stages were measured.
pub(crate) fn tell(project: Option<&Project>, admission: Duration, response: &mut Response<Body>) {
    let Some(times) = response.extensions_mut().remove::<StageTimes>() else { return };
    if !project.is_some_and(|it| it.rest.server_timing_enabled) {
        return;
    }
    if let Ok(value) = HeaderValue::from_str(&render(admission, times)) {
        response.headers_mut().insert(SERVER_TIMING, value);
    }
}

/// Milliseconds, in the order in which things happen.
fn render(admission: Duration, times: StageTimes) -> String {
    let stages = [
        ("jwt", Some(admission)),
        ("parse", Some(times.parse)),
        ("plan", times.plan),
        ("transaction", times.transaction),
        ("response", Some(times.response)),
    ];
    let mut text = String::new();
    for (name, took) in stages {
        let Some(took) = took else { continue };
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{separator}{name};dur={:.3}", took.as_secs_f64() * 1000.0);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stages_that_happened_are_told() {
        let ms = Duration::from_millis;
        let mut times = StageTimes { parse: ms(2), plan: None, transaction: None, response: ms(5) };
        assert_eq!(render(ms(1), times), "jwt;dur=1.000, parse;dur=2.000, response;dur=5.000");
        (times.plan, times.transaction) = (Some(ms(3)), Some(Duration::from_micros(4500)));
        let all = "jwt;dur=1.000, parse;dur=2.000, plan;dur=3.000, transaction;dur=4.500, response;dur=5.000";
        assert_eq!(render(ms(1), times), all);
    }
}
