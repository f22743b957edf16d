//! The gateway over real sockets, before services that tell what they were given.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod access;
mod answers;
mod configured;
mod contract;
mod cores;
mod direct;
mod forward;
mod limits;
mod operations;
mod plain;
mod projects;
mod rates;
mod response_cache;
mod shutdown;
mod strict;
mod telling;
mod tls;
mod tls_crowds;
mod world;
