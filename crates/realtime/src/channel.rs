//! One topic that a socket has joined.

use std::sync::Arc;

use common::Caller;
use tokio::time::Instant;

use crate::hub::Subscription;
use crate::rights::Allowed;
use crate::tokens;

/// A joined topic.
#[derive(Debug)]
pub(crate) struct Channel {
    /// The client's name of its joining, as JSON.
    pub(crate) join_ref: Option<String>,
    pub(crate) is_private: bool,
    /// Whether broadcasts are acknowledged.
    pub(crate) acknowledges: bool,
    /// Whether the socket receives its own broadcasts.
    pub(crate) own: bool,
    pub(crate) caller: Caller,
    /// When the caller's token expires, in seconds since 1970.
    pub(crate) expires_secs: Option<i64>,
    /// Of the token that was shown last, to know it again.
    pub(crate) token: u64,
    pub(crate) allowed: Allowed,
    /// When rights were asked for.
    pub(crate) asked_at: Instant,
    /// Whether members are shown.
    pub(crate) presence: bool,
    pub(crate) subscription: Subscription,
}

impl Channel {
    /// The topic among public and private ones.
    pub(crate) fn key(&self) -> &Arc<str> {
        self.subscription.key()
    }

    pub(crate) fn has_expired(&self, now_secs: i64) -> bool {
        self.expires_secs.is_some_and(|it| it <= now_secs)
    }

    /// The caller showed another token.
    pub(crate) fn is_of(&mut self, caller: Caller, token: u64) {
        self.expires_secs = tokens::expires_secs(&caller);
        self.caller = caller;
        self.token = token;
    }
}
