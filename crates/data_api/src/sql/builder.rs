//! The only way to write a statement: our text, quoted names, numbered values. Client text is a value or a name.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use store::Statement;

use crate::catalog::{Expression, Name};

/// A statement under construction.
#[derive(Debug, Default)]
pub(crate) struct Sql {
    text: String,
    params: Vec<Option<Bytes>>,
}

impl Sql {
    /// Nothing yet; room for a usual statement.
    pub(crate) fn new() -> Self {
        Self { text: String::with_capacity(1024), params: Vec::with_capacity(8) }
    }

    /// Text of ours.
    pub(crate) fn text(&mut self, text: &'static str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// A name, quoted.
    pub(crate) fn name(&mut self, name: &str) -> &mut Self {
        self.text.push('"');
        // PostgreSQL has no names with NUL; what is left is not found.
        for it in name.chars().filter(|it| *it != '\0') {
            if it == '"' {
                self.text.push('"');
            }
            self.text.push(it);
        }
        self.text.push('"');
        self
    }

    /// A schema-qualified name.
    pub(crate) fn qualified(&mut self, name: &Name) -> &mut Self {
        self.name(&name.schema).text(".").name(&name.name)
    }

    /// The name of an embed within the statement.
    pub(crate) fn embed(&mut self, id: u32) -> &mut Self {
        let _ = write!(self.text, "_e{id}");
        self
    }

    /// A number of ours.
    pub(crate) fn number(&mut self, number: usize) -> &mut Self {
        let _ = write!(self.text, "{number}");
        self
    }

    /// SQL text that the database gave.
    pub(crate) fn expression(&mut self, expression: &Expression) -> &mut Self {
        self.text.push_str(expression.as_str());
        self
    }

    /// A value; becomes `$n`.
    pub(crate) fn value(&mut self, value: impl Into<Bytes>) -> &mut Self {
        self.params.push(Some(value.into()));
        let _ = write!(self.text, "${}", self.params.len());
        self
    }

    /// A value from text; becomes `$n`.
    pub(crate) fn text_value(&mut self, value: &str) -> &mut Self {
        self.value(Bytes::copy_from_slice(value.as_bytes()))
    }

    /// Items with `separator` between them.
    pub(crate) fn join<T>(
        &mut self,
        separator: &'static str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        for (idx, item) in items.into_iter().enumerate() {
            if idx > 0 {
                self.text(separator);
            }
            write(self, item);
        }
        self
    }

    /// The statement.
    pub(crate) fn finish(self) -> Statement {
        Statement { text: Arc::from(self.text), params: self.params }
    }
}

/// The text form of an array: `{"a","b"}`.
pub(crate) fn array_literal<'a>(elements: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::from("{");
    for element in elements {
        if text.len() > 1 {
            text.push(',');
        }
        text.push('"');
        for it in element.chars() {
            if matches!(it, '"' | '\\') {
                text.push('\\');
            }
            text.push(it);
        }
        text.push('"');
    }
    text.push('}');
    text
}

/// A call of `schema.function` (or `function`) without arguments.
pub(crate) fn call_of(function: &str) -> Arc<str> {
    let parts: Vec<_> = function.split('.').map(|it| format!("\"{}\"", it.replace('"', "\"\""))).collect();
    Arc::from(format!("select {}()", parts.join(".")))
}
