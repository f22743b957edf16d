//! Who somebody is that a provider tells about: a user who signed in with that identity before, one with the same
//! verified address, or a new one.
//!
//! Only addresses that the provider has verified lead to an existing user, also where the project confirms addresses by
//! itself: otherwise whoever tells a careless provider your address would be you. An account whose address nobody ever
//! proved loses what it had (password, other identities): somebody else may have made it to wait for its owner.

use uuid::Uuid;

use crate::flow::letter::{Letter, SIGNUP};
use crate::flow::{ATTEMPTS, audit};
use crate::mail::{Mail, Slot};
use crate::providers::Profile;
use crate::queries::{self, Applied, Audit, Candidates, Change, Claim, Save, Spend};
use crate::request::Context;
use crate::session::Tokens;
use crate::user::{Account, Identity, Object, User, merge, object};
use crate::{Auth, Error, ExternalError};

/// The provider of wallets: they have no address, ever.
pub(crate) const WEB3: &str = "web3";
/// What providers of organisations begin with.
pub(crate) const ORGANISATION: &str = "sso:";

/// Somebody whom a provider tells about.
pub(crate) struct Arrival<'a> {
    pub(crate) provider: &'a str,
    pub(crate) profile: &'a Profile,
    pub(crate) email_optional: bool,
    /// `amr` of the session.
    pub(crate) method: &'static str,
    /// The flow that ends here.
    pub(crate) flow: Option<Uuid>,
    /// The code that the flow ends in; the user is filled in.
    pub(crate) claim: Option<Claim>,
    /// When the provider wants the session to end.
    pub(crate) session_ends: Option<jiff::Timestamp>,
}

/// How it ends.
pub(crate) enum Outcome {
    SignedIn(Box<Tokens>),
    /// The flow has its code.
    Claimed,
}

/// What is to be written, and whether the user may come in then.
pub(super) struct Decision {
    pub(super) change: Change,
    pub(super) user_id: Uuid,
    pub(super) refusal: Option<Refusal>,
}

/// Written all the same, but the user must prove the address first.
pub(super) struct Refusal {
    pub(super) error: Error,
    pub(super) letter: Option<(Slot, Mail)>,
}

/// Sign in, or sign up.
pub(crate) async fn sign_in(auth: &Auth, ctx: &Context, arrival: &Arrival<'_>) -> Result<Outcome, Error> {
    for attempt in 0..ATTEMPTS {
        let db = auth.database(&ctx.project).await?;
        check_flow(&db, arrival, attempt).await?;
        let decision = decide(auth, ctx, &db, arrival).await?;
        if let Some(outcome) = finish(ctx, &db, arrival, decision).await? {
            return Ok(outcome);
        }
    }
    Err(Error::Conflict)
}

/// Whether somebody else finished the flow meanwhile; looked up only when a change did not go through.
pub(super) async fn check_flow(
    db: &store::ServiceClient,
    arrival: &Arrival<'_>,
    attempt: usize,
) -> Result<(), Error> {
    let (Some(id), true) = (arrival.flow, attempt > 0) else { return Ok(()) };
    match queries::flow(db, id, arrival.method).await? {
        Some(flow) if flow.user_id.is_none() => Ok(()),
        _ => Err(ExternalError::StateUsed.into()),
    }
}

/// Write a decision; `None` when something it relied on changed meanwhile.
pub(super) async fn finish(
    ctx: &Context,
    db: &store::ServiceClient,
    arrival: &Arrival<'_>,
    decision: Decision,
) -> Result<Option<Outcome>, Error> {
    let Decision { mut change, user_id, refusal } = decision;
    if let Some(Refusal { error, letter }) = refusal {
        change.finish_flow = arrival.flow;
        if queries::apply(db, &change).await? != Applied::Done {
            return Ok(None);
        }
        if let Some((slot, mail)) = letter {
            slot.send(&ctx.project, mail);
        }
        return Err(error);
    }
    if let Some(claim) = &arrival.claim {
        crate::hooks::before_created(ctx, &change.create).await?;
        change.claim = Some(Claim { user_id, ..claim.clone() });
        let done = queries::apply(db, &change).await? == Applied::Done;
        return Ok(done.then_some(Outcome::Claimed));
    }
    change.finish_flow = arrival.flow;
    change.session_ends = arrival.session_ends;
    let tokens = crate::flow::sign_in(ctx, db, change, user_id, arrival.method).await?;
    Ok(tokens.map(|it| Outcome::SignedIn(Box::new(it))))
}

