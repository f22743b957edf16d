//! `postmaster.pid`, as PostgreSQL writes it: who runs a data directory and whether it is ready.
//!
//! Line 1 is the process id, 4 the port, 8 the state; the last one is how `pg_ctl -w` waits, too.

use std::path::Path;

/// What a `postmaster.pid` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pidfile {
    pub(crate) pid: i32,
    pub(crate) ready: bool,
}

impl Pidfile {
    /// Read it from a data directory; `None` when there is none, or it is being written.
    pub(crate) fn read(data: &Path) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(data.join("postmaster.pid")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        // A stand-alone backend writes its process id negative.
        let pid: i32 = lines.next()?.trim().parse::<i32>().ok()?.checked_abs()?;
        let ready = lines.nth(6).is_some_and(|it| it.trim() == "ready");
        (pid > 1).then_some(Self { pid, ready })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: &str = "4711\n/data/postgres\n1700000000\n54322\n/data/run\n127.0.0.1\n  54322001  12\n";

    #[test]
    fn the_state_is_in_the_eighth_line() {
        for (state, ready) in
            [("ready   \n", true), ("starting\n", false), ("stopping\n", false), ("", false)]
        {
            let expected = Pidfile { pid: 4711, ready };
            assert_eq!(Pidfile::parse(&format!("{RUNNING}{state}")), Some(expected), "{state}");
        }
    }

    #[test]
    fn a_torn_or_absurd_file_is_no_pidfile() {
        for text in ["", "\n", "abc\n", "0\n", "1\n", "-1\n", "99999999999\n"] {
            assert_eq!(Pidfile::parse(text), None, "{text}");
        }
    }
}
