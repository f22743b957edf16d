//! A mailed token: its row, its mail and its link, made together.

use uuid::Uuid;

use crate::mail::{Fields, Mail, Template};
use crate::queries::OneTimeToken;
use crate::request::Context;
use crate::user::User;
use crate::{Error, secret};

/// What a mailed token is for.
#[derive(Clone, Copy)]
pub(super) struct Purpose {
    template: Template,
    /// `type` of the link.
    pub(super) kind: &'static str,
    /// `token_type` of the row.
    pub(super) token_type: &'static str,
}

pub(super) const SIGNUP: Purpose =
    Purpose { template: Template::Confirmation, kind: "signup", token_type: "confirmation_token" };
pub(super) const INVITE: Purpose =
    Purpose { template: Template::Invite, kind: "invite", token_type: "confirmation_token" };
pub(super) const MAGIC_LINK: Purpose =
    Purpose { template: Template::MagicLink, kind: "magiclink", token_type: "recovery_token" };
pub(super) const RECOVERY: Purpose =
    Purpose { template: Template::Recovery, kind: "recovery", token_type: "recovery_token" };
pub(super) const EMAIL_CHANGE_NEW: Purpose =
    Purpose { template: Template::EmailChange, kind: "email_change", token_type: "email_change_token_new" };
pub(super) const EMAIL_CHANGE_CURRENT: Purpose = Purpose {
    template: Template::EmailChange,
    kind: "email_change",
    token_type: "email_change_token_current",
};

/// A code only: nothing would be proved by following a link.
pub(super) const REAUTHENTICATION: Purpose = Purpose {
    template: Template::Reauthentication,
    kind: "reauthentication",
    token_type: "reauthentication_token",
};

/// A mailed token.
pub(super) struct Letter {
    pub(super) row: OneTimeToken,
    pub(super) mail: Mail,
    pub(super) otp: String,
    /// What the link carries, and what clients call `token_hash`.
    pub(super) link_token: String,
}

impl Letter {
    /// A letter to `to` about `user`; with `pkce` its link ends in a code instead of a session.
    pub(super) fn new(
        ctx: &Context,
        purpose: Purpose,
        user: &User,
        to: &str,
        pkce: bool,
    ) -> Result<Self, Error> {
        Self::leading_to(ctx, purpose, (user, to), pkce, &ctx.redirect_to)
    }

    /// The same, leading somewhere else in the end.
    pub(super) fn leading_to(
        ctx: &Context,
        purpose: Purpose,
        (user, to): (&User, &str),
        pkce: bool,
        redirect_to: &str,
    ) -> Result<Self, Error> {
        let otp = secret::otp()?;
        let prefix = if pkce { secret::PKCE_PREFIX } else { "" };
        let link_token = format!("{prefix}{}", secret::link_token(&ctx.project, to, &otp));
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("token", &link_token)
            .append_pair("type", purpose.kind)
            .append_pair("redirect_to", redirect_to)
            .finish();
        let link = match purpose.template {
            Template::Reauthentication => String::new(),
            _ => format!("{}/verify?{query}", ctx.issuer()),
        };
        let fields = Fields {
            confirmation_url: &link,
            token: &otp,
            email: user.address(),
            new_email: user.email_change.as_deref().unwrap_or_default(),
            site_url: &ctx.project.auth.site_url,
        };
        let mail = Mail::new(purpose.template, to, &fields)?;
        let row = OneTimeToken {
            id: Uuid::new_v4(),
            user_id: user.id,
            token_type: purpose.token_type,
            token_hash: secret::stored(&link_token),
            relates_to: to.to_owned(),
        };
        Ok(Self { row, mail, otp, link_token })
    }
}
