//! Sessions as every proxy sees them (REQ C3, C8): made here, valid there, ended everywhere within a second.
//!
//! PostgreSQL is the truth. This process remembers sessions for some seconds, Redis for an hour under
//! `session:{project}:{id}`: the public half of a token, so that Redis never holds what opens a session. Triggers tell
//! of every session that ends and every user that changes, however that happened (`V40__live_sessions.sql`); each
//! process that remembers sessions of a project listens, forgets and makes Redis forget.

mod live;
mod manager;
mod strict;
mod watch;

pub use live::LiveSession;
pub use manager::SessionManager;
pub(crate) use watch::Sessions;
