//! Sign-up by phone number: with a password, or on the way to a code.
//!
//! A number that is taken looks like a new one where confirmations are on: same status, same time, no SMS.

use serde_json::Value;
use uuid::Uuid;

use super::code::{CONFIRMATION, Code, Recipient};
use crate::flow::signup::{Outcome, view};
use crate::flow::{ATTEMPTS, audit, sign_in};
use crate::password::breach;
use crate::queries::{self, Applied, Change, Save};
use crate::request::Context;
use crate::sms::Channel;
use crate::user::{Account, Identity, Object, User, UserView};
use crate::{Auth, Error, hooks};

/// A new user by phone. Without a password the user signs in by codes only.
pub(crate) struct NewPhoneUser {
    /// Digits only.
    pub(crate) phone: String,
    pub(crate) password: Option<String>,
    pub(crate) data: Object,
    pub(crate) channel: Channel,
}

/// Sign up by phone and password.
pub(crate) async fn run(auth: &Auth, ctx: &Context, new: NewPhoneUser) -> Result<Outcome, Error> {
    // Before anything is looked up, so that a taken number takes the same time.
    let hash = match &new.password {
        Some(password) => {
            breach::check(ctx, password).await?;
            Some(auth.passwords().hash(password).await?)
        }
        None => None,
    };
    let autoconfirm = ctx.project.auth.sms_autoconfirm;
    let mut sent = None;
    for _ in 0..ATTEMPTS {
        let found = {
            let db = auth.database(&ctx.project).await?;
            queries::by_phone(&db, &new.phone).await?
        };
        if let Some(account) = &found
            && (account.user.phone_confirmed_at.is_some() || autoconfirm)
        {
            return repeated(auth, ctx, &new, account).await;
        }
        if autoconfirm {
            let (change, user_id) = confirmed(ctx, &new, hash.clone());
            let db = auth.database(&ctx.project).await?;
            if let Some(tokens) = sign_in(ctx, &db, change, user_id, "password").await? {
                return Ok(Outcome::SignedIn(Box::new(tokens)));
            }
            continue;
        }
        if let Some(account) = waiting(auth, ctx, (&new, hash.clone()), (found, &mut sent)).await? {
            return view(&account);
        }
    }
    Err(Error::Conflict)
}

/// Send a code to a number that no user has confirmed, signing the user up if need be; `None` when another request was
/// faster. `sent` holds the code from attempt to attempt.
pub(super) async fn waiting(
    auth: &Auth,
    ctx: &Context,
    (new, hash): (&NewPhoneUser, Option<String>),
    (found, sent): (Option<Account>, &mut Option<Code>),
) -> Result<Option<Account>, Error> {
    let last = found.as_ref().and_then(|it| it.user.confirmation_sent_at);
    let code = match sent.take() {
        Some(code) => code,
        None => {
            let to = Recipient { phone: &new.phone, channel: new.channel, last };
            Code::send(auth, ctx, CONFIRMATION, to).await?
        }
    };
    let mut change = Change::new(ctx.now);
    let user_id = match found {
        // Nothing else of the request is taken over: nobody has proved yet who asks.
        Some(Account { user: mut row, version, .. }) => {
            row.confirmation_sent_at = Some(ctx.now);
            let user_id = row.id;
            change.audit(audit(ctx, "user_confirmation_requested", &row));
            change.save = Some(Save { version, row });
            user_id
        }
        None => {
            let mut user = User::by_phone(new.phone.clone(), new.data.clone(), ctx.now);
            user.encrypted_password = hash;
            user.confirmation_sent_at = Some(ctx.now);
            change.identities.push(described(&mut user, &new.data));
            change.audit(audit(ctx, "user_confirmation_requested", &user));
            let user_id = user.id;
            change.create.push(user);
            user_id
        }
    };
    change.mail.push(code.row(ctx, user_id));
    *sent = Some(code);
    hooks::before_created(ctx, &change.create).await?;
    let db = auth.database(&ctx.project).await?;
    let (applied, account) = queries::apply_and_read(&db, &change, user_id).await?;
    Ok(account.filter(|_| applied == Applied::Done))
}

/// The first identity of somebody new, which the user is described by.
fn described(user: &mut User, data: &Object) -> Identity {
    let identity = Identity::phone(user, false, data);
    user.describe(&identity);
    identity
}

/// A new user whose number counts as confirmed.
fn confirmed(ctx: &Context, new: &NewPhoneUser, hash: Option<String>) -> (Change, Uuid) {
    let mut user = User::by_phone(new.phone.clone(), new.data.clone(), ctx.now);
    user.encrypted_password = hash;
    user.confirm_phone(ctx.now);
    user.last_sign_in_at = Some(ctx.now);
    let mut change = Change::new(ctx.now);
    change.identities.push(described(&mut user, &new.data));
    change.audit(audit(ctx, "user_signedup", &user));
    change.audit(audit(ctx, "login", &user));
    let user_id = user.id;
    change.create.push(user);
    (change, user_id)
}

/// The number is taken.
async fn repeated(
    auth: &Auth,
    ctx: &Context,
    new: &NewPhoneUser,
    account: &Account,
) -> Result<Outcome, Error> {
    let mut change = Change::new(ctx.now);
    change.audit(audit(ctx, "user_repeated_signup", &account.user));
    let db = auth.database(&ctx.project).await?;
    queries::apply(&db, &change).await?;
    if ctx.project.auth.sms_autoconfirm {
        return Err(Error::UserAlreadyExists);
    }
    let mut user = User::by_phone(new.phone.clone(), new.data.clone(), ctx.now);
    user.role = None;
    user.confirmation_sent_at = Some(ctx.now);
    let shown: Value = serde_json::to_value(UserView::new(&user, &[], &[])).map_err(Error::internal)?;
    Ok(Outcome::Waiting(shown))
}
