//! A mail at rest: sealed, because its link opens an account, and bound to its row.

use common::Project;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{Mail, Template};
use crate::{Auth, Error};

/// A row of `auth.mail_outbox` to write.
#[derive(Serialize)]
pub(crate) struct KeptMail {
    id: Uuid,
    mail: String,
}

#[derive(Serialize, Deserialize)]
struct Text {
    template: Template,
    to: String,
    subject: String,
    html: String,
    text: String,
    link: String,
    /// What the project's hook is told.
    event: Option<Value>,
}

impl Mail {
    /// The row that this mail waits as; none where mails are captured.
    pub(crate) fn keep(&mut self, project: &Project) -> Result<Option<KeptMail>, Error> {
        if project.auth.smtp.is_none() && self.handover.is_none() {
            return Ok(None);
        }
        let id = Uuid::new_v4();
        let text = Text {
            template: self.template,
            to: self.to.clone(),
            subject: self.subject.clone(),
            html: self.html.clone(),
            text: self.text.clone(),
            link: self.link.clone(),
            event: self.handover.as_ref().map(|it| it.1.clone()),
        };
        let plain = serde_json::to_vec(&text).map_err(Error::internal)?;
        let mail = project.vault.seal(&context(id), &plain).map_err(Error::internal)?;
        self.kept = Some(id);
        Ok(Some(KeptMail { id, mail }))
    }

    /// The mail that waits as the row `id`.
    pub(super) fn open(auth: &Auth, project: &Project, (id, sealed): (Uuid, &str)) -> Result<Self, Error> {
        let plain = project.vault.open(&context(id), sealed).map_err(Error::internal)?;
        let text: Text = serde_json::from_slice(&plain).map_err(Error::internal)?;
        Ok(Self {
            template: text.template,
            to: text.to,
            subject: text.subject,
            html: text.html,
            text: text.text,
            link: text.link,
            handover: text.event.map(|event| (auth.clone(), event)),
            kept: Some(id),
        })
    }
}

fn context(id: Uuid) -> String {
    format!("mail_outbox.mail:{id}")
}
