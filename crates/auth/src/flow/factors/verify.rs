//! `POST /factors/{id}/verify`: a right answer makes the session one of level 2, with new tokens.
//!
//! Challenge, TOTP step and refresh token are used once, by one statement. Sessions that showed no factor end.

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::challenge::subject;
use super::{Kind, Owned, address, audit, expiry, owned, totp};
use crate::error::FactorError;
use crate::flow::ATTEMPTS;
use crate::queries::factors::{self, Attempt, Challenge, SecretFactor, Verification, told};
use crate::queries::{self, Applied};
use crate::request::{Context, text};
use crate::session::{RefreshToken, Session, Tokens};
use crate::user::{Account, Factor};
use crate::{Auth, Error, hooks, secret};

/// The body.
#[derive(Deserialize)]
pub(crate) struct Fields {
    challenge_id: Option<String>,
    code: Option<String>,
    webauthn: Option<KeyFields>,
}

/// What a browser sent for a security key.
#[derive(Deserialize)]
struct KeyFields {
    r#type: Option<String>,
    credential_response: Option<Value>,
}

/// A checked answer.
pub(super) enum Reply {
    Code(String),
    /// To `create` a key (`true`) or to use one.
    Key {
        is_new: bool,
        response: Value,
    },
}

/// The caller in a session, and the factor that is verified. No connection: a hook may take its time.
struct Who {
    account: Account,
    session: Session,
    factor: Factor,
    kind: Kind,
}

/// What a right answer writes beside the session.
#[derive(Default)]
pub(super) struct Proved {
    pub(super) totp_step: Option<i64>,
    /// An imported secret, now sealed.
    pub(super) secret: Option<String>,
    pub(super) credential: Option<Value>,
    pub(super) aaguid: Option<Uuid>,
}

/// Verify the caller's factor `id`.
pub(crate) async fn run(auth: &Auth, ctx: &Context, id: &str, fields: Fields) -> Result<Tokens, Error> {
    let Owned { account, session, factor, kind, db } = owned(auth, ctx, id).await?;
    let (challenge_id, reply) = check(ctx, kind, fields)?;
    drop(db);
    let who = Who { account, session, factor, kind };
    for _ in 0..ATTEMPTS {
        let ids = (challenge_id, who.session.id);
        let attempt = {
            let db = auth.database(&ctx.project).await?;
            factors::attempt(&db, (who.factor.id, who.account.user.id), ids, ctx.now).await?
        };
        let attempt = attempt.ok_or(FactorError::Missing)?;
        if attempt.factor.attempts > auth.config().otp_max_attempts {
            return Err(FactorError::TooManyAttempts.into());
        }
        let proved = judge(ctx, kind, &reply, &attempt);
        if matches!(&proved, Ok(_) | Err(Error::Factor(FactorError::WrongTotp | FactorError::WrongPhoneCode)))
        {
            let factor = (who.factor.id, kind.name());
            hooks::factor_attempt(ctx, factor, who.account.user.id, proved.is_ok()).await?;
        }
        let proved = proved?;
        if let Some(tokens) = upgrade(auth, ctx, &who, ((challenge_id, attempt.active), proved)).await? {
            return Ok(tokens);
        }
    }
    Err(Error::Conflict)
}

fn check(ctx: &Context, kind: Kind, fields: Fields) -> Result<(Uuid, Reply), Error> {
    let code = text(fields.code);
    if code.is_none() && kind != Kind::Key {
        return Err(Error::invalid("Code needs to be non-empty"));
    }
    if !kind.usage(&ctx.project.auth).verifies() {
        return Err(Error::Factor(match kind {
            Kind::Totp => FactorError::TotpVerifyDisabled,
            Kind::Phone => FactorError::PhoneVerifyDisabled,
            Kind::Key => FactorError::WebauthnAnswerDisabled,
        }));
    }
    let reply = match kind {
        Kind::Totp | Kind::Phone => Reply::Code(code.unwrap_or_default()),
        Kind::Key => key_reply(fields.webauthn)?,
    };
    let id = match text(fields.challenge_id) {
        Some(id) => id.parse().map_err(|_| Error::BadJson("challenge_id is no UUID".into()))?,
        None => Uuid::nil(),
    };
    Ok((id, reply))
}

