//! Tables and functions over HTTP: PostgREST's API over a project's database.
//!
//! A request goes one way through five stages: `request` (what it says by itself) → `plan` (every name found in the
//! `catalog`) → `sql` (one statement whose only row carries everything) → `run` (one round trip as the caller) →
//! `response`. The stages before `run` are pure and know no database; JSON comes from PostgreSQL and is passed on
//! as it is.

#![forbid(unsafe_code)]

mod catalog;
mod config;
mod content;
mod error;
mod events;
mod openapi;
mod plan;
mod prepared;
mod request;
mod response;
mod routes;
mod run;
mod settings;
mod sql;
mod watch;

pub use config::{Config, Limits};
pub use error::Error;
pub use routes::DataApi;
