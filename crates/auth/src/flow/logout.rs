//! `POST /logout?scope=`: end this session, all, or all but this one.

use super::{audit, whoami};
use crate::queries::{self, Change, EndSessions};
use crate::request::Context;
use crate::{Auth, Error};

/// Which sessions end.
#[derive(Clone, Copy)]
pub(crate) enum Scope {
    Global,
    Local,
    Others,
}

impl Scope {
    /// From the query; nothing means all.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, Error> {
        match text.unwrap_or_default() {
            "" | "global" => Ok(Self::Global),
            "local" => Ok(Self::Local),
            "others" => Ok(Self::Others),
            other => Err(Error::Invalid(format!("Unsupported logout scope {other:?}").into())),
        }
    }
}

/// End sessions of the caller.
pub(crate) async fn run(auth: &Auth, ctx: &Context, scope: Scope) -> Result<(), Error> {
    let who = whoami::signed_in(auth, ctx).await?;
    let session_id = who.session.map(|it| it.id);
    let (only, except) = match scope {
        Scope::Global => (None, None),
        Scope::Local => (session_id, None),
        Scope::Others => (None, session_id),
    };
    let mut change = Change::new(ctx.now);
    change.end = Some(EndSessions { user_id: who.account.user.id, only, except });
    change.audit(audit(ctx, "logout", &who.account.user));
    queries::apply(&who.db, &change).await?;
    Ok(())
}
