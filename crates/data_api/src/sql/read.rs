//! Selects: a level with its embeds as lateral joins, and the count of a relation's rows.

use crate::catalog::Link;
use crate::plan::{Condition, Embed, From, OrderBy, Output, ReadPlan, Shape, Shaped, SpreadColumn};
use crate::request::order::{Direction, Nulls};
use crate::request::prefer::Count;

use super::{SOURCE, Sql};

/// The statement of a read.
pub(crate) fn read(shaped: &Shaped<'_>, count: Option<Count>, max_rows: Option<u64>) -> store::Statement {
    let mut sql = Sql::new();
    if shaped.is_row {
        sql.text("select ").row(shaped.representation).text(" from ").shown_rows(shaped);
        return sql.finish();
    }
    sql.explain(&shaped.media);
    sql.text("with pgrst_source as (").level(None, &shaped.rows).text(") select ");
    sql.total(&shaped.rows, count, max_rows).text(", count(*), ");
    sql.response_settings(shaped).text(", null, null, ").body(shaped, None).text(" from pgrst_source _t");
    sql.finish()
}

/// The statement whose plan tells about how many rows there are.
pub(crate) fn planned_count(rows: &ReadPlan<'_>) -> store::Statement {
    let mut sql = Sql::new();
    sql.text("explain (format json) ").count_query(None, rows);
    sql.finish()
}

/// A parent's alias.
type Parent<'p> = Option<&'p str>;

impl Sql {
    /// Rows without the page, as a scalar; null when not asked for.
    pub(super) fn total(
        &mut self,
        rows: &ReadPlan<'_>,
        count: Option<Count>,
        max_rows: Option<u64>,
    ) -> &mut Self {
        if !matches!(count, Some(Count::Exact | Count::Estimated)) {
            return self.text("null::bigint");
        }
        if rows.range.is_all() {
            return self.text("count(*)");
        }
        self.text("(select count(*) from (").count_query(None, rows);
        if let (Some(Count::Estimated), Some(max_rows)) = (count, max_rows) {
            self.text(" limit ").value(max_rows.saturating_add(1).to_string());
        }
        self.text(") _c)")
    }

    /// A select of one level.
    pub(super) fn level(&mut self, parent: Parent<'_>, plan: &ReadPlan<'_>) -> &mut Self {
        self.level_as(parent, plan, None)
    }

    fn level_as(&mut self, parent: Parent<'_>, plan: &ReadPlan<'_>, embed: Option<&Embed<'_>>) -> &mut Self {
        self.text("select ").select_list(plan);
        self.from(parent, plan, embed);
        for child in &plan.embeds {
            self.embedded(&plan.alias, child);
        }
        self.where_clause(parent, plan, embed).group_by(plan);
        self.order_by(plan).page(plan)
    }

    fn select_list(&mut self, plan: &ReadPlan<'_>) -> &mut Self {
        if plan.select.is_empty() && plan.embeds.is_empty() {
            return self.name(&plan.alias).text(".*");
        }
        let mut items = Items::default();
        for output in &plan.select {
            items.next(self);
            self.output(plan, output);
        }
        for embed in plan.embeds.iter().filter(|it| !it.is_hidden) {
            self.shown(embed, &mut items);
        }
        self
    }

    fn output(&mut self, plan: &ReadPlan<'_>, output: &Output<'_>) {
        self.aggregated(output.aggregate.map(|it| it.name()), output.aggregate_cast, |sql| {
            sql.cast(output.cast, |sql| {
                let table = |sql: &mut Self| {
                    sql.name(&plan.alias);
                };
                match output.column.transform {
                    Some(function) => {
                        sql.expression(function).text("(").column(&table, &output.column).text(")");
                    }
                    None => {
                        sql.column(&table, &output.column);
                    }
                }
            });
        });
        if let Some(alias) = &output.alias {
            self.text(" as ").name(alias);
        }
    }

    fn aggregated(
        &mut self,
        aggregate: Option<&'static str>,
        cast: Option<&str>,
        write: impl FnOnce(&mut Self),
    ) {
        match aggregate {
            None => write(self),
            Some(aggregate) => {
                self.cast(cast, |sql| {
                    sql.text(aggregate).text("(");
                    write(sql);
                    sql.text(")");
                });
            }
        }
    }

