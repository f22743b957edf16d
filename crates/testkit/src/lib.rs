//! What tests share: one runtime, one throw-away PostgreSQL, projects and personas. Development only.
//!
//! [`run`] runs a test's future; [`server()`] is the PostgreSQL of this test process (`MADBASE_TEST_DATABASE_URL`
//! when set, so that many processes can share one; else a cluster of its own that cleans up by itself);
//! [`project()`] makes a project on it, with every service's schema. [`RedisServer`] is a Redis of one test, which may
//! kill it and start it again. [`standby()`] is a streaming standby of one test, which may pause, crash, come back or
//! be promoted; [`primary()`] is what it streams from.

#![forbid(unsafe_code)]

mod project;
mod redis;
mod runtime;
mod server;
mod standby;

pub use project::{TestProject, connect, control_plane, project, project_on, replicated_project, services};
pub use redis::RedisServer;
pub use runtime::run;
pub use server::{TestServer, server};
pub use standby::{TestStandby, primary, standby};
