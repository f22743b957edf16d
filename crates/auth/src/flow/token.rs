//! `POST /token`: one file per grant.

pub(crate) mod password;
pub(crate) mod pkce;
pub(crate) mod refresh;
