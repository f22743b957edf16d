//! Second pass over the tree, from the leaves up: presence filters, related orders, `*`, names, spreads, aggregates.

use std::borrow::Cow;

use crate::error::RequestError;
use crate::request::filter::{Operation, Truth};
use crate::request::names::JsonOperand;
use crate::request::query::last_key;
use crate::request::select::Aggregate;

use super::field::Scope;
use super::{Column, Condition, Context, Embed, OrderBy, Output, ReadPlan, Shape, SpreadColumn};

/// Finish the outermost level and all below.
///
/// # Errors
/// [`RequestError`]: a related order on a to-many embed, aggregates where they are not allowed.
pub(super) fn level<'a>(context: Context<'a>, plan: &mut ReadPlan<'a>) -> Result<(), RequestError> {
    Pass { context }.level(plan, Place { is_spread: false, in_aggregate: false })
}

/// Where a level stands.
#[derive(Clone, Copy)]
struct Place {
    /// Whether its columns are lifted into the parent.
    is_spread: bool,
    /// Whether a level above aggregates: then `*` must be spelt out.
    in_aggregate: bool,
}

struct Pass<'a> {
    context: Context<'a>,
}

impl<'a> Pass<'a> {
    fn level(&self, plan: &mut ReadPlan<'a>, place: Place) -> Result<(), RequestError> {
        let aggregates = plan.select.iter().any(|it| it.aggregate.is_some());
        if aggregates && !self.context.settings.db_aggregates_enabled {
            return Err(RequestError::Aggregates);
        }
        let place = Place { in_aggregate: place.in_aggregate || aggregates, ..place };
        for embed in &mut plan.embeds {
            let arrays = embed.shape == Shape::SpreadArrays;
            let is_spread = arrays || embed.shape == Shape::Spread;
            let in_aggregate = place.in_aggregate || arrays;
            self.level(&mut embed.plan, Place { is_spread, in_aggregate })?;
            finish_embed(embed)?;
        }
        for condition in &mut plan.conditions {
            find_presence(condition, &plan.embeds);
        }
        let origin = plan.table.map_or(plan.alias.as_ref(), |it| it.name.name.as_str());
        for term in &mut plan.order {
            find_related(term, &plan.embeds, origin)?;
        }
        self.spell_out_star(plan, place);
        for output in &mut plan.select {
            name_output(output, place.is_spread);
        }
        Ok(())
    }

    /// Replace `*` by the columns where PostgreSQL's own `*` would not do.
    fn spell_out_star(&self, plan: &mut ReadPlan<'a>, place: Place) {
        let Some(table) = plan.table else { return };
        let scope = Scope { catalog: self.context.catalog, table: Some(table) };
        let has_representation = || {
            table
                .columns
                .values()
                .any(|it| scope.catalog.representation(it.declared_type.as_str(), "json").is_some())
        };
        let has_star = plan.select.iter().any(|it| is_star(it, place.is_spread))
            || (plan.select.is_empty() && plan.embeds.is_empty());
        if !has_star || !(place.in_aggregate || has_representation()) {
            return;
        }
        if plan.select.is_empty() {
            plan.select.push(plain_output(scope.plain("*", &[])));
        }
        let mut select = Vec::with_capacity(table.columns.len());
        for output in plan.select.drain(..) {
            if output.column.name != "*" {
                select.push(output);
            } else if output.aggregate.is_some() {
                let whole_row = place.is_spread && output.aggregate == Some(Aggregate::Count);
                select.push(Output { column: Column { whole_row, ..output.column }, ..output });
            } else {
                select.extend(table.columns.values().map(|it| {
                    let transform = scope.catalog.representation(it.declared_type.as_str(), "json");
                    plain_output(Column { transform, ..scope.plain(&it.name, &[]) })
                }));
            }
        }
        plan.select = select;
    }
}

