//! `POST /signup`: a new user by e-mail and password, or an anonymous one.
//!
//! An address that is taken looks like a new one where confirmations are on: same status, same time, no mail.

use axum::Json;
use axum::response::{IntoResponse, Response};
use common::AuthSettings;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::letter::{Letter, SIGNUP, check_pace};
use super::phone::signup::NewPhoneUser;
use super::{ATTEMPTS, audit, sign_in};
use crate::error::{AccountError, PhoneError};
use crate::password::{self, breach};
use crate::queries::{self, Applied, Change, Save};
use crate::request::{Context, email, phone, pkce, text};
use crate::session::Tokens;
use crate::sms::Channel;
use crate::user::{Account, Identity, Object, User, UserView, check_metadata, object};
use crate::{Auth, Error, hooks};

/// The body of a sign-up.
#[derive(Default, Deserialize)]
pub(crate) struct Fields {
    email: Option<String>,
    phone: Option<String>,
    password: Option<String>,
    data: Option<Object>,
    channel: Option<String>,
    #[serde(flatten)]
    pkce: pkce::Fields,
}

/// A checked sign-up.
pub(crate) enum SignUp {
    Anonymous { data: Object },
    Email(NewUser),
    Phone(NewPhoneUser),
}

/// A new user by e-mail. Without a password the user signs in by mailed codes only.
pub(crate) struct NewUser {
    pub(crate) email: String,
    pub(crate) password: Option<String>,
    pub(crate) data: Object,
    pub(crate) challenge: Option<pkce::Challenge>,
}

/// What a sign-up is answered with.
pub(crate) enum Outcome {
    SignedIn(Box<Tokens>),
    /// The user, who must confirm first.
    Waiting(Value),
}

impl IntoResponse for Outcome {
    fn into_response(self) -> Response {
        match self {
            Self::SignedIn(tokens) => tokens.into_response(),
            Self::Waiting(user) => Json(user).into_response(),
        }
    }
}

impl SignUp {
    /// Check what needs no database.
    pub(crate) fn parse(fields: Fields, settings: &AuthSettings) -> Result<Self, Error> {
        let (address, phone) = (text(fields.email), text(fields.phone));
        let data = fields.data.unwrap_or_default();
        check_metadata(Some(&data))?;
        if address.is_none() && phone.is_none() && !settings.anonymous_users {
            return Err(Error::AnonymousDisabled);
        }
        if settings.disable_signup {
            return Err(Error::SignupDisabled);
        }
        if address.is_none() && phone.is_none() {
            return Ok(Self::Anonymous { data });
        }
        let Some(password) = text(fields.password) else {
            return Err(Error::invalid("Signup requires a valid password"));
        };
        password::check_strength(&password, settings)?;
        let challenge = fields.pkce.parse()?;
        match (address, phone) {
            (Some(_), Some(_)) => {
                Err(Error::invalid("Only an email address or phone number should be provided on signup."))
            }
            (Some(_), None) if !settings.email_enabled => Err(AccountError::EmailSignupsDisabled.into()),
            (Some(address), None) => {
                let email = email::parse(&address)?;
                Ok(Self::Email(NewUser { email, password: Some(password), data, challenge }))
            }
            (None, _) if !settings.phone_enabled => Err(PhoneError::SignupsDisabled.into()),
            (None, _) if challenge.is_some() => Err(Error::invalid("PKCE not supported for phone signups")),
            (None, phone) => {
                let phone = phone::parse(&phone.unwrap_or_default())?;
                let channel = Channel::parse(fields.channel, settings)?;
                Ok(Self::Phone(NewPhoneUser { phone, password: Some(password), data, channel }))
            }
        }
    }
}

