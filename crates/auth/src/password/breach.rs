//! Whether a password was found in a breach, asked by k-anonymity: five digits of its SHA-1 leave the server, the rest is
//! compared here.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use http::{HeaderMap, HeaderValue, Method};

use crate::Error;
use crate::error::GuardError;
use crate::request::Context;
use crate::web::{Call, Failure, Reply};

const DEFAULT: &str = "https://api.pwnedpasswords.com/range";

/// Refuse a password that was found in a breach, where the project wants that.
///
/// # Errors
/// [`Error::WeakPassword`] with the reason `pwned`; [`GuardError::Silent`] when nobody answers and the project refuses
/// then.
pub(crate) async fn check(ctx: &Context, plain: &str) -> Result<(), Error> {
    let settings = &ctx.project.auth;
    if !settings.password_hibp_enabled {
        return Ok(());
    }
    let hash = hash(plain);
    let (prefix, rest) = hash.split_at_checked(5).unwrap_or_default();
    let base = settings.password_hibp_url.as_deref().unwrap_or(DEFAULT).trim_end_matches('/');
    let mut headers = HeaderMap::new();
    // Answers of one length: who watches the line learns nothing from it.
    headers.insert("add-padding", HeaderValue::from_static("true"));
    let url = format!("{base}/{prefix}");
    let call = Call { method: Method::GET, url: &url, headers, body: String::new() };
    let reply = ctx.auth.web().call(call).await;
    match listed(&reply, rest) {
        Some(false) => Ok(()),
        Some(true) => Err(Error::WeakPassword {
            message: "Password is known to be weak and easy to guess, please choose a different one."
                .to_owned(),
            reasons: &["pwned"],
        }),
        None if settings.password_hibp_fail_closed => {
            Err(GuardError::Silent("Passwords cannot be checked right now").into())
        }
        None => {
            tracing::warn!(project.id = %ctx.project.reference, "the list of breached passwords does not answer");
            Ok(())
        }
    }
}

/// Whether `rest` is on the list; `None` when there is no list.
fn listed(reply: &Result<Reply, Failure>, rest: &str) -> Option<bool> {
    let reply = reply.as_ref().ok().filter(|it| it.status.is_success())?;
    let text = std::str::from_utf8(&reply.body).ok()?;
    // Lines of padding have the count 0.
    let counts = |line: &str| {
        let (suffix, count) = line.trim().split_once(':')?;
        (suffix.eq_ignore_ascii_case(rest) && count.trim() != "0").then_some(())
    };
    Some(text.lines().any(|it| counts(it).is_some()))
}

fn hash(plain: &str) -> String {
    use std::fmt::Write as _;
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, plain.as_bytes());
    digest.as_ref().iter().fold(String::with_capacity(40), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn the_rest_of_the_hash_is_looked_up_without_padding() {
        assert_eq!(hash("password"), "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8");
        let body = "1E4C9B93F3F0682250B6CF8331B7EE68FD8:10\r\n0018A45C4D1DEF81644B54AB7F969B88D65:0\r\n";
        let reply = |status| Ok(Reply { status, headers: HeaderMap::new(), body: body.into() });
        let listed = |rest| super::listed(&reply(StatusCode::OK), rest);
        assert_eq!(listed("1E4C9B93F3F0682250B6CF8331B7EE68FD8"), Some(true));
        assert_eq!(listed("0018A45C4D1DEF81644B54AB7F969B88D65"), Some(false), "padding");
        assert_eq!(listed("00000"), Some(false));
        assert_eq!(super::listed(&reply(StatusCode::BAD_GATEWAY), "00000"), None);
        assert_eq!(super::listed(&Err(Failure::Late), "00000"), None);
    }
}
