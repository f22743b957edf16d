//! The store against a real PostgreSQL. Every test has a database and roles of its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]
#![expect(clippy::panic, reason = "a test that cannot go on must stop")]

mod cache;
mod data_path;
mod hosts;
mod listen;
mod lock;
mod logins;
mod migrate;
mod mtls;
mod pools;
mod replicas;
mod replication;
mod support;
mod tls;
mod versions;
mod window;
