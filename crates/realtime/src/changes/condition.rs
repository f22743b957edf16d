//! A filter's condition, made ready for one table: decided here for the common types, else by PostgreSQL.
//!
//! A comparison with null is neither true nor false, also when it is negated; only what is true passes. A value that the
//! stream does not tell decides nothing, so the change is not sent.

use std::sync::Arc;

use bytes::Bytes;

use super::array::{self, Item};
use super::facts::ColumnFacts;
use super::filter::{Condition, Op};
use super::pattern::Pattern;
use super::scalar::{Family, Scalar};
use crate::change::Value;

/// A condition on the value that stands at `at` in the stream's rows.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) at: usize,
    pub(super) negate: bool,
    pub(super) check: Check,
}

/// What is checked.
#[derive(Debug)]
pub(super) enum Check {
    Null,
    /// `is true`, `is false`; never unknown.
    Truth(bool),
    Equal(Family, Scalar),
    Distinct(Family, Scalar),
    Order(Family, Op, Scalar),
    Among(Family, Vec<Option<Scalar>>),
    Like(Pattern),
    /// By PostgreSQL, beforehand.
    Asked(Question),
}

/// What PostgreSQL is asked about values of a column.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    /// Takes the values (`text[]`) and the operand; answers with `t`, `f` or `n` (unknown) for each value.
    pub(super) text: Arc<str>,
    pub(super) operand: Bytes,
}

impl Check {
    /// What `condition` means for `column`.
    pub(super) fn of(condition: &Condition, column: &ColumnFacts) -> Self {
        let decided = Self::decided(condition, column.family);
        decided.unwrap_or_else(|| Self::Asked(Question::of(condition, column)))
    }

    /// Without PostgreSQL, if type, operator and operand allow it.
    fn decided(condition: &Condition, family: Family) -> Option<Self> {
        let scalar = || Scalar::parse(family, &condition.value).filter(|_| family.has_equality());
        Some(match condition.op {
            Op::Is => match &*condition.value {
                "true" => Self::Truth(true),
                "false" => Self::Truth(false),
                // Of a boolean, unknown is null.
                _ => Self::Null,
            },
            Op::Eq => Self::Equal(family, scalar()?),
            Op::IsDistinct => Self::Distinct(family, scalar()?),
            Op::Neq | Op::Lt | Op::Lte | Op::Gt | Op::Gte => {
                let is_decided = condition.op == Op::Neq || family.has_order();
                Self::Order(family, condition.op, scalar().filter(|_| is_decided)?)
            }
            Op::In => Self::Among(family, among(family, &condition.value)?),
            Op::Like if family == Family::Text => Self::Like(Pattern::parse(&condition.value)?),
            Op::Like | Op::Ilike | Op::Match | Op::Imatch => return None,
        })
    }

    /// What it says of a value that is not null; `None` is unknown.
    fn of_text(&self, text: &str) -> Option<bool> {
        let scalar = |family: &Family| Scalar::parse(*family, text);
        match self {
            Self::Null => Some(false),
            Self::Truth(wanted) => Some((text == "t") == *wanted),
            Self::Equal(family, operand) => Some(scalar(family)? == *operand),
            Self::Distinct(family, operand) => Some(scalar(family)? != *operand),
            Self::Order(family, op, operand) => {
                let value = scalar(family)?;
                Some(match op {
                    Op::Neq => value != *operand,
                    Op::Lt => value.order(operand)?.is_lt(),
                    Op::Lte => value.order(operand)?.is_le(),
                    Op::Gt => value.order(operand)?.is_gt(),
                    _ => value.order(operand)?.is_ge(),
                })
            }
            Self::Among(family, operands) => {
                let value = scalar(family)?;
                let is_found = operands.iter().flatten().any(|it| *it == value);
                if is_found || !operands.contains(&None) { Some(is_found) } else { None }
            }
            Self::Like(pattern) => Some(pattern.is_match(text)),
            Self::Asked(_) => None,
        }
    }
}

impl Test {
    /// Whether `value` passes; `asked` is what PostgreSQL said of it, if it was asked.
    pub(super) fn passes(&self, value: Option<&Value>, asked: Option<bool>) -> bool {
        let answer = match (value, &self.check) {
            (None | Some(Value::Unchanged), _) => return false,
            (Some(_), Check::Asked(_)) => asked,
            (Some(Value::Null), Check::Null | Check::Distinct(..)) => Some(true),
            (Some(Value::Null), Check::Truth(_)) => Some(false),
            (Some(Value::Null), _) => None,
            (Some(Value::Text(bytes)), check) => {
                std::str::from_utf8(bytes).ok().and_then(|it| check.of_text(it))
            }
        };
        answer.is_some_and(|it| it != self.negate)
    }
}

/// The operands of `in`.
fn among(family: Family, literal: &str) -> Option<Vec<Option<Scalar>>> {
    if !family.has_equality() {
        return None;
    }
    let items = array::parse(literal, ',')?;
    let scalar = |item: Item| match item {
        Item::Null => Some(None),
        Item::Text(text) => Scalar::parse(family, &text).map(Some),
        Item::List(_) => None,
    };
    items.into_iter().map(scalar).collect()
}

