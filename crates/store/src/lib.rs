//! Every socket downwards. Services say by intent what they need; nobody above this crate names a driver.
//!
//! - [`Databases`]: one [`Database`] per project, opened on demand, closed when idle (REQ H7).
//! - [`Database::read`] and [`Database::write`]: the data path. Settings and one statement travel together under one
//!   Sync: one network round trip, one implicit transaction. Own client on `postgres-protocol`.
//! - [`ReplicaSettings`]: servers that reads may go to instead, without a caller ever missing its own writes.
//! - [`Database::services`]: pooled `tokio-postgres` connections for everything off the data path.
//! - [`Server`]: where PostgreSQL is, and how to connect to a database of it as somebody.
//! - [`migrate()`]: a crate's migrations, under an advisory lock.
//! - [`replication`]: the changes of a database, as PostgreSQL streams them.
//! - [`DistributedLock`]: one holder among all processes.
//! - [`mtls`]: identities of nodes and TLS between them.
//! - [`Redis`] and [`Cache`]: what processes share beside PostgreSQL; all of it works without Redis too.

#![forbid(unsafe_code)]

mod answer;
mod budget;
mod cache;
mod config;
mod cores;
mod data_path;
mod database;
mod databases;
mod error;
mod hosts;
mod limit;
mod listen;
mod lock;
mod migrate;
pub mod mtls;
mod notice;
mod redis;
mod replicas;
pub mod replication;
mod server;
mod services;
mod socket;
mod spool;
mod statement;
mod tail;
mod tls;
mod traced;
mod window;

pub use answer::{Answer, Row};
pub use cache::{Cache, CacheSpec, Flight, Flights, Follow, Key, Lead, Recent, Value, Version, Versions};
pub use cores::{Here, PerCore, Shelves};
pub use database::Database;
pub use databases::{Databases, PoolSettings};
pub use error::{Error, PgError};
pub use limit::{Limit, Limited, Limiter};
pub use listen::{Notification, Notifications};
pub use lock::{DistributedLock, Locks};
pub use migrate::migrate;
pub use redis::{Member, Messages, Redis, RedisSettings};
pub use replicas::{CallerKey, ReplicaSettings};
pub use server::{Defaults, Server};
pub use services::{Prepared, Question, ServiceClient};
pub use spool::Spool;
pub use statement::{Delivery, End, Isolation, Session, Statement};
pub use tail::{Cut, Tail};
pub use window::{Standing, Verdict, Window, Windows};

/// The driver of everything off the data path, so that services need no dependency of their own.
pub use tokio_postgres as postgres;
