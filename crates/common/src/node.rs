//! Nodes of a cluster by name: which pillar they are and which one of it, as certificates write it. Pure.
//!
//! A node's certificate carries `spiffe://madbase/{pillar}/{node}`; whoever talks to it looks there, not at its address.

use std::fmt;
use std::str::FromStr;

/// What every node's URI begins with.
const PREFIX: &str = "spiffe://madbase/";

/// A role of the one binary that other nodes talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pillar {
    /// Control plane and schedulers; a node of `madbase start` too.
    System,
    /// Gateway and auth.
    Proxy,
    /// Data API.
    Worker,
}

impl Pillar {
    /// As it is written: `system`, `proxy`, `worker`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Proxy => "proxy",
            Self::Worker => "worker",
        }
    }
}

impl fmt::Display for Pillar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Pillar {
    type Err = NodeNameError;

    fn from_str(text: &str) -> Result<Self, NodeNameError> {
        let all = [Self::System, Self::Proxy, Self::Worker];
        all.into_iter().find(|it| it.as_str() == text).ok_or(NodeNameError)
    }
}

/// A node's id: 1 to 64 of `a-z`, `0-9` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Box<str>);

impl NodeId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NodeId {
    type Err = NodeNameError;

    fn from_str(text: &str) -> Result<Self, NodeNameError> {
        let fits = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
        let good = (1..=64).contains(&text.len()) && text.bytes().all(fits);
        if good { Ok(Self(text.into())) } else { Err(NodeNameError) }
    }
}

/// A node's whole name. `Display` writes the URI, `FromStr` reads it.
///
/// ```
/// use common::{NodeName, Pillar};
/// let name: NodeName = "spiffe://madbase/worker/w-1".parse()?;
/// assert_eq!((name.pillar, name.id.as_str()), (Pillar::Worker, "w-1"));
/// assert_eq!(name.to_string(), "spiffe://madbase/worker/w-1");
/// assert!("spiffe://elsewhere/worker/w-1".parse::<NodeName>().is_err());
/// # Ok::<(), common::NodeNameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName {
    /// What it does.
    pub pillar: Pillar,
    /// Which one of these it is.
    pub id: NodeId,
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}/{}", self.pillar, self.id)
    }
}

impl FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(uri: &str) -> Result<Self, NodeNameError> {
        let (pillar, id) = uri.strip_prefix(PREFIX).and_then(|it| it.split_once('/')).ok_or(NodeNameError)?;
        Ok(Self { pillar: pillar.parse()?, id: id.parse()? })
    }
}

/// The text names no node of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a node is named by its pillar (system, proxy or worker) and an id of a-z, 0-9 and '-'")]
pub struct NodeNameError;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_uris_name_no_node() {
        for bad in [
            "",
            "worker/w-1",
            "spiffe://madbase/worker",
            "spiffe://madbase/worker/",
            "spiffe://madbase/worker/a/b",
            "spiffe://madbase/Worker/a",
            "spiffe://madbase/root/a",
            "spiffe://madbase/worker/A",
            "https://madbase/worker/a",
        ] {
            assert_eq!(bad.parse::<NodeName>(), Err(NodeNameError), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_name_survives_being_written(
            pillar in prop_oneof![Just(Pillar::System), Just(Pillar::Proxy), Just(Pillar::Worker)],
            id in "[a-z0-9-]{1,64}",
        ) {
            let name = NodeName { pillar, id: id.parse().unwrap() };
            prop_assert_eq!(name.to_string().parse(), Ok(name));
        }
    }
}
