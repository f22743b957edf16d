//! A project: one tenant with its own database, login roles, signing keys, API keys and settings.
//!
//! The control plane stores projects and hands them out by [`Directory`]; the gateway finds one for every request
//! and passes it on; services key whatever they cache by [`Project::reference`] and [`Project::version`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::jwt::KeyRing;
use crate::settings::{AuthSettings, LimitSettings, RealtimeSettings, RestSettings};
use crate::{Dependence, Vault};

/// The key of a project's row; never shown where [`ProjectRef`] will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProjectId(pub Uuid);

/// The id of a signed-in user: `auth.users.id`, the `sub` of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(pub Uuid);

/// A project's short name, part of its host name and of its role names.
///
/// Shape: 1 to 32 of `a-z`, `0-9` and `-`; starts with a letter, does not end with `-`.
///
/// ```
/// use common::ProjectRef;
/// assert!("team-board".parse::<ProjectRef>().is_ok());
/// assert!("Team Board".parse::<ProjectRef>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProjectRef(Arc<str>);

impl ProjectRef {
    /// The reference of the project that exists from the first start on.
    pub const DEFAULT: &'static str = "default";

    /// The reference of that project.
    #[must_use]
    pub fn of_default() -> Self {
        Self(Self::DEFAULT.into())
    }

    /// The reference as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the project that answers when a host names no project.
    #[must_use]
    pub fn is_default(&self) -> bool {
        &*self.0 == Self::DEFAULT
    }
}

/// The text is no project reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a project reference is 1 to 32 characters of a-z, 0-9 and '-', starts with a letter and ends without '-'"
)]
pub struct ProjectRefError;

impl FromStr for ProjectRef {
    type Err = ProjectRefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = (1..=32).contains(&text.len())
            && text.starts_with(|it: char| it.is_ascii_lowercase())
            && !text.ends_with('-')
            && text.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-');
        if legal { Ok(Self(text.into())) } else { Err(ProjectRefError) }
    }
}

impl TryFrom<String> for ProjectRef {
    type Error = ProjectRefError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ProjectRef> for String {
    fn from(it: ProjectRef) -> Self {
        it.0.as_ref().into()
    }
}

impl fmt::Display for ProjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A PostgreSQL login.
#[derive(Debug, Clone)]
pub struct Login {
    /// Role name.
    pub user: String,
    /// Its password.
    pub password: SecretString,
}

/// The logins of a project; each may connect to the project's database only.
#[derive(Debug, Clone)]
pub struct Logins {
    /// Owns the project's objects; for the project's people (`DATABASE_URL` of the banner).
    pub owner: Login,
    /// The data path's login: no rights of its own, may become `anon`, `authenticated`, `service_role`.
    pub authenticator: Login,
    /// The services' login (auth, storage, realtime): a member of their `supabase_*_admin` roles; may become who the
    /// authenticator may.
    pub services: Login,
}

/// The keys that open a project's API.
#[derive(Debug, Clone)]
pub struct ApiKeys {
    /// Legacy JWT with role `anon`.
    pub anon: SecretString,
    /// Legacy JWT with role `service_role`: bypasses RLS.
    pub service_role: SecretString,
    /// `sb_publishable_…`: stands for `anon`.
    pub publishable: SecretString,
    /// `sb_secret_…`: stands for `service_role`.
    pub secret: SecretString,
}

/// A project as the services see it: immutable; a change gives a new one with another [`Project::version`].
#[derive(Debug, Clone)]
pub struct Project {
    /// Row key.
    pub id: ProjectId,
    /// Short name.
    pub reference: ProjectRef,
    /// Name for people.
    pub name: String,
    /// Its database in the cluster.
    pub database: String,
    /// Its PostgreSQL logins.
    pub logins: Logins,
    /// The keys that open its API.
    pub keys: ApiKeys,
    /// The keys that sign and verify its tokens.
    pub jwt: KeyRing,
    /// Seals what services must store and read again.
    pub vault: Vault,
    /// Settings of auth.
    pub auth: AuthSettings,
    /// Settings of the data API.
    pub rest: RestSettings,
    /// How many requests it takes.
    pub limits: LimitSettings,
    /// Settings of realtime.
    pub realtime: RealtimeSettings,
    /// Grows with every change; part of the key of whatever is cached about the project.
    pub version: i64,
}

/// The answer of [`Directory::find`], to be awaited; boxed so that the gateway can hold any directory.
pub type Finding<'a> =
    Pin<Box<dyn Future<Output = Result<Option<Arc<Project>>, DirectoryError>> + Send + 'a>>;

/// Finds projects. Implemented by the control plane, asked by the gateway through its cache.
pub trait Directory: fmt::Debug + Send + Sync {
    /// The project called `reference`, or `None`.
    ///
    /// # Errors
    /// [`DirectoryError`] when the control database does not answer.
    fn find<'a>(&'a self, reference: &'a ProjectRef) -> Finding<'a>;

    /// `project` as its data API has it: with the settings that its own database holds. Asked for every request to the
    /// data API; a directory that knows of none gives it back as it is.
    fn configured<'a>(&'a self, project: &'a Arc<Project>) -> Configured<'a> {
        Configured::Known(Arc::clone(project))
    }

    /// What answers of `project`'s data API depend on, from memory; `None` when nobody knows, and none is kept then.
    fn dependence(&self, _project: &Project) -> Option<Dependence> {
        None
    }
}

/// The answer of [`Directory::configured`].
pub enum Configured<'a> {
    /// From memory.
    Known(Arc<Project>),
    /// Its database is asked, once for all who wait.
    Asked(Pin<Box<dyn Future<Output = Result<Arc<Project>, DirectoryError>> + Send + 'a>>),
}

impl fmt::Debug for Configured<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(project) => f.debug_tuple("Known").field(&project.reference).finish(),
            Self::Asked(_) => f.write_str("Asked(..)"),
        }
    }
}

/// The control database did not answer; the source is for the log only.
#[derive(Debug, thiserror::Error)]
#[error("the project directory does not answer")]
pub struct DirectoryError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_host_labels() {
        for good in ["default", "a", "team-board-2"] {
            assert_eq!(good.parse::<ProjectRef>().map(String::from).as_deref(), Ok(good));
        }
        for bad in ["", "A", "1a", "a-", "a_b", "a.b", "ü", &"a".repeat(33), "a'b", "a b"] {
            assert_eq!(bad.parse::<ProjectRef>(), Err(ProjectRefError), "{bad}");
        }
    }
}