impl Question {
    pub(super) fn of(condition: &Condition, column: &ColumnFacts) -> Self {
        let cast = &column.cast;
        let compared = match condition.op {
            Op::Eq => format!("= $2::{cast}"),
            Op::Neq => format!("<> $2::{cast}"),
            Op::Lt => format!("< $2::{cast}"),
            Op::Lte => format!("<= $2::{cast}"),
            Op::Gt => format!("> $2::{cast}"),
            Op::Gte => format!(">= $2::{cast}"),
            Op::In => format!("= any ($2::{cast}[])"),
            Op::Like => format!("like $2::{cast}"),
            Op::Ilike => format!("ilike $2::{cast}"),
            Op::Match => format!("~ $2::{cast}"),
            Op::Imatch => format!("~* $2::{cast}"),
            Op::IsDistinct => format!("is distinct from $2::{cast}"),
            // Decided without PostgreSQL.
            Op::Is => "is null and $2::text is not null".to_owned(),
        };
        let text = format!(
            "select coalesce(string_agg(case v.it::{cast} {compared} when true then 't' when false then 'f' else 'n' end, \
             '' order by v.n), '') from unnest($1::text[]) with ordinality as v (it, n)"
        );
        Self { text: text.into(), operand: Bytes::copy_from_slice(condition.value.as_bytes()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::filter;
    use super::super::json::Shape;
    use super::*;

    /// Whether `value` (`∅` is null) of a column of `family` passes `filter`; `?` when PostgreSQL must be asked.
    fn check(family: Family, filter: &str, value: &str) -> char {
        let condition = filter::parse(&format!("a={filter}")).unwrap().remove(0);
        let column = ColumnFacts {
            name: "a".into(),
            type_name: String::new(),
            family,
            shape: Shape::Text,
            cast: "integer".into(),
            is_key: false,
            has_pattern: true,
        };
        let test = Test { at: 0, negate: condition.negate, check: Check::of(&condition, &column) };
        if matches!(test.check, Check::Asked(_)) {
            return '?';
        }
        let value =
            if value == "∅" { Value::Null } else { Value::Text(Bytes::copy_from_slice(value.as_bytes())) };
        if test.passes(Some(&value), None) { 't' } else { 'f' }
    }

    #[test]
    fn conditions_decide_as_in_postgresql() {
        use Family::{Bool, Int4, Numeric, Other, Text, Timestamptz, Uuid};
        for (family, filter, value, expected) in [
            (Int4, "eq.5", "5", 't'),
            (Int4, "eq.5", "6", 'f'),
            (Int4, "eq.5", "∅", 'f'),
            (Int4, "not.eq.5", "∅", 'f'),
            (Int4, "not.eq.5", "6", 't'),
            (Int4, "neq.5", "6", 't'),
            (Int4, "lt.10", "9", 't'),
            (Int4, "lte.9", "9", 't'),
            (Int4, "gt.9", "10", 't'),
            (Int4, "gte.10", "9", 'f'),
            (Int4, "in.(1,2)", "2", 't'),
            (Int4, "in.(1,2)", "3", 'f'),
            (Int4, "not.in.(1,2)", "3", 't'),
            (Int4, "not.in.(1,null)", "3", 'f'),
            (Int4, "in.()", "3", 'f'),
            (Int4, "not.in.()", "3", 't'),
            (Int4, "is.null", "∅", 't'),
            (Int4, "not.is.null", "∅", 'f'),
            (Int4, "not.is.null", "1", 't'),
            (Int4, "isdistinct.5", "∅", 't'),
            (Int4, "isdistinct.5", "5", 'f'),
            (Int4, "not.isdistinct.5", "5", 't'),
            (Int4, "eq. 5", "5", '?'),
            (Int4, "like.5", "5", '?'),
            (Bool, "is.true", "t", 't'),
            (Bool, "not.is.true", "∅", 't'),
            (Bool, "is.unknown", "∅", 't'),
            (Bool, "eq.true", "t", 't'),
            (Bool, "lt.true", "f", 't'),
            (Numeric, "eq.1.50", "1.5", 't'),
            (Text, "eq.a b", "a b", 't'),
            (Text, "gt.a", "b", '?'),
            (Text, "like.h%o", "hello", 't'),
            (Text, "like.a\\", "a", '?'),
            (Text, "ilike.h%", "Hello", '?'),
            (Text, "match.^h", "hello", '?'),
            (Text, r#"in.("a,b",c)"#, "a,b", 't'),
            (Uuid, "eq.0a000000-0000-0000-0000-000000000000", "0a000000-0000-0000-0000-000000000000", 't'),
            (Timestamptz, "gt.2024-01-01", "2024-01-01 00:00:00+00", '?'),
            (Other, "eq.5", "5", '?'),
            (Other, "is.null", "∅", 't'),
        ] {
            assert_eq!(check(family, filter, value), expected, "{family:?} {filter} {value}");
        }
    }
}
