//! Plans what is selected: the tree of embeds, with filters, orders and pages put where they belong.

use std::borrow::Cow;

use crate::catalog::{Link, Name, Table};
use crate::error::{CatalogError, Error};
use crate::request::select::{SelectEmbed, SelectItem};
use crate::request::{Action, Range};

use super::field::Scope;
use super::{Context, Embed, From, Output, ReadPlan, Shape, Shaped, attach, embed, finish, negotiate};

/// Plan a read of the relation `name`.
///
/// # Errors
/// PGRST205 for the relation, PGRST200 and 201 for embeds, `PGRST1xx` for what cannot be asked of them.
pub(crate) fn read<'a>(context: Context<'a>, name: &str) -> Result<Shaped<'a>, Error> {
    let table = context.catalog.table(context.request.schema, name)?;
    let root = Root { from: From::Table(&table.name), name: &table.name.name, table: Some(table) };
    let rows = rows(context, root)?;
    let shaped = negotiate::shape(context, rows, &table.name)?;
    context.check_preferences()?;
    Ok(shaped)
}

/// The outermost level.
pub(super) struct Root<'a> {
    /// Where its rows come from.
    pub(super) from: From<'a>,
    /// What it is called: the origin of its embeds.
    pub(super) name: &'a str,
    /// The relation, if it is one.
    pub(super) table: Option<&'a Table>,
}

/// Plan the rows of `root` with all that the query string says about them.
///
/// # Errors
/// As [`read`].
pub(super) fn rows<'a>(context: Context<'a>, root: Root<'a>) -> Result<ReadPlan<'a>, Error> {
    let mut builder = Builder { context, last_id: 0 };
    let level =
        Level { from: root.from, name: root.name, table: root.table, alias: root.name.into(), depth: 0 };
    let mut plan = builder.level(level, &context.request.query.select)?;
    attach::all(context, &mut plan)?;
    finish::level(context, &mut plan)?;
    Ok(plan)
}

/// A level about to be planned.
struct Level<'a> {
    from: From<'a>,
    name: &'a str,
    table: Option<&'a Table>,
    alias: Cow<'a, str>,
    depth: usize,
}

/// Numbers the embeds of a statement.
struct Builder<'a> {
    context: Context<'a>,
    last_id: u32,
}

impl<'a> Builder<'a> {
    fn level(&mut self, level: Level<'a>, items: &'a [SelectItem<'a>]) -> Result<ReadPlan<'a>, Error> {
        let scope = Scope { catalog: self.context.catalog, table: level.table };
        let mut plan = ReadPlan {
            from: level.from,
            alias: level.alias,
            table: level.table,
            select: Vec::new(),
            conditions: Vec::new(),
            order: Vec::new(),
            range: self.page(Range::default()),
            embeds: Vec::new(),
        };
        for item in items {
            match item {
                SelectItem::Field(it) => plan.select.push(Output {
                    column: scope.output(&it.field),
                    cast: it.cast,
                    aggregate: it.aggregate,
                    aggregate_cast: it.aggregate_cast,
                    alias: it.alias.as_deref().map(Cow::Borrowed),
                }),
                SelectItem::Embed(it) => {
                    let embed = self.embed(level.name, it, level.depth + 1)?;
                    let key = embed.key();
                    if plan.embeds.iter().any(|it| it.key() == key) {
                        let name = format!("{}_{key}_{}", level.name, level.depth + 1);
                        return Err(CatalogError::RepeatedEmbed(name).into());
                    }
                    plan.embeds.push(embed);
                }
            }
        }
        Ok(plan)
    }

    /// A page within the project's limit; what a mutation returns is not limited.
    fn page(&self, range: Range) -> Range {
        if self.context.request.action.is_mutation() {
            return range;
        }
        range.capped(self.context.settings.db_max_rows)
    }

    fn embed(&mut self, origin: &str, it: &'a SelectEmbed<'a>, depth: usize) -> Result<Embed<'a>, Error> {
        let Context { catalog, request, .. } = self.context;
        let relationship = embed::find(catalog, request.schema, origin, it)?;
        self.last_id += 1;
        let id = self.last_id;
        let target = &relationship.target;
        let from = match &relationship.link {
            Link::Function { function, .. } => From::Function { function, origin: &relationship.origin },
            _ => From::Table(target),
        };
        let level = Level {
            from,
            name: &target.name,
            table: catalog.find_table(&target.schema, &target.name),
            alias: numbered(target, depth).into(),
            depth,
        };
        let shape = Shape::of(it.spread, relationship.link.is_to_one());
        Ok(Embed {
            name: &it.name,
            alias: it.alias.as_deref(),
            id,
            inner: it.inner,
            shape,
            is_hidden: false,
            relationship,
            plan: self.level(level, &it.items)?,
            columns: Vec::new(),
            by_legacy_name: false,
        })
    }
}

/// The relation's name with the depth: what error messages of PostgreSQL call it. PostgreSQL cuts names at 63 bytes.
pub(super) fn numbered(name: &Name, depth: usize) -> String {
    let mut end = name.name.len().min(58);
    while !name.name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{depth}", name.name.get(..end).unwrap_or_default())
}

/// Whether parameters about the relation itself are about the rows that are read (rather than those written).
pub(super) fn filters_root(action: Action) -> bool {
    !action.is_mutation()
}
