//! Values of the common types, so that two of one type compare as PostgreSQL compares them.
//!
//! Read from PostgreSQL's own output only (ISO dates, UTC): any other spelling is refused by `None`, and PostgreSQL is
//! asked instead. Texts have no order here, because theirs depends on the database's collation.

use std::cmp::Ordering;

/// What comparing takes to know of a column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Family {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Numeric,
    Text,
    Enum,
    Uuid,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    /// Known to PostgreSQL alone.
    Other,
}

impl Family {
    /// That of the type with this OID, which is no domain; `kind` is `pg_type.typtype`.
    pub(super) fn of(type_oid: u32, kind: char) -> Self {
        match type_oid {
            16 => Self::Bool,
            20 => Self::Int8,
            21 => Self::Int2,
            23 => Self::Int4,
            25 | 1043 => Self::Text,
            26 => Self::Oid,
            700 => Self::Float4,
            701 => Self::Float8,
            1082 => Self::Date,
            1083 => Self::Time,
            1114 => Self::Timestamp,
            1184 => Self::Timestamptz,
            1700 => Self::Numeric,
            2950 => Self::Uuid,
            _ if kind == 'e' => Self::Enum,
            _ => Self::Other,
        }
    }

    /// Whether equality can be decided here.
    pub(super) fn has_equality(self) -> bool {
        self != Self::Other
    }

    /// Whether the order can be decided here.
    pub(super) fn has_order(self) -> bool {
        !matches!(self, Self::Text | Self::Enum | Self::Other)
    }
}

/// A value that compares with others of the same family.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Scalar {
    /// Whatever fits: whole numbers, floats in the order of their bits, microseconds.
    Int(i64),
    Numeric(Numeric),
    Text(Box<str>),
}

impl Scalar {
    /// `text` as PostgreSQL writes a value of `family`.
    pub(super) fn parse(family: Family, text: &str) -> Option<Self> {
        Some(match family {
            Family::Bool => Self::Int(match text {
                "t" | "true" => 1,
                "f" | "false" => 0,
                _ => return None,
            }),
            Family::Int2 => Self::Int(text.parse::<i16>().ok()?.into()),
            Family::Int4 => Self::Int(text.parse::<i32>().ok()?.into()),
            Family::Int8 => Self::Int(text.parse().ok()?),
            Family::Oid => Self::Int(text.parse::<u32>().ok()?.into()),
            Family::Float4 => Self::Int(float_key(number(text)?.parse::<f32>().ok()?.into())),
            Family::Float8 => Self::Int(float_key(number(text)?.parse().ok()?)),
            Family::Numeric => Self::Numeric(Numeric::parse(text)?),
            Family::Text | Family::Enum => Self::Text(text.into()),
            Family::Uuid => Self::Text(uuid(text)?.into()),
            Family::Date => Self::Int(moment(text, Moment::DATE)?),
            Family::Time => Self::Int(time(text)?),
            Family::Timestamp => Self::Int(moment(text, Moment::TIMESTAMP)?),
            Family::Timestamptz => Self::Int(moment(text, Moment::TIMESTAMPTZ)?),
            Family::Other => return None,
        })
    }

    /// How this and `other` of the same family are ordered; asked only where [`Family::has_order`].
    pub(super) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(one), Self::Int(two)) => Some(one.cmp(two)),
            (Self::Numeric(one), Self::Numeric(two)) => Some(one.cmp(two)),
            (Self::Text(one), Self::Text(two)) => Some(one.cmp(two)),
            _ => None,
        }
    }
}

/// Spellings of floats that both sides read alike; "inf" and the like are Rust's.
fn number(text: &str) -> Option<&str> {
    let plain = text.bytes().all(|it| it.is_ascii_digit() || matches!(it, b'.' | b'-' | b'+' | b'e' | b'E'));
    (plain || matches!(text, "NaN" | "Infinity" | "-Infinity")).then_some(text)
}

