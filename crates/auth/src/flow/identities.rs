//! `DELETE /user/identities/{id}`: a way of signing in goes, as long as another one is left.
//!
//! The address or number of the identity that goes does not stay behind as the user's own.

use serde_json::Value;
use store::ServiceClient;
use uuid::Uuid;

use super::whoami::SignedIn;
use super::{ATTEMPTS, audit, whoami};
use crate::error::AccountError;
use crate::queries::{self, Applied, Change, Save};
use crate::request::Context;
use crate::user::{AUDIENCE, Account, Identity, PHONE, User};
use crate::{Auth, Error};

/// Remove the caller's identity `id`.
pub(crate) async fn unlink(auth: &Auth, ctx: &Context, id: &str) -> Result<(), Error> {
    let claims = ctx.claims()?;
    if !ctx.project.auth.manual_linking {
        return Err(AccountError::LinkingDisabled.into());
    }
    let id: Uuid = id.parse().map_err(|_| AccountError::InvalidIdentityId)?;
    for _ in 0..ATTEMPTS {
        let SignedIn { account, db, .. } = whoami::in_person(auth, ctx).await?;
        let own = claims.text("aud") == Some(account.user.aud.as_deref().unwrap_or(AUDIENCE));
        if !own || !ctx.fits_audience(&claims) {
            return Err(AccountError::Audience.into());
        }
        let Account { user: mut row, version, identities, .. } = account;
        if identities.len() <= 1 {
            return Err(AccountError::SingleIdentity.into());
        }
        let (gone, left): (Vec<_>, Vec<_>) = identities.into_iter().partition(|it| it.id == id);
        let Some(gone) = gone.into_iter().next() else { return Err(AccountError::IdentityMissing.into()) };
        if gone.provider == PHONE {
            row.phone = None;
            row.phone_confirmed_at = None;
        } else {
            take_address(ctx, &db, &mut row, &left).await?;
        }
        row.set_providers(left.iter().map(|it| it.provider.as_str()));
        let mut change = Change::new(ctx.now);
        change.audit(audit(ctx, "identity_unlinked", &row));
        change.disown.push(gone.id);
        change.save = Some(Save { version, row });
        match queries::apply(&db, &change).await? {
            Applied::Done => return Ok(()),
            Applied::Taken => return Err(AccountError::UnlinkConflict.into()),
            Applied::Stale => {}
        }
    }
    Err(Error::Conflict)
}

/// Give the user the best address of the identities that are left, unless one of them has the user's already.
async fn take_address(
    ctx: &Context,
    db: &ServiceClient,
    row: &mut User,
    left: &[Identity],
) -> Result<(), Error> {
    if left.iter().any(|it| it.address() == row.address()) {
        return Ok(());
    }
    let mut ranked: Vec<&Identity> = left.iter().collect();
    ranked.sort_by_key(|it| (it.address().is_empty(), !is_verified(it), it.created_at));
    for identity in ranked {
        let address = identity.address();
        let free = address.is_empty() || queries::by_email(db, &address).await?.is_none();
        if free {
            row.email = Some(address.clone()).filter(|it| !it.is_empty());
            let proved =
                !address.is_empty() && (is_verified(identity) || ctx.project.auth.mailer_autoconfirm);
            row.email_confirmed_at = proved.then(|| row.email_confirmed_at.unwrap_or(ctx.now));
            return Ok(());
        }
    }
    Err(AccountError::UnlinkConflict.into())
}

fn is_verified(identity: &Identity) -> bool {
    identity.identity_data.get("email_verified").and_then(Value::as_bool).unwrap_or_default()
}
