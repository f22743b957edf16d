//! The operator's limits: nothing is limited unless it is set.
//!
//! As text: `ip=600,user=300,data.project=100000,auth.ip=60,bypass=10.0.0.0/8`.

use std::str::FromStr;

use common::RateLimits;

use crate::Network;

/// The operator's limits, in requests a minute.
///
/// ```
/// let limits: gateway::RateLimitConfig = "ip=600,data.user=300,bypass=10.0.0.0/8".parse().unwrap();
/// assert_eq!((limits.ip, limits.data.user), (Some(600), Some(300)));
/// assert!("ip=many".parse::<gateway::RateLimitConfig>().is_err());
/// ```
#[derive(Debug, Clone)]
pub struct RateLimitConfig {
    /// From one address, to whatever project and route.
    pub ip: Option<u32>,
    /// Of one signed-in user, to whatever route; auth verifies users by itself, so its routes do not count.
    pub user: Option<u32>,
    /// Of each project's requests to `/auth/v1`, where it sets nothing itself.
    pub auth: RateLimits,
    /// Of each project's requests to `/rest/v1`, where it sets nothing itself.
    pub data: RateLimits,
    /// Addresses that are never limited.
    pub bypass: Vec<Network>,
    /// Counters kept in this process, about 500 bytes each; the least used are forgotten first. Default 100,000.
    pub max_keys: u64,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self {
            ip: None,
            user: None,
            auth: RateLimits::default(),
            data: RateLimits::default(),
            bypass: Vec::new(),
            max_keys: 100_000,
        }
    }
}

/// The text names no limits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "limits are ip, user, auth.… and data.… (ip, user, key, project) with requests a minute, or bypass with a network: \
     ip=600,data.user=300,bypass=10.0.0.0/8"
)]
pub struct RateLimitConfigError;

impl FromStr for RateLimitConfig {
    type Err = RateLimitConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut config = Self::default();
        for pair in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(RateLimitConfigError)?;
            if name == "bypass" {
                config.bypass.push(value.parse().map_err(|_| RateLimitConfigError)?);
                continue;
            }
            let max: u32 = value.parse().map_err(|_| RateLimitConfigError)?;
            *config.field(name).ok_or(RateLimitConfigError)? = Some(max);
        }
        Ok(config)
    }
}

impl RateLimitConfig {
    fn field(&mut self, name: &str) -> Option<&mut Option<u32>> {
        let (class, scope) = match name.split_once('.') {
            None if name == "ip" => return Some(&mut self.ip),
            None if name == "user" => return Some(&mut self.user),
            None => return None,
            Some(("auth", scope)) => (&mut self.auth, scope),
            Some(("data", scope)) => (&mut self.data, scope),
            Some(_) => return None,
        };
        match scope {
            "ip" => Some(&mut class.ip),
            "user" => Some(&mut class.user),
            "key" => Some(&mut class.key),
            "project" => Some(&mut class.project),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_limit_is_refused() {
        for text in ["ip", "ip=", "ip=-1", "ips=1", "data=1", "data.ips=1", "storage.ip=1", "bypass=x"] {
            assert_eq!(text.parse::<RateLimitConfig>().map(drop), Err(RateLimitConfigError), "{text}");
        }
        let all = "ip=1, user=2, auth.ip=3, auth.key=4, data.project=5, bypass=::1, bypass=10.0.0.0/8";
        let all: RateLimitConfig = all.parse().unwrap();
        assert_eq!((all.ip, all.user, all.auth.ip, all.auth.key), (Some(1), Some(2), Some(3), Some(4)));
        assert_eq!((all.data.project, all.bypass.len()), (Some(5), 2));
        assert!("".parse::<RateLimitConfig>().unwrap().data.is_unlimited());
    }
}
