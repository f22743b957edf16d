//! What is worth knowing about auth, and the one place that turns it into log lines and metrics.
//!
//! Never an address, a token, a code or a password. The one exception to silence about links: a development inbox
//! prints the link it captured, because that is how a developer confirms a sign-up.

use common::{ErrorKind, ProjectRef, RequestId};

use crate::Error;

/// Something worth knowing.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A request was refused.
    Refused { project: Option<ProjectRef>, request_id: Option<RequestId>, error: &'a Error },
    /// A retired refresh token came back: the session was ended.
    RefreshTokenReused { project: &'a ProjectRef },
    /// A mail went to the development inbox.
    MailCaptured { project: &'a ProjectRef, subject: &'a str, link: &'a str },
    /// An SMTP server took a mail.
    MailSent { project: &'a ProjectRef, template: &'static str, attempt: usize },
    /// An attempt to send a mail failed; more follow.
    MailRetried { project: &'a ProjectRef, template: &'static str, attempt: usize, reason: String },
    /// An SMS went to the development inbox.
    SmsCaptured { project: &'a ProjectRef, purpose: &'static str },
    /// A provider took an SMS.
    SmsSent { project: &'a ProjectRef, purpose: &'static str },
    /// A provider did not take an SMS.
    SmsRefused { project: &'a ProjectRef, purpose: &'static str, reason: &'a str },
    /// A response of an identity provider is worth nothing, or its metadata could not be had.
    #[cfg(feature = "saml")]
    SamlRefused { project: Option<&'a ProjectRef>, reason: &'static str },
    /// A mail was given up.
    MailLost { project: &'a ProjectRef, template: &'static str, reason: String },
}

/// Log and count `event`.
pub(crate) fn tell(event: &Event<'_>) {
    match event {
        Event::Refused { project, request_id, error } => {
            refused(project.as_ref(), request_id.as_ref(), error);
        }
        Event::RefreshTokenReused { project } => {
            metrics::counter!("auth_refresh_token_reused_total").increment(1);
            tracing::warn!(project.id = %project, "a retired refresh token was presented: session ended");
        }
        Event::MailCaptured { project, subject, link } => {
            metrics::counter!("auth_mails_total", "outcome" => "captured").increment(1);
            tracing::info!(event = "MailCaptured", project.id = %project, subject, link, "mail captured");
        }
        Event::MailSent { project, template, attempt } => {
            metrics::counter!("auth_mails_total", "outcome" => "sent").increment(1);
            tracing::info!(project.id = %project, template, attempt, "mail sent");
        }
        Event::MailRetried { project, template, attempt, reason } => {
            metrics::counter!("auth_mails_total", "outcome" => "retried").increment(1);
            tracing::warn!(project.id = %project, template, attempt, reason, "mail not sent, trying again");
        }
        Event::SmsCaptured { project, purpose } => {
            metrics::counter!("auth_sms_total", "outcome" => "captured").increment(1);
            tracing::info!(event = "SmsCaptured", project.id = %project, purpose, "SMS captured");
        }
        Event::SmsSent { project, purpose } => {
            metrics::counter!("auth_sms_total", "outcome" => "sent").increment(1);
            tracing::info!(project.id = %project, purpose, "SMS sent");
        }
        Event::SmsRefused { project, purpose, reason } => {
            metrics::counter!("auth_sms_total", "outcome" => "refused").increment(1);
            tracing::warn!(project.id = %project, purpose, reason, "SMS not sent");
        }
        #[cfg(feature = "saml")]
        Event::SamlRefused { project, reason } => {
            let project = project.map_or("", ProjectRef::as_str);
            metrics::counter!("auth_saml_refused_total", "reason" => *reason).increment(1);
            tracing::warn!(project.id = project, reason, "SAML refused");
        }
        Event::MailLost { project, template, reason } => {
            metrics::counter!("auth_mails_total", "outcome" => "lost").increment(1);
            tracing::error!(project.id = %project, template, reason, "mail given up");
        }
    }
}

fn refused(project: Option<&ProjectRef>, request_id: Option<&RequestId>, error: &Error) {
    let kind = error.kind();
    metrics::counter!("auth_refused_total", "kind" => kind.label(), "code" => error.code()).increment(1);
    let project = project.map_or("", ProjectRef::as_str);
    let request = request_id.map_or("", |it| &it.0);
    let code = error.code();
    let source = std::error::Error::source(error).map(chain).unwrap_or_default();
    match kind {
        ErrorKind::Internal => {
            tracing::error!(project.id = project, request.id = request, code, source, "auth failed");
        }
        ErrorKind::Unavailable => {
            tracing::warn!(project.id = project, request.id = request, code, source, "auth unavailable");
        }
        ErrorKind::Invalid
        | ErrorKind::Unauthenticated
        | ErrorKind::Forbidden
        | ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::Limited => {
            tracing::info!(project.id = project, request.id = request, code, "auth refused");
        }
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
