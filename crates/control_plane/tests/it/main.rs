//! The control plane on a real PostgreSQL: start-up, provisioning, isolation, and the REST interface.
#![expect(clippy::unwrap_used, reason = "a test")]

mod provisioning;
