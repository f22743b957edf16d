//! What one request may ask for at most: refused here, before the catalog or PostgreSQL spend anything on it.
//!
//! The bounds are far beyond what clients send; without them a request of a few kilobytes can cost seconds of
//! planning, or run into PostgreSQL's own bounds (SQLSTATE class 54).

use super::filter::Logic;
use super::names::Field;
use super::select::SelectItem;
use super::{Query, RequestError};

/// Bounds of one request. Deeper nesting than 64 embeds or 128 logic groups is refused whatever they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Length of the query string, in bytes; a longer one is answered with 414.
    pub query_bytes: usize,
    /// Columns, aggregates and embeds selected, on all levels together.
    pub select_items: usize,
    /// Embeds, on all levels together.
    pub embeds: usize,
    /// Embeds within embeds.
    pub embed_depth: usize,
    /// Filters, those in logic trees too.
    pub filters: usize,
    /// Groups within groups of a logic tree.
    pub logic_depth: usize,
    /// Steps of one JSON path.
    pub json_steps: usize,
    /// Terms of orders, on all levels together.
    pub order_terms: usize,
    /// Names in `columns` or `on_conflict`, and keys of an object in a body.
    pub columns: usize,
    /// Rows in a body.
    pub rows: usize,
    /// Arrays and objects within each other in a JSON body.
    pub body_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            query_bytes: 64 * 1024,
            select_items: 1_600,
            embeds: 100,
            embed_depth: 32,
            filters: 2_000,
            logic_depth: 64,
            json_steps: 100,
            order_terms: 200,
            columns: 1_600,
            rows: 1_000_000,
            body_depth: 1_000,
        }
    }
}

/// What a query string asks for.
#[derive(Debug, Default)]
struct Amounts {
    select_items: usize,
    embeds: usize,
    embed_depth: usize,
    filters: usize,
    logic_depth: usize,
    json_steps: usize,
    order_terms: usize,
}

impl Limits {
    /// Refuse a query that asks for too much.
    ///
    /// # Errors
    /// [`RequestError::TooMuch`] names what there is too much of.
    pub(super) fn check(&self, query: &Query<'_>) -> Result<(), RequestError> {
        let mut amounts = Amounts::default();
        amounts.select(&query.select, 0);
        for (_, filter) in &query.filters {
            amounts.filters += 1;
            amounts.field(&filter.field);
        }
        for (_, logic) in &query.logic {
            amounts.logic(logic, 1);
        }
        for term in query.orders.iter().flat_map(|(_, terms)| terms) {
            amounts.order_terms += 1;
            amounts.field(&term.field);
        }
        let names = [&query.columns, &query.on_conflict].into_iter().flatten().map(Vec::len).max();
        for (what, amount, limit) in [
            ("selected items", amounts.select_items, self.select_items),
            ("embeds", amounts.embeds, self.embeds),
            ("embeds within embeds", amounts.embed_depth, self.embed_depth),
            ("filters", amounts.filters, self.filters),
            ("groups within groups", amounts.logic_depth, self.logic_depth),
            ("steps of a JSON path", amounts.json_steps, self.json_steps),
            ("terms of an order", amounts.order_terms, self.order_terms),
            ("columns", names.unwrap_or_default(), self.columns),
        ] {
            if amount > limit {
                return Err(RequestError::TooMuch { what, limit });
            }
        }
        Ok(())
    }
}

impl Amounts {
    fn field(&mut self, field: &Field<'_>) {
        self.json_steps = self.json_steps.max(field.path.len());
    }

    fn select(&mut self, items: &[SelectItem<'_>], depth: usize) {
        self.embed_depth = self.embed_depth.max(depth);
        self.select_items += items.len();
        for item in items {
            match item {
                SelectItem::Field(it) => self.field(&it.field),
                SelectItem::Embed(it) => {
                    self.embeds += 1;
                    self.select(&it.items, depth + 1);
                }
            }
        }
    }

    fn logic(&mut self, logic: &Logic<'_>, depth: usize) {
        match logic {
            Logic::Filter(filter) => {
                self.filters += 1;
                self.field(&filter.field);
            }
            Logic::Group { items, .. } => {
                self.logic_depth = self.logic_depth.max(depth);
                items.iter().for_each(|it| self.logic(it, depth + 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Parameters, Unreserved, query};

    /// `ok`, or what there is too much of.
    fn check(text: &str) -> String {
        let parameters = Parameters::decode(text);
        let query = query::parse(&parameters, Unreserved::Filter).unwrap();
        let limits = Limits {
            select_items: 5,
            embeds: 3,
            embed_depth: 2,
            filters: 3,
            logic_depth: 2,
            json_steps: 2,
            order_terms: 2,
            columns: 2,
            ..Limits::default()
        };
        limits.check(&query).map_or_else(|it| format!("{it:?}"), |()| "ok".into())
    }

    #[test]
    fn each_bound_is_held_exactly() {
        let cases = [
            ("select=a,b,c,d,e", "select=a,b,c,d,e,f", "selected items"),
            ("select=a,b(c,d,e)", "select=a,b(c,d,e,f)", "selected items"),
            ("select=a(),b(c())", "select=a(),b(c()),d()", "embeds"),
            ("select=a(b(c))", "select=a(b(c()))", "embeds within embeds"),
            ("a=eq.1&or=(b.eq.1,c.eq.1)", "a=eq.1&e.or=(b.eq.1,c.eq.1,d.eq.1)", "filters"),
            ("or=(a.eq.1,and(b.eq.1))", "or=(and(or(b.eq.1)))", "groups within groups"),
            ("select=a->b->c", "select=a->b->c->d", "steps of a JSON path"),
            ("select=e(a->b->c)", "select=e(a->b->c->d)", "steps of a JSON path"),
            ("a->b->c=eq.1", "a->b->c->d=eq.1", "steps of a JSON path"),
            ("or=(a->b->c.eq.1)", "or=(a->b->c->d.eq.1)", "steps of a JSON path"),
            ("order=a->b->c", "order=a->b->c->d", "steps of a JSON path"),
            ("order=a&e.order=b", "order=a&e.order=b,c", "terms of an order"),
            ("columns=a,b", "columns=a,b,c", "columns"),
            ("on_conflict=a,b", "on_conflict=a,b,c", "columns"),
        ];
        for (within, beyond, what) in cases {
            assert_eq!(check(within), "ok", "{within}");
            let refused = check(beyond);
            assert!(refused.contains(&format!("\"{what}\"")), "{beyond}: {refused}");
        }
    }
}
