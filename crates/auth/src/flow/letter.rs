//! A mailed token: its row, its mail and its link, made together.

use std::time::Duration;

use common::mail::MailFields;
use serde_json::{Value, json};
use store::Limit;
use uuid::Uuid;

use crate::mail::{Mail, Template};
use crate::queries::{Change, OneTimeToken};
use crate::request::Context;
use crate::user::{User, UserView};
use crate::{Auth, Error, secret};

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

/// Where who has an account is concealed, one address gets one mail a minute whatever it is about: a user's row, which
/// tells the kinds apart, would answer a row of requests otherwise than nobody's.
pub(super) async fn check_pace(auth: &Auth, ctx: &Context, address: &str) -> Result<(), Error> {
    let settings = &ctx.project.auth;
    if !settings.conceal_accounts || settings.mail_max_frequency_secs == 0 {
        return Ok(());
    }
    let who = secret::hex(&secret::fingerprint(address));
    let key = format!("ratelimit:auth:{}:mail:{who}", ctx.project.reference);
    // A second more than the row's own limit, which counts whole seconds: that one is never the one that refuses.
    let per = Duration::from_secs(settings.mail_max_frequency_secs.saturating_add(1));
    let wait = |it: store::Limited| i64::try_from(it.retry_after_secs()).unwrap_or(i64::MAX);
    let taken = auth.limiter().take(&key, Limit { max: 1, per, burst: 1 }).await;
    taken.map_err(|it| Error::MailTooSoon(wait(it)))
}

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
        let settings = &ctx.project.auth;
        let data = Value::Object(user.raw_user_meta_data.clone().unwrap_or_default());
        let fields = MailFields {
            confirmation_url: &link,
            token: &otp,
            token_hash: &link_token,
            email: user.address(),
            new_email: user.email_change.as_deref().unwrap_or_default(),
            site_url: &settings.site_url,
            redirect_to,
            data: &data,
        };
        let mut mail = Mail::new(purpose.template, to, &fields, settings)?;
        if settings.hook_send_email.enabled {
            mail.handover = Some((ctx.auth.clone(), event(purpose, (user, to), &fields)));
        }
        let row = OneTimeToken {
            id: Uuid::new_v4(),
            user_id: user.id,
            token_type: purpose.token_type,
            token_hash: secret::stored(&link_token),
            relates_to: to.to_owned(),
        };
        Ok(Self { row, mail, otp, link_token })
    }

    /// Write the token, and the mail, so that it leaves even when this process does not live to send it.
    pub(super) fn write(mut self, ctx: &Context, change: &mut Change) -> Result<Mail, Error> {
        change.mail.push(self.row.clone());
        self.keep(ctx, change)?;
        Ok(self.mail)
    }

    /// Write the mail, whose token is written elsewhere.
    pub(super) fn keep(&mut self, ctx: &Context, change: &mut Change) -> Result<(), Error> {
        change.outbox.extend(self.mail.keep(&ctx.project)?);
        Ok(())
    }
}

/// What the hook that sends mails is told.
fn event(purpose: Purpose, (user, to): (&User, &str), fields: &MailFields<'_>) -> Value {
    json!({
        "user": UserView::new(user, &[], &[]),
        "email_data": {
            "email": to,
            "token": fields.token,
            "token_hash": fields.token_hash,
            "redirect_to": fields.redirect_to,
            "email_action_type": purpose.kind,
            "site_url": fields.site_url,
            "token_new": "",
            "token_hash_new": "",
            "old_email": if fields.new_email.is_empty() { "" } else { fields.email },
        },
    })
}
