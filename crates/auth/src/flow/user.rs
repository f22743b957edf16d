//! `GET` and `PUT /user`: what users see and change of themselves.

mod letters;
mod proof;

pub(super) use letters::resend as resend_change;

use common::AuthSettings;
use serde::Deserialize;
use store::ServiceClient;

use super::phone::change::{self as number, NewNumber};
use super::phone::code::Code;
use super::whoami::SignedIn;
use super::{ATTEMPTS, audit, verify, whoami};
use crate::error::{AccountError, PhoneError};
use crate::mail::{Mail, Slot};
use crate::password;
use crate::queries::{self, Applied, Change, EndSessions, Save, Spend};
use crate::request::{Context, email, phone, pkce, text};
use crate::session::Session;
use crate::sms::Channel;
use crate::user::{Account, Object, User, check_metadata, merge};
use crate::{Auth, Error, OAuthError};

/// The body of a change.
#[derive(Default, Deserialize)]
pub(crate) struct Fields {
    email: Option<String>,
    phone: Option<String>,
    channel: Option<String>,
    password: Option<String>,
    current_password: Option<String>,
    nonce: Option<String>,
    data: Option<Object>,
    app_metadata: Option<Object>,
    #[serde(flatten)]
    pkce: pkce::Fields,
}

/// A checked change.
struct Wanted {
    email: Option<String>,
    number: Option<NewNumber>,
    password: Option<String>,
    current_password: Option<String>,
    nonce: Option<String>,
    data: Option<Object>,
    challenge: Option<pkce::Challenge>,
}

/// What was proved and prepared before anything is written.
struct Ready {
    /// The nonce to spend.
    nonce: Option<Spend>,
    /// Of the new password.
    hash: Option<String>,
    /// The code that was sent to the new number.
    code: Option<Code>,
}

type Letters = Vec<(Slot, Mail)>;

/// The caller.
pub(crate) async fn read(auth: &Auth, ctx: &Context) -> Result<Account, Error> {
    let account = whoami::signed_in(auth, ctx).await?.account;
    if !ctx.fits_audience(&ctx.claims()?) {
        return Err(Error::invalid("Token audience doesn't match request audience"));
    }
    Ok(account)
}

