//! `::type` of a client: a type of SQL by its own spelling, any other as a quoted name.

use super::Sql;

/// Spellings that are grammar rather than names, or that a quoted name would not find.
const SPELLINGS: [&str; 32] = [
    "bigint",
    "bit",
    "bit varying",
    "boolean",
    "char",
    "char varying",
    "character",
    "character varying",
    "dec",
    "decimal",
    "double precision",
    "float",
    "int",
    "integer",
    "interval",
    "interval year to month",
    "interval day to second",
    "national char",
    "national char varying",
    "national character",
    "national character varying",
    "nchar",
    "nchar varying",
    "numeric",
    "real",
    "smallint",
    "time",
    "time with time zone",
    "time without time zone",
    "timestamp",
    "timestamp with time zone",
    "timestamp without time zone",
];

impl Sql {
    /// `cast( … as type )` around what `write` writes; nothing around it when there is no type.
    pub(super) fn cast(&mut self, type_name: Option<&str>, write: impl FnOnce(&mut Self)) -> &mut Self {
        let Some(type_name) = type_name else {
            write(self);
            return self;
        };
        self.text("cast(");
        write(self);
        self.text(" as ").type_name(type_name).text(")")
    }

    /// A type named by a client. Unquoted names are lower case in SQL, so this one is made so.
    fn type_name(&mut self, type_name: &str) -> &mut Self {
        let folded = type_name.to_ascii_lowercase();
        match SPELLINGS.into_iter().find(|it| *it == folded) {
            Some(spelling) => self.text(spelling),
            None => self.name(&folded),
        }
    }
}
