//! Puts filters, logic, orders and pages to the level that their path names.

use std::borrow::Cow;

use crate::error::RequestError;
use crate::request::order::OrderTerm;
use crate::request::query::EmbedPath;

use super::field::Scope;
use super::{Context, OrderBy, ReadPlan, read};

/// Everything in the query string that is about a level of `plan`.
///
/// # Errors
/// [`RequestError::NotEmbedded`] when a path names no embed.
pub(super) fn all<'a>(context: Context<'a>, plan: &mut ReadPlan<'a>) -> Result<(), RequestError> {
    let request = context.request;
    let query = &request.query;
    let with_root = read::filters_root(request.action);
    let is_wanted = |path: &EmbedPath<'_>| with_root || !path.is_empty();
    for (path, filter) in query.filters.iter().filter(|(path, _)| is_wanted(path)) {
        let level = find(context, plan, path)?;
        let condition = scope(context, level).filter(filter);
        level.conditions.push(condition);
    }
    for (path, logic) in query.logic.iter().filter(|(path, _)| is_wanted(path)) {
        let level = find(context, plan, path)?;
        let condition = scope(context, level).logic(logic);
        level.conditions.push(condition);
    }
    for (path, terms) in &query.orders {
        let level = find(context, plan, path)?;
        let scope = scope(context, level);
        level.order = terms.iter().map(|it| order_by(scope, it)).collect();
    }
    if request.action.is_mutation() {
        return Ok(());
    }
    plan.range = request.range.capped(context.settings.db_max_rows);
    for (path, range) in &query.ranges {
        find(context, plan, path)?.range = range.capped(context.settings.db_max_rows);
    }
    Ok(())
}

fn scope<'a>(context: Context<'a>, level: &ReadPlan<'a>) -> Scope<'a> {
    Scope { catalog: context.catalog, table: level.table }
}

fn order_by<'a>(scope: Scope<'a>, term: &'a OrderTerm<'a>) -> OrderBy<'a> {
    // The columns of another relation are not looked up: `to_jsonb` fits all of them.
    let scope = if term.relation.is_some() { Scope { table: None, ..scope } } else { scope };
    OrderBy {
        embed: term.relation.as_deref().map(|it| (it, 0)),
        column: scope.plain(&term.field.name, &term.field.path),
        direction: term.direction,
        nulls: term.nulls,
    }
}

/// The level at the end of `path`.
fn find<'p, 'a>(
    context: Context<'_>,
    plan: &'p mut ReadPlan<'a>,
    path: &[Cow<'_, str>],
) -> Result<&'p mut ReadPlan<'a>, RequestError> {
    let by_name = context.settings.url_use_legacy_target_names;
    let mut level = plan;
    for name in path {
        let aliases = level.embeds.iter().find(|it| it.name == name && it.alias.is_some());
        let alias = aliases.filter(|_| !by_name).map(|it| it.key().to_owned());
        let found = level
            .embeds
            .iter_mut()
            .find(|it| it.key() == name || (by_name && it.name == name))
            .ok_or_else(|| RequestError::NotEmbedded { name: name.clone().into_owned(), alias })?;
        found.by_legacy_name |= found.key() != name;
        level = &mut found.plan;
    }
    Ok(level)
}
