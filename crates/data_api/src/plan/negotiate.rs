//! Which of the media types that the client accepts can be made of the rows.

use crate::catalog::Name;
use crate::error::RequestError;
use crate::request::prefer::Return;
use crate::request::{Action, MediaType};

use super::{Context, ReadPlan, Representation, Shaped};

/// Choose the form of `rows`, which are rows of `relation` (or of a function of that name).
///
/// # Errors
/// [`RequestError::NotAcceptable`] lists what the client accepts.
pub(super) fn shape<'a>(
    context: Context<'a>,
    rows: ReadPlan<'a>,
    relation: &'a Name,
) -> Result<Shaped<'a>, RequestError> {
    let request = context.request;
    let is_default = selects_everything(&rows);
    let (representation, media) =
        request.accepts.iter().find_map(|it| choose(context, relation, is_default, it)).ok_or_else(|| {
            let accepts: Vec<_> = request.accepts.iter().map(MediaType::essence).collect();
            RequestError::NotAcceptable(accepts.join(", "))
        })?;
    let has_body = match request.action {
        Action::Read | Action::CallByGet => !request.headers_only,
        Action::Call => true,
        _ => request.preferences.representation == Some(Return::Representation),
    };
    let representation = if has_body { representation } else { Representation::None };
    let responds = context.catalog.uses.response;
    let is_json = matches!(representation, Representation::Json { .. } | Representation::Object { .. });
    let is_row = request.action == Action::Read
        && is_json
        && !responds
        && request.preferences.count.is_none()
        && !matches!(media, MediaType::Plan(_))
        && rows.is_one_at_most();
    Ok(Shaped { rows, representation, media, responds, is_row })
}

fn selects_everything(rows: &ReadPlan<'_>) -> bool {
    match rows.select.as_slice() {
        [only] => rows.embeds.is_empty() && only.column.name == "*" && only.aggregate.is_none(),
        _ => false,
    }
}

fn choose<'a>(
    context: Context<'a>,
    relation: &'a Name,
    is_default: bool,
    media: &MediaType,
) -> Option<(Representation<'a>, MediaType)> {
    match media {
        MediaType::Object { stripped } => {
            Some((Representation::Object { stripped: *stripped }, media.clone()))
        }
        MediaType::StrippedArray => Some((Representation::Json { stripped: true }, media.clone())),
        MediaType::Plan(plan) if context.settings.db_plan_enabled => {
            let (representation, _) = choose(context, relation, is_default, &plan.of)?;
            Some((representation, media.clone()))
        }
        MediaType::Plan(_) => None,
        _ => custom(context, relation, is_default, media).or(match media {
            MediaType::Any | MediaType::Json => {
                Some((Representation::Json { stripped: false }, MediaType::Json))
            }
            MediaType::Csv => Some((Representation::Csv, MediaType::Csv)),
            MediaType::GeoJson => Some((Representation::GeoJson, MediaType::GeoJson)),
            _ => None,
        }),
    }
}

/// A function of the project: those for the relation's rows as they are come first.
fn custom<'a>(
    context: Context<'a>,
    relation: &'a Name,
    is_default: bool,
    media: &MediaType,
) -> Option<(Representation<'a>, MediaType)> {
    let of_relation = |media| {
        let handler = if is_default { context.catalog.handler(Some(relation), media) } else { None };
        handler.map(|it| (it, Some(relation)))
    };
    let (handler, relation) = of_relation(&MediaType::Any)
        .or_else(|| of_relation(media))
        .or_else(|| context.catalog.handler(None, media).map(|it| (it, None)))?;
    Some((Representation::Custom { handler, relation }, handler.media.clone()))
}