/// Sign somebody up.
pub(crate) async fn run(auth: &Auth, ctx: &Context, request: SignUp) -> Result<Outcome, Error> {
    match request {
        SignUp::Anonymous { data } => anonymous(auth, ctx, data).await,
        SignUp::Email(new) => {
            if !ctx.project.auth.mailer_autoconfirm {
                check_pace(auth, ctx, &new.email).await?;
            }
            by_email(auth, ctx, new).await
        }
        SignUp::Phone(new) => super::phone::signup::run(auth, ctx, new).await,
    }
}

async fn anonymous(auth: &Auth, ctx: &Context, data: Object) -> Result<Outcome, Error> {
    let mut user = User::new(None, data, ctx.now);
    user.last_sign_in_at = Some(ctx.now);
    let user_id = user.id;
    let mut change = Change::new(ctx.now);
    change.create.push(user);
    let db = auth.database(&ctx.project).await?;
    let tokens = sign_in(ctx, &db, change, user_id, "anonymous").await?.ok_or(Error::Conflict)?;
    Ok(Outcome::SignedIn(Box::new(tokens)))
}

/// Sign up by e-mail.
pub(crate) async fn by_email(auth: &Auth, ctx: &Context, new: NewUser) -> Result<Outcome, Error> {
    // Before anything is looked up, so that a taken address takes the same time.
    let hash = match &new.password {
        Some(password) => {
            breach::check(ctx, password).await?;
            Some(auth.passwords().hash(password).await?)
        }
        None => None,
    };
    for _ in 0..ATTEMPTS {
        let db = auth.database(&ctx.project).await?;
        let found = queries::by_email(&db, &new.email).await?;
        let autoconfirm = ctx.project.auth.mailer_autoconfirm;
        let outcome = match found {
            Some(account) if account.user.is_confirmed() || autoconfirm => {
                return repeated(auth, ctx, &db, (&new, &account)).await;
            }
            Some(account) => remind(auth, ctx, &db, (&new, account)).await?,
            None if autoconfirm => {
                let (change, user_id) = confirmed(ctx, &new, hash.clone());
                let tokens = sign_in(ctx, &db, change, user_id, "password").await?;
                tokens.map(|it| Outcome::SignedIn(Box::new(it)))
            }
            None => unconfirmed(auth, ctx, &db, (&new, hash.clone())).await?,
        };
        if let Some(outcome) = outcome {
            return Ok(outcome);
        }
    }
    Err(Error::Conflict)
}

/// The first identity of somebody new, which the user is described by.
pub(super) fn described(user: &mut User, data: &Object) -> Identity {
    let identity = Identity::email(user, false, data);
    user.describe(&identity);
    identity
}

/// A new user whose address counts as confirmed.
fn confirmed(ctx: &Context, new: &NewUser, hash: Option<String>) -> (Change, Uuid) {
    let mut user = User::new(Some(new.email.clone()), new.data.clone(), ctx.now);
    user.encrypted_password = hash;
    user.confirm(ctx.now);
    user.last_sign_in_at = Some(ctx.now);
    let mut change = Change::new(ctx.now);
    change.identities.push(described(&mut user, &new.data));
    change.audit(audit(ctx, "user_signedup", &user));
    change.audit(audit(ctx, "login", &user));
    let user_id = user.id;
    change.create.push(user);
    (change, user_id)
}

/// A new user who must confirm by mail.
async fn unconfirmed(
    auth: &Auth,
    ctx: &Context,
    db: &store::ServiceClient,
    (new, hash): (&NewUser, Option<String>),
) -> Result<Option<Outcome>, Error> {
    let slot = auth.outbox().reserve(&ctx.project, None, ctx.now)?;
    let mut user = User::new(Some(new.email.clone()), new.data.clone(), ctx.now);
    user.encrypted_password = hash;
    user.confirmation_sent_at = Some(ctx.now);
    let letter = Letter::new(ctx, SIGNUP, &user, &new.email, new.challenge.is_some())?;
    let mut change = Change::new(ctx.now);
    change.identities.push(described(&mut user, &new.data));
    change.audit(audit(ctx, "user_confirmation_requested", &user));
    let mail = letter.write(ctx, &mut change)?;
    change.flows.extend(super::token::pkce::begin(new.challenge.as_ref(), user.id, "email/signup"));
    let user_id = user.id;
    change.create.push(user);
    hooks::before_created(ctx, &change.create).await?;
    let (applied, account) = queries::apply_and_read(db, &change, user_id).await?;
    let (Applied::Done, Some(account)) = (applied, account) else { return Ok(None) };
    slot.send(&ctx.project, mail);
    view(&account).map(Some)
}