async fn decide(
    auth: &Auth,
    ctx: &Context,
    db: &store::ServiceClient,
    arrival: &Arrival<'_>,
) -> Result<Decision, Error> {
    let profile = arrival.profile;
    let verified: Vec<&str> =
        profile.emails.iter().filter(|it| it.verified).map(|it| it.address.as_str()).collect();
    let wanted = profile.primary().map_or("", |it| it.address.as_str());
    let found = queries::candidates(db, (arrival.provider, &profile.subject), &verified, wanted).await?;
    let mut change = Change::new(ctx.now);
    let (row, version, others) = match chosen(&found)? {
        Some(id) => {
            let account = queries::by_id(db, id).await?.ok_or(Error::Conflict)?;
            let known = found.known.is_some();
            returning(ctx, arrival, &mut change, account, known)?
        }
        None => (newcomer(ctx, arrival, &mut change, found.taken)?, None, Vec::new()),
    };
    admit(auth, ctx, arrival, change, (row, version, others))
}

/// The one user that it can be.
fn chosen(found: &Candidates) -> Result<Option<Uuid>, Error> {
    if found.known.is_some() {
        return Ok(found.known);
    }
    let mut users: Vec<Uuid> = found.by_identity.iter().chain(&found.by_address).copied().collect();
    users.sort_unstable();
    users.dedup();
    match users.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        _ => Err(ExternalError::Ambiguous.into()),
    }
}

/// Somebody who is here already: a fresh identity, or the old one with fresh facts. The user's row, its version, and
/// the user's other identities.
pub(super) fn returning(
    ctx: &Context,
    arrival: &Arrival<'_>,
    change: &mut Change,
    account: Account,
    known: bool,
) -> Result<(User, Option<String>, Vec<Uuid>), Error> {
    let Account { user: mut row, version, identities, .. } = account;
    if row.deleted_at.is_some() {
        return Err(Error::UserMissing);
    }
    if row.is_banned(ctx.now) {
        return Err(Error::Banned);
    }
    let is_this =
        |it: &Identity| it.provider == arrival.provider && it.provider_id == arrival.profile.subject;
    let others = identities.iter().filter(|it| !is_this(it)).map(|it| it.id).collect();
    let mut identity = new_identity(ctx, arrival, row.id);
    if let Some(old) = identities.iter().find(|it| is_this(it)) {
        identity.id = old.id;
        identity.created_at = old.created_at;
    }
    merge(&mut row.raw_user_meta_data, arrival.profile.claims.clone());
    row.add_provider(arrival.provider);
    if !known {
        change.audit(linked(ctx, &row, &identity));
    }
    change.identities.push(identity);
    Ok((row, Some(version), others))
}

/// Somebody new.
fn newcomer(ctx: &Context, arrival: &Arrival<'_>, change: &mut Change, taken: bool) -> Result<User, Error> {
    if ctx.project.auth.disable_signup {
        return Err(Error::SignupDisabled);
    }
    let address = arrival.profile.primary().filter(|_| !taken).map(|it| it.address.clone());
    let address = address.map(|it| crate::request::email::parse(&it)).transpose()?;
    let mut row = User::new(address, arrival.profile.claims.clone(), ctx.now);
    row.is_anonymous = false;
    row.is_sso_user = arrival.provider.starts_with(ORGANISATION);
    row.raw_app_meta_data = Some(Object::new());
    row.add_provider(arrival.provider);
    change.identities.push(new_identity(ctx, arrival, row.id));
    Ok(row)
}

pub(super) fn new_identity(ctx: &Context, arrival: &Arrival<'_>, user_id: Uuid) -> Identity {
    Identity {
        id: Uuid::new_v4(),
        provider_id: arrival.profile.subject.clone(),
        user_id,
        identity_data: arrival.profile.claims.clone(),
        provider: arrival.provider.to_owned(),
        last_sign_in_at: Some(ctx.now),
        created_at: Some(ctx.now),
        updated_at: Some(ctx.now),
    }
}

/// Whether the user may come in, or must prove the address first.
fn admit(
    auth: &Auth,
    ctx: &Context,
    arrival: &Arrival<'_>,
    mut change: Change,
    (mut row, version, others): (User, Option<String>, Vec<Uuid>),
) -> Result<Decision, Error> {
    let addressless = arrival.provider == WEB3 || (arrival.email_optional && row.address().is_empty());
    let mut refusal = None;
    if addressless || row.is_confirmed() {
        change.audit(with_provider(audit(ctx, "login", &row), arrival));
    } else {
        row.encrypted_password = None;
        row.raw_user_meta_data = Some(arrival.profile.claims.clone());
        row.raw_app_meta_data.get_or_insert_default().remove("provider");
        row.raw_app_meta_data.get_or_insert_default().remove("providers");
        row.add_provider(arrival.provider);
        change.disown = others;
        let proved = arrival
            .profile
            .primary()
            .is_some_and(|it| it.verified && (row.address().is_empty() || it.address == row.address()));
        if proved || ctx.project.auth.mailer_autoconfirm {
            row.confirm(ctx.now);
            change.clear = version.is_some().then_some(row.id);
            change.audit(with_provider(audit(ctx, "user_signedup", &row), arrival));
        } else {
            refusal = Some(must_prove(auth, ctx, arrival, &mut change, &mut row)?);
        }
    }
    if refusal.is_none() {
        row.last_sign_in_at = Some(ctx.now);
    }
    let user_id = row.id;
    match version {
        Some(version) => change.save = Some(Save { version, row }),
        None => change.create.push(row),
    }
    Ok(Decision { change, user_id, refusal })
}

