//! `/api/v1/projects/{ref}/mail/{name}/preview`: how a mail looks, before anybody gets one.

use axum::extract::{Path, State};
use axum::{Json, RequestPartsExt as _};
use common::{MailTemplate, ProjectRef, mail};
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::Body;
use crate::settings::Settings;
use crate::{ControlPlane, Error};

/// A mail of a project.
pub(super) struct Named {
    reference: ProjectRef,
    name: String,
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Named {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let path = parts.extract::<Path<(String, String)>>().await;
        let Path((reference, name)) = path.map_err(|_| common::ProjectRefError)?;
        if !mail::NAMES.contains(&name.as_str()) {
            return Err(Error::Query(format!(
                "there is no mail {name}; there are {}",
                mail::NAMES.join(", ")
            )));
        }
        Ok(Self { reference: reference.parse()?, name })
    }
}

/// What to try instead of what is stored.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Draft {
    subject: Option<String>,
    content: Option<String>,
    /// What the user told at sign-up.
    data: Value,
}

/// `GET …/preview`: as stored.
pub(super) async fn stored(State(plane): State<ControlPlane>, named: Named) -> Result<Json<Value>, Error> {
    preview(&plane, &named, Draft::default()).await
}

/// `POST …/preview`: with another subject or body.
pub(super) async fn draft(
    State(plane): State<ControlPlane>,
    named: Named,
    Body(draft): Body<Draft>,
) -> Result<Json<Value>, Error> {
    preview(&plane, &named, draft).await
}

async fn preview(plane: &ControlPlane, named: &Named, draft: Draft) -> Result<Json<Value>, Error> {
    let (row, secrets) = plane.opened(&named.reference).await?;
    let settings = Settings::read(&row.settings, &secrets)?;
    let stored = settings.auth.mailer_templates.get(&named.name).cloned().unwrap_or_default();
    let template =
        MailTemplate { subject: draft.subject.or(stored.subject), content: draft.content.or(stored.content) };
    let fields = mail::MailFields { site_url: &settings.auth.site_url, ..mail::example(&draft.data) };
    let letter = mail::render(&named.name, Some(&template), &fields);
    let letter = letter.map_err(|it| Error::Body(format!("{}: {it}", named.name)))?;
    Ok(Json(json!({"subject": letter.subject, "html": letter.html, "text": letter.text})))
}
