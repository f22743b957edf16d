//! Slots of feeds: what they are called, and what to do with one that is found. Pure.
//!
//! Names of slots are shared by all databases of a server, so a slot's name tells the place of our locks (which differs for
//! each cluster of ours) and the project. From its name one comes back to the project, for cleaning up.

use common::ProjectRef;
use store::Locks;
use store::replication::Slot;

use super::FeedSettings;

/// Log that a process reads again to serve subscribers who have just come; beyond it there is too little new in it.
const MAX_STALE_BYTES: u64 = 64 * 1024 * 1024;

/// The front of all slots of one cluster of ours.
pub(super) fn prefix(locks: &Locks) -> String {
    format!("madbase_{}_", locks.mark())
}

/// A project's slot.
pub(super) fn name(locks: &Locks, project: &ProjectRef) -> String {
    prefix(locks) + &project.as_str().replace('-', "_")
}

/// The project whose slot is called `name`.
pub(super) fn project(locks: &Locks, name: &str) -> Option<ProjectRef> {
    name.strip_prefix(&prefix(locks))?.replace('_', "-").parse().ok()
}

/// The lock of who reads a project's stream.
pub(super) fn lock(project: &ProjectRef) -> String {
    format!("realtime:feed:{project}")
}

/// What a new leader does about its project's slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// Make one.
    Create,
    /// Read on where it was confirmed.
    Resume,
    /// Remove it and make another one.
    Renew,
}

/// `is_fresh`: no subscriber of this process was promised anything yet.
pub(super) fn plan(found: Option<&Slot>, is_fresh: bool, settings: &FeedSettings) -> Plan {
    let limit = if is_fresh { MAX_STALE_BYTES.min(settings.max_held_bytes) } else { settings.max_held_bytes };
    match found {
        None => Plan::Create,
        Some(slot) if slot.is_lost || slot.lag_bytes > limit => Plan::Renew,
        Some(_) => Plan::Resume,
    }
}

#[cfg(test)]
mod tests {
    use store::replication::Lsn;
    use store::{Redis, Server};

    use super::*;

    #[tokio::test]
    async fn a_slot_is_called_after_its_cluster_and_its_project() {
        let server = Server::from_url("postgres://db").unwrap();
        let locks = |database: &str| Locks::new(&Redis::none(), &server, database);
        let long: ProjectRef = "a-project-with-a-very-long-name1".parse().unwrap();
        let name = name(&locks("madbase"), &long);
        assert_eq!(name, "madbase_fa20bbc6_a_project_with_a_very_long_name1");
        assert!(name.len() <= 63);
        assert_eq!(project(&locks("madbase"), &name), Some(long));
        assert_eq!(project(&locks("other"), &name), None);
    }

    #[test]
    fn what_is_lost_or_too_far_behind_is_made_anew() {
        let slot = |lag_bytes, is_lost| Slot {
            name: String::new(),
            database: String::new(),
            reader: None,
            confirmed: Lsn(1),
            held_bytes: lag_bytes,
            lag_bytes,
            is_lost,
        };
        let settings = FeedSettings { max_held_bytes: 1 << 30, ..FeedSettings::default() };
        let plan = |slot: Option<Slot>, is_fresh| plan(slot.as_ref(), is_fresh, &settings);
        assert_eq!(plan(None, true), Plan::Create);
        assert_eq!(plan(Some(slot(0, true)), false), Plan::Renew);
        assert_eq!(plan(Some(slot(1 << 27, false)), false), Plan::Resume);
        assert_eq!(plan(Some(slot(1 << 27, false)), true), Plan::Renew, "of hours ago");
        assert_eq!(plan(Some(slot(1 << 31, false)), false), Plan::Renew);
    }
}
