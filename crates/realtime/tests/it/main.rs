//! Realtime against a real PostgreSQL and Redis. Every test has a project of its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]
#![expect(clippy::indexing_slicing, reason = "a missing field fails the test")]
#![expect(clippy::panic, reason = "a test that cannot go on must stop")]

mod api;
mod broadcast;
mod changes;
mod limits;
mod presence;
mod processes;
mod rooms;
mod sql;
mod strict;
mod world;
