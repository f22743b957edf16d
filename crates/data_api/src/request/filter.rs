//! Filters: `op.value` with all operators, `in` lists, quantifiers, and logic trees.

use std::borrow::Cow;

use super::SyntaxError;
use super::cursor::{Cursor, Mismatch, Parsed};
use super::names::{Field, field, identifier, quoted};

/// Groups within groups: deeper ones are refused, so that no request exhausts the stack.
const MAX_DEPTH: usize = 128;

/// `column=not.op.value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter<'a> {
    /// What is compared.
    pub(crate) field: Field<'a>,
    /// Whether the outcome is negated.
    pub(crate) negated: bool,
    /// How it is compared, and with what.
    pub(crate) operation: Operation<'a>,
}

/// An operator with its operand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation<'a> {
    /// `op.value`, `op(any).{a,b}`
    Compare(Operator, Option<Quantifier>, Cow<'a, str>),
    /// `in.(a,b)`
    In(Vec<Cow<'a, str>>),
    /// `is.null`
    Is(Truth),
    /// `isdistinct.value`
    IsDistinct(Cow<'a, str>),
    /// `fts(language).query`
    Search(Search, Option<&'a str>, Cow<'a, str>),
}

/// A binary operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    /// `eq`
    Eq,
    /// `neq`
    NotEq,
    /// `gt`
    Gt,
    /// `gte`
    GtEq,
    /// `lt`
    Lt,
    /// `lte`
    LtEq,
    /// `like`
    Like,
    /// `ilike`
    ILike,
    /// `match`
    Match,
    /// `imatch`
    IMatch,
    /// `cs`
    Contains,
    /// `cd`
    Contained,
    /// `ov`
    Overlaps,
    /// `sl`
    StrictlyLeft,
    /// `sr`
    StrictlyRight,
    /// `nxr`
    NotExtendsRight,
    /// `nxl`
    NotExtendsLeft,
    /// `adj`
    Adjacent,
}

/// `(any)` or `(all)` after an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantifier {
    /// One of the values.
    Any,
    /// Each of the values.
    All,
}

/// The operand of `is`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truth {
    /// `null`
    Null,
    /// `not_null`
    NotNull,
    /// `true`
    True,
    /// `false`
    False,
    /// `unknown`
    Unknown,
}

/// How a text search query is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Search {
    /// `fts`: `to_tsquery`
    Query,
    /// `plfts`: `plainto_tsquery`
    Plain,
    /// `phfts`: `phraseto_tsquery`
    Phrase,
    /// `wfts`: `websearch_to_tsquery`
    Web,
}

/// A condition, or several under `and` or `or`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Logic<'a> {
    /// One filter.
    Filter(Filter<'a>),
    /// `not.or(…)`
    Group {
        /// Whether the outcome is negated.
        negated: bool,
        /// Whether one item suffices (`or`) rather than all (`and`).
        any: bool,
        /// The items, at least one.
        items: Vec<Logic<'a>>,
    },
}

const OPERATION: &str = "operator (eq, gt, ...)";

/// Without quantifier, in the order in which they are tried.
const SIMPLE: [(&str, Operator); 9] = [
    ("neq", Operator::NotEq),
    ("cs", Operator::Contains),
    ("cd", Operator::Contained),
    ("ov", Operator::Overlaps),
    ("sl", Operator::StrictlyLeft),
    ("sr", Operator::StrictlyRight),
    ("nxr", Operator::NotExtendsRight),
    ("nxl", Operator::NotExtendsLeft),
    ("adj", Operator::Adjacent),
];

/// Those that take `(any)` and `(all)`; longer words before their beginnings.
const QUANTIFIED: [(&str, Operator); 9] = [
    ("eq", Operator::Eq),
    ("gte", Operator::GtEq),
    ("gt", Operator::Gt),
    ("lte", Operator::LtEq),
    ("lt", Operator::Lt),
    ("like", Operator::Like),
    ("ilike", Operator::ILike),
    ("match", Operator::Match),
    ("imatch", Operator::IMatch),
];

const SEARCHES: [(&str, Search); 4] =
    [("fts", Search::Query), ("plfts", Search::Plain), ("phfts", Search::Phrase), ("wfts", Search::Web)];

/// Where a value ends.
type ValueGrammar<'a> = fn(&mut Cursor<'a>) -> Parsed<Cow<'a, str>>;

