//! Function calls.

use bytes::Bytes;

use crate::catalog::Parameter;
use crate::plan::{Argument, Arguments, BodyColumn, CallPlan, Returning};
use crate::request::Payload;
use crate::request::prefer::Count;

use super::{Sql, array_literal};

/// The statement of a call.
pub(crate) fn call(
    plan: &CallPlan<'_>,
    payload: Option<&Payload>,
    count: Option<Count>,
    max_rows: Option<u64>,
) -> store::Statement {
    let function = plan.function;
    let mut sql = Sql::new();
    sql.explain(&plan.shaped.media);
    sql.text("with pgrst_source as (").result(plan, payload).text(")");
    sql.named_rows(&plan.shaped).text(" select ");
    sql.total(&plan.shaped.rows, count, max_rows).text(", ");
    sql.text(if function.returns.set { "count(*), " } else { "1, " });
    sql.response_settings(&plan.shaped).text(", null, null, ").body(&plan.shaped, Some(function));
    sql.text(" from ").shown_rows(&plan.shaped);
    sql.finish()
}

impl Sql {
    /// The rows that the function gives.
    fn result(&mut self, plan: &CallPlan<'_>, payload: Option<&Payload>) -> &mut Self {
        let is_value = !plan.function.returns.composite;
        self.text("select ");
        match &plan.returning {
            _ if is_value => self.text("pgrst_call.pgrst_scalar"),
            Returning::Nothing | Returning::All => self.text("pgrst_call.*"),
            Returning::Columns(columns) => self.join(", ", columns, |sql, it| {
                sql.text("pgrst_call.").name(it);
            }),
        };
        self.text(" from ");
        if let (Arguments::Json(parameters), Some(payload)) = (&plan.arguments, payload)
            && !parameters.is_empty()
        {
            self.json_arguments(parameters, payload).text(", lateral ");
        }
        if is_value {
            self.text("(select ").invocation(plan, payload).text(" as pgrst_scalar) pgrst_call")
        } else {
            self.invocation(plan, payload).text(" pgrst_call")
        }
    }

    /// The keys of the JSON body as a row called `pgrst_body`; of an array the first element.
    fn json_arguments(&mut self, parameters: &[&Parameter], payload: &Payload) -> &mut Self {
        let columns: Vec<_> = parameters
            .iter()
            .map(|it| BodyColumn {
                name: &it.name,
                type_name: Some(&it.cast),
                transform: None,
                default: None,
            })
            .collect();
        if payload.is_object {
            return self.body_rows(payload, &columns, false);
        }
        self.text("(select * from ").body_rows(payload, &columns, false).text(" limit 1) pgrst_body")
    }

    fn invocation(&mut self, plan: &CallPlan<'_>, payload: Option<&Payload>) -> &mut Self {
        self.qualified(&plan.function.name).text("(");
        match &plan.arguments {
            Arguments::Body(parameter) => {
                let body = payload.map(|it| it.body.clone()).unwrap_or_default();
                let is_binary = parameter.type_name.as_str() == "bytea";
                self.value(if is_binary { hexadecimal(&body) } else { body });
                self.text("::").expression(&parameter.type_name);
            }
            Arguments::Json(parameters) => {
                self.join(", ", parameters, |sql, it| {
                    sql.argument_name(it).text("pgrst_body.").name(&it.name);
                });
            }
            Arguments::Direct(arguments) => {
                self.join(", ", arguments, |sql, (parameter, argument)| {
                    sql.argument_name(parameter);
                    match argument {
                        Argument::One(value) => sql.text_value(value),
                        Argument::Many(values) => sql.value(array_literal(values.iter().map(AsRef::as_ref))),
                    };
                    sql.text("::").expression(&parameter.cast);
                });
            }
        }
        self.text(")")
    }

    fn argument_name(&mut self, parameter: &Parameter) -> &mut Self {
        if parameter.variadic {
            self.text("variadic ");
        }
        self.name(&parameter.name).text(" := ")
    }
}

/// The text form of bytes: `\x…`.
fn hexadecimal(bytes: &[u8]) -> Bytes {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |it: u8| DIGITS.get(usize::from(it)).copied().unwrap_or_default();
    let mut text = Vec::with_capacity(2 + 2 * bytes.len());
    text.extend_from_slice(b"\\x");
    for byte in bytes {
        text.extend([digit(byte >> 4), digit(byte & 15)]);
    }
    text.into()
}
