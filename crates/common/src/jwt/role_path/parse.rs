//! The text of a path → its segments, by recursive descent; errors are what was left to read.

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::{Comparison, Condition, Operand, Segment, Selector, TextTest};

/// How deep conditions may nest.
const MAX_DEPTH: usize = 32;
/// How large a compiled pattern may be, in bytes.
const MAX_PATTERN: usize = 64 * 1024;

type Parsed<'t, T> = Result<T, &'t str>;

/// `$…` (RFC 9535).
pub(super) fn path(text: &str) -> Parsed<'_, Vec<Segment>> {
    let mut reader = Reader { rest: text, depth: 0 };
    reader.expect("$")?;
    let segments = reader.segments()?;
    if reader.rest.is_empty() { Ok(segments) } else { Err(reader.rest) }
}

/// `.key`, `."key"`, `[0]`, and one `[?(@ == "text")]` at the end.
pub(super) fn older_path(text: &str) -> Parsed<'_, Vec<Segment>> {
    let mut reader = Reader { rest: text, depth: 0 };
    let mut segments = Vec::new();
    while !reader.rest.is_empty() {
        let selector = reader.older_selector()?;
        let is_filter = matches!(selector, Selector::Filter(_));
        segments.push(Segment { deep: false, selectors: vec![selector] });
        if is_filter && !reader.rest.is_empty() {
            return Err(reader.rest);
        }
    }
    if segments.is_empty() { Err(text) } else { Ok(segments) }
}

struct Reader<'t> {
    rest: &'t str,
    depth: usize,
}

impl<'t> Reader<'t> {
    fn accept(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, token: &str) -> Parsed<'t, ()> {
        if self.accept(token) { Ok(()) } else { Err(self.rest) }
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// The longest run of characters that `fits`, at least one.
    fn run(&mut self, fits: impl Fn(char) -> bool) -> Parsed<'t, &'t str> {
        let end = self.rest.find(|it| !fits(it)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(end);
        if run.is_empty() {
            return Err(self.rest);
        }
        self.rest = rest;
        Ok(run)
    }

    fn segments(&mut self) -> Parsed<'t, Vec<Segment>> {
        let mut segments = Vec::new();
        loop {
            let deep = self.accept("..");
            if self.rest.starts_with('[') {
                segments.push(Segment { deep, selectors: self.bracket()? });
            } else if deep || self.accept(".") {
                let selector = if self.accept("*") { Selector::All } else { Selector::Name(self.member()?) };
                segments.push(Segment { deep, selectors: vec![selector] });
            } else {
                return Ok(segments);
            }
        }
    }