/// A parameter's value as a filter.
///
/// # Errors
/// [`SyntaxError`] when it starts with no operator or the operand does not fit it.
pub(super) fn parse<'a>(field: Field<'a>, text: &'a str) -> Result<Filter<'a>, SyntaxError> {
    let mut cursor = Cursor::new(text);
    match operation(&mut cursor, whole) {
        Ok((negated, operation)) => Ok(Filter { field, negated, operation }),
        Err(Mismatch) => Err(cursor.error(&format!("failed to parse filter ({text})"))),
    }
}

/// As [`parse`], but `None` when the text does not start like a filter: then it is an argument.
///
/// # Errors
/// [`SyntaxError`] when it starts like a filter and goes on otherwise.
pub(super) fn parse_unless_argument<'a>(
    field: Field<'a>,
    text: &'a str,
) -> Result<Result<Filter<'a>, Field<'a>>, SyntaxError> {
    let mut cursor = Cursor::new(text);
    match operation(&mut cursor, whole) {
        Ok((negated, operation)) => Ok(Ok(Filter { field, negated, operation })),
        Err(Mismatch) if cursor.at() == 0 => Ok(Err(field)),
        Err(Mismatch) => Err(cursor.error(&format!("failed to parse filter ({text})"))),
    }
}

/// The value of `and` or `or`, with its operator (`not.or`) put before it: `text` is the whole.
///
/// # Errors
/// [`SyntaxError`] names the furthest point reached; `value` is what the client sent.
pub(super) fn parse_logic<'a>(text: &'a str, value: &str) -> Result<Logic<'a>, SyntaxError> {
    let mut cursor = Cursor::new(text);
    match logic(&mut cursor, 0) {
        Ok(logic) => Ok(logic),
        Err(Mismatch) => Err(cursor.error(&format!("failed to parse logic tree ({value})"))),
    }
}

fn logic<'a>(cursor: &mut Cursor<'a>, depth: usize) -> Parsed<Logic<'a>> {
    if depth >= MAX_DEPTH {
        return cursor.fail("fewer nested groups");
    }
    if let Ok(filter) = cursor.attempt(logic_filter) {
        return Ok(Logic::Filter(filter));
    }
    let negated = cursor.labelled("negation operator (not)", |cursor| Ok(take_not(cursor)))?;
    let any = cursor.labelled("logic operator (and, or)", |cursor| {
        if cursor.accept("and", "\"and\"") { Ok(false) } else { cursor.expect("or", "\"or\"").map(|()| true) }
    })?;
    cursor.expect_lexeme("(", "\"(\"")?;
    let mut items = vec![logic(cursor, depth + 1)?];
    while cursor.accept_lexeme(",", "\",\"") {
        items.push(logic(cursor, depth + 1)?);
    }
    cursor.expect_lexeme(")", "\")\"")?;
    Ok(Logic::Group { negated, any, items })
}

fn take_not(cursor: &mut Cursor<'_>) -> bool {
    if cursor.rest().starts_with("not.") {
        return cursor.accept("not.", "\"not\"");
    }
    cursor.note("\"not\"");
    false
}

fn logic_filter<'a>(cursor: &mut Cursor<'a>) -> Parsed<Filter<'a>> {
    let field = field(cursor)?;
    cursor.expect(".", "delimiter (.)")?;
    let (negated, operation) = operation(cursor, listed)?;
    Ok(Filter { field, negated, operation })
}

/// Everything that is left.
fn whole<'a>(cursor: &mut Cursor<'a>) -> Parsed<Cow<'a, str>> {
    Ok(Cow::Borrowed(cursor.take_while(|_| true)))
}

/// A value inside a group: quoted, an array literal, or up to the next `,` or `)`.
fn listed<'a>(cursor: &mut Cursor<'a>) -> Parsed<Cow<'a, str>> {
    if let Ok(value) = quoted_element(cursor) {
        return Ok(value);
    }
    let start = cursor.at();
    if cursor.accept("{", "\"{\"") {
        cursor.take_while(|it| it != '{' && it != '}');
        if cursor.accept("}", "\"}\"") {
            return Ok(Cow::Borrowed(cursor.since(start)));
        }
        cursor.rewind(start);
    }
    Ok(Cow::Borrowed(cursor.take_while(|it| it != ',' && it != ')')))
}

fn quoted_element<'a>(cursor: &mut Cursor<'a>) -> Parsed<Cow<'a, str>> {
    cursor.attempt(|cursor| {
        let value = quoted(cursor)?;
        match cursor.peek() {
            None | Some(',' | ')') => Ok(value),
            Some(_) => Err(Mismatch),
        }
    })
}

