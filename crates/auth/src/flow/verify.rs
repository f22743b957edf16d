//! `GET` and `POST /verify`: a link or code proves an address or a phone number, once, and signs in.
//!
//! Codes have six digits, so tries are counted, and a token dies after a few; so are those at one address in an hour.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use store::{Limit, ServiceClient};
use uuid::Uuid;

use super::phone::code::{CONFIRMATION, PHONE_CHANGE};
use super::phone::{change as number, verify as by_sms};
use super::{ATTEMPTS, audit, sign_in};
use crate::error::{AccountError, GuardError, PhoneError};
use crate::queries::{self, Applied, Change, FlowState, Mailed, MailedToken, Save, Spend};
use crate::request::{Context, email, phone, text};
use crate::session::Tokens;
use crate::user::{Account, EMAIL, Identity, Object, User, merge, object};
use crate::{Auth, Error, secret};

/// The body, or the query of a link.
#[derive(Default, Deserialize)]
pub(crate) struct Fields {
    r#type: Option<String>,
    token: Option<String>,
    token_hash: Option<String>,
    email: Option<String>,
    phone: Option<String>,
}

/// A checked request.
pub(crate) struct Verify {
    pub(crate) kind: String,
    proof: Proof,
}

enum Proof {
    /// What a link carries.
    Link(String),
    /// What a person typed, and the address that got it.
    Code { address: String, code: String },
    /// What a person typed, and the phone number that got it.
    Sms { phone: String, code: String },
}

/// What was verified.
pub(crate) enum Outcome {
    SignedIn(Box<Tokens>),
    /// The first half of a change of address.
    HalfDone,
    /// A PKCE flow goes on: the code to exchange.
    Code(String),
}

