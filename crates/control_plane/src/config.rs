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
    /// Port of the gateway's TLS as clients see it; then addresses are `https://`, but for `localhost`.
    pub public_tls_port: Option<u16>,
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
            public_tls_port: None,
            database_host: "127.0.0.1".into(),
            database_port: 54322,
            max_projects: 1000,
        }
    }

    /// The address of the API of the project `reference`.
    #[must_use]
    pub fn api_url(&self, reference: &common::ProjectRef) -> String {
        let Self { base_domain, public_port, .. } = self;
        let encrypted = self.public_tls_port.filter(|_| base_domain != "localhost");
        match encrypted.unwrap_or(*public_port) {
            80 if encrypted.is_none() => format!("http://{reference}.{base_domain}"),
            443 => format!("https://{reference}.{base_domain}"),
            port if encrypted.is_some() => format!("https://{reference}.{base_domain}:{port}"),
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
            .field("public_tls_port", &self.public_tls_port)
            .field("database_host", &self.database_host)
            .field("database_port", &self.database_port)
            .field("max_projects", &self.max_projects)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_say_how_clients_come() {
        let check = |base_domain: &str, public_port, public_tls_port| {
            let base_domain = base_domain.to_owned();
            let config = Config::new([0; 32], String::new().into());
            let config = Config { base_domain, public_port, public_tls_port, ..config };
            config.api_url(&"a".parse().unwrap())
        };
        assert_eq!(check("localhost", 8000, None), "http://a.localhost:8000");
        assert_eq!(check("localhost", 8000, Some(443)), "http://a.localhost:8000");
        assert_eq!(check("x.org", 80, None), "http://a.x.org");
        assert_eq!(check("x.org", 443, None), "https://a.x.org");
        assert_eq!(check("x.org", 80, Some(443)), "https://a.x.org");
        assert_eq!(check("x.org", 80, Some(8443)), "https://a.x.org:8443");
    }
}
