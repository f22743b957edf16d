//! JSON Web Tokens (RFC 7519): a project's keys, verification and signing. Pure: the time is an argument.
//!
//! Several keys work side by side (HS256 secret, ES256 and RS256 pairs), so that a project can move from one to another.
//! A token is verified by the key whose `kid` it names; without a `kid`, by every key of its algorithm.

mod claims;
mod ring;
mod role_path;

pub use claims::{Claims, Rules};
pub use ring::{Error, Key, KeyError, KeyRing};
pub use role_path::{RolePath, RolePathError};
