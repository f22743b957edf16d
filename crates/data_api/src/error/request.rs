//! `PGRST1xx`: the request contradicts itself, the rows it found, or the settings.

use http::{Method, StatusCode};

use crate::request::SyntaxError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// The request asks for more than one request may.
    #[error("The request has too many {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// The query string is longer than the setting allows.
    #[error("The query string is longer than {0} bytes")]
    QueryTooLong(usize),
    /// A query parameter does not parse.
    #[error("{}", .0.message)]
    Syntax(SyntaxError),
    /// A method that functions do not know.
    #[error("Cannot use the {0} method on RPC")]
    FunctionMethod(Method),
    /// The body cannot be used.
    #[error("{0}")]
    Body(String),
    /// The body is larger than the setting allows.
    #[error("The request body is larger than {0} bytes")]
    BodyTooLarge(usize),
    /// `Range: 5-3`
    #[error("Requested range not satisfiable")]
    ReversedRange,
    /// `limit=-1`, or parameters and header that have no row in common.
    #[error("Requested range not satisfiable")]
    NegativeLimit,
    /// The page begins behind the last row.
    #[error("Requested range not satisfiable")]
    OutOfBounds {
        /// Rows to leave out.
        offset: i64,
        /// Rows there are.
        total: i64,
    },
    /// PUT with other filters than the primary key.
    #[error("Filters must include all and only primary key columns with 'eq' operators")]
    PutFilters,
    /// A schema that is not exposed.
    #[error("Invalid schema: {schema}")]
    UnknownSchema {
        /// What the client named.
        schema: String,
        /// What it may name.
        exposed: String,
    },
    /// Nothing that the client accepts can be made.
    #[error("None of these media types are available: {0}")]
    NotAcceptable(String),
    /// A filter, order or page of an embed that is not selected.
    #[error("'{name}' is not an embedded resource in this request")]
    NotEmbedded {
        /// What the client named.
        name: String,
        /// The alias that must be used instead.
        alias: Option<String>,
    },
    /// `response.headers` is malformed.
    #[error(
        "response.headers guc must be a JSON array composed of objects with a single key and a string value"
    )]
    ResponseHeaders,
    /// `response.status` is malformed.
    #[error("response.status guc must be a valid status code")]
    ResponseStatus,
    /// PUT with a page.
    #[error("limit/offset querystring parameters are not allowed for PUT")]
    PutRange,
    /// PUT whose body has another key than the URL.
    #[error("Payload values do not match URL in primary key column(s)")]
    PutMismatch,
    /// Not exactly one row.
    #[error("Cannot coerce the result to a single JSON object")]
    NotSingular(i64),
    /// An unknown method.
    #[error("Unsupported HTTP method: {0}")]
    Method(Method),
    /// An order by an embed that may have several rows.
    #[error("A related order on '{target}' is not possible")]
    RelatedOrder {
        /// The relation that is ordered.
        origin: String,
        /// The embed.
        target: String,
    },
    /// Preferences that mean nothing, with `handling=strict`.
    #[error("Invalid preferences given with handling=strict")]
    Preferences(String),
    /// Aggregates are switched off.
    #[error("Use of aggregate functions is not allowed")]
    Aggregates,
    /// More rows than `max-affected`.
    #[error("Query result exceeds max-affected preference constraint")]
    MaxAffected(i64),
    /// A path with too many parts.
    #[error("Invalid path specified in request URL")]
    Path,
    /// `/` is switched off.
    #[error("Root endpoint metadata is disabled")]
    RootDisabled,
    /// Something that cannot be asked for together.
    #[error("Feature not implemented")]
    NotImplemented(&'static str),
    /// `max-affected` on a function that gives no rows.
    #[error("Function must return SETOF or TABLE when max-affected preference is used with handling=strict")]
    MaxAffectedFunction,
}

