//! The only door: every request on :8000 passes here, and every answer leaves through here.
//!
//! What happens to a request, in order (`pipeline.rs` is that list): an id, a route by prefix, a CORS preflight answered, the
//! project found from the host, the key checked, the caller built, the body bounded, the service called under a timeout.
//! On the way back: compression, CORS and security headers, the id echoed, one log line and two metrics.
//!
//! - [`Gateway`] and [`endpoint()`]: the pipeline around the services, which are [`Endpoint`]s themselves.
//! - [`serve()`]: HTTP/1.1 and HTTP/2 on a listener, with bounded connections and a graceful end (REQ H5); hyper reads
//!   what is not of the usual kind. [`serve_on()`] keeps connections on [`Cores`], as proxies do, and [`Load`] counts their
//!   requests.
//! - [`Tls`]: what makes such a listener one for HTTPS (REQ H9), and [`Certificates`], which it shows.
//!
//! - [`Workers`]: a service that other processes answer, as an [`Endpoint`] (REQ H6).
//!
//! - [`ResponseCache`]: answers of the data API that are kept until something is written (REQ C1).
//!
//! A service in this process sees the path without its prefix and, as request extensions, `Arc<common::Project>`, [`common::Caller`],
//! [`common::RequestId`], [`common::PublicUrl`] and [`common::ClientAddress`].
//!
//! Deliberately absent: SQL, knowledge of a service's routes beyond the few that are open without a key, and rights.
//! A role that a verified token names is passed on as it is; PostgreSQL decides what it may do.

#![forbid(unsafe_code)]

mod admission;
mod body_limit;
mod compress;
mod config;
mod cors;
mod credentials;
mod deadline;
mod endpoint;
mod error;
mod events;
mod forward;
mod forwarded;
mod framing;
mod host;
mod http1;
mod https;
mod load;
mod network;
mod operations;
mod pipeline;
mod projects;
pub mod rate_limit;
mod request_id;
mod response_cache;
mod route;
mod security;
mod serve;
mod state;
mod strict;
mod timing;
mod tls;
mod tokens;
mod traced;

pub use config::{Config, ServiceLimits};
pub use endpoint::Endpoint;
pub use error::Error;
pub use forward::{WorkerAddress, WorkerSettings, WorkerStanding, WorkerUrlError, Workers};
pub use load::Load;
pub use network::{Network, NetworkError};
pub use pipeline::endpoint;
pub use rate_limit::{RateLimitConfig, RateLimitMiddleware};
pub use response_cache::{ResponseCache, ResponseCacheSettings};
pub use serve::{Cores, Drained, Listener, Peer, ServeSettings, serve, serve_on};
pub use state::{Gateway, Metrics, Services};
pub use tls::{Certificates, PemFiles, Tls, TlsError, TlsSettings};
