//! What a code to a user's own number proves: that the number is theirs, which also signs in.

use crate::flow::audit;
use crate::queries::Change;
use crate::request::Context;
use crate::user::{Identity, Object, PHONE, User};

/// The user got the code at the number that the user has.
pub(crate) fn confirm(ctx: &Context, change: &mut Change, row: &mut User, identity: Option<Identity>) {
    change.clear = Some(row.id);
    if row.phone_confirmed_at.is_some() {
        change.audit(audit(ctx, "login", row));
        return;
    }
    row.confirm_phone(ctx.now);
    row.add_provider(PHONE);
    change.audit(audit(ctx, "user_signedup", row));
    let mut identity = identity.unwrap_or_else(|| Identity::phone(row, true, &Object::new()).made(ctx.now));
    identity.identity_data.insert("phone_verified".into(), true.into());
    identity.updated_at = Some(ctx.now);
    change.identities.push(identity);
}
