//! Parsers against texts that nobody wrote: they never panic, end soon, and what they understood can be said again.
//!
//! Runs proptest's usual number of cases; `./madbase test --long` sets `PROPTEST_CASES` higher.

mod print;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use tokio::time::Instant;

use super::{Limits, MediaType, Parameters, Preferences, Purpose, Range, Unreserved};
use super::{filter, media, order, payload, query, range, select};

/// Debug builds on loaded machines need a fraction of it for the longest text.
const SOON: Duration = Duration::from_secs(2);

fn soon<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = run();
    assert!(begun.elapsed() < SOON, "{:?} for {} bytes: {:.60}", begun.elapsed(), what.len(), what);
    result
}

/// A query string read in both ways.
fn read(text: &str) {
    let parameters = Parameters::decode(text);
    for unreserved in [Unreserved::Filter, Unreserved::FilterOrArgument] {
        if let Ok(query) = query::parse(&parameters, unreserved) {
            let _ = Limits::default().check(&query);
        }
    }
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-z]{1,3}",
        1 => Just("count".to_owned()),
        1 => Just("a b".to_owned()),
        1 => Just("x-y".to_owned()),
        1 => Just("größe".to_owned()),
        2 => "\"([a-z.,:(){}*>-]|\\\\\"|\\\\\\\\){0,4}\"",
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![3 => Just(String::new()), 1 => "(->>?(k|0|-1|12|\"k 1\"|k y)){1,3}"]
}

fn blank() -> impl Strategy<Value = &'static str> {
    prop_oneof![8 => Just(""), 1 => Just(" "), 1 => Just("\t")]
}

fn select_text() -> impl Strategy<Value = String> {
    let aggregate = "(\\.(sum|avg|count|max|min)\\(\\)(::text)?)?";
    let column = (blank(), "(al:)?", name(), path(), "(::(int|double precision))?", aggregate, blank())
        .prop_map(|(before, alias, name, path, cast, aggregate, after)| {
            // A blank behind an index makes a key of it.
            let after = if path.is_empty() { after } else { "" };
            format!("{before}{alias}{name}{path}{cast}{aggregate}{after}")
        });
    let leaf = prop_oneof![8 => column, 1 => Just("*".to_owned()), 1 => "(n:)?count\\(\\)(::int)?"];
    let items = |item: BoxedStrategy<String>| {
        prop::collection::vec(item, 0..4).prop_map(|items| items.join(",")).boxed()
    };
    let nested = leaf.boxed().prop_recursive(4, 24, 3, move |inner| {
        // `count(` is an aggregate.
        let relation = name().prop_filter("a relation", |it| it != "count");
        let embed = ("((al:)|(\\.\\.\\.))?", relation, "(!hint)?(!inner|!left)?", items(inner.clone()));
        prop_oneof![inner, embed.prop_map(|(head, name, tail, items)| format!("{head}{name}{tail}({items})"))]
    });
    items(nested.boxed())
}

fn operation() -> impl Strategy<Value = String> {
    let value = || prop_oneof!["[a-z0-9*]{0,3}", "\"[a-z,().]{0,3}\"", "\\{a,b\\}"];
    let quantified = "(eq|gt|gte|lt|lte|like|ilike|match|imatch)(\\((any|all)\\))?";
    let simple = "(neq|cs|cd|ov|sl|sr|nxr|nxl|adj|isdistinct)";
    let compared = (prop_oneof![quantified, simple], value())
        .prop_map(|(operator, value)| format!("{operator}.{value}"));
    let list = prop::collection::vec(value(), 0..3).prop_map(|it| format!("in.({})", it.join(",")));
    let search = ("(fts|plfts|phfts|wfts)", "(\\(english\\))?", value())
        .prop_map(|(search, language, value)| format!("{search}{language}.{value}"));
    let operation = prop_oneof![compared, list, search, "is\\.(null|NOT_NULL|true|false|unknown)"];
    ("(not\\.)?", operation).prop_map(|(negation, operation)| format!("{negation}{operation}"))
}

