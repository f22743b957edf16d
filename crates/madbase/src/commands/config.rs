//! `madbase config`: what a role would start with, and what is wrong with it. Starts nothing.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use crate::cli::{Config, ConfigVerb};
use crate::output::{Output, table};
use crate::settings::{Loaded, Shown, problems};

/// Run the verb.
pub(crate) fn run(args: Config, output: Output) -> Result<ExitCode> {
    match args.verb {
        ConfigVerb::Check { role, arguments } => {
            let problems = problems(role, &command_line(role.name(), arguments))?;
            let report = json!({ "role": role.name(), "problems": problems });
            output.show(&report, |_| match problems.len() {
                0 => format!("the settings of {role} are sound"),
                _ => problems.join("\n"),
            });
            Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        ConfigVerb::Show { role, arguments } => {
            let line = command_line(role.name(), arguments);
            let shown = Loaded::read(&line).with_file(&line)?.shown();
            output.show(&json!({ "role": role.name(), "settings": shown }), |_| people(&shown));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The command line that would start the role.
fn command_line(role: &str, arguments: Vec<OsString>) -> Vec<OsString> {
    ["madbase".into(), role.into()].into_iter().chain(arguments).collect()
}

fn people(shown: &[Shown]) -> String {
    let heading = ["setting", "value", "from"].map(str::to_owned).to_vec();
    let rows = shown.iter().map(|it| {
        vec![it.key.clone(), it.value.clone().unwrap_or_else(|| "-".to_owned()), it.origin.clone()]
    });
    table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())
}
