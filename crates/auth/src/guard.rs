//! Stands before the handlers: rate limits for each client address, and captchas where the project asks for them.
//! Behind them it holds answers back a little, where their time would tell who has an account.
//!
//! A layer of the router: it knows paths, not flows. Requests with the service key pass: a server signs in many people
//! from one address.

mod captcha;
mod rules;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use common::{Caller, ClientAddress, Project};
use serde::Deserialize;
use tokio::time::Instant;

use crate::error::GuardError;
use crate::request::MAX_BODY_BYTES;
use crate::{Auth, Error, wire};
use rules::Rule;

/// So many sign-ins is a wrong password worth: who tries stolen ones from many addresses soon has none left, who
/// mistypes hardly notices.
const COST_OF_A_WRONG_PASSWORD: u32 = 3;

/// What the guard reads of a body.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Seen {
    email: Option<String>,
    phone: Option<String>,
    gotrue_meta_security: Security,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Security {
    captcha_token: Option<String>,
}

/// The layer.
pub(crate) async fn guard(State(auth): State<Auth>, request: Request, next: Next) -> Result<Response, Error> {
    let Some(project) = request.extensions().get::<Arc<Project>>().cloned() else {
        return Ok(next.run(request).await);
    };
    let trusted = request.extensions().get::<Caller>().is_some_and(|it| it.role() == "service_role");
    let target = rules::find(request.method(), request.uri());
    if trusted || target == rules::Target::default() {
        return Ok(next.run(request).await);
    }
    let address = request.extensions().get::<ClientAddress>().map(|it| it.0);
    let wants_captcha = target.captcha && project.auth.security_captcha_enabled;
    let (request, seen) = if wants_captcha || target.rule == Some(Rule::SignUp) {
        read(request).await?
    } else {
        (request, Seen::default())
    };
    let mut spent = None;
    if let Some(mut rule) = target.rule {
        let named = [&seen.email, &seen.phone].into_iter().flatten().any(|it| !it.is_empty());
        if rule == Rule::SignUp && !named {
            rule = Rule::Anonymous;
        }
        let key = format!("ratelimit:auth:{}:{}:{}", project.reference, rule.name(), neighbourhood(address));
        let taken = auth.limiter().take(&key, rule.limit(&project.auth)).await;
        taken
            .map_err(|it| GuardError::OverLimit(i64::try_from(it.retry_after_secs()).unwrap_or(i64::MAX)))?;
        spent = (rule == Rule::SignIn).then(|| (key, rule.limit(&project.auth)));
    }
    if wants_captcha {
        captcha::check(&auth, &project, seen.gotrue_meta_security.captcha_token, address).await?;
    }
    let started = Instant::now();
    let response = next.run(request).await;
    if let Some((key, limit)) = spent.filter(|_| is_wrong(&response)) {
        for _ in 1..COST_OF_A_WRONG_PASSWORD {
            let _the_next_one_is_told = auth.limiter().take(&key, limit).await;
        }
    }
    if target.rule.is_some_and(|it| it.is_quiet(&project.auth)) {
        tokio::time::sleep(until_tick(started.elapsed(), auth.config().answer_grid)).await;
    }
    Ok(response)
}

/// Whether the credentials were wrong.
fn is_wrong(response: &Response) -> bool {
    wire::refusal(response).is_some_and(|it| it.code() == "invalid_credentials")
}

/// How long until the next multiple of `grid`: for a known address more is written than for an unknown one, and
/// nobody should be able to measure that.
fn until_tick(elapsed: Duration, grid: Duration) -> Duration {
    let over = elapsed.as_micros().checked_rem(grid.as_micros()).unwrap_or_default();
    grid.saturating_sub(Duration::from_micros(u64::try_from(over).unwrap_or_default()))
}

/// The body, and the request as it was. What is no JSON is told by the handler, which knows what it wants.
async fn read(request: Request) -> Result<(Request, Seen), Error> {
    let (head, body) = request.into_parts();
    let bytes: Bytes = match axum::body::to_bytes(body, MAX_BODY_BYTES).await {
        Ok(bytes) => bytes,
        Err(error) if crate::events::chain(&error).contains("length limit") => {
            return Err(Error::BodyTooLarge);
        }
        Err(_) => return Err(Error::BadJson("the body could not be read".into())),
    };
    let seen = serde_json::from_slice(&bytes).unwrap_or_default();
    Ok((Request::from_parts(head, Body::from(bytes)), seen))
}

/// What counts as one client: an IPv4 address, or the network that an IPv6 host has for itself.
fn neighbourhood(address: Option<IpAddr>) -> String {
    match address {
        None => "unknown".to_owned(),
        Some(IpAddr::V4(it)) => it.to_string(),
        Some(IpAddr::V6(it)) => match it.to_ipv4_mapped() {
            Some(it) => it.to_string(),
            None => {
                let [a, b, c, d, ..] = it.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}::")
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_leave_on_the_grid() {
        let check = |elapsed, grid| {
            until_tick(Duration::from_millis(elapsed), Duration::from_millis(grid)).as_millis()
        };
        assert_eq!((check(3, 50), check(49, 50), check(50, 50), check(120, 50)), (47, 1, 50, 30));
        assert_eq!(check(120, 0), 0);
    }

    #[test]
    fn an_ipv6_host_is_its_network() {
        let check = |it: &str| neighbourhood(Some(it.parse().unwrap()));
        assert_eq!(check("192.0.2.1"), "192.0.2.1");
        assert_eq!(check("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(check("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(neighbourhood(None), "unknown");
    }
}
