//! The contract of the data API over HTTP, on a real PostgreSQL: one seeded project shared by all tests that only
//! read or roll back; tests that change the schema make their own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod areas;
mod calls;
mod catalog;
mod embeds;
mod errors;
mod fuzz;
mod large;
mod limits;
mod openapi;
mod reads;
mod replicas;
mod rights;
mod settings;
mod support;
mod uses;
mod writes;
