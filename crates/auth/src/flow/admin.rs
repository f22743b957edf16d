//! What the service key may do: manage users, invite, make links.

mod audit;
mod create;
pub(crate) mod custom;
mod delete;
mod link;
mod list;
#[cfg(feature = "saml")]
pub(crate) mod sso;
mod update;
mod window;

pub(crate) use audit::{Query as AuditQuery, run as audit};
pub(crate) use create::run as create;
pub(crate) use delete::{Fields as DeleteFields, run as delete};
pub(crate) use link::{Fields as LinkFields, InviteFields, invite, run as link};
pub(crate) use list::{Query as ListQuery, run as list};
pub(crate) use update::run as update;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use uuid::Uuid;

use crate::queries;
use crate::request::Context;
use crate::user::{Account, Object};
use crate::{Auth, Error};

/// The body of a new or changed user.
#[derive(Default, Deserialize)]
pub(crate) struct UserFields {
    id: Option<String>,
    aud: Option<String>,
    role: Option<String>,
    email: Option<String>,
    phone: Option<String>,
    password: Option<String>,
    password_hash: Option<String>,
    #[serde(default)]
    email_confirm: Option<bool>,
    #[serde(default)]
    phone_confirm: Option<bool>,
    user_metadata: Option<Object>,
    app_metadata: Option<Object>,
    ban_duration: Option<String>,
}

/// The user of a path.
pub(crate) async fn read(auth: &Auth, ctx: &Context, id: &str) -> Result<Account, Error> {
    let id = user_id(id)?;
    let db = auth.database(&ctx.project).await?;
    queries::by_id(&db, id).await?.ok_or(Error::AdminUserMissing)
}

fn user_id(text: &str) -> Result<Uuid, Error> {
    text.parse().map_err(|_| Error::InvalidUserId)
}

/// Until when a ban of `text` lasts; `none` lifts it. Durations as Go writes them: `1h30m`, `300ms`.
fn banned_until(text: &str, now: Timestamp) -> Result<Option<Timestamp>, Error> {
    if text == "none" {
        return Ok(None);
    }
    let bad =
        || Error::Invalid(format!("invalid format for ban duration: time: invalid duration {text:?}").into());
    let duration = go_duration(text).ok_or_else(bad)?;
    now.checked_add(duration).map(Some).map_err(|_| bad())
}

fn go_duration(text: &str) -> Option<SignedDuration> {
    let (mut rest, mut total_ns) = (text, 0_i128);
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    while !rest.is_empty() {
        let digits = rest.find(|it: char| !it.is_ascii_digit() && it != '.')?;
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after.find(|it: char| it.is_ascii_digit() || it == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(letters)?;
        let unit_ns: i128 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        total_ns = total_ns.checked_add(whole.parse::<i128>().ok()?.checked_mul(unit_ns)?)?;
        if !fraction.is_empty() {
            let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
            total_ns = total_ns.checked_add(fraction.parse::<i128>().ok()?.checked_mul(unit_ns)? / scale)?;
        }
        rest = after;
    }
    let seconds = i64::try_from(total_ns / 1_000_000_000).ok()?;
    let nanos = i32::try_from(total_ns % 1_000_000_000).ok()?;
    (total_ns > 0).then(|| SignedDuration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        let cases = [
            ("24h", Some(86_400_000)),
            ("1h30m", Some(5_400_000)),
            ("1.5h", Some(5_400_000)),
            ("300ms", Some(300)),
            ("0", Some(0)),
            ("", None),
            ("1", None),
            ("h", None),
            ("1d", None),
            ("-1h", None),
            ("99999999999999999999999999999999999999999h", None),
        ];
        for (text, millis) in cases {
            assert_eq!(go_duration(text).map(|it| it.as_millis()), millis, "{text}");
        }
    }
}
