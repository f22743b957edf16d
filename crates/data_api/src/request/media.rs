//! Media types: `Accept` with its order of preference, `Content-Type`, and the text sent back.

use std::borrow::Cow;

/// A media type that means something here, or another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum MediaType {
    /// `application/json`
    Json,
    /// `application/geo+json`
    GeoJson,
    /// `text/csv`
    Csv,
    /// `text/plain`
    Plain,
    /// `text/xml`
    Xml,
    /// `application/openapi+json`
    OpenApi,
    /// `application/x-www-form-urlencoded`
    Form,
    /// `application/octet-stream`
    Binary,
    /// `*/*`
    Any,
    /// `application/vnd.pgrst.object+json`: exactly one row.
    Object {
        /// Keys whose value is null are left out.
        stripped: bool,
    },
    /// `application/vnd.pgrst.array+json;nulls=stripped`
    StrippedArray,
    /// `application/vnd.pgrst.plan`: how PostgreSQL would run the request.
    Plan(Box<PlanType>),
    /// Any other, as the client wrote it.
    Other(String),
}

/// The parameters of `application/vnd.pgrst.plan`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PlanType {
    /// `+json` rather than `+text`.
    pub(crate) json: bool,
    /// `for="…"`: the type that would have been asked for.
    pub(crate) of: MediaType,
    /// `options=`, of [`PLAN_OPTIONS`], in that order.
    pub(crate) options: Vec<&'static str>,
}

/// The options of a plan.
pub(crate) const PLAN_OPTIONS: [&str; 5] = ["analyze", "verbose", "settings", "buffers", "wal"];

impl MediaType {
    /// Read one media type with its parameters.
    pub(crate) fn parse(text: &str) -> Self {
        let mut parts = text.split(';');
        let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let stripped = || parameter(text, "nulls").as_deref() == Some("stripped");
        match essence.as_str() {
            "application/json" => Self::Json,
            "application/geo+json" => Self::GeoJson,
            "text/csv" => Self::Csv,
            "text/plain" => Self::Plain,
            "text/xml" => Self::Xml,
            "application/openapi+json" => Self::OpenApi,
            "application/x-www-form-urlencoded" => Self::Form,
            "application/octet-stream" => Self::Binary,
            "application/vnd.pgrst.object" | "application/vnd.pgrst.object+json" => {
                Self::Object { stripped: stripped() }
            }
            "application/vnd.pgrst.array" | "application/vnd.pgrst.array+json" if stripped() => {
                Self::StrippedArray
            }
            "application/vnd.pgrst.array" | "application/vnd.pgrst.array+json" => Self::Json,
            "application/vnd.pgrst.plan" | "application/vnd.pgrst.plan+text" => Self::plan(text, false),
            "application/vnd.pgrst.plan+json" => Self::plan(text, true),
            "*/*" => Self::Any,
            _ => Self::Other(text.to_owned()),
        }
    }

    fn plan(text: &str, json: bool) -> Self {
        let of = parameter(text, "for").map_or(Self::Json, |it| Self::parse(&it));
        let wanted = parameter(text, "options").unwrap_or_default();
        let is_wanted = |it: &&'static str| wanted.split('|').any(|word| word == *it);
        Self::Plan(Box::new(PlanType {
            json,
            of,
            options: PLAN_OPTIONS.into_iter().filter(is_wanted).collect(),
        }))
    }

