//! Whether traces are made and where they go: the variables of OpenTelemetry, which a settings file may say too.

use anyhow::{Context as _, Result, bail};
use opentelemetry_sdk::trace::Sampler;
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

/// What is added to the endpoint (OTLP over HTTP).
const PATH: &str = "v1/traces";

/// Settings of traces, as they were written.
#[derive(Debug, Default)]
pub(crate) struct TraceSettings {
    /// The collector; without it there are no traces.
    pub(super) endpoint: Option<String>,
    /// Headers for it, as `name=value,…`: most often a token.
    pub(super) headers: Option<SecretString>,
    /// The name that spans are known by.
    pub(crate) service_name: Option<String>,
    /// Which requests are looked at.
    pub(super) sampler: Option<String>,
    /// The part of them, of samplers that go by one.
    pub(super) sampler_arg: Option<String>,
    /// `true`: no traces, whatever else is set.
    pub(super) disabled: Option<String>,
}

impl TraceSettings {
    /// Where spans go; `None` when nobody wants them.
    pub(crate) fn endpoint(&self) -> Result<Option<Url>> {
        let disabled = self.disabled.as_deref().is_some_and(|it| it.trim().eq_ignore_ascii_case("true"));
        let Some(text) = self.endpoint.as_deref().filter(|_| !disabled) else { return Ok(None) };
        let refusal =
            "OTEL_EXPORTER_OTLP_ENDPOINT must be the address of a collector, such as http://localhost:4318";
        let mut url: Url = text.trim().parse().context(refusal)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || url.query().is_some() {
            bail!(refusal);
        }
        let path = format!("{}/{PATH}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Ok(Some(url))
    }

    /// The headers, decoded.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (String, String)> {
        let text = self.headers.as_ref().map_or("", |it| it.expose_secret());
        let pairs = text.split(',').filter_map(|it| it.split_once('='));
        let decoded = |it: &str| percent_decode_str(it.trim()).decode_utf8_lossy().into_owned();
        pairs.map(move |(name, value)| (name.trim().to_owned(), decoded(value)))
    }

    /// Which requests are looked at: what the client decided, and all others.
    pub(crate) fn sampler(&self) -> Result<Sampler> {
        let name = self.sampler.as_deref().unwrap_or("parentbased_always_on");
        let (parent, name) = name.strip_prefix("parentbased_").map_or((false, name), |it| (true, it));
        let root = match name {
            "always_on" => Sampler::AlwaysOn,
            "always_off" => Sampler::AlwaysOff,
            "traceidratio" => Sampler::TraceIdRatioBased(self.ratio()?),
            _ => bail!(
                "OTEL_TRACES_SAMPLER must be always_on, always_off or traceidratio, or one of these after parentbased_"
            ),
        };
        Ok(if parent { Sampler::ParentBased(Box::new(root)) } else { root })
    }

    fn ratio(&self) -> Result<f64> {
        let Some(text) = &self.sampler_arg else { return Ok(1.0) };
        let ratio = text.trim().parse().ok().filter(|it| (0.0..=1.0).contains(it));
        ratio.context("OTEL_TRACES_SAMPLER_ARG must be a part of all requests, from 0 to 1")
    }

    /// All that is wrong.
    pub(super) fn problems(&self) -> impl Iterator<Item = String> {
        let wrong = [self.endpoint().err(), self.sampler().err()];
        wrong.into_iter().flatten().map(|it| it.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(endpoint: &str) -> TraceSettings {
        TraceSettings { endpoint: Some(endpoint.to_owned()), ..TraceSettings::default() }
    }

    fn sampling(sampler: &str, argument: &str) -> Result<Sampler> {
        let [sampler, sampler_arg] = [sampler, argument].map(|it| Some(it.to_owned()));
        TraceSettings { sampler, sampler_arg, ..TraceSettings::default() }.sampler()
    }

    #[test]
    fn spans_go_below_the_endpoint_or_nowhere() {
        let check = |text: &str| to(text).endpoint().map(|it| it.unwrap().to_string()).ok();
        assert_eq!(check("http://localhost:4318").as_deref(), Some("http://localhost:4318/v1/traces"));
        assert_eq!(check("https://x/otlp/").as_deref(), Some("https://x/otlp/v1/traces"));
        for bad in ["localhost:4318", "grpc://localhost:4317", "http://", "http://x?y"] {
            assert_eq!(check(bad), None, "{bad}");
        }
        assert!(TraceSettings::default().endpoint().unwrap().is_none());
        let disabled = Some("True".to_owned());
        assert!(TraceSettings { disabled, ..to("http://x") }.endpoint().unwrap().is_none());
    }

    #[test]
    fn headers_are_pairs_whose_values_are_decoded() {
        let headers = Some("authorization=Bearer%20a=b, x-scope = 1,nothing".into());
        let settings = TraceSettings { headers, ..TraceSettings::default() };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [pair("authorization", "Bearer a=b"), pair("x-scope", "1")];
        assert_eq!(settings.headers().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn samplers_are_those_of_opentelemetry() {
        let check = |name, argument| format!("{:?}", sampling(name, argument).unwrap());
        assert_eq!(check("always_off", ""), "AlwaysOff");
        assert_eq!(check("parentbased_traceidratio", "0.25"), "ParentBased(TraceIdRatioBased(0.25))");
        let usual = TraceSettings::default().sampler().unwrap();
        assert_eq!(format!("{usual:?}"), "ParentBased(AlwaysOn)");
        for (name, argument) in [("jaeger_remote", ""), ("traceidratio", "2"), ("traceidratio", "x")] {
            assert!(sampling(name, argument).is_err(), "{name} {argument}");
        }
    }
}