impl RequestError {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Syntax(_)
            | Self::TooMuch { .. }
            | Self::Body(_)
            | Self::NotEmbedded { .. }
            | Self::PutRange
            | Self::PutMismatch
            | Self::RelatedOrder { .. }
            | Self::Preferences(_)
            | Self::Aggregates
            | Self::MaxAffected(_)
            | Self::NotImplemented(_)
            | Self::MaxAffectedFunction => StatusCode::BAD_REQUEST,
            Self::FunctionMethod(_) | Self::PutFilters | Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::QueryTooLong(_) => StatusCode::URI_TOO_LONG,
            Self::ReversedRange | Self::NegativeLimit | Self::OutOfBounds { .. } => {
                StatusCode::RANGE_NOT_SATISFIABLE
            }
            Self::UnknownSchema { .. } | Self::NotAcceptable(_) | Self::NotSingular(_) => {
                StatusCode::NOT_ACCEPTABLE
            }
            Self::ResponseHeaders | Self::ResponseStatus => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Path | Self::RootDisabled => StatusCode::NOT_FOUND,
        }
    }

    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Syntax(_) | Self::TooMuch { .. } | Self::QueryTooLong(_) => "PGRST100",
            Self::FunctionMethod(_) => "PGRST101",
            Self::Body(_) | Self::BodyTooLarge(_) => "PGRST102",
            Self::ReversedRange | Self::NegativeLimit | Self::OutOfBounds { .. } => "PGRST103",
            Self::PutFilters => "PGRST105",
            Self::UnknownSchema { .. } => "PGRST106",
            Self::NotAcceptable(_) => "PGRST107",
            Self::NotEmbedded { .. } => "PGRST108",
            Self::ResponseHeaders => "PGRST111",
            Self::ResponseStatus => "PGRST112",
            Self::PutRange => "PGRST114",
            Self::PutMismatch => "PGRST115",
            Self::NotSingular(_) => "PGRST116",
            Self::Method(_) => "PGRST117",
            Self::RelatedOrder { .. } => "PGRST118",
            Self::Preferences(_) => "PGRST122",
            Self::Aggregates => "PGRST123",
            Self::MaxAffected(_) => "PGRST124",
            Self::Path => "PGRST125",
            Self::RootDisabled => "PGRST126",
            Self::NotImplemented(_) => "PGRST127",
            Self::MaxAffectedFunction => "PGRST128",
        }
    }

    pub(super) fn details(&self) -> Option<String> {
        match self {
            Self::Syntax(error) => Some(error.details.clone()),
            Self::TooMuch { limit, .. } => Some(format!("At most {limit} are allowed in one request.")),
            Self::ReversedRange => Some(
                "The lower boundary must be lower than or equal to the upper boundary in the Range header."
                    .into(),
            ),
            Self::NegativeLimit => Some("Limit should be greater than or equal to zero.".into()),
            Self::OutOfBounds { offset, total } => {
                Some(format!("An offset of {offset} was requested, but there are only {total} rows."))
            }
            Self::NotEmbedded { alias: Some(_), .. } => {
                Some("Target names are not allowed in filters if they have an alias".into())
            }
            Self::NotSingular(rows) => Some(format!("The result contains {rows} rows")),
            Self::RelatedOrder { origin, target } => Some(format!(
                "'{origin}' and '{target}' do not form a many-to-one or one-to-one relationship"
            )),
            Self::Preferences(unknown) => Some(format!("Invalid preferences: {unknown}")),
            Self::MaxAffected(rows) => Some(format!("The query affects {rows} rows")),
            Self::NotImplemented(what) => Some((*what).into()),
            _ => None,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownSchema { exposed, .. } => {
                Some(format!("Only the following schemas are exposed: {exposed}"))
            }
            Self::NotEmbedded { name, alias: None } => {
                Some(format!("Verify that '{name}' is included in the 'select' query parameter."))
            }
            Self::NotEmbedded { name, alias: Some(alias) } => {
                Some(format!("Change '{name}' to '{alias}' in filters, orders or limits."))
            }
            Self::TooMuch { .. } | Self::QueryTooLong(_) => {
                Some("Ask for less at once, in several requests, or call a function.".into())
            }
            _ => None,
        }
    }
}
