//! The way out: a bounded number of mails, each tried a few times, by SMTP or into the development inbox.
//!
//! A flow reserves a [`Slot`] before it writes, so a full outbox refuses the request instead of losing its mail.

use std::sync::Arc;
use std::time::Duration;

use common::{CapturedMail, Inbox, Project};
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Mail, smtp};
use crate::budget::{self, Budget, Limits, Refusal};
use crate::error::GuardError;
use crate::events::{self, Event};
use crate::{Config, Error, hooks};

#[derive(Debug)]
pub(crate) struct Outbox {
    slots: Arc<Semaphore>,
    sender: Arc<Sender>,
    budget: Budget,
}

#[derive(Debug)]
struct Sender {
    connections: Semaphore,
    inbox: Inbox,
    timeout: Duration,
    retries: Vec<Duration>,
}

/// A place in the outbox for one mail.
pub(crate) struct Slot {
    permit: OwnedSemaphorePermit,
    sender: Arc<Sender>,
}

impl Outbox {
    pub(crate) fn new(config: &Config, inbox: Inbox) -> Self {
        let sender = Sender {
            connections: Semaphore::new(config.mail_connections.max(1)),
            inbox,
            timeout: config.mail_timeout,
            retries: config.mail_retries.clone(),
        };
        let slots = Arc::new(Semaphore::new(config.mail_queue.max(1)));
        Self { slots, sender: Arc::new(sender), budget: Budget::new() }
    }

    /// A place for one mail, if the address got none since `last` and the project has mails left this hour.
    ///
    /// # Errors
    /// [`Error::MailTooSoon`], [`Error::MailBudget`], [`Error::Busy`].
    pub(crate) fn reserve(
        &self,
        project: &Project,
        last: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Slot, Error> {
        budget::check_frequency(last, limits(project), now).map_err(refused)?;
        self.reserve_anyway(project, now)
    }

    /// A place for one mail whatever the address got before: the second half of a pair.
    pub(crate) fn reserve_anyway(&self, project: &Project, now: Timestamp) -> Result<Slot, Error> {
        let permit = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| Error::Busy)?;
        self.budget.take(project, limits(project), now).map_err(refused)?;
        Ok(Slot { permit, sender: Arc::clone(&self.sender) })
    }

    /// Refuse as [`Outbox::reserve`] would, for an address that gets no mail of this `kind`.
    pub(crate) fn pretend(
        &self,
        project: &Project,
        (kind, address): (&'static str, &str),
        now: Timestamp,
    ) -> Result<(), Error> {
        self.budget.pretend(project, limits(project), (kind, address), now).map_err(refused)
    }
}

fn limits(project: &Project) -> Limits {
    Limits { least_secs: project.auth.mail_max_frequency_secs, per_hour: project.auth.mail_max_per_hour }
}

fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::TooSoon(secs) => Error::MailTooSoon(secs),
        Refusal::Spent => Error::MailBudget,
    }
}

impl Slot {
    /// Send `mail`; call it after the commit.
    pub(crate) fn send(self, project: &Arc<Project>, mail: Mail) {
        let Self { permit, sender } = self;
        if project.auth.smtp.is_none() && mail.handover.is_none() {
            sender.capture(project, mail);
            return;
        }
        let project = Arc::clone(project);
        tokio::spawn(async move {
            let _permit = permit;
            sender.deliver(&project, &mail).await;
        });
    }
}

impl Sender {
    fn capture(&self, project: &Project, mail: Mail) {
        let (subject, link) = (mail.subject.clone(), mail.link.clone());
        self.inbox.push(CapturedMail {
            project: project.reference.to_string(),
            to: mail.to,
            subject: mail.subject,
            html: mail.html,
            link: Some(mail.link).filter(|it| !it.is_empty()),
            captured_at: Timestamp::now().to_string(),
        });
        let project = &project.reference;
        events::tell(&Event::MailCaptured { project, subject: &subject, link: &link });
    }

    /// To the project's hook, else to its SMTP server.
    async fn hand_over(&self, project: &Project, mail: &Mail) -> Result<(), smtp::Failure> {
        if let Some((auth, event)) = &mail.handover {
            // The hook repeats by itself what it wants repeated; its words are for the log.
            return hooks::send_email(auth, project, event)
                .await
                .map_err(|it| smtp::Failure { permanent: !is_late(&it), reason: it.to_string() });
        }
        match &project.auth.smtp {
            Some(settings) => smtp::send(settings, mail, self.timeout).await,
            None => Ok(()),
        }
    }

    async fn deliver(&self, project: &Project, mail: &Mail) {
        let (reference, template) = (&project.reference, mail.template.name());
        let mut waits = self.retries.iter();
        for attempt in 1_usize.. {
            let sent = match self.connections.acquire().await {
                Ok(_connection) => self.hand_over(project, mail).await,
                Err(_) => return,
            };
            let failure = match sent {
                Ok(()) => return events::tell(&Event::MailSent { project: reference, template, attempt }),
                Err(failure) => failure,
            };
            match waits.next().filter(|_| !failure.permanent) {
                Some(wait) => {
                    events::tell(&Event::MailRetried { project: reference, template, attempt, reason: failure.reason });
                    tokio::time::sleep(*wait).await;
                }
                None => {
                    return events::tell(&Event::MailLost { project: reference, template, reason: failure.reason });
                }
            }
        }
    }
}

/// Whether asking the hook again may help.
fn is_late(error: &Error) -> bool {
    matches!(error, Error::Guard(GuardError::HookTimeout(_) | GuardError::HookRetries))
}
