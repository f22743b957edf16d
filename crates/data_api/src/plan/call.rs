//! Plans a function call: which of several functions, with which arguments, and what is done with the result.

use std::borrow::Cow;

use crate::catalog::{Function, Parameter, Volatility, similar_parameters};
use crate::error::{CatalogError, Error, RequestError, cannot_choose};
use crate::request::{Action, MediaType, Request};

use super::{Condition, Context, From, ReadPlan, Returning, Shaped, negotiate, read, write};

/// A call.
#[derive(Debug)]
pub(crate) struct CallPlan<'a> {
    /// The function.
    pub(crate) function: &'a Function,
    /// What it is given.
    pub(crate) arguments: Arguments<'a>,
    /// The columns of its rows that are needed.
    pub(crate) returning: Returning<'a>,
    /// What is answered.
    pub(crate) shaped: Shaped<'a>,
    /// Whether it may not write.
    pub(crate) is_read_only: bool,
}

/// What a function is given.
#[derive(Debug)]
pub(crate) enum Arguments<'a> {
    /// The whole body, for its only parameter, which has no name.
    Body(&'a Parameter),
    /// Keys of the JSON body.
    Json(Vec<&'a Parameter>),
    /// Values of the query string or of a form.
    Direct(Vec<(&'a Parameter, Argument<'a>)>),
}

/// A value in text form.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Argument<'a> {
    /// For one parameter.
    One(Cow<'a, str>),
    /// For a variadic parameter.
    Many(Vec<Cow<'a, str>>),
}

/// Plan a call of `name`.
///
/// # Errors
/// PGRST202 and 203 for the function, PGRST128 for `max-affected`, and whatever reading its rows may give.
pub(crate) fn call<'a>(context: Context<'a>, name: &str) -> Result<CallPlan<'a>, Error> {
    let request = context.request;
    let keys = argument_names(request);
    let function = find(context, name, &keys)?;
    let relation = &function.returns.name;
    let (root_name, table) = if function.returns.composite {
        (relation.name.as_str(), context.catalog.find_table(&function.name.schema, &relation.name))
    } else {
        (function.name.name.as_str(), None)
    };
    let rows = read::rows(context, read::Root { from: From::Source, name: root_name, table })?;
    let returning = kept(&rows);
    let target = if function.returns.composite { relation } else { &function.name };
    let shaped = negotiate::shape(context, rows, target)?;
    context.check_preferences()?;
    if request.preferences.affected_limit().is_some() && !function.returns.set {
        return Err(RequestError::MaxAffectedFunction.into());
    }
    let by_get = request.action == Action::CallByGet;
    Ok(CallPlan {
        function,
        arguments: arguments(request, function, &keys),
        returning,
        shaped,
        is_read_only: by_get || function.volatility != Volatility::Volatile,
    })
}

/// The function that `OPTIONS` of `name` is about: the one that a GET without arguments would call.
///
/// # Errors
/// PGRST202 and 203.
pub(crate) fn describe<'a>(context: Context<'a>, name: &str) -> Result<&'a Function, Error> {
    let keys = argument_names(context.request);
    Ok(find(context, name, &keys)?)
}

/// The names that a call gives.
fn argument_names<'a>(request: &'a Request<'a>) -> Vec<&'a str> {
    match &request.payload {
        Some(payload) => payload.keys.iter().map(String::as_str).collect(),
        None => {
            let mut names: Vec<&str> =
                request.query.arguments.iter().map(|(name, _)| name.as_ref()).collect();
            names.sort_unstable();
            names.dedup();
            names
        }
    }
}

/// Whether the body is no JSON object of arguments, but an argument itself.
fn sends_raw_body(request: &Request<'_>) -> bool {
    request.action == Action::Call
        && matches!(request.content, MediaType::Plain | MediaType::Xml | MediaType::Binary)
}

fn find<'a>(context: Context<'a>, name: &str, keys: &[&str]) -> Result<&'a Function, CatalogError> {
    let request = context.request;
    let overloads = context.catalog.functions(request.schema, name);
    let is_raw = sends_raw_body(request);
    let fits = |it: &&Function| {
        // A parameter without a name is one called "": a client that sends {"": 1} means it, and is given the body.
        it.accepts(keys) && !(is_raw && it.parameters.is_empty())
    };
    let named: Vec<_> = overloads.iter().filter(fits).collect();
    if let [only] = named.as_slice() {
        return Ok(only);
    }
    if !named.is_empty() {
        return Err(cannot_choose(&named));
    }
    let takes_body = |it: &&Function| it.unnamed_parameter().is_some_and(|it| takes(request, it));
    let unnamed: Vec<_> = overloads.iter().filter(takes_body).collect();
    match unnamed.as_slice() {
        [only] => Ok(only),
        [] => Err(not_found(context, name, keys)),
        several => Err(cannot_choose(several)),
    }
}