fn must_prove(
    auth: &Auth,
    ctx: &Context,
    arrival: &Arrival<'_>,
    change: &mut Change,
    row: &mut User,
) -> Result<Refusal, Error> {
    let provider = arrival.provider.to_owned();
    if row.address().is_empty() {
        return Ok(Refusal { error: ExternalError::Unverified(provider).into(), letter: None });
    }
    let letter = confirmation(auth, ctx, change, row)?;
    Ok(Refusal { error: ExternalError::MailSent(provider).into(), letter: Some(letter) })
}

/// A mail to the user's address that confirms it.
pub(super) fn confirmation(
    auth: &Auth,
    ctx: &Context,
    change: &mut Change,
    row: &mut User,
) -> Result<(Slot, Mail), Error> {
    let slot = auth.outbox().reserve(&ctx.project, row.confirmation_sent_at, ctx.now)?;
    row.confirmation_sent_at = Some(ctx.now);
    let letter = Letter::new(ctx, SIGNUP, row, row.address(), false)?;
    let mail = letter.write(ctx, change)?;
    change.audit(audit(ctx, "user_confirmation_requested", row));
    Ok((slot, mail))
}

pub(super) fn linked<'a>(ctx: &Context, row: &'a User, identity: &Identity) -> Audit<'a> {
    let traits = object(serde_json::json!({
        "identity_id": identity.id, "provider": identity.provider, "provider_id": identity.provider_id,
    }));
    Audit { traits, ..audit(ctx, "identity_linked", row) }
}

fn with_provider<'a>(audit: Audit<'a>, arrival: &Arrival<'_>) -> Audit<'a> {
    Audit { traits: object(serde_json::json!({"provider": arrival.provider})), ..audit }
}

/// Somebody who was invited by mail and answers by a provider: the token in the mail proves the address.
pub(super) async fn accept_invite(
    auth: &Auth,
    ctx: &Context,
    arrival: &Arrival<'_>,
    token: &str,
) -> Result<Outcome, Error> {
    for attempt in 0..ATTEMPTS {
        let db = auth.database(&ctx.project).await?;
        check_flow(&db, arrival, attempt).await?;
        let invited = queries::mailed_by_link(&db, token).await?.ok_or(ExternalError::InviteMissing)?;
        let spent = invited.tokens.first().filter(|it| it.token_type == "confirmation_token");
        let spent = spent.cloned().ok_or(ExternalError::InviteMissing)?;
        let address = invited.account.user.address().to_owned();
        if !arrival.profile.emails.iter().any(|it| it.address == address) {
            return Err(ExternalError::InviteMismatch.into());
        }
        let mut change = Change::new(ctx.now);
        change.spend = Some(Spend { id: spent.id, token_hash: spent.token_hash });
        let (mut row, version, others) = returning(ctx, arrival, &mut change, invited.account, false)?;
        if !row.is_confirmed() {
            row.encrypted_password = None;
            row.raw_app_meta_data.get_or_insert_default().remove("providers");
            row.add_provider(arrival.provider);
            change.disown = others;
        }
        row.raw_app_meta_data.get_or_insert_default().insert("provider".into(), arrival.provider.into());
        row.confirm(ctx.now);
        row.last_sign_in_at = Some(ctx.now);
        change.audit(with_provider(audit(ctx, "invite_accepted", &row), arrival));
        let user_id = row.id;
        change.save = version.map(|version| Save { version, row });
        let decision = Decision { change, user_id, refusal: None };
        if let Some(outcome) = finish(ctx, &db, arrival, decision).await? {
            return Ok(outcome);
        }
    }
    Err(Error::Conflict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_known_before_goes_first_and_two_users_are_one_too_many() {
        let [a, b] = [1, 2].map(Uuid::from_u128);
        let found = |known, by_identity: &[Uuid], by_address: &[Uuid]| Candidates {
            known,
            by_identity: by_identity.to_vec(),
            by_address: by_address.to_vec(),
            taken: false,
        };
        assert_eq!(chosen(&found(Some(a), &[b], &[b])).unwrap(), Some(a));
        assert_eq!(chosen(&found(None, &[], &[])).unwrap(), None);
        assert_eq!(chosen(&found(None, &[a], &[a])).unwrap(), Some(a));
        assert!(chosen(&found(None, &[a], &[b])).is_err());
    }
}
