//! How many requests a minute a project takes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A project's limits on requests.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Of requests to auth.
    pub auth: RateLimits,
    /// Of requests to the data API.
    pub data: RateLimits,
    /// Of the data API, for users whose token names a tier in `app_metadata.tier`, in place of `data.user`.
    pub tiers: BTreeMap<String, u32>,
}

/// Requests a minute; `None` leaves it to the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimits {
    /// From one address (IPv6: one network of 64 bits).
    pub ip: Option<u32>,
    /// Of one signed-in user.
    pub user: Option<u32>,
    /// With one API key.
    pub key: Option<u32>,
    /// Of the project.
    pub project: Option<u32>,
}

impl RateLimits {
    /// These, and `others` where nothing is said here.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            ip: self.ip.or(others.ip),
            user: self.user.or(others.user),
            key: self.key.or(others.key),
            project: self.project.or(others.project),
        }
    }

    /// Whether nothing is limited.
    #[must_use]
    pub fn is_unlimited(self) -> bool {
        self == Self::default()
    }
}