fn logic_text() -> impl Strategy<Value = String> {
    let leaf = (blank(), name(), path(), operation())
        .prop_map(|(before, name, path, operation)| format!("{before}{name}{path}.{operation}"));
    let tree = leaf.boxed().prop_recursive(4, 24, 3, |inner| {
        let items = prop::collection::vec(inner, 1..4);
        ("(not\\.)?(and|or)", items).prop_map(|(head, items)| format!("{head}({})", items.join(","))).boxed()
    });
    ("(not\\.)?(and|or)", tree).prop_map(|(head, tree)| format!("{head}({tree})"))
}

fn order_text() -> impl Strategy<Value = String> {
    let related = (name(), name(), path()).prop_map(|(embed, name, path)| format!("{embed}({name}{path})"));
    let plain = (name(), path()).prop_map(|(name, path)| format!("{name}{path}"));
    let term = (prop_oneof![plain, related], "(\\.(asc|desc))?(\\.(nullsfirst|nullslast))?");
    prop::collection::vec(term, 1..4).prop_map(|terms| {
        let terms: Vec<_> = terms.into_iter().map(|(field, words)| format!("{field}{words}")).collect();
        terms.join(",")
    })
}

/// `text`, perhaps with one character put somewhere.
fn spoilt(text: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (text, prop::option::of((any::<prop::sample::Index>(), "[\"\\\\(),.:>*! {}é-]"))).prop_map(
        |(text, more)| {
            let Some((at, more)) = more else { return text };
            let mut characters: Vec<char> = text.chars().collect();
            let at = at.index(characters.len() + 1);
            characters.splice(at..at, more.chars());
            characters.into_iter().collect()
        },
    )
}

