//! The one notice that matters: a commit that is kept here, and that no standby has confirmed.
//!
//! Who cancels a commit that waits for its standby (`pg_cancel_backend`, a shutdown) gets it acknowledged with nothing
//! but a warning. A failover may undo it, so we must not acknowledge it: its outcome is unknown.

/// The function of PostgreSQL's that waits, as a field of what it says. Texts are translated; this is not, and nothing that
/// a client can raise carries it.
const ROUTINE: &[u8] = b"\0RSyncRepWaitForLSN\0";

/// Whether `body`, of a `NoticeResponse`, tells that a commit was not replicated.
pub(crate) fn is_unreplicated(body: &[u8]) -> bool {
    body.windows(ROUTINE.len()).any(|it| it == ROUTINE)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What PostgreSQL 15 sends.
    pub(crate) const BODY: &[u8] = b"SWARNING\0VWARNING\0C01000\0\
        Mcanceling wait for synchronous replication due to user request\0\
        DThe transaction has already committed locally, but might not have been replicated to the standby.\0\
        Fsyncrep.c\0L303\0RSyncRepWaitForLSN\0\0";

    #[test]
    fn it_is_known_by_who_says_it() {
        assert!(is_unreplicated(BODY));
        assert!(!is_unreplicated(b"SNOTICE\0VNOTICE\0C00000\0MRSyncRepWaitForLSN\0Rexec_stmt_raise\0\0"));
        assert!(!is_unreplicated(b""));
    }
}
