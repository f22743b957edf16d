//! What a node keeps of its cluster: who it is (`secrets/node.json`) and the settings that it was given
//! (`secrets/cluster.toml`), both of mode 0600.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use store::mtls::Identity;
use url::Url;

use crate::layout::Layout;
use crate::secrets;

/// The files.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    layout: Layout,
}

/// `node.json`.
#[derive(Serialize, Deserialize)]
struct Written {
    system: Url,
    chain: String,
    key: String,
    authority: String,
}

impl Kept {
    pub(crate) fn of(layout: &Layout) -> Self {
        Self { layout: layout.clone() }
    }

    fn node(&self) -> PathBuf {
        self.layout.secrets().join("node.json")
    }

    /// The settings that the cluster gave, in the shape of a settings file.
    pub(crate) fn settings(&self) -> PathBuf {
        self.layout.secrets().join("cluster.toml")
    }

    /// Who this node is, and where the system node is; `None` when it has not joined a cluster.
    pub(crate) fn read(&self) -> Result<Option<(Identity, Url)>> {
        let path = self.node();
        if !path.exists() {
            return Ok(None);
        }
        let damaged = || format!("{} is damaged; remove it and join again by a new token", path.display());
        let text = std::fs::read_to_string(&path).with_context(damaged)?;
        let written: Written = serde_json::from_str(&text).with_context(damaged)?;
        let Written { system, chain, key, authority } = written;
        Ok(Some((Identity { chain, key: key.into(), authority }, system)))
    }

    /// Replace who this node is, at once.
    pub(crate) fn write(&self, identity: &Identity, system: &Url) -> Result<()> {
        let written = Written {
            system: system.clone(),
            chain: identity.chain.clone(),
            key: identity.key.expose_secret().to_owned(),
            authority: identity.authority.clone(),
        };
        let text = serde_json::to_string_pretty(&written).context("write node.json")?;
        secrets::write_private(&self.node(), &text)
    }

    /// Keep what else the cluster gave: its master key, and settings by key.
    pub(crate) fn write_gifts(
        &self,
        master_key: &SecretString,
        settings: &std::collections::BTreeMap<String, String>,
    ) -> Result<()> {
        secrets::write_master_key(&self.layout, master_key)?;
        let table: toml::Table =
            settings.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
        secrets::write_private(&self.settings(), &table.to_string())
    }
}