proptest! {
    #[test]
    fn any_query_string_is_read_or_refused(
        key in "(select|order|or|not\\.and|columns|on_conflict|limit|offset|a|a\\.b|a->b)?",
        text in prop_oneof!["\\PC{0,40}", "[a-z0-9_.,:!()*\"\\\\>{}é -]{0,60}"],
    ) {
        soon(&text, || read(&format!("{key}={text}&{text}")));
    }

    #[test]
    fn a_select_said_again_is_the_same(text in spoilt(select_text())) {
        if let Ok(items) = soon(&text, || select::parse(&text)) {
            let printed = print::items(&items);
            let again = select::parse(&printed);
            prop_assert_eq!(again.as_ref(), Ok(&items), "{}", printed);
        }
    }

    #[test]
    fn a_logic_tree_said_again_is_the_same(text in spoilt(logic_text())) {
        if let Ok(logic) = soon(&text, || filter::parse_logic(&text, &text)) {
            let printed = print::logic(&logic);
            let again = filter::parse_logic(&printed, &printed);
            prop_assert_eq!(again.as_ref(), Ok(&logic), "{}", printed);
        }
    }

    #[test]
    fn an_order_said_again_is_the_same(text in spoilt(order_text())) {
        if let Ok(terms) = soon(&text, || order::parse(&text)) {
            let printed = print::terms(&terms);
            let again = order::parse(&printed);
            prop_assert_eq!(again.as_ref(), Ok(&terms), "{}", printed);
        }
    }

    #[test]
    fn what_is_well_formed_is_understood(select in select_text(), order in order_text(), logic in logic_text()) {
        prop_assert!(select::parse(&select).is_ok(), "{}", select);
        prop_assert!(order::parse(&order).is_ok(), "{}", order);
        prop_assert!(filter::parse_logic(&logic, &logic).is_ok(), "{}", logic);
    }

    #[test]
    fn the_canonical_query_says_the_same(text in "([a-c]=[a-c=%20+.,é]{0,5}&){0,3}") {
        let sorted = |text: &str| {
            let parameters = Parameters::decode(text);
            let mut pairs = parameters.pairs().iter().map(|(key, it)| (key.to_string(), it.to_string())).collect::<Vec<_>>();
            pairs.sort();
            pairs
        };
        let pairs = sorted(&text);
        // Values of one name are listed in one.
        if pairs.windows(2).all(|it| it[0].0 != it[1].0) {
            prop_assert_eq!(sorted(&Parameters::decode(&text).canonical()), pairs);
        }
    }

    #[test]
    fn granted_preferences_are_granted_again(
        lines in prop::collection::vec(
            "((return|count|tx|handling|missing|resolution|timezone|max-affected|x)=(minimal|exact|strict|-?[0-9]{1,20}|[ -~]{0,6}),? ?){0,4}",
            0..3,
        ),
    ) {
        let mut headers = HeaderMap::new();
        for line in &lines {
            headers.append("prefer", HeaderValue::from_str(line).unwrap());
        }
        let granted = Preferences::parse(&headers, true);
        let mut again = HeaderMap::new();
        if let Some(text) = granted.applied() {
            again.insert("prefer", HeaderValue::from_str(&text).unwrap());
        }
        prop_assert_eq!(Preferences::parse(&again, true).applied(), granted.applied());
    }

    #[test]
    fn accepted_types_are_read(
        text in prop_oneof!["[ -~]{0,60}", "((text/csv|\\*/\\*|a/b|application/vnd\\.pgrst\\.(plan|object)(\\+json)?)(; ?(for|options|nulls|q)=\"?[a-z0-9./+|]{0,12}\"?)*, ?){0,4}"],
    ) {
        for it in soon(&text, || media::accepted(Some(&text))) {
            prop_assert!(HeaderValue::from_str(&it.content_type()).is_ok(), "{:?}", it);
        }
    }

    #[test]
    fn pages_lie_within_the_relation(
        offset in any::<i64>(), limit in prop::option::of(any::<i64>()), header in "([0-9]{0,20}-[0-9]{0,20}|[ -~]{0,8})",
    ) {
        if let Ok(page) = range::top_level(Range { offset, limit }, Some(&header)) {
            prop_assert!(page.limit.is_none_or(|it| it >= 0));
            prop_assert!(page.offset >= 0 || limit == Some(0));
        }
    }

    #[test]
    fn any_body_is_read_or_refused(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            "[a-c,\"\\n\\rNUL]{0,60}".prop_map(String::into_bytes),
            "[a-c=&%2+é]{0,40}".prop_map(String::into_bytes),
            "[\\[\\]{}\"a:,1 \\\\]{0,40}".prop_map(String::into_bytes),
        ],
    ) {
        let (limits, body) = (Limits::default(), Bytes::from(bytes));
        for purpose in [Purpose::Rows, Purpose::Arguments] {
            for media in ["application/json", "text/csv", "application/x-www-form-urlencoded", "text/plain"] {
                let media = MediaType::parse(media);
                let Ok(payload) = payload::parse(body.clone(), (&media, purpose), None, &limits) else { continue };
                if media != MediaType::Plain {
                    let json: serde_json::Value = serde_json::from_slice(&payload.body).unwrap();
                    prop_assert_eq!(json.is_object(), payload.is_object);
                }
                let named = ["a".into()];
                let _ = payload::parse(body.clone(), (&media, purpose), Some(&named), &limits);
            }
        }
    }
}

#[test]
fn the_longest_texts_are_read_soon() {
    for pattern in [
        "(", ")", "\"", "\\\"", "\"\\", "a(", "a:", "...a(", "a!b", "->a", "->", "->>0", "::a", "not.",
        "or(", "and(", "a.eq.1,", "in.(", "\"a\",", "{", "}", ",", ".", " ", "é", "a->\"b\"", "a.not.",
        "count()", ".sum()", "a.b.",
    ] {
        let text = pattern.repeat(64 * 1024 / pattern.len());
        for key in ["select", "order", "or", "columns", "a", "a.or"] {
            soon(&text, || read(&format!("{key}={text}")));
        }
        soon(&text, || read(&format!("{text}=eq.1")));
        soon(&text, || read(&format!("or=(a.eq.{text}")));
        soon(&text, || read(&format!("a=in.({text}")));
        soon(&text, || media::accepted(Some(&text)));
    }
}