    /// A member name without quotes.
    fn member(&mut self) -> Parsed<'t, String> {
        if self.rest.starts_with(|it: char| it.is_ascii_digit()) {
            return Err(self.rest);
        }
        let name = self.run(|it| it.is_ascii_alphanumeric() || it == '_' || !it.is_ascii())?;
        Ok(name.to_owned())
    }

    fn bracket(&mut self) -> Parsed<'t, Vec<Selector>> {
        self.expect("[")?;
        let mut selectors = Vec::new();
        loop {
            self.blanks();
            selectors.push(self.selector()?);
            self.blanks();
            if self.accept("]") {
                return Ok(selectors);
            }
            self.expect(",")?;
        }
    }

    fn selector(&mut self) -> Parsed<'t, Selector> {
        if self.accept("*") {
            return Ok(Selector::All);
        }
        if self.accept("?") {
            return Ok(Selector::Filter(self.any()?));
        }
        if self.rest.starts_with(['\'', '"']) {
            return Ok(Selector::Name(self.quoted()?));
        }
        let start = self.optional_number()?;
        self.blanks();
        if !self.accept(":") {
            return start.map(Selector::Index).ok_or(self.rest);
        }
        self.blanks();
        let end = self.optional_number()?;
        self.blanks();
        let step = if self.accept(":") {
            self.blanks();
            self.optional_number()?
        } else {
            None
        };
        Ok(Selector::Slice { start, end, step: step.unwrap_or(1) })
    }

    fn optional_number(&mut self) -> Parsed<'t, Option<i64>> {
        if !self.rest.starts_with(|it: char| it == '-' || it.is_ascii_digit()) {
            return Ok(None);
        }
        let before = self.rest;
        let number = self.run(|it| it == '-' || it.is_ascii_digit())?;
        number.parse().map(Some).map_err(|_| before)
    }

    /// A text in single or double quotes; a backslash takes the next character as it is.
    fn quoted(&mut self) -> Parsed<'t, String> {
        let before = self.rest;
        let mut characters = self.rest.chars();
        let quote = characters.next().filter(|it| matches!(it, '\'' | '"')).ok_or(before)?;
        let mut text = String::new();
        loop {
            match characters.next().ok_or(before)? {
                '\\' => text.push(characters.next().ok_or(before)?),
                it if it == quote => break,
                it => text.push(it),
            }
        }
        self.rest = characters.as_str();
        Ok(text)
    }

    fn any(&mut self) -> Parsed<'t, Condition> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.rest);
        }
        let mut many = vec![self.every()?];
        while self.accept("||") {
            many.push(self.every()?);
        }
        self.depth -= 1;
        Ok(one_or(many, Condition::Any))
    }

    fn every(&mut self) -> Parsed<'t, Condition> {
        let mut many = vec![self.basic()?];
        while self.accept("&&") {
            many.push(self.basic()?);
        }
        Ok(one_or(many, Condition::Every))
    }

    fn basic(&mut self) -> Parsed<'t, Condition> {
        self.blanks();
        if self.accept("!") {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(self.rest);
            }
            let inner = self.basic()?;
            self.depth -= 1;
            return Ok(Condition::Not(Box::new(inner)));
        }
        let condition = if self.accept("(") {
            let inner = self.any()?;
            self.expect(")")?;
            inner
        } else if self.accept("search(") {
            self.search()?
        } else {
            self.comparison()?
        };
        self.blanks();
        Ok(condition)
    }

    fn search(&mut self) -> Parsed<'t, Condition> {
        let operand = self.operand()?;
        self.expect(",")?;
        self.blanks();
        let before = self.rest;
        let pattern = self.quoted()?;
        let compiled: Result<Regex, _> = RegexBuilder::new(&pattern).size_limit(MAX_PATTERN).build();
        self.blanks();
        self.expect(")")?;
        Ok(Condition::Search(operand, Box::new(compiled.map_err(|_| before)?)))
    }

    fn comparison(&mut self) -> Parsed<'t, Condition> {
        let left = self.operand()?;
        let comparisons = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let Some((_, comparison)) = comparisons.into_iter().find(|(token, _)| self.accept(token)) else {
            return if matches!(left, Operand::Literal(_)) {
                Err(self.rest)
            } else {
                Ok(Condition::Exists(left))
            };
        };
        Ok(Condition::Compare(left, comparison, self.operand()?))
    }

    fn operand(&mut self) -> Parsed<'t, Operand> {
        self.blanks();
        let operand = if self.accept("@") {
            Operand::Element(self.segments()?)
        } else if self.accept("$") {
            Operand::Root(self.segments()?)
        } else if self.rest.starts_with(['\'', '"']) {
            Operand::Literal(Value::String(self.quoted()?))
        } else {
            let before = self.rest;
            let word = self.run(|it| it.is_ascii_alphanumeric() || "+-.".contains(it))?;
            Operand::Literal(serde_json::from_str(word).map_err(|_| before)?)
        };
        self.blanks();
        Ok(operand)
    }

    fn older_selector(&mut self) -> Parsed<'t, Selector> {
        if self.accept("[?(@") {
            return self.older_filter();
        }
        if self.accept("[") {
            let before = self.rest;
            let index = self.run(|it| it.is_ascii_digit())?.parse().map_err(|_| before)?;
            self.expect("]")?;
            return Ok(Selector::Index(index));
        }
        self.expect(".")?;
        if self.rest.starts_with('"') {
            return Ok(Selector::Name(self.quoted()?));
        }
        Ok(Selector::Name(self.run(|it| it.is_alphanumeric() || "_$@".contains(it))?.to_owned()))
    }

    fn older_filter(&mut self) -> Parsed<'t, Selector> {
        self.blanks();
        let tests = [
            ("==^", TextTest::EndsWith),
            ("==", TextTest::Is),
            ("!=", TextTest::IsNot),
            ("^==", TextTest::StartsWith),
            ("*==", TextTest::Contains),
        ];
        let before = self.rest;
        let (_, test) = tests.into_iter().find(|(token, _)| self.accept(token)).ok_or(before)?;
        self.blanks();
        let text = self.quoted()?;
        self.expect(")]")?;
        Ok(Selector::Filter(Condition::Text(test, text)))
    }
}

/// The only one, or all of them joined.
fn one_or(mut many: Vec<Condition>, join: impl Fn(Vec<Condition>) -> Condition) -> Condition {
    match many.pop() {
        Some(one) if many.is_empty() => one,
        Some(last) => {
            many.push(last);
            join(many)
        }
        None => join(many),
    }
}
