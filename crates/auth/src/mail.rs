//! Mails: which there are, what they say, and how they leave.
//!
//! Flows render a [`Mail`] and hand it to the [`Outbox`] after the commit; sending never delays an answer.

mod outbox;
mod smtp;
mod templates;

pub(crate) use outbox::{Outbox, Slot};
pub(crate) use templates::Template;

/// A mail ready to leave.
#[derive(Clone)]
pub(crate) struct Mail {
    pub(crate) template: Template,
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) html: String,
    pub(crate) text: String,
    pub(crate) link: String,
}

impl Mail {
    /// Fill in `template`.
    pub(crate) fn new(
        template: Template,
        to: &str,
        fields: &templates::Fields<'_>,
    ) -> Result<Self, crate::Error> {
        let (subject, html, text) = templates::render(template, fields)?;
        Ok(Self {
            template,
            to: to.to_owned(),
            subject,
            html,
            text,
            link: fields.confirmation_url.to_owned(),
        })
    }
}

pub(crate) use templates::Fields;
