//! SMS: who delivers them, how many may leave, and what they say.
//!
//! Unlike mails they are sent before the flow writes, because the answer tells whether the provider took them. Without
//! a provider the development inbox captures them.

mod provider;

use std::sync::Arc;
use std::time::Duration;

use common::{AuthSettings, CapturedMail, Inbox, Project, SmsProvider};
use jiff::Timestamp;
use tokio::sync::Semaphore;

use crate::budget::{self, Budget, Limits, Refusal};
use crate::error::PhoneError;
use crate::events::{self, Event};
use crate::request::text;
use crate::{Config, Error};

/// How a message reaches a phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    /// A text message.
    Sms,
    /// A message by `WhatsApp`, of Twilio only.
    Whatsapp,
}

impl Channel {
    /// From a body; nothing means SMS.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what the project's provider does not speak.
    pub(crate) fn parse(channel: Option<String>, settings: &AuthSettings) -> Result<Self, Error> {
        let twilio = matches!(settings.sms_provider, Some(SmsProvider::Twilio { .. }));
        match text(channel).as_deref() {
            None | Some("sms") => Ok(Self::Sms),
            Some("whatsapp") if twilio => Ok(Self::Whatsapp),
            Some(_) => Err(Error::invalid(
                "Invalid channel, supported values are 'sms' or 'whatsapp'. 'whatsapp' is only supported if Twilio \
                 or Twilio Verify is used as the provider.",
            )),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sms => "sms",
            Self::Whatsapp => "whatsapp",
        }
    }
}

/// A code on its way to a phone.
pub(crate) struct Message<'a> {
    /// Digits only.
    pub(crate) phone: &'a str,
    pub(crate) otp: &'a str,
    pub(crate) channel: Channel,
    /// For error messages and logs.
    pub(crate) purpose: &'static str,
}

/// Delivers SMS.
#[derive(Debug)]
pub(crate) struct Sms {
    http: reqwest::Client,
    connections: Semaphore,
    inbox: Inbox,
    budget: Budget,
}

impl Sms {
    pub(crate) fn new(config: &Config, inbox: Inbox) -> Self {
        // A redirect could lead credentials elsewhere.
        let builder = reqwest::Client::builder()
            .timeout(config.sms_timeout)
            .connect_timeout(config.sms_timeout.min(Duration::from_secs(5)))
            .redirect(reqwest::redirect::Policy::none());
        Self {
            http: builder.build().unwrap_or_default(),
            connections: Semaphore::new(config.sms_connections.max(1)),
            inbox,
            budget: Budget::new(),
        }
    }

    /// Refuse an SMS so soon after the `last` one.
    pub(crate) fn check(
        &self,
        project: &Project,
        last: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), Error> {
        budget::check_frequency(last, limits(project), now).map_err(refused)
    }

    /// Refuse as [`Sms::check`] and [`Sms::send`] would, for a number that gets no SMS of this `kind`.
    pub(crate) fn pretend(
        &self,
        project: &Project,
        (kind, phone): (&'static str, &str),
        now: Timestamp,
    ) -> Result<(), Error> {
        self.budget.pretend(project, limits(project), (kind, phone), now).map_err(refused)
    }

    /// Count an SMS that somebody else sends.
    ///
    /// # Errors
    /// [`PhoneError::Budget`].
    pub(crate) fn count(&self, project: &Project, now: Timestamp) -> Result<(), Error> {
        self.budget.take(project, limits(project), now).map_err(refused)
    }

    /// Send `message` and wait until the provider took it; its id there, if it told one.
    ///
    /// # Errors
    /// [`PhoneError::Budget`], [`PhoneError::NotSent`], [`Error::Busy`].
    pub(crate) async fn send(
        &self,
        project: &Arc<Project>,
        message: &Message<'_>,
        now: Timestamp,
    ) -> Result<Option<String>, Error> {
        self.budget.take(project, limits(project), now).map_err(refused)?;
        let said = project.auth.sms_template.replace("{{ .Code }}", message.otp);
        let Some(provider) = &project.auth.sms_provider else {
            self.capture(project, message, &said);
            return Ok(None);
        };
        let _connection = self.connections.try_acquire().map_err(|_| Error::Busy)?;
        let project = &project.reference;
        match provider::deliver(&self.http, provider, message, &said).await {
            Ok(id) => {
                events::tell(&Event::SmsSent { project, purpose: message.purpose });
                Ok(id)
            }
            Err(reason) => {
                let purpose = message.purpose;
                events::tell(&Event::SmsRefused { project, purpose, reason: &reason });
                Err(PhoneError::NotSent { purpose, reason }.into())
            }
        }
    }

    fn capture(&self, project: &Project, message: &Message<'_>, said: &str) {
        self.inbox.push(CapturedMail {
            project: project.reference.to_string(),
            to: format!("+{}", message.phone),
            subject: said.to_owned(),
            html: escaped(said),
            link: None,
            captured_at: Timestamp::now().to_string(),
        });
        events::tell(&Event::SmsCaptured { project: &project.reference, purpose: message.purpose });
    }
}

fn limits(project: &Project) -> Limits {
    Limits { least_secs: project.auth.sms_max_frequency_secs, per_hour: project.auth.sms_max_per_hour }
}

fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::TooSoon(secs) => PhoneError::TooSoon(secs).into(),
        Refusal::Spent => PhoneError::Budget.into(),
    }
}

fn escaped(text: &str) -> String {
    let safe = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<p>{safe}</p>")
}
