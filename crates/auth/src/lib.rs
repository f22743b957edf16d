//! Sign-up, sessions, tokens and mail: Supabase's `/auth/v1` (GoTrue's API), one request at a time.
//!
//! A request moves `request → flow → queries → session`: parsed and checked, decided upon with what the database
//! holds, written as one statement (`queries::apply`), answered as a user or a session.
//!
//! Deliberately absent: SQL outside `queries`, the system clock outside [`Config`], mail before the commit.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(feature = "webauthn"),
    expect(dead_code, reason = "rows and fields of keys are read only with the feature")
)]

mod again;
mod budget;
mod config;
mod error;
mod events;
mod flow;
mod guard;
mod hooks;
mod mail;
mod oauth_server;
mod password;
mod providers;
mod queries;
mod request;
mod routes;
#[cfg(feature = "saml")]
mod saml;
mod secret;
mod session;
mod sessions;
mod sms;
mod state;
mod user;
mod web;
mod web3;
#[cfg(feature = "webauthn")]
mod webauthn;
mod wire;

pub use config::{Clock, Config};
pub use error::{
    AccountError, Error, ExternalError, FactorError, GuardError, OAuthError, PasskeyError, PhoneError,
    SsoError,
};
pub use routes::router;
pub use sessions::{LiveSession, SessionManager};
pub use state::Auth;

mod embedded {
    //! The migrations of schema `auth`, built into the binary.
    refinery::embed_migrations!("migrations");
}

/// The migrations of schema `auth`, for whoever migrates a project's database.
///
/// They expect the shared roles, and leave everything owned by `supabase_auth_admin`.
#[must_use]
pub fn migrations() -> refinery::Runner {
    embedded::migrations::runner()
}
