//! Second factors: enrolled, challenged, verified, removed. A session in which one was verified is of level 2 (`aal2`).
//!
//! An attempt is counted before the answer is looked at, so no number of requests at once guesses more often.

pub(crate) mod challenge;
pub(crate) mod enroll;
#[cfg(feature = "webauthn")]
mod key;
pub(crate) mod manage;
mod totp;
pub(crate) mod verify;

use common::{AuthSettings, FactorUse};
use jiff::Timestamp;
use serde_json::{Value, json};
use store::ServiceClient;
use uuid::Uuid;

use super::whoami::{self, SignedIn};
use crate::error::FactorError;
use crate::queries::Audit;
use crate::request::Context;
use crate::session::Session;
use crate::user::{Account, Factor, Object, User, object};
use crate::{Auth, Error};

/// What a factor is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An authenticator app.
    Totp,
    /// Codes by SMS.
    Phone,
    /// A security key.
    Key,
}

impl Kind {
    fn parse(name: &str) -> Result<Self, Error> {
        match name {
            "totp" => Ok(Self::Totp),
            "phone" => Ok(Self::Phone),
            "webauthn" => Ok(Self::Key),
            _ => Err(Error::invalid("factor_type needs to be totp, phone, or webauthn")),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Phone => "phone",
            Self::Key => "webauthn",
        }
    }

    /// What tokens of a session tell about it.
    fn method(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Phone => "mfa/phone",
            Self::Key => "mfa/webauthn",
        }
    }

    fn usage(self, settings: &AuthSettings) -> FactorUse {
        match self {
            Self::Totp => settings.mfa_totp,
            Self::Phone => settings.mfa_phone,
            Self::Key if cfg!(feature = "webauthn") => settings.mfa_webauthn,
            Self::Key => FactorUse::Off,
        }
    }
}

/// The caller in a session, and a factor of theirs.
struct Owned {
    account: Account,
    session: Session,
    factor: Factor,
    kind: Kind,
    db: ServiceClient,
}

/// The caller, who has a session and an account for good.
async fn permanent(auth: &Auth, ctx: &Context) -> Result<(Account, Session, ServiceClient), Error> {
    let SignedIn { account, session, db } = whoami::in_person(auth, ctx).await?;
    if account.user.is_anonymous {
        return Err(FactorError::Anonymous.into());
    }
    let session = session.ok_or(Error::SessionMissing)?;
    Ok((account, session, db))
}

/// The caller's factor `id`.
async fn owned(auth: &Auth, ctx: &Context, id: &str) -> Result<Owned, Error> {
    let (account, session, db) = permanent(auth, ctx).await?;
    let factor = find(&account, id)?;
    let kind = Kind::parse(&factor.factor_type)?;
    Ok(Owned { account, session, factor, kind, db })
}

/// The factor `id` of an account.
fn find(account: &Account, id: &str) -> Result<Factor, Error> {
    let id: Uuid = id.parse().map_err(|_| FactorError::InvalidId)?;
    let found = account.factors.iter().find(|it| it.id == id).cloned();
    found.ok_or(Error::Factor(FactorError::Missing))
}

/// An entry of the audit log about a factor.
fn audit<'a>(ctx: &Context, action: &'static str, actor: &'a User, factor_id: Uuid) -> Audit<'a> {
    let traits: Object = object(json!({"factor_id": factor_id}));
    Audit { action, log_type: "factor", actor: Some(actor), traits, ip: ctx.ip_text() }
}

/// The address that challenges are bound to.
fn address(ctx: &Context) -> String {
    ctx.ip_text().unwrap_or_else(|| "0.0.0.0".into())
}

/// A challenge as clients read it.
fn challenge_view(ctx: &Context, (id, kind): (Uuid, Kind), webauthn: Option<Value>) -> Value {
    let expires_at = expiry(ctx, ctx.now).as_second();
    let mut view = json!({"id": id, "type": kind.name(), "expires_at": expires_at});
    if let (Some(webauthn), Some(map)) = (webauthn, view.as_object_mut()) {
        map.insert("webauthn".into(), webauthn);
    }
    view
}

/// When a challenge made at `created_at` expires.
fn expiry(ctx: &Context, created_at: Timestamp) -> Timestamp {
    let secs = i64::try_from(ctx.project.auth.mfa_challenge_expiry_secs).unwrap_or(i64::MAX);
    created_at.checked_add(jiff::SignedDuration::from_secs(secs)).unwrap_or(created_at)
}
