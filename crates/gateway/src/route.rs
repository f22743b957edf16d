//! From a path to the service behind it: the table of prefixes, and what is open without a key. Pure.

/// Who answers a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// `/auth/v1`.
    Auth,
    /// `/rest/v1`.
    DataApi,
    /// `/realtime/v1`.
    Realtime,
    /// A prefix that clients know and that nobody serves yet.
    NotBuilt,
    /// `/health`: the process is alive.
    Health,
    /// `/ready`: it can work.
    Ready,
    /// `/metrics`: Prometheus text.
    Metrics,
    /// What an authority asks before it signs a certificate.
    Challenge,
    /// Nobody.
    Nobody,
}

/// Where a request goes: the target and what is cut off the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    /// Who answers.
    pub(crate) target: Target,
    /// The part of the path that is written to the log; never the rest, which may hold names.
    pub(crate) prefix: &'static str,
    /// How many bytes of the path the target does not see.
    pub(crate) cut_bytes: usize,
}

/// Every path, where the data API is served alone.
pub(crate) const DIRECT: Route = Route { target: Target::DataApi, prefix: "/", cut_bytes: 0 };

/// Prefixes; each matches itself and everything below it.
const PREFIXES: [(&str, Target); 7] = [
    ("/rest/v1", Target::DataApi),
    ("/auth/v1", Target::Auth),
    ("/storage/v1", Target::NotBuilt),
    ("/realtime/v1", Target::Realtime),
    ("/functions/v1", Target::NotBuilt),
    ("/graphql/v1", Target::NotBuilt),
    ("/.well-known/acme-challenge", Target::Challenge),
];

/// Whole paths, which stay as they are.
const PATHS: [(&str, Target); 5] = [
    ("/health", Target::Health),
    ("/ready", Target::Ready),
    ("/metrics", Target::Metrics),
    // RFC 8414 puts it at the root of the issuer's host, with the issuer's path behind.
    ("/.well-known/oauth-authorization-server", Target::Auth),
    ("/.well-known/oauth-authorization-server/auth/v1", Target::Auth),
];

/// Paths of auth that browsers open from a link or a redirect, what clients of a project's OAuth server ask, who have
/// credentials of their own, and what describes the service; a final `/` means all below.
const OPEN_AUTH_PATHS: [&str; 7] =
    ["/verify", "/callback", "/authorize", "/oauth/", "/health", "/sso/saml/", "/.well-known/"];

/// The route of `path`.
pub(crate) fn find(path: &str) -> Route {
    for (prefix, target) in PREFIXES {
        if path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Route { target, prefix, cut_bytes: prefix.len() };
        }
    }
    match PATHS.into_iter().find(|(whole, _)| *whole == path) {
        Some((prefix, target)) => Route { target, prefix, cut_bytes: 0 },
        None => Route { target: Target::Nobody, prefix: "other", cut_bytes: 0 },
    }
}

impl Target {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::Nobody as usize + 1;

    /// The value of the metric label `service`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::DataApi => "data_api",
            Self::Realtime => "realtime",
            Self::NotBuilt => "not_built",
            Self::Health | Self::Ready | Self::Metrics | Self::Challenge => "operations",
            Self::Nobody => "none",
        }
    }

    /// Whether `path`, already without the prefix, is open to requests that carry no key.
    pub(crate) fn is_open(self, path: &str) -> bool {
        self == Self::Auth
            && OPEN_AUTH_PATHS
                .into_iter()
                .any(|open| if open.ends_with('/') { path.starts_with(open) } else { path == open })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str) -> (Target, &str) {
        let route = find(path);
        (route.target, &path[route.cut_bytes..])
    }

    #[test]
    fn prefixes_end_at_a_slash() {
        assert_eq!(check("/rest/v1"), (Target::DataApi, ""));
        assert_eq!(check("/rest/v1/"), (Target::DataApi, "/"));
        assert_eq!(check("/rest/v1/tasks"), (Target::DataApi, "/tasks"));
        assert_eq!(check("/auth/v1/token"), (Target::Auth, "/token"));
        assert_eq!(check("/storage/v1/object/x"), (Target::NotBuilt, "/object/x"));
        for path in ["/rest/v10", "/rest", "/REST/v1/x", "/", "//rest/v1/x", "/health/", "/metrics/x"] {
            assert_eq!(check(path), (Target::Nobody, path));
        }
        let metadata = "/.well-known/oauth-authorization-server";
        assert_eq!(check(metadata), (Target::Auth, metadata));
    }

    #[test]
    fn few_paths_of_auth_are_open() {
        for path in
            ["/verify", "/sso/saml/acs", "/.well-known/jwks.json", "/health", "/authorize", "/oauth/token"]
        {
            assert!(Target::Auth.is_open(path), "{path}");
        }
        for path in ["/token", "/verifyx", "/verify/", "/sso", "/sso/saml", "/admin/users", "", "/"] {
            assert!(!Target::Auth.is_open(path), "{path}");
        }
        assert!(!Target::DataApi.is_open("/health"));
    }
}
