//! One multi-thread runtime per test process.
//!
//! `#[tokio::test]` makes one per test, and a pooled connection dies with the runtime that opened it; on a shared
//! one, pools, listeners and the test server outlive the test that happened to come first.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// Run a test to its end on the runtime of this process.
///
/// # Panics
/// When the runtime cannot be made; a test's own panics pass through.
pub fn run<F: Future>(test: F) -> F::Output {
    RUNTIME
        .get_or_init(|| {
            Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("make the test runtime")
        })
        .block_on(test)
}
