//! What can go wrong here: one enum, with a stable code, a kind and the next step for each variant.
//!
//! `Display` and `next` may reach a client; sources are for the log only.

use common::{ErrorKind, ProjectRef, ProjectRefError};

/// Why the control plane refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The body is no JSON.
    #[error("the body is no JSON: {0}")]
    Json(String),
    /// The body is JSON, but not what this route takes: an unknown field, a wrong type, a value out of range.
    #[error("the body does not fit: {0}")]
    Body(String),
    /// The body's `Content-Type` is not `application/json`.
    #[error("the body must be sent as application/json")]
    MediaType,
    /// The body is larger than 1 MiB.
    #[error("the body is larger than 1 MiB")]
    TooLarge,
    /// The path holds no project reference.
    #[error(transparent)]
    Reference(#[from] ProjectRefError),
    /// The query string does not fit.
    #[error("the query string does not fit: {0}")]
    Query(String),
    /// No admin token, or a wrong one.
    #[error("the admin token is missing or wrong")]
    Token,
    /// The join token is of no use.
    #[error("the join token is unknown, used or expired")]
    JoinToken,
    /// Only nodes may ask that.
    #[error("only nodes with a certificate of this cluster may ask that")]
    NodeCertificate,
    /// No node of that id.
    #[error("there is no node {0}")]
    UnknownNode(String),
    /// No such route.
    #[error("there is no such route")]
    Route,
    /// The route exists, the method does not.
    #[error("the route does not take this method")]
    Method,
    /// No project of that name.
    #[error("there is no project {0}")]
    UnknownProject(ProjectRef),
    /// The reference is taken.
    #[error("there is a project {0} already")]
    ProjectExists(ProjectRef),
    /// A project of that name is being deleted.
    #[error("a project {0} is still being deleted")]
    ProjectGoing(ProjectRef),
    /// The default project stays.
    #[error("the default project cannot be deleted")]
    DefaultProject,
    /// The database that the project would get exists and belongs to something else.
    #[error("a database {0} exists already and belongs to no project")]
    DatabaseTaken(String),
    /// The installation is full.
    #[error("this installation holds {0} projects already")]
    TooManyProjects(u32),
    /// Too many projects are being made or deleted at once.
    #[error("too many projects are being created or deleted at once")]
    Busy,
    /// Two changes of one project met.
    #[error("the project {0} was changed by somebody else at the same time")]
    Contended(ProjectRef),
    /// The project has no signing key of that name.
    #[error("there is no such signing key")]
    UnknownSigningKey,
    /// The signing keys do not allow that now; the text says why.
    #[error("{0}")]
    SigningKeys(&'static str),
    /// The stored secrets do not open with the master key.
    #[error("the master key does not fit the secrets in the control database")]
    MasterKey,
    /// The administrator's login has too few rights.
    #[error("the PostgreSQL login {0} is no superuser")]
    NotSuperuser(String),
    /// PostgreSQL is too old.
    #[error("PostgreSQL is older than 15 (server_version_num {0})")]
    TooOld(i32),
    /// The default project's database and the control database have one name.
    #[error("the default project cannot live in the control database {0}")]
    ControlDatabase(String),
    /// Nobody has prepared the control database yet.
    #[error("the control database is not prepared yet")]
    NotPrepared,
    /// What the control database holds about a project cannot be read.
    #[error("what is stored about the project cannot be read")]
    Stored(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The system's random generator failed.
    #[error("the system gave no random numbers")]
    Randomness,
    /// The database could not answer.
    #[error("the database did not answer as expected")]
    Store(#[source] store::Error),
    /// The control database did not answer in time.
    #[error("the control database did not answer in time")]
    Timeout,
    /// A task of ours ended without an answer.
    #[error("the work was broken off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Every code, in order: for `docs/reference/errors.md`.
    pub const CODES: &'static [&'static str] = &[
        "CP100", "CP101", "CP102", "CP103", "CP104", "CP105", "CP200", "CP201", "CP202", "CP300", "CP301",
        "CP302", "CP303", "CP304", "CP305", "CP306", "CP307", "CP308", "CP309", "CP310", "CP311", "CP312",
        "CP500", "CP501", "CP502", "CP503", "CP504", "CP505", "CP900", "CP901", "CP902", "CP903",
    ];

    /// The stable code: CP1 the request, CP2 who asks, CP3 projects and routes, CP5 the installation, CP9 what is below.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Json(_) => "CP100",
            Self::Body(_) => "CP101",
            Self::MediaType => "CP102",
            Self::TooLarge => "CP103",
            Self::Reference(_) => "CP104",
            Self::Query(_) => "CP105",
            Self::Token => "CP200",
            Self::JoinToken => "CP201",
            Self::NodeCertificate => "CP202",
            Self::UnknownNode(_) => "CP312",
            Self::Route => "CP300",
            Self::Method => "CP301",
            Self::UnknownProject(_) => "CP302",
            Self::ProjectExists(_) => "CP303",
            Self::ProjectGoing(_) => "CP304",
            Self::DefaultProject => "CP306",
            Self::DatabaseTaken(_) => "CP307",
            Self::TooManyProjects(_) => "CP308",
            Self::Contended(_) => "CP309",
            Self::UnknownSigningKey => "CP310",
            Self::SigningKeys(_) => "CP311",
            Self::Busy => "CP305",
            Self::MasterKey => "CP500",
            Self::NotSuperuser(_) => "CP501",
            Self::TooOld(_) => "CP502",
            Self::ControlDatabase(_) => "CP503",
            Self::Stored(_) => "CP504",
            Self::NotPrepared => "CP505",
            Self::Store(_) => "CP900",
            Self::Timeout => "CP901",
            Self::Randomness => "CP902",
            Self::Broken(_) => "CP903",
        }
    }

    /// The kind, for status, log level and metrics.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Json(_) | Self::Body(_) | Self::MediaType | Self::Reference(_) | Self::Query(_) => {
                ErrorKind::Invalid
            }
            Self::TooLarge | Self::Busy => ErrorKind::Limited,
            Self::Token | Self::JoinToken | Self::NodeCertificate => ErrorKind::Unauthenticated,
            Self::Route
            | Self::Method
            | Self::UnknownProject(_)
            | Self::UnknownNode(_)
            | Self::UnknownSigningKey => ErrorKind::NotFound,
            Self::ProjectExists(_)
            | Self::ProjectGoing(_)
            | Self::DefaultProject
            | Self::DatabaseTaken(_)
            | Self::TooManyProjects(_)
            | Self::SigningKeys(_)
            | Self::Contended(_) => ErrorKind::Conflict,
            Self::Timeout | Self::NotPrepared => ErrorKind::Unavailable,
            Self::Store(it) if it.kind() == ErrorKind::Unavailable => ErrorKind::Unavailable,
            Self::MasterKey
            | Self::NotSuperuser(_)
            | Self::TooOld(_)
            | Self::ControlDatabase(_)
            | Self::Stored(_)
            | Self::Randomness
            | Self::Store(_)
            | Self::Broken(_) => ErrorKind::Internal,
        }
    }

    /// What whoever reads this should do next.
    #[must_use]
    pub fn next(&self) -> &'static str {
        match self {
            Self::Json(_) => "Send valid JSON; the message says where reading stopped.",
            Self::Body(_) => {
                "Correct or remove the named field; the fields are listed in docs/reference/control-plane.md."
            }
            Self::MediaType => "Add the header `Content-Type: application/json`.",
            Self::TooLarge => "Send at most 1 MiB.",
            Self::Reference(_) => "Use a reference such as `team-board`.",
            Self::Query(_) => "Correct or remove the named parameter.",
            Self::Token => {
                "Send `Authorization: Bearer <admin token>`; it is in the file `secrets/admin_token` of the data directory."
            }
            Self::JoinToken => {
                "Make a new one with `madbase cluster join-token`; each lets one node in, once."
            }
            Self::NodeCertificate => "Join the cluster first: `madbase worker --join`.",
            Self::UnknownNode(_) => {
                "List the nodes with `madbase cluster nodes`; one that was removed joins anew."
            }
            Self::Route | Self::Method => {
                "See docs/reference/control-plane.md for the routes and their methods."
            }
            Self::UnknownProject(_) => "List the projects with `madbase project list`.",
            Self::ProjectExists(_) => "Choose another reference, or use the project that exists.",
            Self::ProjectGoing(_) => {
                "Try again in a few seconds; a restart finishes a deletion that was cut off."
            }
            Self::DefaultProject => "Delete other projects; remove the data directory to start from nothing.",
            Self::DatabaseTaken(_) => "Choose another reference, or rename or drop that database.",
            Self::TooManyProjects(_) => "Delete a project, or raise the limit of projects.",
            Self::Busy => "Try again in a few seconds.",
            Self::Contended(_) => "Read the project again and repeat the change.",
            Self::UnknownSigningKey => "List the keys with `madbase project keys list <ref>`.",
            Self::SigningKeys(_) => {
                "A key goes from standby to current by `rotate`, to previous by the next `rotate`, and then ends by `revoke`."
            }
            Self::MasterKey => {
                "Put back the key file that this data was made with; without it the secrets are lost."
            }
            Self::NotSuperuser(_) => {
                "Use a superuser in DATABASE_URL: MadBase creates roles with BYPASSRLS, event triggers and databases."
            }
            Self::TooOld(_) => "Use PostgreSQL 15 or newer.",
            Self::ControlDatabase(_) => "Name another database in DATABASE_URL.",
            Self::Stored(_) => "Use a version of MadBase at least as new as the one that wrote it.",
            Self::NotPrepared => {
                "Start `madbase system` on the same DATABASE_URL; it creates and migrates what is missing."
            }
            Self::Store(_) | Self::Timeout => {
                "Check that PostgreSQL runs and answers; the log names the cause."
            }
            Self::Randomness | Self::Broken(_) => "Try again; if it lasts, read the log and report it.",
        }
    }
}