/// A number that orders as the float does in PostgreSQL: zeros are equal, NaN is equal to itself and the greatest.
fn float_key(value: f64) -> i64 {
    if value.is_nan() {
        return i64::MAX;
    }
    let bits = (value + 0.0).to_bits().cast_signed();
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

fn uuid(text: &str) -> Option<&str> {
    let is_dash = |idx| matches!(idx, 8 | 13 | 18 | 23);
    let legal = text.len() == 36
        && text.bytes().enumerate().all(|(idx, it)| match it {
            b'-' => is_dash(idx),
            b'0'..=b'9' | b'a'..=b'f' => !is_dash(idx),
            _ => false,
        });
    legal.then_some(text)
}

/// What a point in time is written with.
#[derive(Clone, Copy)]
struct Moment {
    time: bool,
    zone: bool,
}

impl Moment {
    const DATE: Self = Self { time: false, zone: false };
    const TIMESTAMP: Self = Self { time: true, zone: false };
    const TIMESTAMPTZ: Self = Self { time: true, zone: true };
}

const DAY_MICROS: i64 = 86_400_000_000;

/// Microseconds since 1970 of `2024-02-29 12:00:00.5+00 BC` and its parts.
fn moment(text: &str, parts: Moment) -> Option<i64> {
    match text {
        "infinity" => return Some(i64::MAX),
        "-infinity" => return Some(i64::MIN),
        _ => {}
    }
    let (text, before_christ) = text.strip_suffix(" BC").map_or((text, false), |it| (it, true));
    let (date, rest) = if parts.time { text.split_once([' ', 'T'])? } else { (text, "") };
    let mut fields = date.split('-');
    let (year, month, day) =
        (digits(fields.next()?, 4)?, digits(fields.next()?, 2)?, digits(fields.next()?, 2)?);
    if fields.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if before_christ { 1 - year } else { year };
    let midnight = days(year, month, day).checked_mul(DAY_MICROS)?;
    if !parts.time {
        return Some(midnight);
    }
    let (clock, offset) = if parts.zone { zone(rest)? } else { (rest, 0) };
    midnight.checked_add(time(clock)?)?.checked_sub(offset)
}

/// A whole number of at least `fewest` digits.
fn digits(text: &str, fewest: usize) -> Option<i64> {
    let legal = text.len() >= fewest && text.bytes().all(|it| it.is_ascii_digit());
    if legal { text.parse().ok() } else { None }
}

/// Microseconds of `12:00:00.5`.
fn time(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let mut fields = clock.split(':');
    let mut field = || digits(fields.next()?, 2).filter(|it| *it <= 60);
    let (hours, minutes, seconds) = (field()?, field()?, field()?);
    if fields.next().is_some() || fraction.len() > 6 {
        return None;
    }
    let micros = digits(fraction, 1)? * 10_i64.pow(6 - u32::try_from(fraction.len()).ok()?);
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros)
}

