//! One command per file; here each is given what it needs.

mod cluster;
mod completions;
mod config;
mod inbox;
mod project;
mod proxy;
mod rest;
mod site;
mod start;
mod status;
mod stop;
mod system;
mod test;
mod worker;

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

pub(crate) use status::unix_now;
pub(crate) use test::Part as TestPart;

use crate::cli::Command;
use crate::node;
use crate::output::Output;
use crate::settings::Loaded;

/// Says "it does not run", for scripts.
pub(crate) const NOT_RUNNING: u8 = 3;

/// Run the command; the code is what the process ends with.
pub(crate) fn run(loaded: Loaded, arguments: &[OsString], output: Output) -> Result<ExitCode> {
    // What the cluster gives to a node are settings that the node is started with.
    let joined = block_on(node::join_if_asked(&loaded))?;
    let loaded = if joined { Loaded::read(arguments).with_file(arguments)? } else { loaded };
    let environment = loaded.environment();
    match loaded.cli.command {
        Command::Start(args) => block_on(start::run(*args, output, environment)),
        Command::System(args) => block_on(system::run(*args, output, environment)),
        Command::Proxy(args) => block_on(proxy::run(*args, output, environment)),
        Command::Worker(args) => block_on(worker::run(*args, output, environment)),
        Command::Status(args) => block_on(status::run(&args, output)),
        Command::Stop(args) => block_on(stop::run(&args, output, &environment)),
        Command::Cluster(args) => block_on(cluster::run(args, output, environment)),
        Command::Project(args) => block_on(project::run(args, output, environment)),
        Command::Inbox(args) => block_on(inbox::run(&args, output, environment)),
        Command::Test(args) => block_on(test::run(args, output, environment)),
        Command::Rest(args) => block_on(rest::run(args, environment)),
        Command::Config(args) => config::run(args, output),
        Command::Completions { shell } => {
            completions::run(shell);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn block_on<T>(command: impl Future<Output = Result<T>>) -> Result<T> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().build().context("start the runtime")?;
    let outcome = runtime.block_on(command);
    // Nothing that is still running may hold the process back.
    runtime.shutdown_background();
    outcome
}
