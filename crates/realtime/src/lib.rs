//! Channels, presence and database changes over WebSockets: Supabase Realtime's API.
//!
//! A **socket** speaks Phoenix's protocol and joins **topics** of its project. What a topic's subscribers are sent is an
//! [`event::Event`], written once per protocol version however many receive it, and put into each socket's bounded
//! [`outbox::Outbox`]. Three sources make events: clients and SQL (broadcast), members (presence), and the project's
//! replication stream (database changes).

#![forbid(unsafe_code)]

mod change;
mod changes;
mod event;
mod outbox;
mod schema;

pub use schema::migrations;
