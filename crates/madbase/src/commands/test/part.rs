//! The parts of `madbase test`: what each runs and how its tests are counted.

use clap::ValueEnum;

use super::Ground;
use super::count::Counts;
use super::watch::Command;

/// Cases of each random test with `--long`: some five minutes in all. Proptest's own default is 256.
const LONG_CASES: &str = "100000";

/// One part; all but the last four are in the default run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Formatting.
    Fmt,
    /// Lints.
    Clippy,
    /// All Rust tests: units, services, documentation examples, house rules, the whole binary.
    Cargo,
    /// The documentation builds without a warning.
    Doc,
    /// Licences and advisories, when cargo-deny is installed.
    Deny,
    /// The official clients against the binary.
    Clients,
    /// House rules only; part of `cargo`.
    Tidy,
    /// The whole binary only; part of `cargo`.
    System,
}

impl Part {
    /// What runs when nothing is chosen.
    pub(super) const ALL: [Self; 6] =
        [Self::Fmt, Self::Clippy, Self::Cargo, Self::Doc, Self::Deny, Self::Clients];

    /// As written on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Cargo => "cargo",
            Self::Doc => "doc",
            Self::Deny => "deny",
            Self::Clients => "clients",
            Self::Tidy => "tidy",
            Self::System => "system",
        }
    }

    pub(super) fn needs_postgres(self) -> bool {
        matches!(self, Self::Cargo | Self::Clients | Self::System)
    }

    /// `None` skips the part.
    pub(super) fn command(self, ground: &Ground) -> Option<Command> {
        let root = ground.checkout.root();
        let cargo = |args: &str| Command::new("cargo", args.split_whitespace(), root);
        Some(match self {
            Self::Fmt => cargo("fmt --all --check"),
            Self::Clippy => cargo("clippy --workspace --all-targets --locked -- -D warnings"),
            Self::Cargo => {
                let command = with_postgres(cargo("test --workspace --no-fail-fast --locked"), ground);
                if ground.long { command.env("PROPTEST_CASES", LONG_CASES) } else { command }
            }
            Self::Doc => cargo("doc --workspace --no-deps --locked").env("RUSTDOCFLAGS", "-D warnings"),
            Self::Deny if !has_cargo_deny() => return None,
            Self::Deny => cargo("deny --offline check licenses bans sources"),
            Self::Tidy => cargo("test -p madbase --test tidy --locked"),
            Self::System => with_postgres(cargo("test -p madbase --test system --locked"), ground),
            Self::Clients => {
                let runner = root.join("tests/clients/run");
                let binary = ground.checkout.binary();
                if !runner.is_file() {
                    return None;
                }
                Command::new(runner.display().to_string(), [], root)
                    .env("MADBASE_BIN", binary.display().to_string())
            }
        })
    }

    pub(super) fn why_skipped(self) -> &'static str {
        match self {
            Self::Deny => "cargo-deny is not installed (cargo install cargo-deny)",
            _ => "it is missing from this checkout",
        }
    }

    /// Steps without tests count by success alone ([`Counts::settled`]).
    pub(super) fn count(self, text: &str) -> Counts {
        match self {
            Self::Cargo | Self::Tidy | Self::System => Counts::of_libtest(text),
            Self::Clients => Counts::of_last_line(text),
            Self::Fmt | Self::Clippy | Self::Doc | Self::Deny => Counts::default(),
        }
    }
}

fn with_postgres(command: Command, ground: &Ground) -> Command {
    match &ground.postgres {
        Some(it) => command.env("MADBASE_TEST_DATABASE_URL", it.url()),
        None => command,
    }
}

fn has_cargo_deny() -> bool {
    let answer = std::process::Command::new("cargo-deny").arg("--version").output();
    answer.is_ok_and(|it| it.status.success())
}