impl From<store::Error> for Error {
    fn from(it: store::Error) -> Self {
        Self::Store(it)
    }
}

impl From<store::postgres::Error> for Error {
    fn from(it: store::postgres::Error) -> Self {
        Self::Store(it.into())
    }
}

impl From<serde_json::Error> for Error {
    fn from(it: serde_json::Error) -> Self {
        Self::Stored(it.into())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn one_of_each() -> Vec<Error> {
        let reference: ProjectRef = "team-board".parse().unwrap();
        let text = || "…".to_owned();
        vec![
            Error::Json(text()),
            Error::Body(text()),
            Error::MediaType,
            Error::TooLarge,
            Error::Reference(ProjectRefError),
            Error::Query(text()),
            Error::Token,
            Error::JoinToken,
            Error::NodeCertificate,
            Error::UnknownNode("worker-1".into()),
            Error::Route,
            Error::Method,
            Error::UnknownProject(reference.clone()),
            Error::ProjectExists(reference.clone()),
            Error::ProjectGoing(reference.clone()),
            Error::DefaultProject,
            Error::DatabaseTaken(text()),
            Error::TooManyProjects(1),
            Error::Contended(reference),
            Error::UnknownSigningKey,
            Error::SigningKeys("there is no standby key"),
            Error::Busy,
            Error::MasterKey,
            Error::NotSuperuser(text()),
            Error::TooOld(1),
            Error::ControlDatabase(text()),
            Error::NotPrepared,
            Error::Stored(text().into()),
            Error::Store(store::Error::PoolTimeout),
            Error::Timeout,
            Error::Randomness,
            Error::Broken(text().into()),
        ]
    }

    #[test]
    fn the_reference_lists_every_error_as_it_is() {
        use axum::response::IntoResponse as _;
        let page = include_str!("../../../docs/reference/errors-control-plane.md");
        let listed: Vec<&str> = page.lines().filter(|it| it.starts_with("| CP")).collect();
        let mut errors = one_of_each();
        errors.sort_by_key(Error::code);
        let lines = errors.into_iter().map(|it| {
            let (code, message, next) = (it.code(), it.to_string(), it.next());
            format!("| {code} | {} | {message} | {next} |", it.into_response().status().as_u16())
        });
        assert_eq!(listed, lines.collect::<Vec<_>>());
    }

    #[test]
    fn codes_are_listed_unique_and_come_with_a_next_step() {
        let errors = one_of_each();
        let codes: BTreeSet<&str> = errors.iter().map(Error::code).collect();
        assert_eq!(codes.len(), errors.len(), "a code is used twice");
        assert_eq!(codes.into_iter().collect::<Vec<_>>(), Error::CODES);
        for error in errors {
            assert!(error.next().ends_with('.'), "{}", error.code());
        }
    }
}