fn key_reply(fields: Option<KeyFields>) -> Result<Reply, Error> {
    let fields = fields.ok_or(Error::invalid("WebAuthn config required"))?;
    let is_new = match fields.r#type.as_deref() {
        Some("create") => true,
        Some("request") => false,
        _ => return Err(Error::invalid("WebAuthn type must be create or request")),
    };
    let response = fields.credential_response.ok_or(Error::invalid("credential_response required"))?;
    Ok(Reply::Key { is_new, response })
}

fn judge(ctx: &Context, kind: Kind, reply: &Reply, attempt: &Attempt) -> Result<Proved, Error> {
    let Attempt { factor, challenge, .. } = attempt;
    let challenge = challenge.as_ref().ok_or(FactorError::ChallengeMissing)?;
    if challenge.verified_at.is_some() || challenge.ip_address != address(ctx) {
        return Err(FactorError::AddressMismatch.into());
    }
    if expiry(ctx, challenge.created_at) < ctx.now {
        return Err(FactorError::ChallengeExpired(challenge.id).into());
    }
    match (kind, reply) {
        (Kind::Totp, Reply::Code(code)) => by_app(ctx, factor, code),
        (Kind::Phone, Reply::Code(code)) => by_sms(ctx, challenge, code),
        #[cfg(feature = "webauthn")]
        (Kind::Key, reply) => super::key::judge(ctx, reply, (factor, challenge)),
        _ => Err(FactorError::WebauthnAnswerDisabled.into()),
    }
}

fn by_app(ctx: &Context, factor: &SecretFactor, code: &str) -> Result<Proved, Error> {
    let stored = factor.secret.as_deref().unwrap_or_default();
    let (secret, imported) = totp::opened(ctx, factor.id, stored)?;
    let step = totp::step_of(&secret, code, ctx.now.as_second())?;
    let step = step.filter(|it| factor.totp_step.is_none_or(|used| *it > used));
    let totp_step = Some(step.ok_or(FactorError::WrongTotp)?);
    let secret = if imported { Some(totp::sealed(ctx, factor.id, &secret)?) } else { None };
    Ok(Proved { totp_step, secret, ..Proved::default() })
}

fn by_sms(ctx: &Context, challenge: &Challenge, code: &str) -> Result<Proved, Error> {
    let answer = secret::stored(&secret::link_token(&ctx.project, &subject(challenge.id), code));
    let right = challenge.otp_code.as_deref().is_some_and(|it| secret::same(it, &answer));
    if right { Ok(Proved::default()) } else { Err(FactorError::WrongPhoneCode.into()) }
}

/// Write what was proved and answer with new tokens; `None` when another request was faster.
async fn upgrade(
    auth: &Auth,
    ctx: &Context,
    who: &Who,
    ((challenge_id, active), proved): ((Uuid, Option<String>), Proved),
) -> Result<Option<Tokens>, Error> {
    let Who { account, session, factor, kind } = who;
    let session_key = match &session.refresh_token_hmac_key {
        Some(key) => key.clone(),
        None => secret::token()?,
    };
    let refresh_token = match &active {
        Some(active) => secret::upgraded_refresh_token(&ctx.project, &session_key, active),
        None => secret::token()?,
    };
    let user_id = account.user.id;
    let change = Verification {
        now: ctx.now,
        user_id,
        factor_id: factor.id,
        factor_type: kind.name(),
        challenge_id,
        totp_step: proved.totp_step,
        secret: proved.secret,
        credential: proved.credential,
        aaguid: proved.aaguid,
        session_id: session.id,
        session_key,
        method: kind.method(),
        retire: active.clone(),
        issue: RefreshToken {
            token: secret::stored(&refresh_token),
            user_id,
            session_id: session.id,
            parent: active,
            created_at: ctx.now,
        },
        audit: told(audit(ctx, "verification_attempted", &account.user, factor.id)),
    };
    let db = auth.database(&ctx.project).await?;
    if factors::verify(&db, &change).await? != Applied::Done {
        return Ok(None);
    }
    let account = queries::signed_in(&db, user_id, Some(session.id)).await?;
    let account = account.ok_or(Error::UserMissing)?;
    let session = account.session.clone().ok_or(Error::SessionMissing)?;
    Tokens::new(ctx, &account, &session, refresh_token).await.map(Some)
}
