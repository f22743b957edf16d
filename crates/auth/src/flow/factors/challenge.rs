//! `POST /factors/{id}/challenge`: what an answer is compared with. For a phone it sends the code.

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Kind, Owned, address, audit, challenge_view, owned};
use crate::error::FactorError;
use crate::flow::phone::code::{Code, MFA, Recipient};
use crate::queries::Applied;
use crate::queries::factors::{self, Challenging, NewChallenge, told};
use crate::request::Context;
use crate::sms::Channel;
use crate::{Auth, Error};

/// The body, which may be missing.
#[derive(Default, Deserialize)]
pub(crate) struct Fields {
    channel: Option<String>,
}

/// Challenge the caller's factor `id`.
pub(crate) async fn run(auth: &Auth, ctx: &Context, id: &str, fields: Fields) -> Result<Value, Error> {
    let Owned { account, factor, kind, db, .. } = owned(auth, ctx, id).await?;
    if !kind.usage(&ctx.project.auth).verifies() {
        return Err(Error::Factor(match kind {
            Kind::Totp => FactorError::TotpVerifyDisabled,
            Kind::Phone => FactorError::PhoneVerifyDisabled,
            Kind::Key => FactorError::WebauthnVerifyDisabled,
        }));
    }
    // No connection is held while an SMS leaves.
    drop(db);
    let id = Uuid::new_v4();
    let mut challenge = NewChallenge {
        id,
        factor_id: factor.id,
        ip_address: address(ctx),
        otp_code: None,
        web_authn_session_data: None,
    };
    let mut shown = None;
    match kind {
        Kind::Totp => {}
        Kind::Phone => {
            let to = Recipient {
                phone: factor.phone.as_deref().unwrap_or_default(),
                channel: Channel::parse(fields.channel, &ctx.project.auth)?,
                last: factor.last_challenged_at,
            };
            let code = Code::send(auth, ctx, MFA, to).await?;
            challenge.otp_code = Some(code.answer_to(ctx, &subject(id)));
        }
        #[cfg(feature = "webauthn")]
        Kind::Key => {
            let (state, view) = super::key::ask(auth, ctx, &account, &factor).await?;
            challenge.web_authn_session_data = Some(state);
            shown = Some(view);
        }
        #[cfg(not(feature = "webauthn"))]
        Kind::Key => return Err(FactorError::WebauthnVerifyDisabled.into()),
    }
    let told = told(audit(ctx, "create_challenge", &account.user, factor.id));
    let change = Challenging { now: ctx.now, challenge, audit: told };
    let db = auth.database(&ctx.project).await?;
    match factors::challenge(&db, &change).await? {
        Applied::Done => Ok(challenge_view(ctx, (id, kind), shown.take())),
        Applied::Stale | Applied::Taken => Err(FactorError::Missing.into()),
    }
}

/// What the code of a challenge is bound to.
pub(super) fn subject(challenge_id: Uuid) -> String {
    format!("mfa challenge {challenge_id}")
}
