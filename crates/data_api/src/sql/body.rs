//! The rows of a body: JSON taken apart by PostgreSQL, typed by the catalog.

use bytes::Bytes;

use crate::catalog::Expression;
use crate::plan::BodyColumn;
use crate::request::Payload;

use super::Sql;

impl Sql {
    /// `select columns from body`, for an insert. Without columns, as many empty rows as the body has.
    pub(super) fn rows_of(
        &mut self,
        body: &Payload,
        columns: &[BodyColumn<'_>],
        defaults: bool,
    ) -> &mut Self {
        self.text("select ").join(", ", columns, |sql, it| {
            sql.text("pgrst_body.").name(it.name);
        });
        self.text(" from ").body_rows(body, columns, defaults)
    }

    /// The body as a relation called `pgrst_body`.
    pub(super) fn body_rows(
        &mut self,
        body: &Payload,
        columns: &[BodyColumn<'_>],
        defaults: bool,
    ) -> &mut Self {
        if columns.is_empty() {
            return if body.is_object {
                self.text("(values (1)) pgrst_body")
            } else {
                self.text("json_array_elements(").body_value(&body.body).text("::json) pgrst_body")
            };
        }
        self.text("(select ").join(", ", columns, |sql, it| {
            match it.transform {
                Some(function) => {
                    sql.expression(function).text("(_b.").name(it.name).text(") as ").name(it.name)
                }
                None => sql.text("_b.").name(it.name),
            };
        });
        self.text(" from ");
        if defaults {
            self.with_defaults(body, columns);
        } else {
            self.text(if body.is_object { "json_to_record(" } else { "json_to_recordset(" });
            self.body_value(&body.body).text("::json)");
        }
        self.text(" as _b(").join(", ", columns, |sql, it| {
            sql.name(it.name).text(" ");
            match it.type_name {
                Some(type_name) => sql.expression(type_name),
                None => sql.text("json"),
            };
        });
        self.text(")) pgrst_body")
    }

    /// Each object of the body laid over the columns' defaults.
    fn with_defaults(&mut self, body: &Payload, columns: &[BodyColumn<'_>]) {
        if body.is_object {
            self.text("jsonb_to_record(")
                .defaults(columns)
                .text(" || ")
                .body_value(&body.body)
                .text("::jsonb)");
            return;
        }
        self.text("jsonb_array_elements(")
            .body_value(&body.body)
            .text("::jsonb) _o, lateral jsonb_to_record(");
        self.defaults(columns).text(" || _o)");
    }

    fn defaults(&mut self, columns: &[BodyColumn<'_>]) -> &mut Self {
        let known = columns.iter().filter_map(|it| Some((it.name, it.default?)));
        self.text("jsonb_build_object(").join(", ", known, |sql, (name, default): (&str, &Expression)| {
            sql.text_value(name).text("::text, ").expression(default);
        });
        self.text(")")
    }

    /// The body as a parameter; shared, not copied.
    fn body_value(&mut self, body: &Bytes) -> &mut Self {
        self.value(body.clone())
    }
}
