//! One topic that a socket has joined.

use std::sync::Arc;

use common::Caller;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use crate::bus::Hold;
use crate::changes::{self, Wanted};
use crate::feed::Feed;
use crate::hub::{Subscription, Wants};
use crate::rights::Allowed;
use crate::sessions::Watched;
use crate::tokens;

/// A joined topic. Dropping it ends what it had subscribed to.
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
    /// The token's session, if it has one.
    pub(crate) session: Option<Arc<Watched>>,
    /// When rights were asked for.
    pub(crate) asked_at: Instant,
    /// Whether members are shown.
    pub(crate) presence: bool,
    /// The socket's name among members.
    pub(crate) member: Arc<str>,
    /// The database changes that are wanted.
    pub(crate) following: Option<Following>,
    /// Ends the wait for the stream of changes, which the client wants to hear of.
    pub(crate) announcing: Option<DropGuard>,
    pub(crate) subscription: Subscription,
    /// What SQL sends and changes comes by it.
    pub(crate) feed: Arc<Feed>,
    /// Keeps other processes' messages coming.
    pub(crate) _hold: Hold,
}

/// Changes that a channel wants.
#[derive(Debug)]
pub(crate) struct Following {
    pub(crate) wanted: Arc<[Wanted]>,
    /// None until they come.
    pub(crate) subscription: Option<changes::Subscription>,
    /// Ends the attempts to subscribe.
    pub(crate) _ends: DropGuard,
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
    pub(crate) fn is_of(&mut self, (caller, token): (Caller, u64), session: Option<Arc<Watched>>) {
        self.expires_secs = tokens::expires_secs(&caller);
        self.session = session;
        self.caller = caller;
        self.token = token;
    }

    /// Which events come, by what it wants and may.
    pub(crate) fn wants(&self) -> Wants {
        let presence = self.presence && self.allowed.read_presence;
        Wants { broadcast: self.allowed.read_broadcast, presence }
    }

    /// Rights or wishes have changed.
    pub(crate) fn want(&self) {
        self.subscription.want(self.wants());
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("topic", self.key()).finish_non_exhaustive()
    }
}
