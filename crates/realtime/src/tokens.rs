//! Tokens that clients show on an open socket: who they are, and until when. The project's own keys decide.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::jwt::{self, Claims, RolePath, Rules};
use common::{Caller, Project};
use serde_json::Value;

/// Clock skew allowed on the dates a token may begin.
const LEEWAY_SECS: i64 = 30;
/// Where the role is unless the project says otherwise.
const ROLE: &str = "$.role";

/// Why a token is refused. `Display` is what Supabase's clients know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("Token has expired {0} seconds ago")]
    Expired(i64),
    #[error("Fields `role` and `exp` are required in JWT")]
    Fields,
    #[error("The token provided is not a valid JWT")]
    Malformed,
    #[error("Failed to validate JWT signature")]
    Signature,
    #[error("The token is not valid: {0}")]
    Claims(jwt::Error),
}

impl Error {
    /// The code in front of a join's refusal.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Expired(_) | Self::Fields | Self::Claims(_) => "InvalidJWTToken",
            Self::Malformed => "MalformedJWT",
            Self::Signature => "JwtSignatureError",
        }
    }
}

/// Seconds since 1970.
pub(crate) fn now_secs() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX)
}

/// Whether the text is an opaque API key, which is no token and says nothing about a user.
pub(crate) fn is_opaque(token: &str) -> bool {
    token.starts_with("sb_")
}

/// Who shows `token`.
///
/// # Errors
/// All of [`Error`].
pub(crate) fn verify(project: &Project, token: &str, now_secs: i64) -> Result<Caller, Error> {
    let audience = project.rest.jwt_aud.as_deref();
    let rules = Rules { now_secs, leeway_secs: LEEWAY_SECS, audience, default_role: "" };
    let claims = project.jwt.verify(token, &rules).map_err(|error| match error {
        jwt::Error::Expired => Error::Expired(LEEWAY_SECS),
        jwt::Error::Key | jwt::Error::Signature | jwt::Error::Algorithm => Error::Signature,
        jwt::Error::Empty | jwt::Error::Parts(_) | jwt::Error::Malformed | jwt::Error::Claims => {
            Error::Malformed
        }
        other => Error::Claims(other),
    })?;
    let claims = with_role(claims, &project.rest.jwt_role_claim_key);
    let anonymous = project.rest.db_anon_role.as_deref().unwrap_or("anon");
    let caller = Caller { authenticated: claims.role != anonymous, claims: Arc::new(claims) };
    check(&caller, now_secs).map(|()| caller)
}

/// Whether `caller` may be here now, whoever verified the token.
///
/// # Errors
/// [`Error::Expired`], [`Error::Fields`].
pub(crate) fn check(caller: &Caller, now_secs: i64) -> Result<(), Error> {
    let expires_secs = expires_secs(caller).filter(|_| !caller.role().is_empty()).ok_or(Error::Fields)?;
    if expires_secs <= now_secs { Err(Error::Expired(now_secs - expires_secs)) } else { Ok(()) }
}

/// `exp`.
pub(crate) fn expires_secs(caller: &Caller) -> Option<i64> {
    caller.claims.map.get("exp").and_then(whole_seconds)
}

fn with_role(claims: Claims, path: &str) -> Claims {
    if path == ROLE {
        return claims;
    }
    let role = path.parse::<RolePath>().ok().and_then(|it| it.role_of(&claims.map)).unwrap_or_default();
    Claims::with_role(claims.map, &role)
}

#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and a saturated date compares right")]
fn whole_seconds(date: &Value) -> Option<i64> {
    date.as_i64().or_else(|| date.as_f64().map(|it| it as i64))
}
