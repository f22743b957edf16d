//! Functions: parameters, result, and which of several of one name a call means.

use serde::Deserialize;

use super::{Expression, Name};

/// A function.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Function {
    /// Its name.
    #[serde(flatten)]
    pub(crate) name: Name,
    /// PostgreSQL's number for it.
    pub(crate) oid: u32,
    /// Its input parameters in order.
    #[serde(deserialize_with = "or_none")]
    pub(crate) parameters: Vec<Parameter>,
    /// What it gives.
    pub(crate) returns: Returns,
    /// Whether it may write.
    pub(crate) volatility: Volatility,
    /// Settings that hold for the whole transaction of a call: `name=value`.
    #[serde(deserialize_with = "or_none")]
    pub(crate) settings: Vec<String>,
}

/// An input parameter.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Parameter {
    /// Its name; empty when it has none.
    pub(crate) name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub(crate) type_name: Expression,
    /// The type that an argument is cast to: as `type_name`, but without cutting to length 1.
    pub(crate) cast: Expression,
    /// Whether it has no default.
    pub(crate) required: bool,
    /// Whether it takes any number of arguments.
    pub(crate) variadic: bool,
}

/// What a function gives.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Returns {
    /// The type, that of its base when it is a domain; the relation's name when it is a row of one.
    #[serde(flatten)]
    pub(crate) name: Name,
    /// Whether it gives any number of rows.
    pub(crate) set: bool,
    /// Whether a row has columns.
    pub(crate) composite: bool,
}

/// What a function may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Volatility {
    /// Depends on its arguments only.
    #[serde(rename = "i")]
    Immutable,
    /// Reads.
    #[serde(rename = "s")]
    Stable,
    /// May write.
    #[serde(rename = "v")]
    Volatile,
}

fn or_none<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

impl Function {
    /// One value rather than rows: `42`.
    pub(crate) fn is_scalar(&self) -> bool {
        !self.returns.set && !self.returns.composite
    }

    /// Values rather than rows: `[1, 2]`.
    pub(crate) fn is_set_of_scalars(&self) -> bool {
        self.returns.set && !self.returns.composite
    }

    /// One row: `{…}`.
    pub(crate) fn is_single_row(&self) -> bool {
        !self.returns.set && self.returns.composite
    }

    /// Nothing.
    pub(crate) fn is_void(&self) -> bool {
        self.is_scalar() && self.returns.name.schema == "pg_catalog" && self.returns.name.name == "void"
    }

    /// The only parameter, if it is one without a name.
    pub(crate) fn unnamed_parameter(&self) -> Option<&Parameter> {
        match self.parameters.as_slice() {
            [only] if only.name.is_empty() => Some(only),
            _ => None,
        }
    }

    /// Whether a call that names exactly `arguments` fits: all required ones, and no other than optional ones.
    pub(crate) fn accepts(&self, arguments: &[&str]) -> bool {
        let required = self.parameters.iter().filter(|it| it.required);
        let known = |name: &&&str| self.parameters.iter().any(|it| it.name == **name);
        required.clone().all(|it| arguments.contains(&it.name.as_str()))
            && arguments.iter().all(|it| known(&it))
    }

    /// The value of `Allow`.
    pub(crate) fn allowed_methods(&self) -> &'static str {
        match self.volatility {
            Volatility::Volatile => "OPTIONS,POST",
            Volatility::Stable | Volatility::Immutable => "OPTIONS,GET,HEAD,POST",
        }
    }

    /// Names of the parameters, sorted: `(a, b)`.
    pub(crate) fn parameter_list(&self) -> String {
        let mut names: Vec<_> = self.parameters.iter().map(|it| it.name.as_str()).collect();
        names.sort_unstable();
        format!("({})", names.join(", "))
    }
}
