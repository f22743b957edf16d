//! What Redis says about itself, as metrics: how much memory it has in use, and how often it found what it was asked for
//! (all its clients together). Asked now and then by the task that watches the connection.

use metrics::{Gauge, gauge};

/// What is asked.
pub(super) fn question() -> redis::Pipeline {
    let mut pipe = redis::pipe();
    pipe.cmd("INFO").arg("memory").cmd("INFO").arg("stats");
    pipe
}

/// Tell what was answered.
pub(super) fn tell((memory, stats): &(String, String)) {
    let tell = |gauge: Gauge, text: &str, field: &str| {
        if let Some(value) = number(text, field) {
            gauge.set(value);
        }
    };
    tell(gauge!("redis_memory_used_bytes"), memory, "used_memory");
    tell(gauge!("redis_memory_limit_bytes"), memory, "maxmemory");
    tell(gauge!("redis_keyspace_hits"), stats, "keyspace_hits");
    tell(gauge!("redis_keyspace_misses"), stats, "keyspace_misses");
    tell(gauge!("redis_evicted_keys"), stats, "evicted_keys");
}

/// The number behind `field:`.
fn number(text: &str, field: &str) -> Option<f64> {
    let line = text.lines().find_map(|it| it.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "# Memory\r\nused_memory_rss:7\r\nused_memory:1048576\r\nmaxmemory:0\r\n";
        assert_eq!(number(text, "used_memory"), Some(1_048_576.0));
        assert_eq!(number(text, "maxmemory"), Some(0.0));
        assert_eq!(number(text, "used"), None);
        assert_eq!(number("used_memory:much", "used_memory"), None);
    }
}
