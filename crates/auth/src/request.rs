//! A request, parsed: who and where it comes from ([`Context`]), its body ([`Body`]), its addresses and redirects.
//!
//! Refuses what breaks a rule that needs no database: 400, 413, 422.

mod body;
mod context;
pub(crate) mod email;
pub(crate) mod phone;
pub(crate) mod pkce;
mod query;
mod redirect;

pub(crate) use body::{Body, MAX_BODY_BYTES, OptionalBody, text};
pub(crate) use context::Context;
pub(crate) use query::{PathPair, Query, UserPath};
pub(crate) use redirect::is_allowed as is_allowed_redirect;