impl Verify {
    /// From a body: a code with its address, or a link's token.
    pub(crate) fn from_body(fields: Fields) -> Result<Self, Error> {
        let kind = kind(fields.r#type)?;
        let (token, token_hash) = (text(fields.token), text(fields.token_hash));
        let (address, phone) = (text(fields.email), text(fields.phone));
        let proof = match (token, token_hash) {
            (None, None) => return Err(Error::invalid("Verify requires either a token or a token hash")),
            (Some(_), Some(_)) => {
                return Err(Error::invalid("Verify requires either a token or a token hash"));
            }
            (None, Some(_)) if address.is_some() || phone.is_some() => {
                return Err(Error::invalid("Only the token_hash and type should be provided"));
            }
            (None, Some(hash)) => Proof::Link(hash),
            (Some(code), None) => match (address, phone) {
                (Some(address), None) => {
                    let address = email::parse(&address).map_err(|_| AccountError::EmailFormat)?;
                    Proof::Code { address, code }
                }
                (None, Some(number)) => Proof::Sms { phone: phone::parse(&number)?, code },
                _ => {
                    return Err(Error::invalid(
                        "Only an email address or phone number should be provided on verify",
                    ));
                }
            },
        };
        Self::new(kind, proof)
    }

    /// From a link.
    pub(crate) fn from_query(fields: Fields) -> Result<Self, Error> {
        let token = text(fields.token).or(text(fields.token_hash));
        let token = token.ok_or(Error::invalid("Verify requires a token or a token hash"))?;
        Self::new(kind(fields.r#type)?, Proof::Link(token))
    }

    fn new(kind: String, proof: Proof) -> Result<Self, Error> {
        let by_mail = matches!(
            kind.as_str(),
            "signup" | "invite" | "recovery" | "magiclink" | "email" | "email_change"
        );
        let by_sms = matches!(kind.as_str(), "sms" | "phone_change");
        match proof {
            Proof::Link(_) | Proof::Code { .. } if by_mail => Ok(Self { kind, proof }),
            Proof::Sms { .. } if by_sms => Ok(Self { kind, proof }),
            // A code that was never sent that way.
            Proof::Code { .. } | Proof::Sms { .. } if by_mail || by_sms => Err(Error::OtpExpired),
            _ => Err(Error::invalid("Invalid email verification type")),
        }
    }

    /// Whether the link wants a code at its end instead of a session.
    pub(crate) fn is_pkce(&self) -> bool {
        matches!(&self.proof, Proof::Link(token) if token.starts_with(secret::PKCE_PREFIX))
    }

    fn accepts(&self, token_type: &str) -> bool {
        match self.kind.as_str() {
            "signup" | "invite" => token_type == "confirmation_token",
            "recovery" | "magiclink" => token_type == "recovery_token",
            "email" => matches!(token_type, "confirmation_token" | "recovery_token"),
            "email_change" => matches!(token_type, "email_change_token_new" | "email_change_token_current"),
            "sms" | "phone_change" => token_type == self.sms_token_type(),
            _ => false,
        }
    }

    fn sms_token_type(&self) -> &'static str {
        if self.kind == "sms" { CONFIRMATION.token_type } else { PHONE_CHANGE.token_type }
    }

    fn refusal(&self) -> Error {
        match self.proof {
            Proof::Link(_) => Error::LinkExpired,
            Proof::Code { .. } | Proof::Sms { .. } => Error::OtpExpired,
        }
    }

    /// Somebody else has the address or number by now.
    fn taken(&self) -> Error {
        match self.proof {
            Proof::Sms { .. } => PhoneError::Taken.into(),
            Proof::Link(_) | Proof::Code { .. } => Error::EmailExists,
        }
    }
}

fn kind(text_of_type: Option<String>) -> Result<String, Error> {
    text(text_of_type).ok_or(Error::invalid("Verify requires a verification type"))
}

/// Verify a code or a link that signs in.
pub(crate) async fn run(auth: &Auth, ctx: &Context, request: &Verify) -> Result<Outcome, Error> {
    verify(auth, ctx, request, false).await
}

/// Verify a link opened in a browser: one with `pkce_` ends in a code.
pub(crate) async fn run_link(auth: &Auth, ctx: &Context, request: &Verify) -> Result<Outcome, Error> {
    verify(auth, ctx, request, request.is_pkce()).await
}

async fn verify(auth: &Auth, ctx: &Context, request: &Verify, pkce: bool) -> Result<Outcome, Error> {
    check_guesses(auth, ctx, request).await?;
    for _ in 0..ATTEMPTS {
        let db = auth.database(&ctx.project).await?;
        let (account, token) = find(auth, ctx, &db, request).await?;
        if account.user.is_banned(ctx.now) {
            return Err(Error::Banned);
        }
        is_free(&db, &account.user, request).await?;
        let user_id = account.user.id;
        let (mut change, whole) = decide(ctx, account, (request, &token));
        if !whole {
            match queries::apply(&db, &change).await? {
                Applied::Done => return Ok(Outcome::HalfDone),
                Applied::Taken => return Err(request.taken()),
                Applied::Stale => continue,
            }
        }
        if pkce {
            let code = code(ctx, &db, &mut change, (user_id, &request.kind)).await?;
            match queries::apply(&db, &change).await? {
                Applied::Done => return Ok(Outcome::Code(code)),
                Applied::Taken => return Err(request.taken()),
                Applied::Stale => continue,
            }
        }
        if let Some(tokens) = sign_in(ctx, &db, change, user_id, "otp").await? {
            return Ok(Outcome::SignedIn(Box::new(tokens)));
        }
    }
    Err(request.refusal())
}

/// Refuse a new address or number that somebody else took meanwhile.
async fn is_free(db: &ServiceClient, user: &User, request: &Verify) -> Result<(), Error> {
    let holder = match request.kind.as_str() {
        "email_change" => queries::by_email(db, user.email_change.as_deref().unwrap_or_default()).await?,
        "phone_change" => queries::by_phone(db, user.phone_change.as_deref().unwrap_or_default()).await?,
        _ => None,
    };
    match holder {
        Some(holder) if holder.user.id != user.id => Err(request.taken()),
        _ => Ok(()),
    }
}

/// The token that the request proves to have, and its user.
async fn find(
    auth: &Auth,
    ctx: &Context,
    db: &ServiceClient,
    request: &Verify,
) -> Result<(Account, MailedToken), Error> {
    let settings = &ctx.project.auth;
    let (found, wanted, lifetime_secs) = match &request.proof {
        Proof::Link(token) => {
            let wanted = vec![secret::stored(token)];
            let hash = wanted.first().map(String::as_str).unwrap_or_default();
            (queries::mailed_by_link(db, hash).await?, wanted, settings.mailer_otp_expiry_secs)
        }
        Proof::Code { address, code } => {
            let bare = secret::link_token(&ctx.project, address, code);
            let pkce = secret::stored(&format!("{}{bare}", secret::PKCE_PREFIX));
            let wanted = vec![secret::stored(&bare), pkce];
            let found = queries::mailed_by_address(db, address, &wanted).await?;
            (found, wanted, settings.mailer_otp_expiry_secs)
        }
        Proof::Sms { phone, code } => {
            let wanted = vec![secret::stored(&secret::link_token(&ctx.project, phone, code))];
            let found = queries::sent_to_phone(db, phone, request.sms_token_type(), &wanted).await?;
            (found, wanted, settings.sms_otp_expiry_secs)
        }
    };
    let Some(Mailed { account, mut tokens }) = found else { return Err(request.refusal()) };
    let max_attempts = auth.config().otp_max_attempts;
    tokens.retain(|it| {
        request.accepts(&it.token_type) && is_alive(ctx, it, lifetime_secs) && it.attempts < max_attempts
    });
    let tried = match &request.proof {
        Proof::Sms { phone, .. } => {
            queries::take_attempts_at(db, phone, request.sms_token_type(), max_attempts).await?
        }
        Proof::Link(_) | Proof::Code { .. } => {
            let ids: Vec<Uuid> = tokens.iter().map(|it| it.id).collect();
            queries::take_attempt(db, &ids, max_attempts).await?
        }
    };
    let right = |it: &MailedToken| wanted.iter().any(|wanted| secret::same(wanted, &it.token_hash));
    let token = tokens.into_iter().find(|it| tried.contains(&it.id) && right(it));
    token.map(|it| (account, it)).ok_or(request.refusal())
}

/// Refuse whoever guesses at the codes of one address, from however many addresses: a new code would bring new
/// guesses.
async fn check_guesses(auth: &Auth, ctx: &Context, request: &Verify) -> Result<(), Error> {
    let address = match &request.proof {
        Proof::Link(_) => return Ok(()),
        Proof::Code { address, .. } => address,
        Proof::Sms { phone, .. } => phone,
    };
    count_guess(auth, ctx, address).await
}

/// Take one of an hour's guesses at what is sent to `whom`.
pub(super) async fn count_guess(auth: &Auth, ctx: &Context, whom: &str) -> Result<(), Error> {
    let max = auth.config().otp_guesses_per_hour;
    let limit = Limit { max, per: Duration::from_secs(3600), burst: max };
    let who = secret::hex(&secret::fingerprint(whom));
    let key = format!("ratelimit:auth:{}:guess:{who}", ctx.project.reference);
    let wait = |it: store::Limited| i64::try_from(it.retry_after_secs()).unwrap_or(i64::MAX);
    auth.limiter().take(&key, limit).await.map_err(|it| GuardError::OverLimit(wait(it)).into())
}

/// Whether a token sent at some time still counts.
pub(super) fn is_alive(ctx: &Context, token: &MailedToken, lifetime_secs: u64) -> bool {
    let Ok(sent) = token.created_at.to_zoned(jiff::tz::TimeZone::UTC) else { return false };
    let age_secs = ctx.now.as_second().saturating_sub(sent.timestamp().as_second());
    u64::try_from(age_secs.max(0)).is_ok_and(|it| it <= lifetime_secs)
}

/// What the token changes, and whether that is all or half of it.
fn decide(ctx: &Context, account: Account, (request, token): (&Verify, &MailedToken)) -> (Change, bool) {
    let mut change = Change::new(ctx.now);
    change.spend = Some(Spend { id: token.id, token_hash: token.token_hash.clone() });
    let (identity, by_phone) = (account.email_identity().cloned(), account.phone_identity().cloned());
    let Account { user: mut row, version, .. } = account;
    let whole = match token.token_type.as_str() {
        "confirmation_token" if matches!(request.proof, Proof::Sms { .. }) => {
            by_sms::confirm(ctx, &mut change, &mut row, by_phone);
            true
        }
        "phone_change_token" => {
            number::finish(ctx, &mut change, &mut row, by_phone);
            true
        }
        "confirmation_token" => {
            confirm(ctx, &mut change, &mut row, identity);
            true
        }
        "recovery_token" if row.is_confirmed() => {
            change.audit(audit(ctx, "login", &row));
            true
        }
        "recovery_token" => {
            confirm(ctx, &mut change, &mut row, identity);
            true
        }
        _ if needs_both(ctx, &row) => {
            row.email_change_confirm_status = Some(1);
            false
        }
        _ => {
            change_address(ctx, &mut change, &mut row, identity);
            true
        }
    };
    if whole {
        row.last_sign_in_at = Some(ctx.now);
    }
    change.save = Some(Save { version, row });
    (change, whole)
}

/// Whether the other address must confirm a change of address as well.
fn needs_both(ctx: &Context, row: &User) -> bool {
    ctx.project.auth.mailer_secure_email_change
        && row.email_change_confirm_status.unwrap_or_default() == 0
        && !row.address().is_empty()
}

fn confirm(ctx: &Context, change: &mut Change, row: &mut User, identity: Option<Identity>) {
    row.confirm(ctx.now);
    row.add_provider(EMAIL);
    change.clear = Some(row.id);
    change.audit(audit(ctx, "user_signedup", row));
    let mut identity = identity.unwrap_or_else(|| Identity::email(row, true, &Object::new()).made(ctx.now));
    identity.identity_data.insert("email_verified".into(), Value::Bool(true));
    identity.updated_at = Some(ctx.now);
    change.identities.push(identity);
}

/// The new address is proved: it replaces the old one in the row and in the identity by e-mail.
pub(super) fn change_address(ctx: &Context, change: &mut Change, row: &mut User, identity: Option<Identity>) {
    row.email = row.email_change.replace(String::new());
    row.email_change_confirm_status = Some(0);
    row.confirm(ctx.now);
    row.add_provider(EMAIL);
    let address = object(serde_json::json!({"email": row.address()}));
    merge(&mut row.raw_user_meta_data, address);
    let mut identity = identity.unwrap_or_else(|| Identity::email(row, true, &Object::new()).made(ctx.now));
    identity.identity_data.insert("email".into(), row.address().into());
    identity.identity_data.insert("email_verified".into(), Value::Bool(true));
    identity.updated_at = Some(ctx.now);
    change.identities.push(identity);
    change.clear = Some(row.id);
    change.audit(audit(ctx, "user_modified", row));
}

/// Give the flow that asked for this mail its code.
async fn code(
    ctx: &Context,
    db: &ServiceClient,
    change: &mut Change,
    (user_id, kind): (Uuid, &str),
) -> Result<String, Error> {
    let method = if kind == "signup" { "email/signup" } else { kind };
    let flow = queries::latest_flow(db, user_id, method).await?.ok_or(Error::NoFlowState)?;
    let code = Uuid::new_v4().to_string();
    change.flows.push(FlowState {
        id: flow.id,
        user_id,
        auth_code: Some(secret::stored(&code)),
        code_challenge_method: flow.code_challenge_method.ok_or(Error::NoFlowState)?,
        code_challenge: flow.code_challenge.ok_or(Error::NoFlowState)?,
        provider_type: flow.provider_type,
        authentication_method: flow.authentication_method,
        auth_code_issued_at: Some(ctx.now),
    });
    Ok(code)
}