fn plain_output(column: Column<'_>) -> Output<'_> {
    Output { column, cast: None, aggregate: None, aggregate_cast: None, alias: None }
}

fn is_star(output: &Output<'_>, is_spread: bool) -> bool {
    let counts = is_spread && output.aggregate == Some(Aggregate::Count);
    output.column.name == "*" && (output.aggregate.is_none() || counts)
}

/// `embed=is.null` is about the embed's presence.
fn find_presence(condition: &mut Condition<'_>, embeds: &[Embed<'_>]) {
    match condition {
        Condition::Group { items, .. } => items.iter_mut().for_each(|it| find_presence(it, embeds)),
        Condition::Filter {
            column,
            negated,
            operation: Operation::Is(truth @ (Truth::Null | Truth::NotNull)),
        } if column.path.is_empty() => {
            if let Some(embed) = embeds.iter().find(|it| it.key() == column.name) {
                let present = *negated != (*truth == Truth::NotNull);
                *condition = Condition::Embedded { id: embed.id, present };
            }
        }
        Condition::Filter { .. } | Condition::Embedded { .. } => {}
    }
}

/// An order by an embed's column needs the embed, and at most one row of it.
fn find_related(term: &mut OrderBy<'_>, embeds: &[Embed<'_>], origin: &str) -> Result<(), RequestError> {
    let Some((name, id)) = &mut term.embed else { return Ok(()) };
    let Some(embed) = embeds.iter().find(|it| it.key() == *name) else {
        return Err(RequestError::NotEmbedded { name: (*name).to_owned(), alias: None });
    };
    if !embed.relationship.link.is_to_one() {
        let target = embed.key().to_owned();
        return Err(RequestError::RelatedOrder { origin: origin.to_owned(), target });
    }
    *id = embed.id;
    Ok(())
}

/// A JSON path is named by its last key, a cast or lifted aggregate by itself.
fn name_output<'a>(output: &mut Output<'a>, is_spread: bool) {
    if output.alias.is_some() {
        return;
    }
    let column = &output.column;
    if let Some(aggregate) = output.aggregate {
        if is_spread {
            output.alias = Some(Cow::Borrowed(aggregate.name()));
        }
    } else if let Some(last) = column.path.last() {
        let name = match &last.operand {
            JsonOperand::Key(key) => key.as_ref(),
            JsonOperand::Index(_) => last_key(column.path).unwrap_or(column.name),
        };
        output.alias = Some(Cow::Borrowed(name));
    } else if column.transform.is_some() {
        output.alias = Some(Cow::Borrowed(column.name));
    }
}

fn finish_embed(embed: &mut Embed<'_>) -> Result<(), RequestError> {
    embed.is_hidden = shows_nothing(&embed.plan);
    match embed.shape {
        Shape::Object | Shape::Array => {}
        Shape::Spread => embed.columns = lift(&mut embed.plan),
        Shape::SpreadArrays => {
            let lifted = embed.plan.embeds.iter().flat_map(|it| &it.columns);
            if embed.plan.select.iter().any(|it| it.aggregate.is_some())
                || lifted.clone().any(|it| it.aggregate.is_some())
            {
                return Err(RequestError::NotImplemented(
                    "Aggregates are not implemented for one-to-many or many-to-many spreads.",
                ));
            }
            embed.columns = lift(&mut embed.plan);
        }
    }
    Ok(())
}

/// Whether neither the level nor any below selects anything: `rel()`.
fn shows_nothing(plan: &ReadPlan<'_>) -> bool {
    plan.select.is_empty() && plan.embeds.iter().all(|it| shows_nothing(&it.plan))
}

/// What the parent shows of a spread; aggregates are taken out of it, for the parent to apply.
fn lift<'a>(plan: &mut ReadPlan<'a>) -> Vec<SpreadColumn<'a>> {
    let mut columns = Vec::new();
    for output in &mut plan.select {
        let name = output.alias.clone().unwrap_or(Cow::Borrowed(output.column.name));
        columns.push(SpreadColumn {
            name,
            aggregate: output.aggregate.take(),
            aggregate_cast: output.aggregate_cast.take(),
            alias: None,
        });
    }
    for embed in plan.embeds.iter_mut().filter(|it| !it.is_hidden) {
        match embed.shape {
            Shape::Object | Shape::Array => columns.push(SpreadColumn {
                name: Cow::Borrowed(embed.alias.unwrap_or(embed.name)),
                aggregate: None,
                aggregate_cast: None,
                alias: None,
            }),
            Shape::Spread | Shape::SpreadArrays => {
                for lifted in &mut embed.columns {
                    columns.push(SpreadColumn {
                        name: lifted.alias.clone().unwrap_or_else(|| lifted.name.clone()),
                        aggregate: lifted.aggregate.take(),
                        aggregate_cast: lifted.aggregate_cast.take(),
                        alias: None,
                    });
                }
            }
        }
    }
    columns
}
