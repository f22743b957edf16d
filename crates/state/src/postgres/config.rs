//! `postgresql.conf` and `pg_hba.conf` as text. Pure; written anew at every start.
//!
//! People change settings by `alter system` or in `custom.conf` beside it; both survive.

use std::fmt::Write as _;

/// The superuser of the clusters that we make.
pub const SUPERUSER: &str = "supabase_admin";

/// How much a crash of the machine may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Nothing that was acknowledged.
    Full,
    /// Everything: for throw-away clusters of tests.
    None,
}

/// What the memory settings are made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Memory of the machine, in MiB.
    pub total_mib: u64,
}

impl Memory {
    /// The memory of this machine; 1 GiB when it cannot be read.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self { total_mib: parse_meminfo(&text).unwrap_or(1024) }
    }

    /// An eighth of the machine, which it shares with everything else: at least 64 MiB, at most 2 GiB.
    fn shared_buffers_mib(self) -> u64 {
        (self.total_mib / 8).clamp(64, 2048)
    }

    /// What the planner may hope to find in the page cache: half of the machine.
    fn effective_cache_mib(self) -> u64 {
        (self.total_mib / 2).max(128)
    }
}

fn parse_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|it| it.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024)
}

/// The text of `postgresql.conf`.
///
/// Port and socket directory are not in it: they go on the command line, so that no `alter system` can hide
/// the server from us.
pub(crate) fn postgresql_conf(memory: Memory, durability: Durability) -> String {
    let mut text = String::from(
        "# Written by MadBase at every start. Put your own settings into custom.conf (same directory)\n\
         # or use `alter system`; both win over this file.\n",
    );
    let mut set = |name: &str, value: &str| {
        let _ = writeln!(text, "{name} = {value}");
    };
    set("listen_addresses", "'127.0.0.1'");
    set("max_connections", "200");
    set("shared_buffers", &format!("'{}MB'", memory.shared_buffers_mib()));
    set("effective_cache_size", &format!("'{}MB'", memory.effective_cache_mib()));
    set("maintenance_work_mem", "'64MB'");
    set("dynamic_shared_memory_type", "posix");
    set("wal_level", "logical");
    // Each project whose changes are followed takes one of each.
    set("max_wal_senders", "100");
    set("max_replication_slots", "100");
    // A slot nobody reads must not fill the disk.
    set("max_slot_wal_keep_size", "'4GB'");
    set("max_wal_size", "'1GB'");
    set("random_page_cost", "1.1");
    // Verbose plans name the query by it, and clients rely on that.
    set("compute_query_id", "on");
    set("password_encryption", "scram-sha-256");
    set("timezone", "'UTC'");
    set("log_timezone", "'UTC'");
    set("datestyle", "'iso, mdy'");
    set("default_text_search_config", "'pg_catalog.english'");
    set("lc_messages", "'C'");
    // `log` leaves out what a statement did wrong: its client hears of it, and it may quote values.
    set("log_min_messages", "log");
    set("log_checkpoints", "off");
    set("log_line_prefix", "'%m [%p] %q%u@%d '");
    // A connection whose client is gone ends within these bounds instead of holding locks.
    set("tcp_keepalives_idle", "60");
    set("tcp_keepalives_interval", "10");
    set("tcp_keepalives_count", "3");
    set("client_connection_check_interval", "'10s'");
    set("idle_in_transaction_session_timeout", "'10min'");
    if durability == Durability::None {
        set("fsync", "off");
        set("synchronous_commit", "off");
        set("full_page_writes", "off");
    }
    text.push_str("include_if_exists = 'custom.conf'\n");
    text
}

/// The text of `pg_hba.conf`: a password from everyone, over the socket and from this machine only.
pub(crate) fn pg_hba_conf() -> &'static str {
    "# Written by MadBase at every start.\n\
     local all,replication all              scram-sha-256\n\
     host  all,replication all 127.0.0.1/32 scram-sha-256\n\
     host  all,replication all ::1/128      scram-sha-256\n"
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn a_durable_cluster_is_configured_by_this_text() {
        assert_snapshot!(postgresql_conf(Memory { total_mib: 8192 }, Durability::Full), @r"
        # Written by MadBase at every start. Put your own settings into custom.conf (same directory)
        # or use `alter system`; both win over this file.
        listen_addresses = '127.0.0.1'
        max_connections = 200
        shared_buffers = '1024MB'
        effective_cache_size = '4096MB'
        maintenance_work_mem = '64MB'
        dynamic_shared_memory_type = posix
        wal_level = logical
        max_wal_senders = 100
        max_replication_slots = 100
        max_slot_wal_keep_size = '4GB'
        max_wal_size = '1GB'
        random_page_cost = 1.1
        compute_query_id = on
        password_encryption = scram-sha-256
        timezone = 'UTC'
        log_timezone = 'UTC'
        datestyle = 'iso, mdy'
        default_text_search_config = 'pg_catalog.english'
        lc_messages = 'C'
        log_min_messages = log
        log_checkpoints = off
        log_line_prefix = '%m [%p] %q%u@%d '
        tcp_keepalives_idle = 60
        tcp_keepalives_interval = 10
        tcp_keepalives_count = 3
        client_connection_check_interval = '10s'
        idle_in_transaction_session_timeout = '10min'
        include_if_exists = 'custom.conf'
        ");
    }

    #[test]
    fn a_throw_away_cluster_differs_in_durability_only() {
        let memory = Memory { total_mib: 512 };
        let full = postgresql_conf(memory, Durability::Full);
        let none = postgresql_conf(memory, Durability::None);
        let more: Vec<&str> = none.lines().filter(|it| !full.contains(it)).collect();
        assert_eq!(more, ["fsync = off", "synchronous_commit = off", "full_page_writes = off"]);
        assert!(full.contains("shared_buffers = '64MB'"), "{full}");
    }

    #[test]
    fn nobody_gets_in_without_a_password() {
        let rules: Vec<&str> = pg_hba_conf().lines().filter(|it| !it.starts_with('#')).collect();
        assert_eq!(rules.len(), 3);
        assert!(rules.iter().all(|it| it.ends_with("scram-sha-256")), "{rules:?}");
    }

    #[test]
    fn the_memory_of_the_machine_is_read_from_meminfo() {
        assert_eq!(parse_meminfo("MemTotal:       16384000 kB\nMemFree: 1 kB\n"), Some(16000));
        assert_eq!(parse_meminfo("nothing"), None);
    }
}
