//! PostgreSQL as a child, with the real programs: every test makes a cluster in a temporary directory.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cluster;
mod ephemeral;
mod support;
