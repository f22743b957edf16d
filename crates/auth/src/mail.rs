//! Mails: which there are, and how they leave.
//!
//! Flows render a [`Mail`], write it with the token that it carries, and hand it to the [`Outbox`] after the commit:
//! sending never delays an answer, and a mail whose process died is sent by another one.

mod kept;
mod outbox;
mod smtp;
mod templates;

use common::AuthSettings;
use common::mail::{MailFields, render};
use serde_json::Value;
use uuid::Uuid;

pub(crate) use kept::KeptMail;
pub(crate) use outbox::{Outbox, Slot};
pub(crate) use templates::Template;

use crate::{Auth, Error};

/// A mail ready to leave.
#[derive(Clone)]
pub(crate) struct Mail {
    pub(crate) template: Template,
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) html: String,
    pub(crate) text: String,
    pub(crate) link: String,
    /// For projects whose hook sends mails: what it is told, and who asks it.
    pub(crate) handover: Option<(Auth, Value)>,
    /// The row that it waits as until it has left.
    kept: Option<Uuid>,
}

impl Mail {
    /// Fill in `template`, in the project's own words where it has some.
    pub(crate) fn new(
        template: Template,
        to: &str,
        fields: &MailFields<'_>,
        settings: &AuthSettings,
    ) -> Result<Self, Error> {
        let own = settings.mailer_templates.get(template.name());
        // A template of the project that cannot be filled in must not keep anybody from signing in.
        let letter = render(template.name(), own, fields).or_else(|error| {
            tracing::warn!(template = template.name(), %error, "the project's mail template fails: ours is used");
            render(template.name(), None, fields)
        });
        let letter = letter.map_err(Error::internal)?;
        Ok(Self {
            template,
            to: to.to_owned(),
            subject: letter.subject,
            html: letter.html,
            text: letter.text,
            link: fields.confirmation_url.to_owned(),
            handover: None,
            kept: None,
        })
    }
}