/// The clock of `12:00:00+05:30`, and the microseconds that it is ahead of UTC.
fn zone(text: &str) -> Option<(&str, i64)> {
    if let Some(clock) = text.strip_suffix('Z') {
        return Some((clock, 0));
    }
    let at = text.find(['+', '-'])?;
    let (clock, zone) = text.split_at(at);
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let mut seconds = 0;
    let mut unit = 3600;
    for field in zone.get(1..)?.split(':') {
        if unit == 0 {
            return None;
        }
        seconds += digits(field, 2)? * unit;
        unit /= 60;
    }
    Some((clock, sign * seconds * 1_000_000))
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar.
///
/// Years are counted from March, so that leap days end them; 400 of them have 146,097 days.
pub(super) fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// A decimal number of any length.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Numeric {
    rank: Rank,
    /// Without zeros in front.
    whole: Box<str>,
    /// Without zeros at the end.
    fraction: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Rank {
    NegativeInfinity,
    Negative,
    Zero,
    Positive,
    Infinity,
    NotANumber,
}

impl Numeric {
    fn parse(text: &str) -> Option<Self> {
        let special = match text {
            "NaN" => Some(Rank::NotANumber),
            "Infinity" => Some(Rank::Infinity),
            "-Infinity" => Some(Rank::NegativeInfinity),
            _ => None,
        };
        if let Some(rank) = special {
            return Some(Self { rank, whole: "".into(), fraction: "".into() });
        }
        let (rank, digits) = text.strip_prefix('-').map_or((Rank::Positive, text), |it| (Rank::Negative, it));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let legal = |it: &str| it.bytes().all(|it| it.is_ascii_digit());
        if whole.is_empty() || !legal(whole) || !legal(fraction) {
            return None;
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let rank = if whole.is_empty() && fraction.is_empty() { Rank::Zero } else { rank };
        Some(Self { rank, whole: whole.into(), fraction: fraction.into() })
    }
}

impl Ord for Numeric {
    fn cmp(&self, other: &Self) -> Ordering {
        let size = || {
            let longer = self.whole.len().cmp(&other.whole.len());
            longer.then_with(|| self.whole.cmp(&other.whole)).then_with(|| self.fraction.cmp(&other.fraction))
        };
        self.rank.cmp(&other.rank).then_with(|| match self.rank {
            Rank::Positive => size(),
            Rank::Negative => size().reverse(),
            _ => Ordering::Equal,
        })
    }
}

impl PartialOrd for Numeric {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row in ascending order; what stands in one text with `=` between is equal.
    const ORDERED: &[(Family, &[&str])] = &[
        (Family::Bool, &["f=false", "t=true"]),
        (Family::Int8, &["-9223372036854775808", "-1", "0=-0", "7", "9223372036854775807"]),
        (Family::Float8, &["-Infinity", "-1.5", "-1e-05", "0=-0", "1e-05", "2", "1e+20", "Infinity", "NaN"]),
        (Family::Float4, &["-3.4e+38", "0.1=0.1", "0.10001", "NaN"]),
        (
            Family::Numeric,
            &[
                "-Infinity",
                "-10.5",
                "-10",
                "-9.99",
                "-0.5",
                "0=-0=0.000",
                "0.1=0.10",
                "0.45",
                "0.5",
                "9",
                "10=010.0",
                "123456789012345678901234567890",
                "Infinity",
                "NaN",
            ],
        ),
        (
            Family::Date,
            &[
                "-infinity",
                "4713-01-01 BC",
                "0044-03-15 BC",
                "0001-01-01 BC",
                "0001-01-01",
                "1969-12-31",
                "1970-01-01",
                "2024-02-29",
                "2024-03-01",
                "9999-12-31",
                "10000-01-01",
                "infinity",
            ],
        ),
        (
            Family::Time,
            &["00:00:00", "09:59:59.999999", "10:00:00=10:00:00.0", "10:00:00.45", "10:00:00.5", "24:00:00"],
        ),
        (
            Family::Timestamp,
            &["2024-01-01 00:00:00", "2024-01-01 00:00:00.1", "2024-01-01 00:00:01", "infinity"],
        ),
        (
            Family::Timestamptz,
            &[
                "2024-01-01 00:00:00+05:30",
                "2024-01-01 00:00:00+00=2024-01-01 02:00:00+02=2023-12-31 19:00:00-05=2024-01-01T00:00:00Z",
                "2024-01-01 00:00:00-00:00:01",
                "infinity",
            ],
        ),
        (Family::Uuid, &["00000000-0000-0000-0000-000000000001", "0a000000-0000-0000-0000-000000000000"]),
    ];

    #[test]
    fn values_are_ordered_as_in_postgresql() {
        for (family, row) in ORDERED {
            let keys: Vec<(usize, Scalar)> = row
                .iter()
                .enumerate()
                .flat_map(|(rank, it)| it.split('=').map(move |it| (rank, it)))
                .map(|(rank, it)| {
                    (rank, Scalar::parse(*family, it).unwrap_or_else(|| panic!("{family:?} {it}")))
                })
                .collect();
            for (rank, key) in &keys {
                for (other_rank, other) in &keys {
                    assert_eq!(key.order(other), Some(rank.cmp(other_rank)), "{family:?} {key:?} {other:?}");
                    assert_eq!(key == other, rank == other_rank, "{family:?} {key:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn other_spellings_are_left_to_postgresql() {
        for (family, text) in [
            (Family::Bool, "yes"),
            (Family::Int4, "2147483648"),
            (Family::Int2, " 5"),
            (Family::Int8, "5.0"),
            (Family::Oid, "-1"),
            (Family::Float8, "inf"),
            (Family::Float8, "nan"),
            (Family::Numeric, "1e5"),
            (Family::Numeric, ".5"),
            (Family::Uuid, "{0a000000-0000-0000-0000-000000000000}"),
            (Family::Uuid, "0A000000-0000-0000-0000-000000000000"),
            (Family::Date, "01/02/2024"),
            (Family::Date, "2024-13-01"),
            (Family::Timestamp, "2024-01-01"),
            (Family::Timestamptz, "2024-01-01 00:00:00"),
            (Family::Time, "10:00"),
            (Family::Time, "10:00:00.1234567"),
            (Family::Timestamptz, "now"),
            (Family::Timestamptz, "2024-01-01 00:00:00 Europe/Rome"),
            (Family::Other, "x"),
        ] {
            assert_eq!(Scalar::parse(family, text), None, "{family:?} {text}");
        }
    }
}
