//! Which mails there are; what they say is in `common::mail`, which the control plane previews too.

use serde::{Deserialize, Serialize};

/// Why a mail is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

impl Template {
    /// The name in settings and log lines.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mail_has_words() {
        let all = [
            Template::Confirmation,
            Template::Invite,
            Template::MagicLink,
            Template::Recovery,
            Template::EmailChange,
            Template::Reauthentication,
        ];
        assert_eq!(all.map(Template::name), common::mail::NAMES);
    }
}
