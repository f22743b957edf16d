//! A signed-in user adds another way of signing in.

use uuid::Uuid;

use super::account::{Arrival, Decision, Outcome, Refusal, check_flow, confirmation, finish, returning};
use crate::flow::ATTEMPTS;
use crate::queries::{self, Change, Save};
use crate::request::Context;
use crate::user::User;
use crate::{Auth, Error, ExternalError};

/// Link what `arrival` tells about to the user `target`.
pub(crate) async fn link(
    auth: &Auth,
    ctx: &Context,
    arrival: &Arrival<'_>,
    target: Uuid,
) -> Result<Outcome, Error> {
    for attempt in 0..ATTEMPTS {
        let db = auth.database(&ctx.project).await?;
        check_flow(&db, arrival, attempt).await?;
        let account = queries::by_id(&db, target).await?.ok_or(ExternalError::LinkTargetMissing)?;
        let wanted = arrival.profile.primary().map_or("", |it| it.address.as_str());
        let found =
            queries::candidates(&db, (arrival.provider, &arrival.profile.subject), &[], wanted).await?;
        match found.known {
            Some(user) if user == target => return Err(ExternalError::Linked.into()),
            Some(_) => return Err(ExternalError::LinkedElsewhere.into()),
            None => {}
        }
        let mut change = Change::new(ctx.now);
        // What the user wrote about themselves stays.
        let metadata = account.user.raw_user_meta_data.clone();
        let (mut row, version, _) = returning(ctx, arrival, &mut change, account, false)?;
        row.raw_user_meta_data = metadata;
        let refusal = take_address(auth, ctx, (arrival, &mut change), &mut row, found.taken)?;
        let user_id = row.id;
        change.save = version.map(|version| Save { version, row });
        if let Some(outcome) = finish(ctx, &db, arrival, Decision { change, user_id, refusal }).await? {
            return Ok(outcome);
        }
    }
    Err(Error::Conflict)
}

/// A user without an address gets the provider's.
fn take_address(
    auth: &Auth,
    ctx: &Context,
    (arrival, change): (&Arrival<'_>, &mut Change),
    row: &mut User,
    taken: bool,
) -> Result<Option<Refusal>, Error> {
    let Some(email) = arrival.profile.primary().filter(|_| row.address().is_empty()) else {
        return Ok(None);
    };
    if taken {
        return Err(ExternalError::LinkedEmailTaken.into());
    }
    row.email = Some(crate::request::email::parse(&email.address)?);
    if email.verified {
        row.confirm(ctx.now);
        return Ok(None);
    }
    let letter = Some(confirmation(auth, ctx, change, row)?);
    let error = ExternalError::LinkedMailSent(arrival.provider.to_owned()).into();
    Ok(Some(Refusal { error, letter }))
}
