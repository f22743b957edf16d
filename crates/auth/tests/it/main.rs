//! The auth service over its router, on a real PostgreSQL.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation fails the test"
)]

mod account;
mod admin;
mod authenticator;
mod custom_providers;
mod database;
mod errors;
mod external;
mod factors;
mod guard;
mod hooks;
mod hostile;
mod id_token;
mod idp;
mod keys;
mod mails;
mod oauth_server;
mod passkeys;
mod password;
mod phone;
mod produced;
mod providers;
mod refresh;
#[cfg(feature = "saml")]
mod saml;
mod sessions;
mod signup;
mod sms;
mod smtp;
mod support;
mod user;
mod verify;
mod web3;
