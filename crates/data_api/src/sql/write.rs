//! Inserts, upserts, updates and deletes, with what they return.

use crate::catalog::Table;
use crate::plan::{BodyColumn, Change, Condition, Conflict, Representation, Returning, WritePlan};
use crate::request::Payload;
use crate::request::prefer::Resolution;

use super::Sql;

/// Counts a row that was there already: true for each.
const COUNT_UPDATED: &str = " where set_config('pgrst.updated', (coalesce(nullif(current_setting('pgrst.updated', true), '')::int, 0) + 1)::text, true) is not null";

/// The statement of a mutation; `with_location` asks for the primary key of a single new row.
pub(crate) fn write(plan: &WritePlan<'_>, with_location: bool) -> store::Statement {
    let mut sql = Sql::new();
    sql.explain(&plan.shaped.media);
    sql.text("with pgrst_source as (").change(plan).text(") select null::bigint, count(_t.*), ");
    sql.response_settings().text(", ").inserted(&plan.change).text(", ");
    if with_location {
        sql.location(plan.table);
    } else {
        sql.text("null");
    }
    sql.text(", ").body(&plan.shaped, None).text(" from ");
    if plan.shaped.representation == Representation::None {
        // What is selected is not shown; its columns may not even be returned.
        sql.text("pgrst_source _t");
    } else {
        sql.text("(").level(None, &plan.shaped.rows).text(") _t");
    }
    sql.finish()
}

impl Sql {
    fn change(&mut self, plan: &WritePlan<'_>) -> &mut Self {
        let table = plan.table;
        match &plan.change {
            Change::Insert { body, columns, defaults, conflict, conditions } => {
                self.text("insert into ").qualified(&table.name);
                if !columns.is_empty() {
                    self.text(" (").column_names(columns).text(")");
                }
                self.text(" ").rows_of(body, columns, *defaults);
                self.where_all("pgrst_body", conditions);
                if let Some(conflict) = conflict {
                    self.on_conflict(conflict, columns);
                }
                self.returning(&table.name.name, true, &plan.returning, table)
            }
            Change::Update { columns, .. } if columns.is_empty() => self.nothing(table, &plan.returning),
            Change::Update { body, columns, defaults, conditions } => {
                self.update(table, (body, columns, *defaults)).where_all(&table.name.name, conditions);
                self.returning(&table.name.name, false, &plan.returning, table)
            }
            Change::Delete { conditions } => {
                self.text("delete from ").qualified(&table.name).text(" as ").name(&table.name.name);
                self.where_all(&table.name.name, conditions);
                self.returning(&table.name.name, false, &plan.returning, table)
            }
        }
    }

    fn update(&mut self, table: &Table, body: (&Payload, &[BodyColumn<'_>], bool)) -> &mut Self {
        let (body, columns, defaults) = body;
        self.text("update ").qualified(&table.name).text(" as ").name(&table.name.name).text(" set ");
        self.join(", ", columns, |sql, it| {
            sql.name(it.name).text(" = pgrst_body.").name(it.name);
        });
        self.text(" from ").body_rows(body, columns, defaults)
    }

    fn column_names(&mut self, columns: &[BodyColumn<'_>]) -> &mut Self {
        self.join(", ", columns, |sql, it| {
            sql.name(it.name);
        })
    }

    fn where_all(&mut self, alias: &str, conditions: &[Condition<'_>]) {
        if conditions.is_empty() {
            return;
        }
        let table = |sql: &mut Self| {
            sql.name(alias);
        };
        self.text(" where ").conditions(&table, conditions);
    }

    fn on_conflict(&mut self, conflict: &Conflict<'_>, columns: &[BodyColumn<'_>]) {
        self.text(" on conflict (").join(", ", &conflict.columns, |sql, it| {
            sql.name(it);
        });
        if conflict.resolution == Resolution::IgnoreDuplicates || columns.is_empty() {
            self.text(") do nothing");
            return;
        }
        self.text(") do update set ").join(", ", columns, |sql, it| {
            sql.name(it.name).text(" = excluded.").name(it.name);
        });
        self.text(COUNT_UPDATED);
    }

    fn returning(
        &mut self,
        alias: &str,
        is_insert: bool,
        returning: &Returning<'_>,
        table: &Table,
    ) -> &mut Self {
        let qualify = |sql: &mut Self| {
            if is_insert {
                sql.qualified(&table.name);
            } else {
                sql.name(alias);
            }
        };
        self.text(" returning ");
        match returning {
            Returning::Nothing => self.text("1"),
            Returning::All => {
                qualify(self);
                self.text(".*")
            }
            Returning::Columns(columns) => self.join(", ", columns, |sql, it| {
                qualify(sql);
                sql.text(".").name(it);
            }),
        }
    }

    /// An update that sets nothing: no rows, but the columns that are asked for.
    fn nothing(&mut self, table: &Table, returning: &Returning<'_>) -> &mut Self {
        self.text("select ");
        match returning {
            Returning::Nothing => self.text("null"),
            Returning::All => self.name(&table.name.name).text(".*"),
            Returning::Columns(columns) => self.join(", ", columns, |sql, it| {
                sql.name(&table.name.name).text(".").name(it);
            }),
        };
        self.text(" from ").qualified(&table.name).text(" as ").name(&table.name.name).text(" where false")
    }

    /// How many rows were new, when that is not all of them.
    fn inserted(&mut self, change: &Change<'_>) -> &mut Self {
        match change {
            Change::Insert { conflict: Some(conflict), .. }
                if conflict.resolution == Resolution::MergeDuplicates =>
            {
                self.text(
                    "count(_t.*) - coalesce(nullif(current_setting('pgrst.updated', true), '')::int, 0)",
                )
            }
            _ => self.text("null"),
        }
    }

    /// The primary key of the only row, as a JSON array of text.
    fn location(&mut self, table: &Table) {
        let keys = table.columns.keys().filter(|it| table.primary_key.contains(it));
        self.text("case when count(_t.*) = 1 then (select json_build_array(").join(", ", keys, |sql, it| {
            sql.text("_l.row->>").text_value(it);
        });
        self.text(") from (select row_to_json(_s.*) as row from pgrst_source _s limit 1) _l) end");
    }
}
