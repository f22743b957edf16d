//! One request before its limits: first its address alone, before anything is spent on it; then all that it counts for.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;

use aws_lc_rs::digest;
use common::{Caller, Project, RateLimits};
use store::{Standing, Verdict, Window};
use tokio::time::Instant;

use super::{Class, RateLimitMiddleware, Told};
use crate::Error;

/// The longest `sub` of a token that stands in a key of Redis as it is.
const MAX_ID_BYTES: usize = 64;

/// What a request counts for, so far.
#[derive(Debug)]
pub(crate) struct Asking<'a> {
    limits: &'a RateLimitMiddleware,
    class: Class,
    own: RateLimits,
    /// When the request came.
    came: Instant,
    wanted: Vec<(Window, u32)>,
    policies: Vec<&'static str>,
}

/// The first look: `None` when nothing limits this request.
///
/// # Errors
/// [`Error::RateLimited`] when its address was over a limit a moment ago, with what to tell it.
pub(crate) fn look<'a>(
    limits: Option<&'a RateLimitMiddleware>,
    class: Option<Class>,
    (client, came): (Option<IpAddr>, Instant),
    project: &Project,
) -> Result<Option<Asking<'a>>, (Error, Told)> {
    let (Some(limits), Some(class)) = (limits, class) else { return Ok(None) };
    let own = limits.limits(class, project);
    let config = &limits.inner.config;
    let nothing = own.is_unlimited() && config.ip.is_none() && config.user.is_none();
    if (nothing && project.limits.tiers.is_empty()) || client.is_some_and(|it| limits.bypasses(it)) {
        return Ok(None);
    }
    // Room for all that most requests count for, at once.
    let (wanted, policies) = (Vec::with_capacity(4), Vec::with_capacity(4));
    let mut asking = Asking { limits, class, own, came, wanted, policies };
    if let Some(client) = client {
        asking.add("ip", config.ip, || limits.window_of_ip(client, came));
        if own.ip.is_some() {
            asking.add_own(project, "ip", own.ip, &super::counted(client).to_string());
        }
    }
    asking.pass().map(|()| Some(asking))
}

/// As [`look`], at the operator's limit on addresses alone: before the project is looked for.
///
/// # Errors
/// [`Error::RateLimited`], as there.
pub(crate) fn glance(
    limits: Option<&RateLimitMiddleware>,
    class: Option<Class>,
    client: Option<IpAddr>,
) -> Result<(), (Error, Told)> {
    Asking::of_address(limits, class, client).map_or(Ok(()), |it| it.pass())
}

/// Count a request whose project does not exist, for its address.
pub(crate) async fn count_address(
    limits: Option<&RateLimitMiddleware>,
    class: Option<Class>,
    client: Option<IpAddr>,
) -> (Told, Option<Error>) {
    let Some(asking) = Asking::of_address(limits, class, client) else { return (Told::default(), None) };
    asking.limits.inner.checks.increment(1);
    let verdict = asking.limits.inner.windows.take(&asking.wanted).await;
    asking.conclude(&verdict)
}

/// The whole question: also for the caller, if it was admitted, and the key that it showed. One that was not counts for
/// its address only.
pub(crate) async fn check(
    mut asking: Asking<'_>,
    project: &Project,
    admitted: Option<(&Caller, Option<&str>)>,
) -> (Told, Option<Error>) {
    if let Some((caller, key)) = admitted {
        asking.add_caller(project, caller);
        if let Some(key) = key.filter(|_| asking.own.key.is_some()) {
            let digest = short_digest(key);
            asking.add_own(project, "key", asking.own.key, &digest);
        }
        asking.add_own(project, "project", asking.own.project, "");
    }
    asking.limits.inner.checks.increment(1);
    let verdict = asking.limits.inner.windows.take(&asking.wanted).await;
    asking.conclude(&verdict)
}

impl<'a> Asking<'a> {
    /// A question for the address alone; `None` when the operator does not limit it.
    fn of_address(
        limits: Option<&'a RateLimitMiddleware>,
        class: Option<Class>,
        client: Option<IpAddr>,
    ) -> Option<Self> {
        let (limits, class, client) = (limits?, class?, client?);
        let max = limits.inner.config.ip.filter(|_| !limits.bypasses(client))?;
        let (own, came) = (RateLimits::default(), Instant::now());
        let mut asking = Self { limits, class, own, came, wanted: Vec::new(), policies: Vec::new() };
        asking.add("ip", Some(max), || limits.window_of_ip(client, came));
        Some(asking)
    }
}

