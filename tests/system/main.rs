//! The whole binary, as people run it: every test starts `madbase` itself, with its own PostgreSQL, in a
//! temporary directory and on free ports, and stops everything it started.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails; JSON is read by index"
)]

mod cluster;
mod commands;
mod config;
mod crash;
mod failover;
mod guide;
mod import;
mod joining;
mod large;
mod node;
mod nodes;
mod outage;
mod pebble;
mod realtime;
mod refusals;
mod replicas;
mod rest;
mod server;
mod sessions;
mod settings;
mod shutdown;
mod start;
mod tls;
mod traces;
