//! A code by SMS: chosen, sent, and written as the digest that answers to it.

use jiff::Timestamp;
use uuid::Uuid;

use crate::queries::OneTimeToken;
use crate::request::Context;
use crate::sms::{Channel, Message};
use crate::{Auth, Error, hooks, secret};

/// What a code by SMS is for.
#[derive(Clone, Copy)]
pub(crate) struct Purpose {
    /// For error messages and logs.
    pub(crate) name: &'static str,
    /// `token_type` of the row.
    pub(crate) token_type: &'static str,
}

/// Sign-up and sign-in.
pub(crate) const CONFIRMATION: Purpose = Purpose { name: "confirmation", token_type: "confirmation_token" };
/// A new number.
pub(crate) const PHONE_CHANGE: Purpose = Purpose { name: "phone_change", token_type: "phone_change_token" };
/// A new password.
pub(crate) const REAUTHENTICATION: Purpose =
    Purpose { name: "reauthentication", token_type: "reauthentication_token" };

/// A second factor; such codes are kept with their challenge.
pub(crate) const MFA: Purpose = Purpose { name: "mfa", token_type: "" };

/// Who gets a code.
#[derive(Clone, Copy)]
pub(crate) struct Recipient<'a> {
    /// Digits only.
    pub(crate) phone: &'a str,
    pub(crate) channel: Channel,
    /// When this user got the last code for the same purpose.
    pub(crate) last: Option<Timestamp>,
}

/// A code that was sent.
#[derive(Clone)]
pub(crate) struct Code {
    purpose: Purpose,
    phone: String,
    otp: String,
    pub(crate) message_id: Option<String>,
}

impl Code {
    /// Choose a code and send it; a number with a fixed code for tests gets no SMS.
    ///
    /// # Errors
    /// [`crate::PhoneError`]: too soon, too many, not sent.
    pub(crate) async fn send(
        auth: &Auth,
        ctx: &Context,
        purpose: Purpose,
        to: Recipient<'_>,
    ) -> Result<Self, Error> {
        let settings = &ctx.project.auth;
        auth.sms().check(&ctx.project, to.last, ctx.now)?;
        let phone = to.phone.to_owned();
        if let Some(fixed) = settings.sms_test_otps.get(to.phone) {
            let message_id = Some("test-otp".to_owned());
            return Ok(Self { purpose, phone, otp: fixed.clone(), message_id });
        }
        let otp = secret::digits(settings.sms_otp_length)?;
        if settings.hook_send_sms.enabled {
            auth.sms().count(&ctx.project, ctx.now)?;
            let user = serde_json::json!({"phone": to.phone});
            hooks::send_sms(auth, &ctx.project, (&user, to.phone), &otp).await?;
            return Ok(Self { purpose, phone, otp, message_id: None });
        }
        let message = Message { phone: to.phone, otp: &otp, channel: to.channel, purpose: purpose.name };
        let message_id = auth.sms().send(&ctx.project, &message, ctx.now).await?;
        Ok(Self { purpose, phone, otp, message_id })
    }

    /// What the database holds of it when it answers to something else than its number.
    pub(crate) fn answer_to(&self, ctx: &Context, subject: &str) -> String {
        secret::stored(&secret::link_token(&ctx.project, subject, &self.otp))
    }

    /// What the database holds of it.
    pub(crate) fn row(&self, ctx: &Context, user_id: Uuid) -> OneTimeToken {
        OneTimeToken {
            id: Uuid::new_v4(),
            user_id,
            token_type: self.purpose.token_type,
            token_hash: secret::stored(&secret::link_token(&ctx.project, &self.phone, &self.otp)),
            relates_to: self.phone.clone(),
        }
    }
}
