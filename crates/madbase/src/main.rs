//! The binary: parses the command line, runs one command, turns what went wrong into a message and an exit code.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not running (`status`, and commands that need a running server).

#![forbid(unsafe_code)]

use std::process::ExitCode;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use settings::Loaded;

mod banner;
mod cli;
mod client;
mod commands;
mod layout;
mod lock;
mod node;
mod output;
mod ports;
mod postgres;
mod progress;
mod roles;
mod run_file;
mod secrets;
mod server;
mod settings;
mod signals;
mod telemetry;
mod tls;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all: several crates could choose a provider, and rustls refuses to guess between them.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    allow_open_files();
    let arguments: Vec<_> = std::env::args_os().collect();
    let loaded = Loaded::read(&arguments);
    let output = output::Output::new(loaded.cli.json, loaded.cli.yes);
    match loaded.with_file(&arguments).and_then(|it| commands::run(it, &arguments, output)) {
        Ok(code) => code,
        Err(error) => {
            output.error(&error);
            ExitCode::FAILURE
        }
    }
}

/// Every socket is an open file, and the usual soft limit of 1024 is for programs that use `select`: take what we may have.
fn allow_open_files() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _it_stays_as_it_was = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}
