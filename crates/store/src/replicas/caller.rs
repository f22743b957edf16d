//! Who reads and writes, as far as reads after writes go.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher, Hash};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Stands for a caller of a project: two callers with one key see each other's writes at once.
///
/// The same caller has the same key in every process of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerKey {
    key: u64,
    issued_at_secs: Option<i64>,
}

impl CallerKey {
    /// The person or thing that a token is about (its claim `sub`). `issued_at_secs` (`iat`, seconds since 1970) tells
    /// how recently that was: other services write for new users, and their databases' triggers with them.
    #[must_use]
    pub fn of_subject(subject: &str, issued_at_secs: Option<i64>) -> Self {
        Self { key: hash(("sub", subject)), issued_at_secs }
    }

    /// Everybody who acts as `role` without saying who: the anonymous key, the service key, tokens without `sub`. They
    /// share one key, because nothing better survives from one request to the next for sure.
    #[must_use]
    pub fn of_role(role: &str) -> Self {
        Self { key: hash(("role", role)), issued_at_secs: None }
    }

    /// The caller's mark among those of all projects.
    pub(super) fn within(self, project: u64) -> u64 {
        hash((project, self.key))
    }

    /// How long ago the token was made; zero when that is in the future.
    pub(super) fn age(self) -> Option<Duration> {
        let issued_at = self.issued_at_secs?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(now.saturating_sub(Duration::from_secs(u64::try_from(issued_at).unwrap_or_default())))
    }
}

/// Without a random start, so that processes agree.
pub(super) fn hash(it: impl Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(it)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_roles_and_projects_are_apart() {
        let ada = CallerKey::of_subject("ada", None);
        assert_ne!(ada.within(1), ada.within(2));
        assert_ne!(ada.within(1), CallerKey::of_subject("bob", None).within(1));
        assert_ne!(ada.within(1), CallerKey::of_role("ada").within(1));
        assert_eq!(ada.within(1), CallerKey::of_subject("ada", Some(5)).within(1), "a refreshed token");
    }

    #[test]
    fn a_token_s_age_is_never_negative() {
        assert_eq!(CallerKey::of_role("anon").age(), None);
        assert_eq!(CallerKey::of_subject("ada", Some(i64::MAX)).age(), Some(Duration::ZERO));
        assert!(CallerKey::of_subject("ada", Some(-5)).age() > Some(Duration::from_secs(1_000_000_000)));
    }
}
