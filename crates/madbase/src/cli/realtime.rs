//! The flags that bound realtime in a process, all projects together: sockets, memory, times, and the log that PostgreSQL
//! holds for streams of changes. What a single project may do is its own setting.

use std::time::Duration;

use clap::Args;

/// Bounds of sockets and streams.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct RealtimeBounds {
    /// Sockets at once, of all projects together.
    #[arg(
        long, env = "MADBASE_REALTIME_SOCKETS", default_value_t = 50_000, value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=10_000_000)
    )]
    pub(crate) realtime_sockets: u32,
    /// Bytes of the longest message of a client.
    #[arg(
        long, env = "MADBASE_REALTIME_MESSAGE_BYTES", default_value_t = 5_000_000, value_name = "BYTES",
        value_parser = clap::value_parser!(u32).range(1_000..=100_000_000)
    )]
    pub(crate) realtime_message_bytes: u32,
    /// Bytes that may wait for one socket, which is closed as too slow beyond.
    #[arg(
        long, env = "MADBASE_REALTIME_WAITING_BYTES", default_value_t = 4_194_304, value_name = "BYTES",
        value_parser = clap::value_parser!(u32).range(10_000..=1_000_000_000)
    )]
    pub(crate) realtime_waiting_bytes: u32,
    /// Bytes of messages that clients have not sent to their ends, of all sockets together.
    #[arg(
        long, env = "MADBASE_REALTIME_UNREAD_BYTES", default_value_t = 268_435_456, value_name = "BYTES",
        value_parser = clap::value_parser!(u32).range(1_000_000..)
    )]
    pub(crate) realtime_unread_bytes: u32,
    /// Seconds after which a socket that says nothing is closed; clients say something every 25.
    #[arg(
        long, env = "MADBASE_REALTIME_IDLE_TIMEOUT", default_value_t = 60, value_name = "SECONDS",
        value_parser = clap::value_parser!(u32).range(5..=3600)
    )]
    pub(crate) realtime_idle_timeout: u32,
    /// Seconds over which sockets are told to connect elsewhere when the process ends.
    #[arg(
        long, env = "MADBASE_REALTIME_DRAIN_SPREAD", default_value_t = 10, value_name = "SECONDS",
        value_parser = clap::value_parser!(u32).range(0..=600)
    )]
    pub(crate) realtime_drain_spread: u32,
    /// Bytes of log that PostgreSQL may hold for a stream of changes that nobody reads.
    #[arg(
        long, env = "MADBASE_REALTIME_HELD_BYTES", default_value_t = 1_073_741_824, value_name = "BYTES",
        value_parser = clap::value_parser!(u64).range(16_777_216..)
    )]
    pub(crate) realtime_held_bytes: u64,
    /// Seconds that a stream of changes goes on after its last subscriber has left.
    #[arg(
        long, env = "MADBASE_REALTIME_LINGER", default_value_t = 60, value_name = "SECONDS",
        value_parser = clap::value_parser!(u32).range(5..=86_400)
    )]
    pub(crate) realtime_linger: u32,
}

impl RealtimeBounds {
    /// As realtime takes them.
    pub(crate) fn config(self) -> realtime::Config {
        let (count, seconds) = (|it: u32| it as usize, |it: u32| Duration::from_secs(it.into()));
        let usual = realtime::Config::default();
        realtime::Config {
            max_sockets: count(self.realtime_sockets),
            max_message_bytes: count(self.realtime_message_bytes),
            max_waiting_bytes: count(self.realtime_waiting_bytes),
            max_unread_bytes: count(self.realtime_unread_bytes),
            idle_timeout: seconds(self.realtime_idle_timeout),
            drain_spread: seconds(self.realtime_drain_spread),
            feed: realtime::FeedSettings {
                max_held_bytes: self.realtime_held_bytes,
                linger: seconds(self.realtime_linger),
                ..usual.feed
            },
            ..usual
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        bounds: RealtimeBounds,
    }

    fn check(arguments: &[&str]) -> Result<realtime::Config, String> {
        let line = Line::try_parse_from([&["x"], arguments].concat());
        line.map(|it| it.bounds.config()).map_err(|it| it.to_string())
    }

    #[test]
    fn without_flags_the_bounds_are_realtime_s_own() {
        assert_eq!(format!("{:?}", check(&[]).unwrap()), format!("{:?}", realtime::Config::default()));
    }

    #[test]
    fn every_flag_is_heard_and_none_switches_a_bound_off() {
        let config = check(&[
            "--realtime-sockets=1",
            "--realtime-message-bytes=2000",
            "--realtime-waiting-bytes=30000",
            "--realtime-unread-bytes=4000000",
            "--realtime-idle-timeout=5",
            "--realtime-drain-spread=6",
            "--realtime-held-bytes=70000000",
            "--realtime-linger=8",
        ]);
        let config = config.unwrap();
        let sizes =
            [config.max_sockets, config.max_message_bytes, config.max_waiting_bytes, config.max_unread_bytes];
        assert_eq!(sizes, [1, 2_000, 30_000, 4_000_000]);
        let times = [config.idle_timeout, config.drain_spread, config.feed.linger];
        assert_eq!(times.map(|it| it.as_secs()), [5, 6, 8]);
        assert_eq!(config.feed.max_held_bytes, 70_000_000);
        for flag in [
            "sockets",
            "message-bytes",
            "waiting-bytes",
            "unread-bytes",
            "idle-timeout",
            "held-bytes",
            "linger",
        ] {
            assert!(check(&[&format!("--realtime-{flag}=0")]).is_err(), "{flag}");
        }
    }
}
