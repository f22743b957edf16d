//! Being a node of a cluster: joining it, being known as alive, and knowing the others.
//!
//! What a node was given when it joined is kept in its data directory, so that it stays the same node over restarts.

mod beat;
mod follow;
mod join;
mod kept;
mod removed;
mod system;

pub(crate) use self::beat::{Beating, Place};
pub(crate) use self::follow::follow;
pub(crate) use self::join::join_if_asked;
pub(crate) use self::kept::Kept;
pub(crate) use self::removed::{admit, heed};
pub(crate) use self::system::{Door, keep};