/// Whether the body fits the only parameter.
fn takes(request: &Request<'_>, parameter: &Parameter) -> bool {
    let types: &[&str] = match request.content {
        _ if request.action != Action::Call => &[],
        MediaType::Json => &["json", "jsonb"],
        MediaType::Plain => &["text"],
        MediaType::Xml => &["xml"],
        MediaType::Binary => &["bytea"],
        _ => &[],
    };
    types.contains(&parameter.type_name.as_str())
}

fn not_found(context: Context<'_>, name: &str, keys: &[&str]) -> CatalogError {
    let request = context.request;
    let schema = request.schema;
    let list = keys.join(", ");
    let is_raw = sends_raw_body(request);
    let without = " without parameters";
    let signature = match keys {
        _ if is_raw => String::new(),
        [] => without.to_owned(),
        _ => format!("({list})"),
    };
    let with = match keys {
        [] => without.to_owned(),
        [_] => format!(" with parameter {list}"),
        _ => format!(" with parameters {list}"),
    };
    let searched = match request.content {
        MediaType::Plain if is_raw => " with a single unnamed text parameter".to_owned(),
        MediaType::Xml if is_raw => " with a single unnamed xml parameter".to_owned(),
        MediaType::Binary if is_raw => " with a single unnamed bytea parameter".to_owned(),
        MediaType::Json if request.action == Action::Call => {
            format!("{with} or with a single unnamed json/jsonb parameter")
        }
        _ => with,
    };
    CatalogError::NoFunction {
        message: format!("Could not find the function {schema}.{name}{signature} in the schema cache"),
        details: format!(
            "Searched for the function {schema}.{name}{searched}, but no matches were found in the schema cache."
        ),
        suggestion: if is_raw { None } else { suggestion(context, name, &list) },
    }
}

fn suggestion(context: Context<'_>, name: &str, list: &str) -> Option<String> {
    let schema = context.request.schema;
    let overloads = context.catalog.functions(schema, name);
    let similar = if overloads.is_empty() {
        context.catalog.similar_function(schema, name)?.to_owned()
    } else {
        let candidates: Vec<_> = overloads.iter().map(Function::parameter_list).collect();
        format!("{name}{}", similar_parameters(&format!("({list})"), &candidates)?)
    };
    Some(format!("Perhaps you meant to call the function {schema}.{similar}"))
}

fn arguments<'a>(request: &'a Request<'a>, function: &'a Function, keys: &[&str]) -> Arguments<'a> {
    if let Some(parameter) = function.unnamed_parameter() {
        return Arguments::Body(parameter);
    }
    let named = function.parameters.iter().filter(|it| keys.contains(&it.name.as_str()));
    let pairs: Vec<(&str, &str)> = match &request.payload {
        Some(payload) => match &payload.form {
            Some(form) => form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            None => return Arguments::Json(named.collect()),
        },
        None => request.query.arguments.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect(),
    };
    let value_of = |parameter: &'a Parameter| {
        let mut values =
            pairs.iter().filter(|(name, _)| *name == parameter.name).map(|(_, value)| Cow::Borrowed(*value));
        let value = if parameter.variadic {
            Argument::Many(values.collect())
        } else {
            Argument::One(values.next_back().unwrap_or_default())
        };
        (parameter, value)
    };
    Arguments::Direct(named.map(value_of).collect())
}

/// The columns of the function's rows that are needed: computed ones must be named while the row has its type.
fn kept<'a>(rows: &ReadPlan<'a>) -> Returning<'a> {
    match write::returning(rows, &[]) {
        Returning::Columns(mut names) => {
            rows.conditions.iter().for_each(|it| add_names(it, &mut names));
            names.sort_unstable();
            names.dedup();
            if names.is_empty() { Returning::All } else { Returning::Columns(names) }
        }
        other => other,
    }
}

fn add_names<'a>(condition: &Condition<'a>, names: &mut Vec<&'a str>) {
    match condition {
        Condition::Filter { column, .. } => names.push(column.name),
        Condition::Group { items, .. } => items.iter().for_each(|it| add_names(it, names)),
        Condition::Embedded { .. } => {}
    }
}
