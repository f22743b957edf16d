//! The auth service over its router, on a real PostgreSQL.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation fails the test"
)]

mod account;
mod admin;
mod database;
mod errors;
mod mails;
mod password;
mod phone;
mod refresh;
mod sessions;
mod signup;
mod sms;
mod smtp;
mod support;
mod user;
mod verify;
