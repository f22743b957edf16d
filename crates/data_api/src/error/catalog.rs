//! `PGRST2xx`: the request names something that the catalog lacks, or has more than once.

use http::StatusCode;
use serde_json::{Value, json};

use crate::catalog::{Function, Link, Relationship};

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CatalogError {
    /// Nothing leads from one relation to the other.
    #[error("Could not find a relationship between '{origin}' and '{target}' in the schema cache")]
    NoRelationship {
        /// The relation that embeds.
        origin: String,
        /// What it should embed.
        target: String,
        /// The client's hint.
        hint: Option<String>,
        /// Where both were looked for.
        schema: String,
        /// A similar name, told to the client.
        suggestion: Option<String>,
    },
    /// Several ways lead there.
    #[error("Could not embed because more than one relationship was found for '{origin}' and '{target}'")]
    AmbiguousRelationship {
        /// The relation that embeds.
        origin: String,
        /// What it should embed.
        target: String,
        /// A description of each way.
        candidates: Value,
        /// How to name each way.
        choices: String,
    },
    /// Two embeds of one level with the same name; PostgREST's statement fails by it, and clients expect that text.
    #[error("table name \"{0}\" specified more than once")]
    RepeatedEmbed(String),
    /// No function takes these arguments.
    #[error("{message}")]
    NoFunction {
        /// What was looked for.
        message: String,
        /// The same, at length.
        details: String,
        /// A similar one, told to the client.
        suggestion: Option<String>,
    },
    /// Several functions take these arguments.
    #[error("Could not choose the best candidate function between: {0}")]
    AmbiguousFunction(String),
    /// `columns=` or a key of the body names no column.
    #[error("Could not find the '{column}' column of '{table}' in the schema cache")]
    NoColumn {
        /// The relation.
        table: String,
        /// What the client named.
        column: String,
    },
    /// No such relation.
    #[error("Could not find the table '{schema}.{table}' in the schema cache")]
    NoTable {
        /// Where it was looked for.
        schema: String,
        /// What the client named.
        table: String,
        /// A similar name, told to the client.
        suggestion: Option<String>,
    },
}

impl CatalogError {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NoRelationship { .. } | Self::RepeatedEmbed(_) | Self::NoColumn { .. } => {
                StatusCode::BAD_REQUEST
            }
            Self::AmbiguousRelationship { .. } | Self::AmbiguousFunction(_) => StatusCode::MULTIPLE_CHOICES,
            Self::NoFunction { .. } | Self::NoTable { .. } => StatusCode::NOT_FOUND,
        }
    }

    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::NoRelationship { .. } => "PGRST200",
            Self::AmbiguousRelationship { .. } => "PGRST201",
            Self::RepeatedEmbed(_) => "42712",
            Self::NoFunction { .. } => "PGRST202",
            Self::AmbiguousFunction(_) => "PGRST203",
            Self::NoColumn { .. } => "PGRST204",
            Self::NoTable { .. } => "PGRST205",
        }
    }

    pub(super) fn details(&self) -> Value {
        match self {
            Self::NoRelationship { origin, target, hint, schema, .. } => {
                let hint = hint.as_ref().map(|it| format!("' using the hint '{it}")).unwrap_or_default();
                format!(
                    "Searched for a foreign key relationship between '{origin}' and '{target}{hint}' in the schema '{schema}', but no matches were found."
                )
                .into()
            }
            Self::AmbiguousRelationship { candidates, .. } => candidates.clone(),
            Self::NoFunction { details, .. } => details.clone().into(),
            Self::RepeatedEmbed(_)
            | Self::AmbiguousFunction(_)
            | Self::NoColumn { .. }
            | Self::NoTable { .. } => Value::Null,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::NoRelationship { suggestion, .. }
            | Self::NoFunction { suggestion, .. }
            | Self::NoTable { suggestion, .. } => suggestion.clone(),
            Self::AmbiguousRelationship { target, choices, .. } => Some(format!(
                "Try changing '{target}' to one of the following: {choices}. Find the desired relationship in the 'details' key."
            )),
            Self::AmbiguousFunction(_) => Some(
                "Try renaming the parameters or the function itself in the database so function overloading can be resolved".into(),
            ),
            Self::RepeatedEmbed(_) | Self::NoColumn { .. } => None,
        }
    }

    /// Several relationships fit.
    pub(crate) fn ambiguous(origin: &str, target: &str, candidates: &[&Relationship]) -> Self {
        let choices: Vec<_> =
            candidates.iter().map(|it| format!("'{}!{}'", it.target.name, it.link.choice())).collect();
        Self::AmbiguousRelationship {
            origin: origin.to_owned(),
            target: target.to_owned(),
            candidates: candidates.iter().map(|it| describe(it)).collect(),
            choices: choices.join(", "),
        }
    }
}

/// Several functions fit: their signatures.
pub(crate) fn cannot_choose(candidates: &[&Function]) -> CatalogError {
    let signature = |it: &&Function| {
        let parameters: Vec<_> =
            it.parameters.iter().map(|it| format!("{} => {}", it.name, it.type_name.as_str())).collect();
        format!("{}.{}({})", it.name.schema, it.name.name, parameters.join(", "))
    };
    let signatures: Vec<_> = candidates.iter().map(signature).collect();
    CatalogError::AmbiguousFunction(signatures.join(", "))
}

/// A relationship as the client reads it.
fn describe(it: &Relationship) -> Value {
    let list = |names: Vec<&str>| format!("({})", names.join(", "));
    let (cardinality, relationship) = match &it.link {
        Link::OneToMany(key) | Link::ManyToOne(key) | Link::OneToOne(key) => {
            let columns = list(key.columns.iter().map(|it| it.0.as_str()).collect());
            let referenced = list(key.columns.iter().map(|it| it.1.as_str()).collect());
            let text = format!(
                "{} using {}{columns} and {}{referenced}",
                key.constraint, it.origin.name, it.target.name
            );
            let cardinality = match &it.link {
                Link::OneToMany(_) => "one-to-many",
                Link::ManyToOne(_) => "many-to-one",
                _ => "one-to-one",
            };
            (cardinality, text)
        }
        Link::ManyToMany(junction) => {
            let source = list(junction.source.iter().map(|it| it.1.as_str()).collect());
            let target = list(junction.target.iter().map(|it| it.1.as_str()).collect());
            let text = format!(
                "{} using {}{source} and {}{target}",
                junction.table.name, junction.source_constraint, junction.target_constraint
            );
            ("many-to-many", text)
        }
        Link::Function { .. } => return json!({}),
    };
    json!({
        "cardinality": cardinality,
        "embedding": format!("{} with {}", it.origin.name, it.target.name),
        "relationship": relationship,
    })
}
