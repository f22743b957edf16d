//! Our own words, for projects that have none.

/// What differs between our mails.
pub(super) struct Words {
    pub(super) subject: &'static str,
    pub(super) title: &'static str,
    pub(super) lead: &'static str,
    pub(super) button: &'static str,
}

/// The words of the mail `name`; those of the last one for a name that is unknown.
pub(super) fn of(name: &str) -> Words {
    match name {
        "confirmation" => Words {
            subject: "Confirm your signup",
            title: "Welcome! Please confirm your address",
            lead: "Follow the button to confirm this address and finish signing up.",
            button: "Confirm address",
        },
        "invite" => Words {
            subject: "You have been invited",
            title: "You have been invited",
            lead: "You have been invited to create an account. Follow the button to accept.",
            button: "Accept invitation",
        },
        "magic_link" => Words {
            subject: "Your sign-in link",
            title: "Sign in",
            lead: "Follow the button to sign in. It works once.",
            button: "Sign in",
        },
        "recovery" => Words {
            subject: "Reset your password",
            title: "Reset your password",
            lead: "Follow the button to choose a new password.",
            button: "Reset password",
        },
        "email_change" => Words {
            subject: "Confirm your new address",
            title: "Confirm your new address",
            lead: "Follow the button to confirm the change of your e-mail address.",
            button: "Confirm change",
        },
        _ => Words {
            subject: "Confirm it is you",
            title: "Confirm it is you",
            lead: "Somebody who is signed in as you wants to change the password. Enter the code there.",
            button: "",
        },
    }
}
