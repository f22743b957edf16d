//! Text for statements that take no parameters: `create role`, `create database`, `grant … on database`.
//!
//! A name enters only as a quoted identifier, a value only as a quoted literal.

use std::fmt;

/// A quoted identifier.
pub(crate) struct Name<'a>(pub(crate) &'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

/// A quoted literal, whatever `standard_conforming_strings` says.
pub(crate) struct Literal<'a>(pub(crate) &'a str);

impl fmt::Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E'{}'", self.0.replace('\\', "\\\\").replace('\'', "''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_quotes() {
        assert_eq!(Name(r#"a"; drop"#).to_string(), r#""a""; drop""#);
        assert_eq!(Literal(r"a'\").to_string(), r"E'a''\\'");
    }
}
