//! What a request says in `Cache-Control` (RFC 9111 §5.2.1), and whether its project lets that count. Pure.

use std::time::Duration;

use common::ResponseCache as Mode;
use http::{HeaderMap, header};

/// What a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Directives {
    /// The oldest answer that it takes, in seconds; `None` for any.
    max_age_secs: Option<u64>,
}

impl Directives {
    /// What `headers` say to a project of `mode`; `None` when nothing is to be kept of this request.
    pub(super) fn of(headers: &HeaderMap, mode: Mode) -> Option<Self> {
        let mut directives = Self { max_age_secs: None };
        for line in headers.get_all(header::CACHE_CONTROL) {
            let line = line.to_str().ok()?;
            for directive in line.split(',') {
                let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
                match name.trim().to_ascii_lowercase().as_str() {
                    "no-store" => return None,
                    "no-cache" => directives.at_most(0),
                    // One that cannot be read is taken as the strictest.
                    "max-age" => directives.at_most(value.trim().trim_matches('"').parse().unwrap_or(0)),
                    _ => {}
                }
            }
        }
        match mode {
            Mode::Off => None,
            Mode::OnRequest => Some(directives).filter(|it| it.max_age_secs.is_some_and(|it| it > 0)),
            Mode::On => Some(directives),
        }
    }

    fn at_most(&mut self, secs: u64) {
        self.max_age_secs = Some(self.max_age_secs.map_or(secs, |it| it.min(secs)));
    }

    /// Whether an answer of that age will do.
    pub(super) fn take(&self, age: Duration) -> bool {
        match self.max_age_secs {
            None => true,
            Some(0) => false,
            Some(secs) => age <= Duration::from_secs(secs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mode: Mode, lines: &[&'static str]) -> Option<Directives> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::CACHE_CONTROL, line.parse().unwrap());
        }
        Directives::of(&headers, mode)
    }

    #[test]
    fn who_wants_a_fresh_answer_gets_it() {
        let takes =
            |line: &'static str, secs| check(Mode::On, &[line]).map(|it| it.take(Duration::from_secs(secs)));
        assert_eq!(check(Mode::On, &[]).map(|it| it.take(Duration::from_secs(9999))), Some(true));
        assert_eq!((takes("max-age=60", 60), takes("MAX-AGE = \"60\"", 61)), (Some(true), Some(false)));
        for fresh in ["no-cache", "max-age=0", "max-age=60, no-cache", "max-age=-1", "max-age", "Max-Age=x"] {
            assert_eq!(takes(fresh, 0), Some(false), "{fresh}");
        }
        assert_eq!(takes("no-store", 0), None);
        assert_eq!(
            check(Mode::On, &["max-age=60", "no-cache"]).map(|it| it.take(Duration::ZERO)),
            Some(false)
        );
    }

    #[test]
    fn projects_decide_what_is_kept_at_all() {
        assert_eq!(check(Mode::Off, &["max-age=60"]), None);
        assert_eq!(check(Mode::OnRequest, &[]), None);
        assert_eq!(check(Mode::OnRequest, &["no-cache"]), None);
        assert!(check(Mode::OnRequest, &["max-age=60"]).is_some());
        assert!(check(Mode::On, &["only-if-cached"]).is_some());
    }
}
