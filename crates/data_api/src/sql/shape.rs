//! How rows become the body, and what else the row of a statement carries.

use crate::catalog::Function;
use crate::plan::{From, Representation, Shaped};
use crate::request::MediaType;

use super::{SOURCE, Sql};

/// The name of the rows as they are shown, where it is needed.
const ROWS: &str = "pgrst_rows";

/// Whether rows that a mutation or function gave are shown by name: CSV looks at them twice.
fn names_rows(shaped: &Shaped<'_>) -> bool {
    shaped.representation == Representation::Csv && matches!(shaped.rows.from, From::Source)
}

impl Sql {
    /// Between the rows that a mutation or function gave and the `select` of the answer.
    pub(super) fn named_rows(&mut self, shaped: &Shaped<'_>) -> &mut Self {
        if names_rows(shaped) {
            self.text(", ").text(ROWS).text(" as (").level(None, &shaped.rows).text(")");
        }
        self
    }

    /// What an answer's `select` is from: the rows as they are shown.
    pub(super) fn shown_rows(&mut self, shaped: &Shaped<'_>) -> &mut Self {
        if names_rows(shaped) {
            return self.text(ROWS).text(" _t");
        }
        self.text("(").level(None, &shaped.rows).text(") _t")
    }

    /// `explain (…) ` when the client asks for the plan instead of the rows.
    pub(super) fn explain(&mut self, media: &MediaType) -> &mut Self {
        let MediaType::Plan(plan) = media else { return self };
        self.text(if plan.json { "explain (format json" } else { "explain (format text" });
        for option in &plan.options {
            self.text(", ").text(option);
        }
        self.text(") ")
    }

    /// The settings by which the database overrides headers and status; null where nothing sets them.
    pub(super) fn response_settings(&mut self, shaped: &Shaped<'_>) -> &mut Self {
        if !shaped.responds {
            return self.text("null, null");
        }
        self.text("nullif(current_setting('response.headers', true), ''), ")
            .text("nullif(current_setting('response.status', true), '')")
    }

    /// The body as one value, aggregated over the rows `_t`; `function` gave them.
    pub(super) fn body(&mut self, shaped: &Shaped<'_>, function: Option<&Function>) -> &mut Self {
        let is = |test: fn(&Function) -> bool| function.is_some_and(test);
        let is_value = is(Function::is_scalar) || is(Function::is_set_of_scalars);
        match shaped.representation {
            Representation::None => self.text("null"),
            Representation::Json { stripped } => {
                let is_single = is(Function::is_scalar) || is(Function::is_single_row);
                self.json(is_value, is_single, stripped)
            }
            Representation::Object { stripped } => self.json(is_value, true, stripped),
            Representation::Csv => self.csv(if names_rows(shaped) { ROWS } else { SOURCE }),
            Representation::GeoJson => self.text(
                "json_build_object('type', 'FeatureCollection', 'features', coalesce(json_agg(st_asgeojson(_t.*)::json), '[]'))",
            ),
            Representation::Custom { handler, relation } => {
                self.qualified(&handler.function);
                match relation {
                    _ if is(Function::is_scalar) => self.text("(_t.pgrst_scalar)"),
                    Some(relation) => self.text("((_t.*)::").qualified(relation).text(")"),
                    None => self.text("(_t.*)"),
                }
            }
        }
    }

    /// One of the rows `_t` as a JSON object.
    pub(super) fn row(&mut self, representation: Representation<'_>) -> &mut Self {
        let stripped = matches!(
            representation,
            Representation::Json { stripped: true } | Representation::Object { stripped: true }
        );
        self.text(if stripped { "json_strip_nulls(row_to_json(_t.*))" } else { "row_to_json(_t.*)" })
    }

    fn json(&mut self, is_value: bool, is_single: bool, stripped: bool) -> &mut Self {
        self.text(if stripped { "coalesce(json_strip_nulls(json_agg(" } else { "coalesce(json_agg(" });
        self.text(if is_value { "_t.pgrst_scalar" } else { "_t.*" });
        self.text(if is_single { ")->0" } else { ")" });
        self.text(if stripped { ")" } else { "" });
        self.text(if is_single { ", 'null')" } else { ", '[]')" })
    }

    /// A header row and the rows as PostgreSQL writes records, without their parentheses.
    fn csv(&mut self, rows: &'static str) -> &mut Self {
        self.text("(select coalesce(string_agg(_k, ','), '') from (select row_to_json(_h.*) as _r from ")
            .text(rows);
        self.text(" _h limit 1) _h, json_object_keys(_h._r) _k)").text(
            " || E'\\n' || coalesce(string_agg(substring(_t::text, 2, length(_t::text) - 2), E'\\n'), '')",
        )
    }
}
