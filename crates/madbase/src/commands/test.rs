//! `madbase test`: everything that must hold in a source checkout, in one command, with one line that counts.
//!
//! Plain `cargo test` rather than nextest: nextest gives every test a process of its own, and then every test
//! would make its own project and databases, which testkit shares between the tests of one binary.

mod checkout;
mod count;
mod install;
mod part;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use state::postgres::Ephemeral;
use tokio::time::Instant;

use self::checkout::Checkout;
use self::count::Counts;
pub(crate) use self::part::Part;
use crate::cli::Test;
use crate::output::{self, Output};
use crate::settings::Environment;

/// What every part may use.
struct Ground {
    checkout: Checkout,
    /// Shared by all test processes: one `initdb` instead of one per binary.
    postgres: Option<Ephemeral>,
    /// Whether random tests take their time.
    long: bool,
}

/// Run the parts one after another; a failing one does not stop the rest.
pub(crate) async fn run(args: Test, output: Output, environment: Environment) -> Result<ExitCode> {
    let begun = Instant::now();
    let checkout = Checkout::find()?;
    let parts: Vec<Part> = args.only.map_or_else(|| Part::ALL.to_vec(), |it| vec![it]);
    if parts.iter().any(|it| it.needs_postgres()) {
        install::postgres(&environment.search(), output).await?;
        install::redis(output).await;
        install::https(output).await;
    }
    if parts.contains(&Part::Clients) {
        install::clients(output).await;
    }
    let postgres = if parts.iter().any(|it| it.needs_postgres()) {
        Some(
            state::postgres::ephemeral(&environment.search())
                .await
                .context("start a PostgreSQL for the tests")?,
        )
    } else {
        None
    };
    let ground = Ground { checkout, postgres, long: args.long };
    let mut total = Counts::default();
    let mut failed = Vec::new();
    for (idx, part) in parts.iter().enumerate() {
        let counts = one(&ground, *part, (idx + 1, parts.len())).await;
        if counts.failed > 0 {
            failed.push(part.name());
        }
        total.add(counts);
    }
    let summary = format!("{} in {}", describe(&failed), minutes(begun.elapsed()));
    let report = json!({
        "passed": total.passed, "failed": total.failed, "skipped": total.skipped, "failed_parts": failed,
    });
    output.show(&report, |_| format!("{summary}\n{total}"));
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn one(ground: &Ground, part: Part, place: (usize, usize)) -> Counts {
    let title = format!("[{}/{}] {}", place.0, place.1, part.name());
    let begun = Instant::now();
    let Some(command) = part.command(ground) else {
        output::note(&format!("{title}: skipped, {}", part.why_skipped()));
        return Counts { skipped: 1, ..Counts::default() };
    };
    output::note(&format!("{title}: {}", command.shown()));
    let log = ground.checkout.log(part.name());
    let (succeeded, text) = match watch::run(&command, &log, &title).await {
        Ok(it) => it,
        Err(error) => (false, format!("{error:#}")),
    };
    let counts = part.count(&text).settled(succeeded);
    let taken = minutes(begun.elapsed());
    if counts.failed > 0 {
        output::note(&format!(
            "{}\n{title}: FAILED in {taken}; all of it: {}",
            count::end(&text),
            log.display()
        ));
    } else {
        output::note(&format!("{title}: ok in {taken} ({counts})"));
    }
    counts
}

fn describe(failed: &[&str]) -> String {
    if failed.is_empty() { "everything passed".to_owned() } else { format!("failed: {}", failed.join(", ")) }
}

fn minutes(duration: Duration) -> String {
    format!("{} min {:02} s", duration.as_secs() / 60, duration.as_secs() % 60)
}