    /// What a level shows of an embed.
    fn shown(&mut self, embed: &Embed<'_>, items: &mut Items) {
        match embed.shape {
            Shape::Object => {
                items.next(self);
                self.text("to_jsonb(").embed(embed.id).text(".*) as ").name(embed.key());
            }
            Shape::Array => {
                items.next(self);
                self.text("coalesce(").embed(embed.id).text(".").embed(embed.id).text(", '[]') as ");
                self.name(embed.key());
            }
            Shape::Spread | Shape::SpreadArrays => {
                for column in &embed.columns {
                    items.next(self);
                    self.spread(embed.id, column);
                }
            }
        }
    }

    fn spread(&mut self, id: u32, column: &SpreadColumn<'_>) {
        self.aggregated(column.aggregate.map(|it| it.name()), column.aggregate_cast, |sql| {
            sql.embed(id).text(".");
            if column.name == "*" {
                sql.text("*");
            } else {
                sql.name(&column.name);
            }
        });
        if let Some(alias) = &column.alias {
            self.text(" as ").name(alias);
        } else if column.aggregate.is_some() {
            self.text(" as ").name(&column.name);
        }
    }

    fn from(&mut self, parent: Parent<'_>, plan: &ReadPlan<'_>, embed: Option<&Embed<'_>>) -> &mut Self {
        self.text(" from ");
        match &plan.from {
            From::Table(name) => self.qualified(name),
            From::Source => self.text(SOURCE),
            // The row is cast: of overloaded functions the one for this relation is meant.
            From::Function { function, origin } => {
                self.qualified(function).text("(").name(parent.unwrap_or_default()).text("::");
                self.qualified(origin).text(")")
            }
        };
        self.text(" as ").name(&plan.alias);
        if let Some(Link::ManyToMany(junction)) = embed.map(|it| &it.relationship.link) {
            self.text(", ").qualified(&junction.table).text(" as _j");
        }
        self
    }

    /// A lateral join.
    fn embedded(&mut self, parent: &str, embed: &Embed<'_>) {
        self.text(if embed.inner { " inner join lateral (" } else { " left join lateral (" });
        match embed.shape {
            Shape::Object | Shape::Spread => {
                self.level_as(Some(parent), &embed.plan, Some(embed));
                self.text(") as ").embed(embed.id).text(" on true");
            }
            Shape::Array | Shape::SpreadArrays => {
                self.text("select jsonb_agg(").embed(embed.id).text(".*) as ").embed(embed.id);
                if embed.shape == Shape::SpreadArrays {
                    for column in &embed.columns {
                        self.text(", coalesce(jsonb_agg(").embed(embed.id).text(".").name(&column.name);
                        self.text("), '[]') as ").name(column.shown_as());
                    }
                }
                self.text(" from (").level_as(Some(parent), &embed.plan, Some(embed)).text(") as ");
                self.embed(embed.id).text(") as ").embed(embed.id).text(" on ");
                if embed.inner {
                    self.embed(embed.id).text(".").embed(embed.id).text(" is not null");
                } else {
                    self.text("true");
                }
            }
        }
    }

    fn where_clause(
        &mut self,
        parent: Parent<'_>,
        plan: &ReadPlan<'_>,
        embed: Option<&Embed<'_>>,
    ) -> &mut Self {
        let mut words = Words::default();
        if let (Some(parent), Some(embed)) = (parent, embed) {
            self.link(parent, plan, embed, &mut words);
        }
        if !plan.conditions.is_empty() {
            words.next(self);
            let table = |sql: &mut Self| {
                sql.name(&plan.alias);
            };
            self.conditions(&table, &plan.conditions);
        }
        self
    }

    /// How the rows meet the parent's.
    fn link(&mut self, parent: &str, plan: &ReadPlan<'_>, embed: &Embed<'_>, words: &mut Words) {
        match &embed.relationship.link {
            Link::OneToMany(key) | Link::ManyToOne(key) | Link::OneToOne(key) => {
                for (own, other) in &key.columns {
                    words.next(self);
                    self.name(&plan.alias).text(".").name(other).text(" = ");
                    self.name(parent).text(".").name(own);
                }
            }
            Link::ManyToMany(junction) => {
                for (other, column) in &junction.target {
                    words.next(self);
                    self.name(&plan.alias).text(".").name(other).text(" = _j.").name(column);
                }
                for (own, column) in &junction.source {
                    words.next(self);
                    self.name(parent).text(".").name(own).text(" = _j.").name(column);
                }
            }
            Link::Function { .. } => {}
        }
    }

