//! Says again what the parsers understood: all names and values in quotes.

use crate::request::filter::{Filter, Logic, Operation, Operator, Quantifier, Search, Truth};
use crate::request::names::{Field, JsonOperand};
use crate::request::order::{Direction, Nulls, OrderTerm};
use crate::request::select::{Aggregate, SelectEmbed, SelectField, SelectItem};

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn joined<T>(items: &[T], print: impl Fn(&T) -> String) -> String {
    items.iter().map(print).collect::<Vec<_>>().join(",")
}

fn field(it: &Field<'_>) -> String {
    let mut text = quoted(&it.name);
    for step in &it.path {
        text += if step.as_text { "->>" } else { "->" };
        text += &match &step.operand {
            JsonOperand::Key(key) => quoted(key),
            JsonOperand::Index(index) => (*index).to_owned(),
        };
    }
    text
}

pub(super) fn items(items: &[SelectItem<'_>]) -> String {
    joined(items, |it| match it {
        SelectItem::Field(it) => select_field(it),
        SelectItem::Embed(it) => embed(it),
    })
}

fn select_field(it: &SelectField<'_>) -> String {
    let alias = it.alias.as_ref().map(|it| quoted(it) + ":").unwrap_or_default();
    let cast = |it: Option<&str>| it.map(|it| format!("::{it}")).unwrap_or_default();
    let aggregate = it.aggregate.map(|it| format!(".{}()", it.name())).unwrap_or_default();
    let is_all = it.field.name == "*" && it.field.path.is_empty() && it.cast.is_none();
    match it.aggregate {
        None if is_all && it.alias.is_none() => "*".into(),
        Some(Aggregate::Count) if is_all => format!("{alias}count(){}", cast(it.aggregate_cast)),
        _ => format!("{alias}{}{}{aggregate}{}", field(&it.field), cast(it.cast), cast(it.aggregate_cast)),
    }
}

fn embed(it: &SelectEmbed<'_>) -> String {
    let alias = it.alias.as_ref().map(|it| quoted(it) + ":").unwrap_or_default();
    let spread = if it.spread { "..." } else { "" };
    let hint = it.hint.as_ref().map(|it| format!("!{}", quoted(it))).unwrap_or_default();
    let inner = if it.inner { "!inner" } else { "" };
    format!("{spread}{alias}{}{hint}{inner}({})", quoted(&it.name), items(&it.items))
}

pub(super) fn terms(terms: &[OrderTerm<'_>]) -> String {
    joined(terms, |it| {
        let field = field(&it.field);
        let field = it.relation.as_ref().map_or(field.clone(), |it| format!("{}({field})", quoted(it)));
        let direction = match it.direction {
            Some(Direction::Asc) => ".asc",
            Some(Direction::Desc) => ".desc",
            None => "",
        };
        let nulls = match it.nulls {
            Some(Nulls::First) => ".nullsfirst",
            Some(Nulls::Last) => ".nullslast",
            None => "",
        };
        format!("{field}{direction}{nulls}")
    })
}

pub(super) fn logic(it: &Logic<'_>) -> String {
    match it {
        Logic::Filter(it) => filter(it),
        Logic::Group { negated, any, items } => {
            let negation = if *negated { "not." } else { "" };
            format!("{negation}{}({})", if *any { "or" } else { "and" }, joined(items, logic))
        }
    }
}

fn filter(it: &Filter<'_>) -> String {
    let negation = if it.negated { "not." } else { "" };
    let operation = match &it.operation {
        Operation::Compare(operator, quantifier, value) => {
            let quantifier = match quantifier {
                Some(Quantifier::Any) => "(any)",
                Some(Quantifier::All) => "(all)",
                None => "",
            };
            format!("{}{quantifier}.{}", word(*operator), quoted(value))
        }
        Operation::In(values) => format!("in.({})", joined(values, |it| quoted(it))),
        Operation::Is(truth) => format!("is.{}", truth_word(*truth)),
        Operation::IsDistinct(value) => format!("isdistinct.{}", quoted(value)),
        Operation::Search(search, language, value) => {
            let language = language.map(|it| format!("({it})")).unwrap_or_default();
            format!("{}{language}.{}", search_word(*search), quoted(value))
        }
    };
    format!("{}.{negation}{operation}", field(&it.field))
}

fn word(it: Operator) -> &'static str {
    match it {
        Operator::Eq => "eq",
        Operator::NotEq => "neq",
        Operator::Gt => "gt",
        Operator::GtEq => "gte",
        Operator::Lt => "lt",
        Operator::LtEq => "lte",
        Operator::Like => "like",
        Operator::ILike => "ilike",
        Operator::Match => "match",
        Operator::IMatch => "imatch",
        Operator::Contains => "cs",
        Operator::Contained => "cd",
        Operator::Overlaps => "ov",
        Operator::StrictlyLeft => "sl",
        Operator::StrictlyRight => "sr",
        Operator::NotExtendsRight => "nxr",
        Operator::NotExtendsLeft => "nxl",
        Operator::Adjacent => "adj",
    }
}

fn truth_word(it: Truth) -> &'static str {
    match it {
        Truth::Null => "null",
        Truth::NotNull => "not_null",
        Truth::True => "true",
        Truth::False => "false",
        Truth::Unknown => "unknown",
    }
}

fn search_word(it: Search) -> &'static str {
    match it {
        Search::Query => "fts",
        Search::Plain => "plfts",
        Search::Phrase => "phfts",
        Search::Web => "wfts",
    }
}
