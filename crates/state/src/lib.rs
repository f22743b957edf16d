//! The State pillar: PostgreSQL run by ourselves.
//!
//! [`postgres`] finds the binaries, makes a cluster, starts it, heals what a crash left behind and stops it.
//! Deliberately absent: settings (the `madbase` crate reads them and passes them in) and SQL (nothing here
//! connects to the server that it runs).

#![forbid(unsafe_code)]

pub mod postgres;