/// Change the caller.
pub(crate) async fn update(auth: &Auth, ctx: &Context, fields: Fields) -> Result<Account, Error> {
    if fields.app_metadata.as_ref().is_some_and(|it| !it.is_empty()) {
        ctx.claims()?;
        return Err(Error::AppMetadata);
    }
    let mut sent: Option<Code> = None;
    for _ in 0..ATTEMPTS {
        let SignedIn { account, session, db } = whoami::signed_in(auth, ctx).await?;
        let wanted = check(ctx, &account, session.as_ref(), &fields)?;
        are_free(&db, &wanted).await?;
        let nonce = proof::nonce(auth, ctx, &db, (&account.user, session.as_ref(), &wanted)).await?;
        // No connection is held while the password is hashed or an SMS leaves.
        drop(db);
        let hash = proof::new_hash(auth, ctx, (&account.user, session.as_ref(), &wanted)).await?;
        if let (None, Some(number), false) = (&sent, &wanted.number, ctx.project.auth.sms_autoconfirm) {
            sent = Some(number::send(auth, ctx, &account.user, number).await?);
        }
        let user_id = account.user.id;
        let ready = Ready { nonce, hash, code: sent.clone() };
        let (change, letters) = decide(auth, ctx, (account, session), (&wanted, ready))?;
        let db = auth.database(&ctx.project).await?;
        match queries::apply_and_read(&db, &change, user_id).await? {
            (Applied::Done, Some(account)) => {
                letters.into_iter().for_each(|(slot, mail)| slot.send(&ctx.project, mail));
                return Ok(account);
            }
            (Applied::Taken, _) if wanted.email.is_none() => return Err(PhoneError::Taken.into()),
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
    let (user, settings) = (&account.user, &ctx.project.auth);
    let wanted = Wanted {
        email: match text(fields.email.clone()) {
            Some(address) => Some(email::parse(&address)?).filter(|it| it != user.address()),
            None => None,
        },
        number: new_number(user, fields, settings)?,
        password: text(fields.password.clone()),
        current_password: text(fields.current_password.clone()),
        nonce: text(fields.nonce.clone()),
        data: fields.data.clone(),
        challenge: fields.pkce.clone().parse()?,
    };
    if let Some(password) = &wanted.password {
        password::check_strength(password, settings)?;
    }
    let proving = wanted.email.is_some() || wanted.number.is_some() || wanted.password.is_some();
    let strong = session.is_some_and(Session::is_aal2);
    if proving && account.has_verified_factor() && !strong {
        return Err(Error::InsufficientAal);
    }
    let nameless = user.is_anonymous && user.address().is_empty() && user.number().is_empty();
    if wanted.password.is_some() && nameless && wanted.email.is_none() && wanted.number.is_none() {
        return Err(Error::AnonymousPassword);
    }
    if proving && session.is_some_and(Session::is_of_client) {
        return Err(OAuthError::Anonymous.into());
    }
    if user.is_sso_user && (proving || wanted.nonce.is_some()) {
        return Err(AccountError::SsoManaged.into());
    }
    Ok(wanted)
}

fn new_number(user: &User, fields: &Fields, settings: &AuthSettings) -> Result<Option<NewNumber>, Error> {
    let Some(number) = text(fields.phone.clone()) else { return Ok(None) };
    let phone = phone::parse(&number)?;
    let channel = Channel::parse(fields.channel.clone(), settings)?;
    if phone == user.number() {
        return Ok(None);
    }
    if !settings.phone_enabled {
        return Err(PhoneError::Unsupported.into());
    }
    Ok(Some(NewNumber { phone, channel }))
}

/// Refuse an address or number that somebody else has; a race is caught by the indexes.
async fn are_free(db: &ServiceClient, wanted: &Wanted) -> Result<(), Error> {
    if let Some(email) = &wanted.email
        && queries::by_email(db, email).await?.is_some()
    {
        return Err(Error::EmailExists);
    }
    if let Some(number) = &wanted.number
        && queries::by_phone(db, &number.phone).await?.is_some()
    {
        return Err(PhoneError::Taken.into());
    }
    Ok(())
}

fn decide(
    auth: &Auth,
    ctx: &Context,
    (account, session): (Account, Option<Session>),
    (wanted, ready): (&Wanted, Ready),
) -> Result<(Change, Letters), Error> {
    let (by_email, by_phone) = (account.email_identity().cloned(), account.phone_identity().cloned());
    let Account { user: mut row, version, .. } = account;
    let mut change = Change::new(ctx.now);
    change.spend = ready.nonce;
    if let Some(data) = &wanted.data {
        merge(&mut row.raw_user_meta_data, data.clone());
        check_metadata(row.raw_user_meta_data.as_ref())?;
    }
    if let Some(hash) = ready.hash {
        row.encrypted_password = Some(hash);
        change.audit(audit(ctx, "user_updated_password", &row));
        // Whoever knew the old password is out; this session stays.
        change.end = Some(EndSessions { user_id: row.id, only: None, except: session.map(|it| it.id) });
    }
    let mut letters = Letters::new();
    if let Some(address) = &wanted.email {
        row.email_change = Some(address.clone());
        // An anonymous user gets an address as a new user would; others always prove a new one.
        if ctx.project.auth.mailer_autoconfirm && row.is_anonymous {
            verify::change_address(ctx, &mut change, &mut row, by_email);
        } else {
            let challenge = wanted.challenge.as_ref();
            letters = letters::write(auth, ctx, &mut change, (&mut row, challenge))?;
        }
    }
    match (&wanted.number, &ready.code) {
        (Some(new), Some(code)) => number::wait(ctx, &mut change, &mut row, (&new.phone, code)),
        (Some(new), None) => {
            row.phone_change = Some(new.phone.clone());
            number::finish(ctx, &mut change, &mut row, by_phone);
        }
        (None, _) => {}
    }
    change.audit(audit(ctx, "user_modified", &row));
    change.save = Some(Save { version, row });
    Ok((change, letters))
}
