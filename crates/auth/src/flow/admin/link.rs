//! `POST /admin/generate_link` and `POST /invite`: mailed tokens made by the service key; only an invitation is mailed.

use serde::Deserialize;
use serde_json::Value;

use crate::flow::letter::{
    EMAIL_CHANGE_CURRENT, EMAIL_CHANGE_NEW, INVITE, Letter, MAGIC_LINK, Purpose, RECOVERY, SIGNUP,
};
use crate::flow::{ATTEMPTS, audit};
use crate::queries::{self, Applied, Change, Save};
use crate::request::{Context, email, text};
use crate::user::{Account, Identity, Object, User, UserView, check_metadata, merge};
use crate::{Auth, Error, hooks, password};

/// The body of a link.
#[derive(Default, Deserialize)]
pub(crate) struct Fields {
    r#type: Option<String>,
    email: Option<String>,
    new_email: Option<String>,
    password: Option<String>,
    data: Option<Object>,
    redirect_to: Option<String>,
}

/// The body of an invitation.
#[derive(Deserialize)]
pub(crate) struct InviteFields {
    email: Option<String>,
    data: Option<Object>,
}

/// A checked request.
struct Wanted {
    kind: Kind,
    email: String,
    new_email: Option<String>,
    password: Option<String>,
    hash: Option<String>,
    data: Object,
    redirect_to: String,
    /// An invitation leaves by mail; a link is told.
    mailed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Signup,
    Invite,
    MagicLink,
    Recovery,
    ChangeCurrent,
    ChangeNew,
}

impl Kind {
    fn purpose(self) -> Purpose {
        match self {
            Self::Signup => SIGNUP,
            Self::Invite => INVITE,
            Self::MagicLink => MAGIC_LINK,
            Self::Recovery => RECOVERY,
            Self::ChangeCurrent => EMAIL_CHANGE_CURRENT,
            Self::ChangeNew => EMAIL_CHANGE_NEW,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::ChangeCurrent => "email_change_current",
            Self::ChangeNew => "email_change_new",
            other => other.purpose().kind,
        }
    }
}

/// Make a link and tell it instead of mailing it.
pub(crate) async fn run(auth: &Auth, ctx: &Context, fields: Fields) -> Result<Value, Error> {
    let mut wanted = check(ctx, fields)?;
    if let Some(plain) = &wanted.password {
        password::breach::check(ctx, plain).await?;
        wanted.hash = Some(auth.passwords().hash(plain).await?);
    }
    let (account, letter, kind) = make(auth, ctx, &wanted).await?;
    let mut answer = serde_json::to_value(UserView::from(&account)).map_err(Error::internal)?;
    if let Some(map) = answer.as_object_mut() {
        map.insert("action_link".into(), letter.mail.link.into());
        map.insert("email_otp".into(), letter.otp.into());
        map.insert("hashed_token".into(), letter.link_token.into());
        map.insert("verification_type".into(), kind.name().into());
        map.insert("redirect_to".into(), wanted.redirect_to.into());
    }
    Ok(answer)
}

/// Invite somebody by mail.
pub(crate) async fn invite(auth: &Auth, ctx: &Context, fields: InviteFields) -> Result<Account, Error> {
    check_metadata(fields.data.as_ref())?;
    let wanted = Wanted {
        kind: Kind::Invite,
        email: email::parse(&fields.email.unwrap_or_default())?,
        new_email: None,
        password: None,
        hash: None,
        data: fields.data.unwrap_or_default(),
        redirect_to: ctx.redirect_to.clone(),
        mailed: true,
    };
    let slot = auth.outbox().reserve(&ctx.project, None, ctx.now)?;
    let (account, letter, _) = make(auth, ctx, &wanted).await?;
    slot.send(&ctx.project, letter.mail);
    Ok(account)
}

fn check(ctx: &Context, fields: Fields) -> Result<Wanted, Error> {
    let email = email::parse(&fields.email.unwrap_or_default())?;
    let kind = match fields.r#type.as_deref().unwrap_or_default() {
        "signup" => Kind::Signup,
        "invite" => Kind::Invite,
        "magiclink" => Kind::MagicLink,
        "recovery" => Kind::Recovery,
        "email_change_current" => Kind::ChangeCurrent,
        "email_change_new" => Kind::ChangeNew,
        other => {
            return Err(Error::Invalid(format!("Invalid email action link type requested: {other}").into()));
        }
    };
    if kind == Kind::ChangeCurrent && !ctx.project.auth.mailer_secure_email_change {
        return Err(Error::invalid("Enable secure email change to generate link for current email"));
    }
    let new_email = match kind {
        Kind::ChangeCurrent | Kind::ChangeNew => Some(email::parse(&fields.new_email.unwrap_or_default())?),
        Kind::Signup | Kind::Invite | Kind::MagicLink | Kind::Recovery => None,
    };
    let password = text(fields.password).filter(|_| kind == Kind::Signup);
    if let Some(plain) = &password {
        password::check_strength(plain, &ctx.project.auth)?;
    }
    let redirect_to = ctx.redirect_or(fields.redirect_to.as_deref());
    let data = fields.data.unwrap_or_default();
    check_metadata(Some(&data))?;
    Ok(Wanted { kind, email, new_email, password, hash: None, data, redirect_to, mailed: false })
}

