//! Inserts, upserts, updates and deletes, with what they return.

use crate::catalog::Table;
use crate::plan::{BodyColumn, Change, Condition, Conflict, Representation, Returning, WritePlan};
use crate::request::prefer::Resolution;
use crate::request::{MediaType, Payload};

use super::Sql;

/// Counts a row that was there already: true for each.
const COUNT_UPDATED: &str = " where set_config('pgrst.updated', (coalesce(nullif(current_setting('pgrst.updated', true), '')::int, 0) + 1)::text, true) is not null";

/// The statement of a mutation; `with_location` asks for the primary key of a single new row.
pub(crate) fn write(plan: &WritePlan<'_>, with_location: bool) -> store::Statement {
    let mut sql = Sql::new();
    if is_plain(plan) && !with_location {
        sql.change(plan, false);
        return sql.finish();
    }
    sql.explain(&plan.shaped.media);
    sql.text("with pgrst_source as (").change(plan, true).text(")");
    sql.named_rows(&plan.shaped).text(" select null::bigint, count(*), ");
    sql.response_settings(&plan.shaped).text(", ").inserted(&plan.change).text(", ");
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
        sql.shown_rows(&plan.shaped);
    }
    sql.finish()
}

/// Whether nothing is told about the rows but how many there are, which PostgreSQL tells by itself.
fn is_plain(plan: &WritePlan<'_>) -> bool {
    let shaped = &plan.shaped;
    let counts = matches!(&plan.change, Change::Insert { conflict: Some(it), .. } if it.resolution == Resolution::MergeDuplicates);
    shaped.representation == Representation::None
        && !shaped.responds
        && !counts
        && !matches!(shaped.media, MediaType::Plan(_))
}

impl Sql {
    /// The change itself; with `returns`, its rows as the rest of the statement needs them.
    fn change(&mut self, plan: &WritePlan<'_>, returns: bool) -> &mut Self {
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
                self.returning(true, returns.then_some(plan))
            }
            Change::Update { columns, .. } if columns.is_empty() => self.nothing(table, &plan.returning),
            Change::Update { body, columns, defaults, conditions } => {
                self.update(table, (body, columns, *defaults)).where_all(&table.name.name, conditions);
                self.returning(false, returns.then_some(plan))
            }
            Change::Delete { conditions } => {
                self.text("delete from ").qualified(&table.name).text(" as ").name(&table.name.name);
                self.where_all(&table.name.name, conditions);
                self.returning(false, returns.then_some(plan))
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

    /// What of `plan` comes back.
    fn returning(&mut self, is_insert: bool, plan: Option<&WritePlan<'_>>) -> &mut Self {
        let Some(WritePlan { table, returning, .. }) = plan else { return self };
        let qualify = |sql: &mut Self| {
            if is_insert {
                sql.qualified(&table.name);
            } else {
                sql.name(&table.name.name);
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
                self.text("count(*) - coalesce(nullif(current_setting('pgrst.updated', true), '')::int, 0)")
            }
            _ => self.text("null"),
        }
    }

    /// The primary key of the only row, as a JSON array of text.
    fn location(&mut self, table: &Table) {
        let keys = table.columns.keys().filter(|it| table.primary_key.contains(it));
        self.text("case when count(*) = 1 then (select json_build_array(").join(", ", keys, |sql, it| {
            sql.text("_l.row->>").text_value(it);
        });
        self.text(") from (select row_to_json(_s.*) as row from pgrst_source _s limit 1) _l) end");
    }
}
