//! What the control plane is told by the binary: the master key, the admin token, names and addresses.
//!
//! Nothing here is read from the environment, and its `Debug` shows no secret.

use std::fmt;

use secrecy::SecretString;

/// Settings of the control plane.
#[derive(Clone)]
pub struct Config {
    /// Encrypts every project's secrets at rest (AES-256-GCM); losing it loses all keys.
    pub master_key: [u8; 32],
    /// Opens the REST interface: `Authorization: Bearer …`.
    pub admin_token: SecretString,
    /// Name of the control database; created when missing.
    pub control_database: String,
    /// Database of the default project; created when missing.
    pub default_database: String,
    /// Where projects live: `http://{ref}.{base_domain}:{public_port}`.
    pub base_domain: String,
    /// Port of the gateway as clients see it; 80 is left out of addresses.
    pub public_port: u16,
    /// Host shown in database URLs.
    pub database_host: String,
    /// Port shown in database URLs.
    pub database_port: u16,
    /// The most projects that this installation holds.
    pub max_projects: u32,
}

impl Config {
    /// The defaults of a single node.
    #[must_use]
    pub fn new(master_key: [u8; 32], admin_token: SecretString) -> Self {
        Self {
            master_key,
            admin_token,
            control_database: "madbase".into(),
            default_database: "postgres".into(),
            base_domain: "localhost".into(),
            public_port: 8000,
            database_host: "127.0.0.1".into(),
            database_port: 54322,
            max_projects: 1000,
        }
    }

    /// The address of the API of the project `reference`.
    #[must_use]
    pub fn api_url(&self, reference: &common::ProjectRef) -> String {
        let Self { base_domain, public_port, .. } = self;
        match public_port {
            80 => format!("http://{reference}.{base_domain}"),
            443 => format!("https://{reference}.{base_domain}"),
            port => format!("http://{reference}.{base_domain}:{port}"),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("control_database", &self.control_database)
            .field("default_database", &self.default_database)
            .field("base_domain", &self.base_domain)
            .field("public_port", &self.public_port)
            .field("database_host", &self.database_host)
            .field("database_port", &self.database_port)
            .field("max_projects", &self.max_projects)
            .finish_non_exhaustive()
    }
}
