//! The `data` of a change as clients know it: its columns, its record, what it was before, and errors.
//!
//! Written once per change and set of visible columns. Values that nobody may see are not looked at.

use std::time::{SystemTime, UNIX_EPOCH};

use super::facts::TableFacts;
use super::json::{self, Shape};
use super::wanted::event_name;
use crate::change::{Change, Kind, MAX_ROW_BYTES, Table, Value};

/// The longest value that is left of a change with more than [`MAX_ROW_BYTES`], as JSON.
const SHORT: usize = 64;
const TOO_LARGE: &str = "Error 413: Payload Too Large";

/// What some subscribers see of a table.
#[derive(Debug)]
pub(super) struct View {
    columns: Vec<Shown>,
    /// The columns as a JSON array.
    described: Vec<u8>,
    /// Rows are subject to policies: of what they were, which no policy decides, only the primary key is shown.
    is_checked: bool,
}

#[derive(Debug)]
struct Shown {
    /// In the stream's rows, if the stream has it.
    at: Option<usize>,
    /// As a JSON string.
    name: Vec<u8>,
    shape: Shape,
    is_key: bool,
}

impl View {
    /// Of the columns that `is_shown` says of.
    pub(super) fn new(
        facts: &TableFacts,
        table: &Table,
        is_checked: bool,
        is_shown: impl Fn(usize) -> bool,
    ) -> Self {
        let mut described = vec![b'['];
        let mut columns = Vec::new();
        for (_, column) in facts.columns.iter().enumerate().filter(|(idx, _)| is_shown(*idx)) {
            let mut name = Vec::new();
            json::string(&column.name, &mut name);
            if described.len() > 1 {
                described.push(b',');
            }
            described.extend_from_slice(b"{\"name\":");
            described.extend_from_slice(&name);
            described.extend_from_slice(b",\"type\":");
            json::string(&column.type_name, &mut described);
            described.push(b'}');
            let at = table.columns.iter().position(|it| it.name == column.name);
            columns.push(Shown { at, name, shape: column.shape.clone(), is_key: column.is_key });
        }
        described.push(b']');
        Self { columns, described, is_checked }
    }

    /// `change` as these subscribers see it.
    pub(super) fn data(&self, change: &Change) -> Vec<u8> {
        let is_large = size(change) > MAX_ROW_BYTES;
        let mut out = head(change);
        out.extend_from_slice(b",\"columns\":");
        out.extend_from_slice(&self.described);
        if change.kind != Kind::Delete {
            out.extend_from_slice(b",\"record\":{");
            self.record(is_large, &mut out, |it| new_value(change, it.at?));
            out.push(b'}');
        }
        if change.kind != Kind::Insert {
            out.extend_from_slice(b",\"old_record\":{");
            self.record(is_large, &mut out, |it| {
                old_value(change, it.at?).filter(|_| it.is_key || !self.is_checked)
            });
            out.push(b'}');
        }
        errors(is_large.then_some(TOO_LARGE), &mut out);
        out
    }

    fn record<'a>(&self, is_large: bool, out: &mut Vec<u8>, value: impl Fn(&Shown) -> Option<&'a Value>) {
        let mut is_first = true;
        let mut written = Vec::new();
        for column in &self.columns {
            written.clear();
            match value(column) {
                None | Some(Value::Unchanged) => continue,
                Some(Value::Null) => written.extend_from_slice(b"null"),
                Some(Value::Text(it)) => column.shape.write(it, &mut written),
            }
            if is_large && written.len() > SHORT {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            out.extend_from_slice(&column.name);
            out.push(b':');
            out.extend_from_slice(&written);
        }
    }
}

/// What those are told who may not be told of `change`.
pub(super) fn refusal(change: &Change, error: &str) -> Vec<u8> {
    let mut out = head(change);
    out.extend_from_slice(b",\"columns\":[]");
    if change.kind != Kind::Delete {
        out.extend_from_slice(b",\"record\":{}");
    }
    if change.kind != Kind::Insert {
        out.extend_from_slice(b",\"old_record\":{}");
    }
    errors(Some(error), &mut out);
    out
}

/// The event's payload: `data` for those who know it by these `ids`.
pub(super) fn addressed(ids: impl Iterator<Item = i64>, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 40);
    out.extend_from_slice(b"{\"ids\":[");
    for (idx, id) in ids.enumerate() {
        if idx > 0 {
            out.push(b',');
        }
        out.extend_from_slice(id.to_string().as_bytes());
    }
    out.extend_from_slice(b"],\"data\":");
    out.extend_from_slice(data);
    out.push(b'}');
    out
}

/// The value as it is now: one that did not change and is not told is what it was, if that is told.
pub(super) fn new_value(change: &Change, at: usize) -> Option<&Value> {
    match change.new.as_ref()?.get(at)? {
        Value::Unchanged => change.old.as_ref().filter(|_| change.table.is_full)?.get(at),
        value => Some(value),
    }
}

/// The value as it was, if the stream tells it: all of them or those of the key. A key that did not change is what it is.
pub(super) fn old_value(change: &Change, at: usize) -> Option<&Value> {
    let is_key = change.table.columns.get(at)?.is_key;
    match &change.old {
        Some(old) => old.get(at).filter(|_| change.table.is_full || is_key),
        None => change.new.as_ref()?.get(at).filter(|_| is_key),
    }
}

fn size(change: &Change) -> usize {
    let of = |it: &Value| if let Value::Text(text) = it { text.len() } else { 4 };
    change.new.iter().chain(&change.old).flatten().map(of).sum()
}

/// Everything up to the columns; the object is left open.
fn head(change: &Change) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"{\"schema\":");
    json::string(&change.table.schema, &mut out);
    out.extend_from_slice(b",\"table\":");
    json::string(&change.table.name, &mut out);
    out.extend_from_slice(b",\"type\":\"");
    out.extend_from_slice(event_name(change.kind).as_bytes());
    out.extend_from_slice(b"\",\"commit_timestamp\":\"");
    out.extend_from_slice(timestamp(change.committed_at).as_bytes());
    out.push(b'"');
    out
}

fn errors(error: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"errors\":");
    match error {
        None => out.extend_from_slice(b"null"),
        Some(error) => {
            out.push(b'[');
            json::string(error, out);
            out.push(b']');
        }
    }
    out.push(b'}');
}

/// `2024-02-29T12:00:00.123Z`; years before 1970 are not.
fn timestamp(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (since.as_secs(), since.subsec_millis());
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day that lie `days` after 1970-01-01.
///
/// Counted from 0000-03-01, so that leap days end years, centuries and eras of 400 years.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months = (5 * day_of_year + 2) / 153;
    let month = (months + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day_of_year - (153 * months + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn commits_are_dated_to_the_millisecond() {
        let check = |secs: u64, millis| timestamp(UNIX_EPOCH + Duration::from_millis(secs * 1000 + millis));
        assert_eq!(check(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(check(951_827_696, 7), "2000-02-29T12:34:56.007Z");
        assert_eq!(check(1_709_251_200, 999), "2024-03-01T00:00:00.999Z");
        assert_eq!(check(4_102_444_799, 0), "2099-12-31T23:59:59.000Z");
    }

    #[test]
    fn dates_go_there_and_back() {
        for day in (0..60_000).step_by(7) {
            let (year, month, of_month) = date(day);
            let parts = [year, month, of_month].map(|it| i64::try_from(it).unwrap());
            assert_eq!(super::super::scalar::days(parts[0], parts[1], parts[2]), i64::try_from(day).unwrap());
        }
    }
}