async fn make(auth: &Auth, ctx: &Context, wanted: &Wanted) -> Result<(Account, Letter, Kind), Error> {
    for _ in 0..ATTEMPTS {
        let db = auth.database(&ctx.project).await?;
        if let Some(new_email) = &wanted.new_email
            && queries::by_email(&db, new_email).await?.is_some()
        {
            return Err(Error::EmailExists);
        }
        let found = queries::by_email(&db, &wanted.email).await?;
        let (mut change, mut letter, (user_id, kind)) = match found {
            Some(account) => for_known(ctx, account, wanted)?,
            None => for_new(ctx, wanted)?,
        };
        if wanted.mailed {
            letter.keep(ctx, &mut change)?;
        }
        hooks::before_created(ctx, &change.create).await?;
        match queries::apply_and_read(&db, &change, user_id).await? {
            (Applied::Done, Some(account)) => return Ok((account, letter, kind)),
            (Applied::Done | Applied::Stale | Applied::Taken, _) => {}
        }
    }
    Err(Error::Conflict)
}

type Made = (Change, Letter, (uuid::Uuid, Kind));

fn for_new(ctx: &Context, wanted: &Wanted) -> Result<Made, Error> {
    let kind = match wanted.kind {
        // An unknown address signs up by its magic link.
        Kind::MagicLink | Kind::Signup => Kind::Signup,
        Kind::Invite => Kind::Invite,
        Kind::Recovery | Kind::ChangeCurrent | Kind::ChangeNew => return Err(Error::LinkUserMissing),
    };
    if wanted.kind == Kind::Signup && wanted.password.is_none() {
        return Err(Error::invalid("Signup requires a valid password"));
    }
    let mut user = User::new(Some(wanted.email.clone()), wanted.data.clone(), ctx.now);
    user.encrypted_password.clone_from(&wanted.hash);
    user.confirmation_sent_at = Some(ctx.now);
    user.invited_at = (kind == Kind::Invite).then_some(ctx.now);
    let letter = Letter::leading_to(ctx, kind.purpose(), (&user, &wanted.email), false, &wanted.redirect_to)?;
    let mut change = Change::new(ctx.now);
    change.identities.push(Identity::email(&user, false, &Object::new()));
    change.mail.push(letter.row.clone());
    change.audit(audit(ctx, if kind == Kind::Invite { "user_invited" } else { "user_signedup" }, &user));
    let user_id = user.id;
    change.create.push(user);
    Ok((change, letter, (user_id, kind)))
}

fn for_known(ctx: &Context, account: Account, wanted: &Wanted) -> Result<Made, Error> {
    let Account { user: mut row, version, .. } = account;
    let kind = wanted.kind;
    let mut change = Change::new(ctx.now);
    let mut to = wanted.email.as_str();
    match kind {
        Kind::Signup | Kind::Invite if row.is_confirmed() => return Err(Error::EmailExists),
        Kind::Signup | Kind::Invite => {
            merge(&mut row.raw_user_meta_data, wanted.data.clone());
            row.confirmation_sent_at = Some(ctx.now);
            if kind == Kind::Invite {
                row.invited_at = Some(ctx.now);
                change.audit(audit(ctx, "user_invited", &row));
            }
        }
        Kind::MagicLink | Kind::Recovery => {
            row.recovery_sent_at = Some(ctx.now);
            change.audit(audit(ctx, "user_recovery_requested", &row));
        }
        Kind::ChangeCurrent | Kind::ChangeNew => {
            row.email_change.clone_from(&wanted.new_email);
            row.email_change_sent_at = Some(ctx.now);
            row.email_change_confirm_status = Some(0);
            if kind == Kind::ChangeNew {
                to = wanted.new_email.as_deref().unwrap_or_default();
            }
        }
    }
    let letter = Letter::leading_to(ctx, kind.purpose(), (&row, to), false, &wanted.redirect_to)?;
    change.mail.push(letter.row.clone());
    let user_id = row.id;
    change.save = Some(Save { version, row });
    Ok((change, letter, (user_id, kind)))
}
