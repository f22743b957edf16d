//! `POST /factors`: a new factor, unverified until it is answered for the first time.

use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::totp::{self, NewSecret};
use super::{Kind, audit, permanent};
use crate::error::FactorError;
use crate::flow::ATTEMPTS;
use crate::queries::Applied;
use crate::queries::factors::{self, Enrollment, NewFactor, told};
use crate::request::{Context, phone, text};
use crate::session::Session;
use crate::user::Account;
use crate::{Auth, Error};

/// The longest name and issuer, in bytes.
const MAX_TEXT: usize = 255;
/// After so long an unverified factor makes room.
const FORGOTTEN_SECS: i64 = 3600;

/// The body.
#[derive(Deserialize)]
pub(crate) struct Fields {
    factor_type: Option<String>,
    friendly_name: Option<String>,
    issuer: Option<String>,
    phone: Option<String>,
}

/// A checked factor.
struct Wanted {
    kind: Kind,
    name: String,
    issuer: String,
    phone: Option<String>,
}

/// Enroll a factor of the caller.
pub(crate) async fn run(auth: &Auth, ctx: &Context, fields: Fields) -> Result<Value, Error> {
    let mut wanted = None;
    for _ in 0..ATTEMPTS {
        let (account, session, db) = permanent(auth, ctx).await?;
        let wanted = match &mut wanted {
            Some(wanted) => wanted,
            none => none.insert(check(ctx, &fields)?),
        };
        let replaces = replaced(ctx, &account, wanted)?;
        has_room(ctx, (&account, &session), wanted, &replaces)?;
        let id = Uuid::new_v4();
        let secret = match wanted.kind {
            Kind::Totp => Some(NewSecret::new(&wanted.issuer, account.user.address())?),
            Kind::Phone | Kind::Key => None,
        };
        let stored = secret.as_ref().map(|it| totp::sealed(ctx, id, &it.text)).transpose()?;
        let change = Enrollment {
            now: ctx.now,
            version: account.version.clone(),
            factor: NewFactor {
                id,
                user_id: account.user.id,
                friendly_name: wanted.name.clone(),
                factor_type: wanted.kind.name(),
                secret: stored,
                phone: wanted.phone.clone(),
            },
            replaces,
            audit: told(audit(ctx, "enroll_factor", &account.user, id)),
        };
        match factors::enroll(&db, &change).await? {
            Applied::Done => return Ok(view(id, wanted, secret)),
            Applied::Taken => return Err(FactorError::NameTaken(wanted.name.clone()).into()),
            Applied::Stale => {}
        }
    }
    Err(Error::Conflict)
}

fn check(ctx: &Context, fields: &Fields) -> Result<Wanted, Error> {
    let settings = &ctx.project.auth;
    let kind = Kind::parse(fields.factor_type.as_deref().unwrap_or_default())?;
    if !kind.usage(settings).enrolls() {
        return Err(Error::Factor(match kind {
            Kind::Totp => FactorError::TotpEnrollDisabled,
            Kind::Phone => FactorError::PhoneEnrollDisabled,
            Kind::Key => FactorError::WebauthnEnrollDisabled,
        }));
    }
    let (name, issuer) = (fields.friendly_name.clone().unwrap_or_default(), text(fields.issuer.clone()));
    if name.len() > MAX_TEXT || issuer.as_ref().is_some_and(|it| it.len() > MAX_TEXT) {
        return Err(Error::invalid("friendly_name and issuer take at most 255 bytes"));
    }
    let phone = match (kind, text(fields.phone.clone())) {
        (Kind::Phone, Some(number)) => Some(phone::parse(&number)?),
        (Kind::Phone, None) => return Err(Error::invalid("Phone number required to enroll Phone factor")),
        (Kind::Totp | Kind::Key, _) => None,
    };
    let issuer = issuer.unwrap_or_else(|| site(&settings.site_url));
    Ok(Wanted { kind, name, issuer, phone })
}

/// Host and port of the site: the issuer when the client names none.
fn site(url: &str) -> String {
    url::Url::parse(url).map_or_else(
        |_| String::new(),
        |it| match (it.host_str(), it.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        },
    )
}

/// Factors that the new one stands in for: those that nobody answered for an hour, or with the same number.
fn replaced(ctx: &Context, account: &Account, wanted: &Wanted) -> Result<Vec<Uuid>, Error> {
    let same = |it: &&crate::user::Factor| wanted.phone.is_some() && it.phone == wanted.phone;
    if account.factors.iter().filter(same).any(|it| it.is_verified()) {
        return Err(FactorError::PhoneTaken.into());
    }
    let forgotten = |it: &&crate::user::Factor| {
        !it.is_verified() && ctx.now.as_second() - it.created_at.as_second() > FORGOTTEN_SECS
    };
    let gone = account.factors.iter().filter(|it| same(it) || forgotten(it));
    Ok(gone.map(|it| it.id).collect())
}

fn has_room(
    ctx: &Context,
    (account, session): (&Account, &Session),
    wanted: &Wanted,
    replaces: &[Uuid],
) -> Result<(), Error> {
    let mut others = account.factors.iter().filter(|it| !replaces.contains(&it.id));
    if others.clone().any(|it| it.friendly_name.as_deref().unwrap_or_default() == wanted.name) {
        return Err(FactorError::NameTaken(wanted.name.clone()).into());
    }
    if others.clone().count() >= ctx.project.auth.mfa_max_factors {
        return Err(FactorError::TooMany.into());
    }
    if others.any(crate::user::Factor::is_verified) && !session.is_aal2() {
        return Err(FactorError::EnrollNeedsAal2.into());
    }
    Ok(())
}

fn view(id: Uuid, wanted: &Wanted, secret: Option<NewSecret>) -> Value {
    let mut view = json!({"id": id, "type": wanted.kind.name(), "friendly_name": wanted.name});
    if let Some(map) = view.as_object_mut() {
        if let Some(NewSecret { text, uri, qr_code }) = secret {
            map.insert("totp".into(), json!({"qr_code": qr_code, "secret": text, "uri": uri}));
        }
        if let Some(phone) = &wanted.phone {
            map.insert("phone".into(), phone.as_str().into());
        }
    }
    view
}
