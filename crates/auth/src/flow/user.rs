//! `GET` and `PUT /user`: what users see and change of themselves.

use serde::Deserialize;
use store::ServiceClient;

use super::letter::{EMAIL_CHANGE_CURRENT, EMAIL_CHANGE_NEW, Letter};
use super::{ATTEMPTS, audit, verify, whoami};
use crate::mail::{Mail, Slot};
use crate::password::{self, Verdict};
use crate::queries::{self, Applied, Change, EndSessions, Save};
use crate::request::{Context, email, pkce, text};
use crate::session::Session;
use crate::user::{Account, Object, merge};
use crate::{Auth, Error};

/// The body of a change.
#[derive(Default, Deserialize)]
pub(crate) struct Fields {
    email: Option<String>,
    phone: Option<String>,
    password: Option<String>,
    data: Option<Object>,
    app_metadata: Option<Object>,
    #[serde(flatten)]
    pkce: pkce::Fields,
}

/// A checked change.
struct Wanted {
    email: Option<String>,
    password: Option<String>,
    data: Option<Object>,
    challenge: Option<pkce::Challenge>,
}

type Letters = Vec<(Slot, Mail)>;

/// The caller.
pub(crate) async fn read(auth: &Auth, ctx: &Context) -> Result<Account, Error> {
    whoami::signed_in(auth, ctx).await.map(|it| it.account)
}

/// Change the caller.
pub(crate) async fn update(auth: &Auth, ctx: &Context, fields: Fields) -> Result<Account, Error> {
    if fields.app_metadata.as_ref().is_some_and(|it| !it.is_empty()) {
        ctx.claims()?;
        return Err(Error::AppMetadata);
    }
    for _ in 0..ATTEMPTS {
        let who = whoami::signed_in(auth, ctx).await?;
        let wanted = check(ctx, &who.account, who.session.as_ref(), &fields)?;
        // No connection is held while the password is hashed.
        let hash = new_hash(auth, &who, &wanted).await?;
        let whoami::SignedIn { account, session, db } = who;
        let user_id = account.user.id;
        let (change, letters) = decide(auth, ctx, (account, session), (&wanted, hash))?;
        match queries::apply_and_read(&db, &change, user_id).await? {
            (Applied::Done, Some(account)) => {
                letters.into_iter().for_each(|(slot, mail)| slot.send(&ctx.project, mail));
                return Ok(account);
            }
            (Applied::Taken, _) => return Err(Error::EmailExists),
            (Applied::Done | Applied::Stale, _) => {}
        }
    }
    Err(Error::Conflict)
}

fn check(
    ctx: &Context,
    account: &Account,
    session: Option<&Session>,
    fields: &Fields,
) -> Result<Wanted, Error> {
    let user = &account.user;
    let email = match text(fields.email.clone()) {
        Some(address) => Some(email::parse(&address)?).filter(|it| it != user.address()),
        None => None,
    };
    let password = text(fields.password.clone());
    if text(fields.phone.clone()).is_some_and(|it| Some(it) != user.phone) {
        return Err(Error::PhoneProvider);
    }
    if password.is_some() && user.is_anonymous && user.address().is_empty() && email.is_none() {
        return Err(Error::AnonymousPassword);
    }
    let strong = session.and_then(|it| it.aal.as_deref()) == Some("aal2");
    if (email.is_some() || password.is_some()) && account.has_verified_factor() && !strong {
        return Err(Error::InsufficientAal);
    }
    if let Some(password) = &password {
        password::check_strength(password, &ctx.project.auth)?;
    }
    let challenge = pkce_of(fields)?;
    Ok(Wanted { email, password, data: fields.data.clone(), challenge })
}

fn pkce_of(fields: &Fields) -> Result<Option<pkce::Challenge>, Error> {
    fields.pkce.clone().parse()
}

async fn new_hash(auth: &Auth, who: &whoami::SignedIn, wanted: &Wanted) -> Result<Option<String>, Error> {
    let Some(password) = &wanted.password else { return Ok(None) };
    let stored = who.account.user.encrypted_password.as_deref();
    if auth.passwords().compare(password, stored).await? != Verdict::Wrong {
        return Err(Error::SamePassword);
    }
    auth.passwords().hash(password).await.map(Some)
}

fn decide(
    auth: &Auth,
    ctx: &Context,
    (account, session): (Account, Option<Session>),
    (wanted, hash): (&Wanted, Option<String>),
) -> Result<(Change, Letters), Error> {
    let identity = account.email_identity().cloned();
    let Account { user: mut row, version, .. } = account;
    let mut change = Change::new(ctx.now);
    let mut letters = Letters::new();
    if let Some(data) = &wanted.data {
        merge(&mut row.raw_user_meta_data, data.clone());
    }
    if let Some(hash) = hash {
        row.encrypted_password = Some(hash);
        change.audit(audit(ctx, "user_updated_password", &row));
        // Whoever knew the old password is out; this session stays.
        change.end = Some(EndSessions { user_id: row.id, only: None, except: session.map(|it| it.id) });
    }
    if let Some(address) = &wanted.email {
        row.email_change = Some(address.clone());
        if ctx.project.auth.mailer_autoconfirm {
            verify::change_address(ctx, &mut change, &mut row, identity);
        } else {
            let pkce = wanted.challenge.is_some();
            letters = change_letters(auth, ctx, &mut change, (&mut row, pkce))?;
            change.flows.extend(super::token::pkce::begin(wanted.challenge.as_ref(), row.id, "email_change"));
        }
    } else {
        change.audit(audit(ctx, "user_modified", &row));
    }
    change.save = Some(Save { version, row });
    Ok((change, letters))
}

/// Mails to the new address and, if there is one, to the old: both must agree.
fn change_letters(
    auth: &Auth,
    ctx: &Context,
    change: &mut Change,
    (row, pkce): (&mut crate::user::User, bool),
) -> Result<Letters, Error> {
    let mut letters = Letters::new();
    let slot = auth.outbox().reserve(&ctx.project, row.email_change_sent_at, ctx.now)?;
    row.email_change_sent_at = Some(ctx.now);
    row.email_change_confirm_status = Some(0);
    let new_address = row.email_change.clone().unwrap_or_default();
    let letter = Letter::new(ctx, EMAIL_CHANGE_NEW, row, &new_address, pkce)?;
    change.mail.push(letter.row);
    letters.push((slot, letter.mail));
    if !row.address().is_empty() {
        let slot = auth.outbox().reserve_anyway(&ctx.project, ctx.now)?;
        let letter = Letter::new(ctx, EMAIL_CHANGE_CURRENT, row, row.address(), pkce)?;
        change.mail.push(letter.row);
        letters.push((slot, letter.mail));
    }
    Ok(letters)
}

/// The mails of a pending change of address once more; `false` when the user changed meanwhile.
pub(super) async fn resend_change(
    auth: &Auth,
    ctx: &Context,
    db: &ServiceClient,
    account: Account,
) -> Result<bool, Error> {
    let Account { user: mut row, version, .. } = account;
    let mut change = Change::new(ctx.now);
    let letters = change_letters(auth, ctx, &mut change, (&mut row, false))?;
    change.save = Some(Save { version, row });
    let done = queries::apply(db, &change).await? == Applied::Done;
    if done {
        letters.into_iter().for_each(|(slot, mail)| slot.send(&ctx.project, mail));
    }
    Ok(done)
}
