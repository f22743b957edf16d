//! Words that every crate shares: ids, callers, claims, projects, error kinds.
//!
//! Everything here is pure: no sockets, no clock, no environment, no runtime. Whoever needs the time passes it in.
//! Two services that must talk do it by a type of this crate, a row, or a message on a channel.

#![forbid(unsafe_code)]

mod answers;
mod caller;
mod challenges;
mod error_kind;
mod inbox;
pub mod jwt;
pub mod mail;
mod node;
mod project;
mod sessions;
mod settings;
mod vault;

pub use answers::{Dependence, NothingWritten, Repeatable};
pub use caller::{Caller, ClientAddress, PublicUrl, RequestId, StageTimes};
pub use challenges::{Certified, Challenged, Challenges};
pub use error_kind::ErrorKind;
pub use inbox::{CapturedMail, Inbox};
pub use node::{NodeId, NodeName, NodeNameError, Pillar};
pub use project::{
    ApiKeys, Configured, Directory, DirectoryError, Finding, Login, Logins, Project, ProjectId, ProjectRef,
    ProjectRefError, UserId,
};
pub use sessions::{Asking, SessionCheck, SessionCheckError};
pub use settings::{
    AuthSettings, CaptchaProvider, FactorUse, HookSettings, MailTemplate, OAuthServerSettings, OpenApiMode,
    ProviderSettings, ResponseCache, RestSettings, SmsProvider, SmtpSettings, Verbosity,
};
pub use settings::{LimitSettings, RateLimits, RealtimeSettings};
pub use settings::{SettingError, parse_truth};
pub use vault::{Vault, VaultError};