/// A user who signed up before and never confirmed: another mail. Nothing else of the request is taken over, because
/// nobody has proved yet who asks.
async fn remind(
    auth: &Auth,
    ctx: &Context,
    db: &store::ServiceClient,
    (new, account): (&NewUser, Account),
) -> Result<Option<Outcome>, Error> {
    let slot = auth.outbox().reserve(&ctx.project, account.user.confirmation_sent_at, ctx.now)?;
    let Account { user: mut row, version, .. } = account;
    let letter = Letter::new(ctx, SIGNUP, &row, &new.email, new.challenge.is_some())?;
    let mut change = Change::new(ctx.now);
    row.confirmation_sent_at = Some(ctx.now);
    change.audit(audit(ctx, "user_confirmation_requested", &row));
    let mail = letter.write(ctx, &mut change)?;
    change.flows.extend(super::token::pkce::begin(new.challenge.as_ref(), row.id, "email/signup"));
    let user_id = row.id;
    change.save = Some(Save { version, row });
    let (applied, account) = queries::apply_and_read(db, &change, user_id).await?;
    let (Applied::Done, Some(mut account)) = (applied, account) else { return Ok(None) };
    slot.send(&ctx.project, mail);
    if ctx.project.auth.conceal_accounts {
        // The same user once more would tell that nobody has confirmed the address.
        return view(&stranger(ctx, new)).map(Some);
    }
    if account.user.invited_at.is_some() {
        // What an administrator wrote about somebody invited is not for whoever types the address.
        account.user.raw_user_meta_data = Some(Object::new());
        account.identities.clear();
    }
    view(&account).map(Some)
}

/// The address is taken. An unconfirmed one too where confirmations are off: otherwise anybody could take over an
/// invited user by signing up with the address.
async fn repeated(
    auth: &Auth,
    ctx: &Context,
    db: &store::ServiceClient,
    (new, account): (&NewUser, &Account),
) -> Result<Outcome, Error> {
    if !ctx.project.auth.mailer_autoconfirm {
        // As often as a new user would get a mail.
        auth.outbox().pretend(&ctx.project, (SIGNUP.kind, &new.email), ctx.now)?;
    }
    let mut change = Change::new(ctx.now);
    change.audit(audit(ctx, "user_repeated_signup", &account.user));
    queries::apply(db, &change).await?;
    if ctx.project.auth.mailer_autoconfirm {
        return Err(Error::UserAlreadyExists);
    }
    let mut account = stranger(ctx, new);
    if !ctx.project.auth.conceal_accounts {
        // What clients of Supabase tell a taken address by.
        account.user.role = None;
        account.user.raw_user_meta_data = Some(new.data.clone());
        account.identities.clear();
    }
    view(&account)
}

/// What somebody new would be shown; nobody is stored.
fn stranger(ctx: &Context, new: &NewUser) -> Account {
    let mut user = User::new(Some(new.email.clone()), new.data.clone(), ctx.now);
    user.confirmation_sent_at = Some(ctx.now);
    user.raw_app_meta_data = Some(object(json!({"provider": "email", "providers": ["email"]})));
    let identities = vec![described(&mut user, &new.data).made(ctx.now)];
    Account { user, version: String::new(), identities, factors: Vec::new(), session: None }
}

pub(super) fn view(account: &Account) -> Result<Outcome, Error> {
    serde_json::to_value(UserView::from(account)).map(Outcome::Waiting).map_err(Error::internal)
}