impl Asking<'_> {
    /// Whether nothing of what is asked was over its limit a moment ago.
    fn pass(&self) -> Result<(), (Error, Told)> {
        let refuses = |(window, _): &(Window, u32)| self.limits.inner.windows.refuses(window);
        if self.wanted.iter().all(|it| refuses(it).is_none()) {
            return Ok(());
        }
        let waits = self.wanted.iter().map(refuses);
        let standing = |((_, max), wait): (&(Window, u32), Option<_>)| {
            let wait: std::time::Duration = wait.unwrap_or_default();
            Standing { max: *max, left: if wait.is_zero() { *max } else { 0 }, wait }
        };
        let standings = self.wanted.iter().zip(waits).map(standing).collect();
        let (told, refused) = self.conclude(&Verdict { allowed: false, standings });
        refused.map_or(Ok(()), |error| Err((error, told)))
    }

    fn add(&mut self, policy: &'static str, max: Option<u32>, window: impl FnOnce() -> Window) {
        if let Some(max) = max {
            self.wanted.push((window(), max));
            self.policies.push(policy);
        }
    }

    /// A limit of the project on this class of routes.
    fn add_own(&mut self, project: &Project, scope: &'static str, max: Option<u32>, id: &str) {
        let (limits, class, came) = (self.limits, self.class, self.came);
        self.add(policy(class, scope), max, || {
            let key = (project.reference.as_str(), class, scope, id);
            limits.inner.windows.window(key, came, || {
                let colon = if id.is_empty() { "" } else { ":" };
                format!("ratelimit:{}:{}:{scope}{colon}{id}", project.reference, class.label())
            })
        });
    }

    fn add_caller(&mut self, project: &Project, caller: &Caller) {
        let Some(id) = caller.claims.text("sub").filter(|it| !it.is_empty()) else { return };
        let (limits, came) = (self.limits, self.came);
        let tier = || caller.claims.map.get("app_metadata")?.get("tier")?.as_str();
        let by_tier = match self.class {
            Class::Data if !project.limits.tiers.is_empty() => {
                tier().and_then(|it| project.limits.tiers.get(it)).copied()
            }
            Class::Data | Class::Auth => None,
        };
        self.add("user", limits.inner.config.user, || limits.window_of_user(&global(project, id), came));
        let max = by_tier.or(self.own.user);
        if max.is_some() {
            self.add_own(project, "user", max, &bounded(id));
        }
    }

    /// What is told, and whether it is refused.
    fn conclude(&self, verdict: &Verdict) -> (Told, Option<Error>) {
        let named = || self.policies.iter().copied().zip(&verdict.standings);
        let told = Told::new(named());
        if verdict.allowed {
            return (told, None);
        }
        let longest = named().max_by_key(|(_, it)| it.wait);
        let (policy, wait) = longest.map_or(("", std::time::Duration::ZERO), |(name, it)| (name, it.wait));
        metrics::counter!("madbase_rate_limit_refusals_total", "policy" => policy).increment(1);
        (told, Some(Error::RateLimited { policy, wait }))
    }
}

/// The name of a project's limit, for clients and metrics.
fn policy(class: Class, scope: &'static str) -> &'static str {
    match (class, scope) {
        (Class::Auth, "ip") => "auth-ip",
        (Class::Auth, "user") => "auth-user",
        (Class::Auth, "key") => "auth-key",
        (Class::Auth, _) => "auth-project",
        (Class::Data, "ip") => "data-ip",
        (Class::Data, "user") => "data-user",
        (Class::Data, "key") => "data-key",
        (Class::Data, _) => "data-project",
    }
}

/// A user among those of all projects: no project's tokens count against another one's users.
fn global<'a>(project: &Project, id: &'a str) -> Cow<'a, str> {
    if project.reference.is_default() && id.parse::<uuid::Uuid>().is_ok() {
        return id.into();
    }
    format!("{}:{}", project.reference, bounded(id)).into()
}

fn bounded(id: &str) -> Cow<'_, str> {
    if id.len() <= MAX_ID_BYTES { id.into() } else { short_digest(id).into() }
}

/// The same in all processes; says nothing of what it is of.
fn short_digest(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().iter().take(16).fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
