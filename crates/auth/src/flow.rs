//! What happens: each verb decides on a [`crate::queries::Change`] from a request and what the database holds, writes it,
//! sends its mails after the commit, and answers.
//!
//! Whoever loses a race against another request reads again; after [`ATTEMPTS`] times it is a conflict.

pub(crate) mod admin;
pub(crate) mod external;
pub(crate) mod factors;
pub(crate) mod identities;
mod letter;
pub(crate) mod logout;
pub(crate) mod otp;
#[cfg(feature = "webauthn")]
pub(crate) mod passkeys;
pub(crate) mod phone;
pub(crate) mod reauthenticate;
pub(crate) mod recover;
pub(crate) mod resend;
pub(crate) mod signup;
#[cfg(feature = "saml")]
pub(crate) mod sso;
pub(crate) mod token;
pub(crate) mod user;
pub(crate) mod verify;
mod whoami;

pub(crate) use whoami::{in_person, signed_in};

use store::ServiceClient;
use uuid::Uuid;

use crate::queries::{self, Applied, Audit, Change};
use crate::request::Context;
use crate::session::{Opening, Tokens};
use crate::user::{Object, User};
use crate::{Error, hooks};

/// How often a change is tried again when another request was faster.
const ATTEMPTS: usize = 5;

/// Write `change` together with a new session; `None` when something it relied on changed meanwhile.
async fn sign_in(
    ctx: &Context,
    db: &ServiceClient,
    mut change: Change,
    user_id: Uuid,
    method: &str,
) -> Result<Option<Tokens>, Error> {
    hooks::before_created(ctx, &change.create).await?;
    let mut opening = Opening::new(ctx, user_id, method)?;
    opening.session.not_after = change.session_ends;
    if ctx.project.auth.sessions_single_per_user {
        change.outlive = Some(user_id);
    }
    change.open(&opening);
    let (applied, account) = queries::apply_and_read(db, &change, user_id).await?;
    match (applied, account) {
        (Applied::Done, Some(account)) => {
            Tokens::new(ctx, &account, &opening.session, opening.refresh_token).await.map(Some)
        }
        (Applied::Done | Applied::Stale | Applied::Taken, _) => Ok(None),
    }
}

/// An entry of the audit log about an account.
pub(crate) fn audit<'a>(ctx: &Context, action: &'static str, actor: &'a User) -> Audit<'a> {
    let log_type = match action {
        "login" | "logout" => "account",
        "token_refreshed" | "token_revoked" => "token",
        "user_signedup"
        | "user_invited"
        | "user_deleted"
        | "user_confirmation_requested"
        | "user_repeated_signup" => "team",
        _ => "user",
    };
    Audit { action, log_type, actor: Some(actor), traits: Object::new(), ip: ctx.ip_text() }
}
