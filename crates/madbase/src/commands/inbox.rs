//! `madbase inbox`: the mails that were captured because no SMTP server is configured.

use std::process::ExitCode;

use anyhow::Result;
use reqwest::Method;
use serde_json::Value;

use crate::cli::Control;
use crate::client::Client;
use crate::output::{Output, table};
use crate::settings::Environment;

/// List them, newest first.
pub(crate) async fn run(args: &Control, output: Output, environment: Environment) -> Result<ExitCode> {
    let client = Client::open(args, environment)?;
    let mails = client.call(Method::GET, "/api/v1/inbox", None).await?;
    output.show(&mails, people);
    Ok(ExitCode::SUCCESS)
}

fn people(mails: &Value) -> String {
    let list = super::project::list_in(mails, "mails");
    if list.is_empty() {
        return "no mails".to_owned();
    }
    let heading = ["when", "project", "to", "subject", "link"];
    let columns = ["captured_at", "project", "to", "subject", "link"];
    let row = |mail: &Value| columns.iter().map(|it| super::project::text_in(mail, it)).collect();
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(list.iter().map(row));
    table(&rows)
}
