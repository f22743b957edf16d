//! Columns, filters and logic trees.

use std::borrow::Cow;

use bytes::Bytes;

use crate::plan::{Column, Condition};
use crate::request::filter::{Operation, Operator, Quantifier, Search, Truth};
use crate::request::names::{JsonOperand, JsonStep};

use super::{Sql, array_literal};

fn operator(it: Operator) -> &'static str {
    match it {
        Operator::Eq => " = ",
        Operator::NotEq => " <> ",
        Operator::Gt => " > ",
        Operator::GtEq => " >= ",
        Operator::Lt => " < ",
        Operator::LtEq => " <= ",
        Operator::Like => " like ",
        Operator::ILike => " ilike ",
        Operator::Match => " ~ ",
        Operator::IMatch => " ~* ",
        Operator::Contains => " @> ",
        Operator::Contained => " <@ ",
        Operator::Overlaps => " && ",
        Operator::StrictlyLeft => " << ",
        Operator::StrictlyRight => " >> ",
        Operator::NotExtendsRight => " &< ",
        Operator::NotExtendsLeft => " &> ",
        Operator::Adjacent => " -|- ",
    }
}

/// What a column's name stands behind.
pub(super) type Qualifier<'q> = &'q dyn Fn(&mut Sql);

impl Sql {
    /// A column of `table`, its path taken; `*` for all.
    pub(super) fn column(&mut self, table: Qualifier<'_>, column: &Column<'_>) -> &mut Self {
        let Some(language) = column.to_vector else { return self.bare_column(table, column) };
        self.text("to_tsvector(");
        if let Some(language) = language {
            self.text_value(language).text(", ");
        }
        self.bare_column(table, column).text(")")
    }

    fn bare_column(&mut self, table: Qualifier<'_>, column: &Column<'_>) -> &mut Self {
        if column.whole_row {
            table(self);
            return self;
        }
        let to_json = column.to_json && !column.path.is_empty();
        if to_json {
            self.text("to_jsonb(");
        }
        table(self);
        self.text(".");
        if column.name == "*" {
            self.text("*");
        } else {
            self.name(column.name);
        }
        if to_json {
            self.text(")");
        }
        self.path(column.path)
    }

    fn path(&mut self, path: &[JsonStep<'_>]) -> &mut Self {
        for step in path {
            self.text(if step.as_text { "->>" } else { "->" });
            match &step.operand {
                JsonOperand::Key(key) => self.text_value(key),
                JsonOperand::Index(index) => self.text_value(index).text("::int"),
            };
        }
        self
    }

    /// Conditions joined by `and`, after `where`; nothing when there is none.
    pub(super) fn conditions(&mut self, table: Qualifier<'_>, conditions: &[Condition<'_>]) -> &mut Self {
        self.join(" and ", conditions, |sql, it| {
            sql.condition(table, it, &|sql, id, present| {
                sql.embed(id).text(if present {
                    " is distinct from null"
                } else {
                    " is not distinct from null"
                });
            });
        })
    }

    /// One condition; `presence` writes what an embed's presence means.
    pub(super) fn condition(
        &mut self,
        table: Qualifier<'_>,
        condition: &Condition<'_>,
        presence: &dyn Fn(&mut Self, u32, bool),
    ) {
        match condition {
            Condition::Filter { column, negated, operation } => {
                if *negated {
                    self.text("not ");
                }
                self.column(table, column).operation(column, operation);
            }
            Condition::Group { negated, any, items } => {
                self.text(if *negated { "not (" } else { "(" });
                self.join(if *any { " or " } else { " and " }, items, |sql, it| {
                    sql.condition(table, it, presence);
                });
                self.text(")");
            }
            Condition::Embedded { id, present } => presence(self, *id, *present),
        }
    }

    fn operation(&mut self, column: &Column<'_>, operation: &Operation<'_>) -> &mut Self {
        match operation {
            Operation::Compare(it @ (Operator::Like | Operator::ILike), quantifier, value) => {
                self.text(operator(*it)).quantified(*quantifier, |sql| {
                    sql.value(wildcards(value));
                })
            }
            Operation::Compare(it, quantifier, value) => {
                self.text(operator(*it)).quantified(*quantifier, |sql| {
                    sql.transformed(column, |sql| {
                        sql.text_value(value);
                    });
                })
            }
            Operation::In(values) => self.is_one_of(column, values),
            Operation::Is(truth) => self.text(match truth {
                Truth::Null => " is null",
                Truth::NotNull => " is not null",
                Truth::True => " is true",
                Truth::False => " is false",
                Truth::Unknown => " is unknown",
            }),
            Operation::IsDistinct(value) => self.text(" is distinct from ").text_value(value),
            Operation::Search(search, language, query) => {
                self.text(match search {
                    Search::Query => " @@ to_tsquery(",
                    Search::Plain => " @@ plainto_tsquery(",
                    Search::Phrase => " @@ phraseto_tsquery(",
                    Search::Web => " @@ websearch_to_tsquery(",
                });
                if let Some(language) = language {
                    self.text_value(language).text(", ");
                }
                self.text_value(query).text(")")
            }
        }
    }

    fn quantified(&mut self, quantifier: Option<Quantifier>, write: impl FnOnce(&mut Self)) -> &mut Self {
        match quantifier {
            None => {
                write(self);
                return self;
            }
            Some(Quantifier::Any) => self.text("any("),
            Some(Quantifier::All) => self.text("all("),
        };
        write(self);
        self.text(")")
    }

    /// A value of the client, as the column's data representation reads it.
    fn transformed(&mut self, column: &Column<'_>, write: impl FnOnce(&mut Self)) -> &mut Self {
        match column.transform {
            Some(function) => {
                self.expression(function).text("(");
                write(self);
                self.text(")")
            }
            None => {
                write(self);
                self
            }
        }
    }

    fn is_one_of(&mut self, column: &Column<'_>, values: &[Cow<'_, str>]) -> &mut Self {
        let literal = array_literal(values.iter().map(AsRef::as_ref));
        match column.transform {
            Some(function) => self
                .text(" = any(select ")
                .expression(function)
                .text("(_v) from unnest(")
                .value(literal)
                .text("::text[]) _v)"),
            None => self.text(" = any(").value(literal).text(")"),
        }
    }
}

/// `*` stands for `%`, which is awkward in URLs.
fn wildcards(value: &str) -> Bytes {
    if value.contains('*') {
        value.replace('*', "%").into()
    } else {
        Bytes::copy_from_slice(value.as_bytes())
    }
}
