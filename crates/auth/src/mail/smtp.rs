//! One mail to one SMTP server, encrypted as the project says.

use std::time::Duration;

use common::SmtpSettings;
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use super::Mail;

/// The port on which TLS comes first.
const SMTPS: u16 = 465;

/// Why a mail did not leave. Never names the address.
#[derive(Debug)]
pub(super) struct Failure {
    /// Trying again cannot help.
    pub(super) permanent: bool,
    pub(super) reason: String,
}

/// Hand `mail` to the server; every step of the conversation takes at most `timeout`.
pub(super) async fn send(settings: &SmtpSettings, mail: &Mail, timeout: Duration) -> Result<(), Failure> {
    let message = message(settings, mail)?;
    let transport = transport(settings, timeout)?;
    // A server may answer every step slowly; the whole conversation is bounded as well.
    match tokio::time::timeout(timeout * 4, transport.send(message)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Failure {
            permanent: error.is_permanent(),
            reason: match error.status() {
                Some(status) => format!("the SMTP server answered {status}"),
                None => crate::events::chain(&error),
            },
        }),
        Err(_) => Err(Failure { permanent: false, reason: "the SMTP server is too slow".into() }),
    }
}

fn message(settings: &SmtpSettings, mail: &Mail) -> Result<Message, Failure> {
    let from: Mailbox = settings.from.parse().map_err(|_| fault("the sender is no address"))?;
    let to: Mailbox = mail.to.parse().map_err(|_| fault("the recipient is no address"))?;
    Message::builder()
        .from(from)
        .to(to)
        .subject(mail.subject.clone())
        .multipart(MultiPart::alternative_plain_html(mail.text.clone(), mail.html.clone()))
        .map_err(|it| fault(&it.to_string()))
}

fn transport(
    settings: &SmtpSettings,
    timeout: Duration,
) -> Result<AsyncSmtpTransport<Tokio1Executor>, Failure> {
    let parameters =
        || TlsParameters::new(settings.host.clone()).map_err(|it| fault(&crate::events::chain(&it)));
    let tls = match (settings.port, settings.tls) {
        (SMTPS, _) => Tls::Wrapper(parameters()?),
        (_, true) => Tls::Required(parameters()?),
        (_, false) => Tls::None,
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host)
        .port(settings.port)
        .tls(tls)
        .timeout(Some(timeout));
    if let (Some(username), Some(password)) = (&settings.username, &settings.password) {
        builder = builder.credentials(Credentials::new(username.clone(), password.clone()));
    }
    Ok(builder.build())
}

fn fault(reason: &str) -> Failure {
    Failure { permanent: true, reason: reason.to_owned() }
}
