//! The auth service over its router, on a real PostgreSQL.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation fails the test"
)]

mod admin;
mod database;
mod errors;
mod mails;
mod password;
mod refresh;
mod signup;
mod smtp;
mod support;
mod user;
mod verify;