    /// The type as sent, without charset.
    pub(crate) fn essence(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::Json => "application/json",
            Self::GeoJson => "application/geo+json",
            Self::Csv => "text/csv",
            Self::Plain => "text/plain",
            Self::Xml => "text/xml",
            Self::OpenApi => "application/openapi+json",
            Self::Form => "application/x-www-form-urlencoded",
            Self::Binary => "application/octet-stream",
            Self::Any => "*/*",
            Self::Object { stripped: false } => "application/vnd.pgrst.object+json",
            Self::Object { stripped: true } => "application/vnd.pgrst.object+json;nulls=stripped",
            Self::StrippedArray => "application/vnd.pgrst.array+json;nulls=stripped",
            Self::Other(text) => text,
            Self::Plan(plan) => {
                let format = if plan.json { "json" } else { "text" };
                let of = plan.of.essence();
                let mut text = format!("application/vnd.pgrst.plan+{format}; for=\"{of}\"");
                if !plan.options.is_empty() {
                    text.push_str("; options=");
                    text.push_str(&plan.options.join("|"));
                }
                return Cow::Owned(text);
            }
        })
    }

    /// The value of `Content-Type`.
    pub(crate) fn content_type(&self) -> String {
        match self {
            Self::Binary | Self::Other(_) => self.essence().into_owned(),
            _ => format!("{}; charset=utf-8", self.essence()),
        }
    }
}

/// The value of a parameter, quotes taken off; names in any case.
fn parameter(text: &str, name: &str) -> Option<String> {
    let mut rest = text.split_once(';')?.1;
    loop {
        let (key, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(';').map_or((after, ""), |(value, rest)| (value, rest)),
        };
        if key.trim_matches([' ', ';']).eq_ignore_ascii_case(name) {
            return Some(value.trim().to_owned());
        }
        rest = after.trim_start_matches([' ', ';']);
    }
}

/// The media types of `Accept`, the most welcome first: by `q`, then the more specific, then as written.
pub(crate) fn accepted(header: Option<&str>) -> Vec<MediaType> {
    let Some(header) = header else { return vec![MediaType::Any] };
    let mut ranked: Vec<(f32, isize, MediaType)> = split_unquoted(header)
        .map(|part| {
            let (text, quality) = without_quality(part.trim());
            let count = |it: char| isize::try_from(text.matches(it).count()).unwrap_or(isize::MAX);
            (quality, count(';') - count('*'), MediaType::parse(&text))
        })
        .collect();
    ranked.sort_by(|one, other| other.0.total_cmp(&one.0).then(other.1.cmp(&one.1)));
    ranked.into_iter().map(|(_, _, it)| it).collect()
}

/// Parts between commas that are not inside quotes.
fn split_unquoted(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.split(move |it| {
        inside ^= it == '"';
        it == ',' && !inside
    })
}

fn without_quality(text: &str) -> (Cow<'_, str>, f32) {
    let Some(at) = text.find(";q=").or_else(|| text.find("; q=")) else { return (Cow::Borrowed(text), 1.0) };
    let (before, after) = text.split_at(at);
    let value = after.trim_start_matches([';', ' ']).trim_start_matches("q=");
    let (value, rest) = value.split_once(';').map_or((value, ""), |(value, rest)| (value, rest));
    let text = if rest.is_empty() { before.to_owned() } else { format!("{before};{rest}") };
    (Cow::Owned(text), value.trim().parse().unwrap_or(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str) -> String {
        let types: Vec<_> = accepted(Some(header)).iter().map(|it| it.essence().into_owned()).collect();
        types.join(", ")
    }

    #[test]
    fn accept_is_ordered_by_quality_then_specificity() {
        assert_eq!(check("text/html,application/xml;q=0.9,*/*;q=0.8"), "text/html, application/xml, */*");
        assert_eq!(check("*/*, text/csv"), "text/csv, */*");
        assert_eq!(check("application/vnd.pgrst.array+json"), "application/json");
        assert_eq!(check("Application/vnd.pgrst.object"), "application/vnd.pgrst.object+json");
    }

    #[test]
    fn plan_parameters_are_kept() {
        assert_eq!(
            check("application/vnd.pgrst.plan+json; for=\"text/csv\"; options=verbose|analyze"),
            "application/vnd.pgrst.plan+json; for=\"text/csv\"; options=analyze|verbose"
        );
    }
}
