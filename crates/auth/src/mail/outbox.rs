//! The way out: a bounded number of mails, each tried a few times, by SMTP or into the development inbox.
//!
//! A flow reserves a [`Slot`] before it writes, so a full outbox refuses the request instead of losing its mail. What
//! waits stands in the database as well: whoever is asked for the project next sends what a dead process left.

use std::sync::Arc;
use std::time::Duration;

use common::{CapturedMail, Inbox, Project, ProjectId};
use jiff::Timestamp;
use moka::sync::Cache;
use store::Databases;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::{Mail, smtp};
use crate::budget::{self, Budget, Limits, Refusal};
use crate::error::GuardError;
use crate::events::{self, Event};
use crate::queries::outbox::{self, Orphan};
use crate::{Auth, Config, Error, hooks};

/// How often a process looks for mails whose senders are gone, per project.
const SWEEP: Duration = Duration::from_secs(60);
const MAX_PROJECTS: u64 = 10_000;
/// Mails taken over at once.
const BATCH: i64 = 16;
/// A mail this old has nothing to say, and one that outlived so many processes may be why.
const MAX_AGE_SECS: i64 = 3600;
const MAX_PROCESSES: i32 = 3;

#[derive(Debug)]
pub(crate) struct Outbox {
    slots: Arc<Semaphore>,
    sender: Arc<Sender>,
    budget: Budget,
    /// Projects that were looked after a moment ago.
    swept: Cache<ProjectId, ()>,
}

#[derive(Debug)]
struct Sender {
    databases: Databases,
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
    pub(crate) fn new(config: &Config, databases: Databases, inbox: Inbox) -> Self {
        let sender = Sender {
            databases,
            connections: Semaphore::new(config.mail_connections.max(1)),
            inbox,
            timeout: config.mail_timeout,
            retries: config.mail_retries.clone(),
        };
        let slots = Arc::new(Semaphore::new(config.mail_queue.max(1)));
        let swept = Cache::builder().max_capacity(MAX_PROJECTS).time_to_live(SWEEP).build();
        Self { slots, sender: Arc::new(sender), budget: Budget::new(), swept }
    }

    /// Send what a process that died left to send, unless somebody looked a moment ago; returns at once.
    pub(crate) fn sweep(&self, auth: &Auth, project: &Arc<Project>) {
        let sends = project.auth.smtp.is_some() || project.auth.hook_send_email.enabled;
        if !sends || self.swept.contains_key(&project.id) {
            return;
        }
        self.swept.insert(project.id, ());
        let (auth, project) = (auth.clone(), Arc::clone(project));
        tokio::spawn(async move {
            // The database may be away: the next sweep finds them.
            if let Ok(orphans) = claim(&auth, &project).await {
                for orphan in &orphans {
                    auth.outbox().adopt(&auth, &project, orphan).await;
                }
                if i64::try_from(orphans.len()).is_ok_and(|it| it >= BATCH) {
                    auth.outbox().swept.invalidate(&project.id);
                }
            }
        });
    }

    async fn adopt(&self, auth: &Auth, project: &Arc<Project>, orphan: &Orphan) {
        let age_secs = auth.now().as_second() - orphan.created_at.as_second();
        let mail = Mail::open(auth, project, (orphan.id, &orphan.mail));
        let (Ok(mail), true, true) = (mail, age_secs <= MAX_AGE_SECS, orphan.attempts <= MAX_PROCESSES)
        else {
            let (project_ref, reason) = (&project.reference, "nobody could send it in time".to_owned());
            events::tell(&Event::MailLost { project: project_ref, template: "unknown", reason });
            return self.sender.forget(project, orphan.id).await;
        };
        // Without a place it stays ours to the end of the lease, and is found again after it.
        if let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() {
            Slot { permit, sender: Arc::clone(&self.sender) }.send(project, mail);
        }
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

async fn claim(auth: &Auth, project: &Project) -> Result<Vec<Orphan>, Error> {
    let db = auth.database(project).await?;
    outbox::claim(&db, auth.now(), BATCH).await
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
            if let Some(id) = mail.kept {
                sender.forget(&project, id).await;
            }
        });
    }
}

impl Sender {
    /// The mail has left, or is given up. If this fails it is sent twice rather than never.
    async fn forget(&self, project: &Project, id: Uuid) {
        if let Ok(db) = self.databases.of(project).await.services().await {
            let _ = outbox::forget(&db, id).await;
        }
    }

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
                    events::tell(&Event::MailRetried {
                        project: reference,
                        template,
                        attempt,
                        reason: failure.reason,
                    });
                    tokio::time::sleep(*wait).await;
                }
                None => {
                    return events::tell(&Event::MailLost {
                        project: reference,
                        template,
                        reason: failure.reason,
                    });
                }
            }
        }
    }
}

/// Whether asking the hook again may help.
fn is_late(error: &Error) -> bool {
    matches!(error, Error::Guard(GuardError::HookTimeout(_) | GuardError::HookRetries))
}
