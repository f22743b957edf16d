//! `POST /token`: one file per grant.

pub(crate) mod id_token;
pub(crate) mod password;
pub(crate) mod pkce;
pub(crate) mod refresh;
pub(crate) mod web3;
