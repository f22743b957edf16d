//! What mails say: one frame, five texts. Filled in by minijinja, escaped as HTML.

use minijinja::{Environment, context};

use crate::Error;

const FRAME: &str = include_str!("../../templates/frame.html");

/// Why a mail is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Template {
    /// Confirm the address of a new user.
    Confirmation,
    /// Somebody invites.
    Invite,
    /// Sign in without a password.
    MagicLink,
    /// Sign in to set a new password.
    Recovery,
    /// Confirm another address.
    EmailChange,
    /// Prove once more who one is; a code without a link.
    Reauthentication,
}

/// What templates may show.
pub(crate) struct Fields<'a> {
    pub(crate) confirmation_url: &'a str,
    pub(crate) token: &'a str,
    pub(crate) email: &'a str,
    pub(crate) new_email: &'a str,
    pub(crate) site_url: &'a str,
}

struct Words {
    subject: &'static str,
    title: &'static str,
    lead: &'static str,
    button: &'static str,
}

impl Template {
    /// The name in log lines.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Confirmation => "confirmation",
            Self::Invite => "invite",
            Self::MagicLink => "magic_link",
            Self::Recovery => "recovery",
            Self::EmailChange => "email_change",
            Self::Reauthentication => "reauthentication",
        }
    }

    fn words(self) -> Words {
        match self {
            Self::Confirmation => Words {
                subject: "Confirm your signup",
                title: "Welcome! Please confirm your address",
                lead: "Follow the button to confirm this address and finish signing up.",
                button: "Confirm address",
            },
            Self::Invite => Words {
                subject: "You have been invited",
                title: "You have been invited",
                lead: "You have been invited to create an account. Follow the button to accept.",
                button: "Accept invitation",
            },
            Self::MagicLink => Words {
                subject: "Your sign-in link",
                title: "Sign in",
                lead: "Follow the button to sign in. It works once.",
                button: "Sign in",
            },
            Self::Recovery => Words {
                subject: "Reset your password",
                title: "Reset your password",
                lead: "Follow the button to choose a new password.",
                button: "Reset password",
            },
            Self::EmailChange => Words {
                subject: "Confirm your new address",
                title: "Confirm your new address",
                lead: "Follow the button to confirm the change of your e-mail address.",
                button: "Confirm change",
            },
            Self::Reauthentication => Words {
                subject: "Confirm it is you",
                title: "Confirm it is you",
                lead: "Somebody who is signed in as you wants to change the password. Enter the code there.",
                button: "",
            },
        }
    }
}

/// Subject, HTML and plain text of a mail.
pub(crate) fn render(template: Template, fields: &Fields<'_>) -> Result<(String, String, String), Error> {
    let words = template.words();
    let mut environment = Environment::new();
    // The name's ending turns escaping on.
    environment.add_template("frame.html", FRAME).map_err(Error::internal)?;
    let frame = environment.get_template("frame.html").map_err(Error::internal)?;
    let html = frame
        .render(context! {
            title => words.title,
            lead => words.lead,
            button => words.button,
            confirmation_url => fields.confirmation_url,
            token => fields.token,
            email => fields.email,
            new_email => fields.new_email,
            site_url => fields.site_url,
        })
        .map_err(Error::internal)?;
    let code = fields.token;
    let how = match fields.confirmation_url {
        "" => format!("The code is {code}\n"),
        link => format!("{link}\n\nOr enter the code {code}\n"),
    };
    let text = format!("{}\n\n{}\n\n{how}", words.title, words.lead);
    Ok((words.subject.to_owned(), html, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_type_is_escaped() {
        let fields = Fields {
            confirmation_url: "https://x.y/auth/v1/verify?token=t&type=signup",
            token: "123456",
            email: "a'<b>@x.y",
            new_email: "<script>",
            site_url: "https://x.y",
        };
        for template in [
            Template::Confirmation,
            Template::Invite,
            Template::MagicLink,
            Template::Recovery,
            Template::EmailChange,
        ] {
            let (subject, html, text) = render(template, &fields).unwrap();
            assert!(!html.contains("<script>") && !html.contains("<b>"), "{html}");
            assert!(html.contains("token=t&amp;type=signup") && html.contains("123456"), "{html}");
            assert!(text.contains("token=t&type=signup") && !subject.contains('\n'));
        }
    }
}
