//! Which relationship an embed means: by target and hint, or an error that lists the candidates.

use crate::catalog::{Catalog, Link, Relationship};
use crate::error::CatalogError;
use crate::request::select::SelectEmbed;

/// The relationship from `origin` that `embed` names.
///
/// # Errors
/// [`CatalogError::NoRelationship`] and [`CatalogError::AmbiguousRelationship`], with hints.
pub(super) fn find<'a>(
    catalog: &'a Catalog,
    schema: &str,
    origin: &str,
    embed: &SelectEmbed<'_>,
) -> Result<&'a Relationship, CatalogError> {
    let hint = embed.hint.as_deref();
    let target = embed.name.as_ref();
    let known = catalog.relationships(schema, origin);
    let candidates: Vec<_> = known.iter().filter(|it| fits(it, target, hint)).collect();
    match candidates.as_slice() {
        [only] => Ok(only),
        [] => Err(CatalogError::NoRelationship {
            origin: origin.to_owned(),
            target: target.to_owned(),
            hint: hint.map(str::to_owned),
            schema: schema.to_owned(),
            suggestion: catalog.similar_relationship(schema, origin, target),
        }),
        several => Err(CatalogError::ambiguous(origin, target, several)),
    }
}

fn fits(it: &Relationship, target: &str, hint: Option<&str>) -> bool {
    if let Link::Function { function, .. } = &it.link {
        return function.name == target;
    }
    if it.is_self { fits_self(it, target, hint) } else { fits_other(it, target, hint) }
}

/// A relation that refers to itself has two relationships by one key: the table's name means the many, the column's
/// name the one.
fn fits_self(it: &Relationship, target: &str, hint: Option<&str>) -> bool {
    match (&it.link, hint) {
        (Link::OneToMany(_), None) => target == it.target.name,
        (Link::ManyToOne(_), None) => only_column(it).is_some_and(|(own, _)| own == target),
        (Link::OneToMany(_), Some(hint)) => {
            target == it.target.name && only_column(it).is_some_and(|(_, other)| other == hint)
        }
        _ => false,
    }
}

fn fits_other(it: &Relationship, target: &str, hint: Option<&str>) -> bool {
    let is_constraint = |name: &str| it.link.key().is_some_and(|key| key.constraint == name);
    match hint {
        None => {
            let own_column = || only_column(it).is_some_and(|(own, _)| own == target);
            target == it.target.name || (!it.target_is_view && (is_constraint(target) || own_column()))
        }
        Some(hint) => {
            let by_column = || only_column(it).is_some_and(|(own, other)| own == hint || other == hint);
            let by_junction =
                || matches!(&it.link, Link::ManyToMany(junction) if junction.table.name == hint);
            target == it.target.name && (is_constraint(hint) || by_column() || by_junction())
        }
    }
}

/// Origin's and target's column of a key with one column.
fn only_column(it: &Relationship) -> Option<(&str, &str)> {
    match it.link.key()?.columns.as_slice() {
        [(own, other)] => Some((own, other)),
        _ => None,
    }
}
