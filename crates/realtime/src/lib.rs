//! Channels, presence and database changes over `WebSockets`: Supabase Realtime's API.
//!
//! A **socket** speaks Phoenix's protocol and joins **topics** of its project. What a topic's subscribers are sent is an
//! `event::Event`, written once per protocol version however many receive it, and put into each socket's bounded
//! `outbox::Outbox`. Three sources make events: clients and SQL (broadcast), members (presence), and the project's
//! replication stream (database changes).
//!
//! The gateway hands over requests without their prefix `/realtime/v1`, with `Arc<common::Project>` and [`common::Caller`] as
//! extensions. [`Realtime`] has one part for each project that has sockets here; tasks are one per socket.

#![forbid(unsafe_code)]

mod api;
mod bus;
mod change;
mod changes;
mod channel;
mod config;
mod connect;
mod drain;
mod error;
mod event;
mod events;
mod feed;
mod frame;
mod hub;
mod limits;
mod outbox;
mod partitions;
mod presence;
mod replay;
mod rights;
mod schema;
mod session;
mod sessions;
mod socket;
mod state;
mod tenant;
mod tokens;
mod websocket;

pub use config::Config;
pub use drain::Drained;
pub use error::Error;
pub use feed::FeedSettings;
pub use presence::{PresenceManager, PresenceRefusal, PresenceSettings};
pub use schema::migrations;
pub(crate) use state::Inner;
pub use state::Realtime;
