//! How many requests a minute (REQ C6): of an address, a user, a key, a project; over all proxies that share Redis.
//!
//! Two layers: the operator's limits on addresses and users, whatever they ask for, and limits of a project on each class
//! of routes, which its settings may change while it runs. Nothing is limited unless it is set. Addresses come from
//! `forwarded.rs`, so that no client chooses its own; IPv6 counts by networks of 64 bits, which one client has.
//!
//! Enforced where clients come in: a worker behind a proxy counts nothing a second time.

mod config;
mod question;
mod told;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use common::{Project, RateLimits};
use metrics::Counter;
use store::{Redis, Window, Windows};
use tokio::time::Instant;

pub use config::{RateLimitConfig, RateLimitConfigError};
pub(crate) use question::{Asking, check, count_address, glance, look};
pub(crate) use told::Told;

use crate::route::Target;

/// All limits are requests a minute (REQ C8).
const MINUTE: Duration = Duration::from_secs(60);

/// The limits and their counters. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RateLimitMiddleware {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: RateLimitConfig,
    windows: Windows,
    checks: Counter,
}

/// Routes that are limited together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    Auth,
    Data,
}

impl Class {
    /// `None`: these routes are not limited.
    pub(crate) fn of(target: Target) -> Option<Self> {
        match target {
            Target::Auth => Some(Self::Auth),
            Target::DataApi => Some(Self::Data),
            _ => None,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Data => "data",
        }
    }
}

impl RateLimitMiddleware {
    /// Limits as `config` and the projects say, counted with all processes that share `redis`.
    #[must_use]
    pub fn new(redis: &Redis, config: RateLimitConfig) -> Self {
        let windows = Windows::new(redis, MINUTE, config.max_keys);
        let checks = metrics::counter!("madbase_rate_limit_checks_total");
        Self { inner: Arc::new(Inner { config, windows, checks }) }
    }

    /// Count one request of `ip` against the operator's limit on addresses: whether it may pass.
    pub async fn check_ip(&self, ip: &IpAddr) -> bool {
        match self.inner.config.ip {
            Some(max) if !self.bypasses(*ip) => {
                self.inner.windows.take(&[(self.window_of_ip(*ip, Instant::now()), max)]).await.allowed
            }
            _ => true,
        }
    }

    /// Count one request of the user `id` against the operator's limit on users: whether it may pass.
    pub async fn check_user(&self, id: &str) -> bool {
        match self.inner.config.user {
            Some(max) => {
                self.inner.windows.take(&[(self.window_of_user(id, Instant::now()), max)]).await.allowed
            }
            None => true,
        }
    }

    fn bypasses(&self, ip: IpAddr) -> bool {
        self.inner.config.bypass.iter().any(|it| it.contains(ip))
    }

    fn window_of_ip(&self, ip: IpAddr, now: Instant) -> Window {
        let ip = counted(ip);
        self.inner.windows.window(("ip", ip), now, || format!("ratelimit:ip:{ip}"))
    }

    fn window_of_user(&self, id: &str, now: Instant) -> Window {
        self.inner.windows.window(("user", id), now, || format!("ratelimit:user:{id}"))
    }

    /// What `project` allows for `class`, and the operator where it says nothing.
    fn limits(&self, class: Class, project: &Project) -> RateLimits {
        let (own, config) = (&project.limits, &self.inner.config);
        match class {
            Class::Auth => own.auth.or(config.auth),
            Class::Data => own.data.or(config.data),
        }
    }
}

/// The value of `Retry-After`.
pub(crate) fn retry_after(wait: Duration) -> String {
    told::secs(wait).to_string()
}

/// The address that is counted: a client of IPv6 has a network of 64 bits at least.
pub(crate) fn counted(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(it) => IpAddr::V6(Ipv6Addr::from_bits(it.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_ipv6_count_by_their_network() {
        let check = |text: &str| counted(text.parse().unwrap()).to_string();
        assert_eq!(check("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(check("::ffff:203.0.113.9"), "203.0.113.9");
        assert_eq!(check("203.0.113.9"), "203.0.113.9");
    }

    #[tokio::test]
    async fn addresses_and_users_are_counted_apart_and_bypassed_only_when_set() {
        let config: RateLimitConfig = "ip=2,user=1,bypass=10.0.0.0/8".parse().unwrap();
        let limits = RateLimitMiddleware::new(&Redis::none(), config);
        let ip = |it: &str| it.parse::<IpAddr>().unwrap();
        assert!(limits.check_ip(&ip("203.0.113.9")).await);
        assert!(limits.check_ip(&ip("203.0.113.9")).await);
        assert!(!limits.check_ip(&ip("203.0.113.9")).await);
        assert!(limits.check_ip(&ip("203.0.113.8")).await);
        assert!(limits.check_user("ada").await);
        assert!(!limits.check_user("ada").await);
        for _ in 0..5 {
            assert!(limits.check_ip(&ip("10.1.2.3")).await);
        }
        let unlimited = RateLimitMiddleware::new(&Redis::none(), RateLimitConfig::default());
        for _ in 0..5000 {
            assert!(unlimited.check_ip(&ip("203.0.113.9")).await && unlimited.check_user("ada").await);
        }
    }
}