    /// When something is aggregated, everything else makes the groups: by position in the select list.
    fn group_by(&mut self, plan: &ReadPlan<'_>) -> &mut Self {
        let own = plan.select.iter().map(|it| it.aggregate.is_some());
        let embeds = plan.embeds.iter().filter(|it| !it.is_hidden).flat_map(|it| match it.shape {
            Shape::Object | Shape::Array => vec![false],
            Shape::Spread | Shape::SpreadArrays => {
                it.columns.iter().map(|it| it.aggregate.is_some()).collect()
            }
        });
        let aggregated: Vec<bool> = own.chain(embeds).collect();
        if !aggregated.contains(&true) || !aggregated.contains(&false) {
            return self;
        }
        let positions = aggregated.iter().enumerate().filter(|(_, it)| !**it).map(|(idx, _)| idx + 1);
        self.text(" group by ").join(", ", positions, |sql, it| {
            sql.number(it);
        })
    }

    fn order_by(&mut self, plan: &ReadPlan<'_>) -> &mut Self {
        if plan.order.is_empty() {
            return self;
        }
        self.text(" order by ").join(", ", &plan.order, |sql, it| sql.order_term(plan, it))
    }

    fn order_term(&mut self, plan: &ReadPlan<'_>, term: &OrderBy<'_>) {
        match term.embed {
            Some((_, id)) => self.column(
                &|sql| {
                    sql.embed(id);
                },
                &term.column,
            ),
            None => self.column(
                &|sql| {
                    sql.name(&plan.alias);
                },
                &term.column,
            ),
        };
        self.text(match term.direction {
            Some(Direction::Asc) => " asc",
            Some(Direction::Desc) => " desc",
            None => "",
        });
        self.text(match term.nulls {
            Some(Nulls::First) => " nulls first",
            Some(Nulls::Last) => " nulls last",
            None => "",
        });
    }

    fn page(&mut self, plan: &ReadPlan<'_>) -> &mut Self {
        if let Some(limit) = plan.range.limit {
            self.text(" limit ").value(limit.to_string());
        }
        if plan.range.offset != 0 {
            self.text(" offset ").value(plan.range.offset.to_string());
        }
        self
    }

    /// One row for each row of the relation that the conditions and inner embeds leave.
    pub(super) fn count_query(&mut self, parent: Parent<'_>, plan: &ReadPlan<'_>) -> &mut Self {
        self.count_level(parent, plan, None)
    }

    fn count_level(
        &mut self,
        parent: Parent<'_>,
        plan: &ReadPlan<'_>,
        embed: Option<&Embed<'_>>,
    ) -> &mut Self {
        self.text("select 1").from(parent, plan, embed);
        let mut words = Words::default();
        if let (Some(parent), Some(embed)) = (parent, embed) {
            self.link(parent, plan, embed, &mut words);
        }
        let table = |sql: &mut Self| {
            sql.name(&plan.alias);
        };
        for condition in &plan.conditions {
            words.next(self);
            self.count_condition(&table, plan, condition);
        }
        for child in plan.embeds.iter().filter(|it| it.inner) {
            words.next(self);
            self.exists(plan, child);
        }
        self
    }

    fn count_condition(
        &mut self,
        table: super::condition::Qualifier<'_>,
        plan: &ReadPlan<'_>,
        it: &Condition<'_>,
    ) {
        self.condition(table, it, &|sql, id, present| {
            if !present {
                sql.text("not ");
            }
            if let Some(child) = plan.embeds.iter().find(|it| it.id == id) {
                sql.exists(plan, child);
            }
        });
    }

    fn exists(&mut self, plan: &ReadPlan<'_>, child: &Embed<'_>) {
        self.text("exists (").count_level(Some(&plan.alias), &child.plan, Some(child)).text(")");
    }
}

/// Writes `, ` before all items but the first.
#[derive(Default)]
struct Items {
    any: bool,
}

impl Items {
    fn next(&mut self, sql: &mut Sql) {
        if std::mem::replace(&mut self.any, true) {
            sql.text(", ");
        }
    }
}

/// Writes ` where ` before the first condition, ` and ` before the others.
#[derive(Default)]
struct Words {
    any: bool,
}

impl Words {
    fn next(&mut self, sql: &mut Sql) {
        sql.text(if std::mem::replace(&mut self.any, true) { " and " } else { " where " });
    }
}