fn operation<'a>(cursor: &mut Cursor<'a>, value: ValueGrammar<'a>) -> Parsed<(bool, Operation<'a>)> {
    let negated = take_not(cursor);
    let operation = cursor.labelled(OPERATION, |cursor| operator(cursor, value))?;
    Ok((negated, operation))
}

fn operator<'a>(cursor: &mut Cursor<'a>, value: ValueGrammar<'a>) -> Parsed<Operation<'a>> {
    if take_word(cursor, "in.") {
        return list(cursor).map(Operation::In);
    }
    if take_word(cursor, "is.") {
        return truth(cursor).map(Operation::Is);
    }
    if take_word(cursor, "isdistinct.") {
        return value(cursor).map(Operation::IsDistinct);
    }
    cursor
        .attempt(|cursor| search(cursor, value))
        .or_else(|_| cursor.attempt(|cursor| simple(cursor, value)))
        .or_else(|_| cursor.attempt(|cursor| quantified(cursor, value)))
}

fn take_word(cursor: &mut Cursor<'_>, word: &'static str) -> bool {
    let follows = cursor.rest().starts_with(word);
    if follows {
        cursor.accept(word, OPERATION);
    }
    follows
}

fn search<'a>(cursor: &mut Cursor<'a>, value: ValueGrammar<'a>) -> Parsed<Operation<'a>> {
    let Some((_, search)) = SEARCHES.into_iter().find(|(word, _)| take_word(cursor, word)) else {
        return cursor.fail(OPERATION);
    };
    let language = if cursor.accept("(", OPERATION) {
        let language = identifier(cursor)?;
        cursor.expect(")", "\")\"")?;
        Some(language)
    } else {
        None
    };
    cursor.expect(".", "delimiter (.)")?;
    Ok(Operation::Search(search, language, value(cursor)?))
}

fn simple<'a>(cursor: &mut Cursor<'a>, value: ValueGrammar<'a>) -> Parsed<Operation<'a>> {
    let Some((_, operator)) = SIMPLE.into_iter().find(|(word, _)| take_word(cursor, word)) else {
        return cursor.fail(OPERATION);
    };
    cursor.expect(".", "delimiter (.)")?;
    Ok(Operation::Compare(operator, None, value(cursor)?))
}

fn quantified<'a>(cursor: &mut Cursor<'a>, value: ValueGrammar<'a>) -> Parsed<Operation<'a>> {
    let Some((_, operator)) = QUANTIFIED.into_iter().find(|(word, _)| take_word(cursor, word)) else {
        return cursor.fail(OPERATION);
    };
    let quantifier = if take_word(cursor, "(any)") {
        Some(Quantifier::Any)
    } else if take_word(cursor, "(all)") {
        Some(Quantifier::All)
    } else {
        None
    };
    cursor.expect(".", "delimiter (.)")?;
    Ok(Operation::Compare(operator, quantifier, value(cursor)?))
}

fn truth(cursor: &mut Cursor<'_>) -> Parsed<Truth> {
    let words = [
        ("null", Truth::Null),
        ("not_null", Truth::NotNull),
        ("true", Truth::True),
        ("false", Truth::False),
        ("unknown", Truth::Unknown),
    ];
    for (word, truth) in words {
        if cursor.rest().get(..word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word)) {
            for _ in word.chars() {
                cursor.advance();
            }
            return Ok(truth);
        }
    }
    cursor.fail("isVal: (null, not_null, true, false, unknown)")
}

/// `(a,"b, c",d)`: one empty element stands for none.
fn list<'a>(cursor: &mut Cursor<'a>) -> Parsed<Vec<Cow<'a, str>>> {
    cursor.expect_lexeme("(", "\"(\"")?;
    let mut elements = vec![element(cursor)];
    while cursor.accept(",", "\",\"") {
        elements.push(element(cursor));
    }
    cursor.expect_lexeme(")", "\")\"")?;
    if let [only] = elements.as_slice()
        && only.is_empty()
    {
        elements.clear();
    }
    Ok(elements)
}

fn element<'a>(cursor: &mut Cursor<'a>) -> Cow<'a, str> {
    quoted_element(cursor).unwrap_or_else(|_| Cow::Borrowed(cursor.take_while(|it| it != ',' && it != ')')))
}
