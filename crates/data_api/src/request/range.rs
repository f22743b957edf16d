//! `limit`, `offset` and the `Range` header: which rows of a relation are wanted.

use super::RequestError;

/// A page of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Range {
    /// Rows left out before it.
    pub(crate) offset: i64,
    /// The most rows in it; `None` for all.
    pub(crate) limit: Option<i64>,
}

impl Range {
    /// Whether this asks for all rows.
    pub(crate) fn is_all(self) -> bool {
        self == Self::default()
    }

    /// At most `max_rows` of it.
    pub(crate) fn capped(self, max_rows: Option<u64>) -> Self {
        let max_rows = max_rows.map(|it| i64::try_from(it).unwrap_or(i64::MAX));
        let limit = match (self.limit, max_rows) {
            (Some(limit), Some(max_rows)) => Some(limit.min(max_rows)),
            (limit, max_rows) => limit.or(max_rows),
        };
        Self { limit, ..self }
    }

    /// What both ask for: the header counts rows from the start of the relation, as does this.
    fn intersect(self, header: HeaderRange) -> Self {
        let offset = self.offset.max(header.first);
        let end = |limit: i64| self.offset.saturating_add(limit);
        let last = match (self.limit.map(end), header.last.map(|it| it.saturating_add(1))) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self { offset, limit: last.map(|it| it.saturating_sub(offset)) }
    }
}

/// `Range: first-last`, 0-based, inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HeaderRange {
    first: i64,
    last: Option<i64>,
}

impl HeaderRange {
    /// `None` when the text is no range: then the header is ignored.
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        let digits = |it: &str| it.bytes().all(|it| it.is_ascii_digit());
        if first.is_empty() || !digits(first) || !digits(last) {
            return None;
        }
        let last = if last.is_empty() { None } else { Some(last.parse().ok()?) };
        Some(Self { first: first.parse().ok()?, last })
    }
}

/// The page of the relation itself: the parameters' range within the header's.
///
/// # Errors
/// [`RequestError::ReversedRange`] and [`RequestError::NegativeLimit`] when no row can be in it. A limit of 0 is legal.
pub(super) fn top_level(parameters: Range, header: Option<&str>) -> Result<Range, RequestError> {
    let header = header.and_then(HeaderRange::parse);
    if let Some(header) = header
        && header.last.is_some_and(|last| last < header.first)
    {
        return Err(RequestError::ReversedRange);
    }
    if parameters.limit == Some(0) {
        return Ok(parameters);
    }
    let range = parameters.intersect(header.unwrap_or(HeaderRange { first: 0, last: None }));
    if range.limit.is_some_and(|it| it <= 0) {
        return Err(RequestError::NegativeLimit);
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(limit: Option<i64>, offset: i64, header: Option<&str>) -> String {
        match top_level(Range { offset, limit }, header) {
            Ok(Range { offset, limit }) => format!("{offset} {limit:?}"),
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn header_and_parameters_are_intersected() {
        assert_eq!(check(None, 0, Some("0-9")), "0 Some(10)");
        assert_eq!(check(None, 0, Some("5-")), "5 None");
        assert_eq!(check(Some(2), 0, Some("1-9")), "1 Some(1)");
        assert_eq!(check(Some(3), 4, None), "4 Some(3)");
        assert_eq!(check(Some(0), 0, Some("3-9")), "0 Some(0)");
        assert_eq!(check(None, 0, Some("items=3")), "0 None");
        assert_eq!(check(None, 0, Some("9-3")), "ReversedRange");
        assert_eq!(check(Some(-1), 0, None), "NegativeLimit");
        assert_eq!(check(Some(10), -4, None), "0 Some(6)");
    }
}
