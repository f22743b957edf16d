//! What a person needs to begin: addresses, keys, and a snippet to paste. Also the JSON of `start --json`.

use std::net::{IpAddr, SocketAddr};

use common::Project;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

/// The result of a start. Holds secrets: printed once, to whoever started the server, and never logged.
#[derive(Serialize, Deserialize)]
pub(crate) struct Banner {
    /// MadBase's version.
    pub(crate) version: String,
    /// The server's process id.
    pub(crate) pid: u32,
    /// The default project's name.
    pub(crate) project: String,
    /// The API of the default project.
    pub(crate) api_url: String,
    /// The control plane.
    pub(crate) control_url: String,
    /// Captured mails.
    pub(crate) inbox_url: String,
    /// The default project's database, as its owner.
    pub(crate) database_url: String,
    /// Legacy JWT with role `anon`.
    pub(crate) anon_key: String,
    /// Legacy JWT with role `service_role`.
    pub(crate) service_role_key: String,
    /// `sb_publishable_…`.
    pub(crate) publishable_key: String,
    /// `sb_secret_…`.
    pub(crate) secret_key: String,
    /// The data directory.
    pub(crate) data_dir: String,
}

impl std::fmt::Debug for Banner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Banner").field("api_url", &self.api_url).finish_non_exhaustive()
    }
}

/// Where things are, apart from the project.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    pub(crate) api_url: String,
    pub(crate) control_url: String,
    pub(crate) database_host: String,
    pub(crate) database_port: u16,
    pub(crate) data_dir: String,
}

impl Banner {
    pub(crate) fn new(project: &Project, at: &Addresses) -> Self {
        let owner = &project.logins.owner;
        let (user, password) = (&owner.user, owner.password.expose_secret());
        let (host, port, database) = (&at.database_host, at.database_port, &project.database);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            project: project.reference.to_string(),
            api_url: at.api_url.clone(),
            control_url: at.control_url.clone(),
            inbox_url: format!("{}/api/v1/inbox", at.control_url),
            database_url: format!("postgresql://{user}:{password}@{host}:{port}/{database}"),
            anon_key: project.keys.anon.expose_secret().to_owned(),
            service_role_key: project.keys.service_role.expose_secret().to_owned(),
            publishable_key: project.keys.publishable.expose_secret().to_owned(),
            secret_key: project.keys.secret.expose_secret().to_owned(),
            data_dir: at.data_dir.clone(),
        }
    }

    /// For people.
    pub(crate) fn people(&self) -> String {
        let inbox = format!("{} (or: madbase inbox)", self.inbox_url);
        let rows = [
            ("API", &self.api_url),
            ("Control plane", &self.control_url),
            ("Inbox", &inbox),
            ("Database", &self.database_url),
            ("anon", &self.anon_key),
            ("service_role", &self.service_role_key),
            ("publishable", &self.publishable_key),
            ("secret", &self.secret_key),
            ("Data", &self.data_dir),
        ];
        let rows: String = rows.iter().map(|(name, value)| format!("  {name:<14} {value}\n")).collect();
        format!(
            "\nMadBase {} is ready.\n\n{rows}\n\
             Try it (npm install @supabase/supabase-js):\n\n\
             \x20 import {{ createClient }} from '@supabase/supabase-js'\n\
             \x20 const supabase = createClient('{}', '{}')\n\
             \x20 const {{ data, error }} = await supabase.auth.signUp({{ email: 'ada@example.com', password: 'correct horse' }})\n\
             \x20 console.log(error ?? data.user.email)\n",
            self.version, self.api_url, self.publishable_key
        )
    }
}

/// The address that a person on this machine types: `localhost` where that works.
pub(crate) fn http_url(address: SocketAddr) -> String {
    match address.ip() {
        ip if ip.is_loopback() || ip.is_unspecified() => format!("http://localhost:{}", address.port()),
        IpAddr::V4(ip) => format!("http://{ip}:{}", address.port()),
        IpAddr::V6(ip) => format!("http://[{ip}]:{}", address.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_ones_that_a_person_can_type() {
        let cases = [
            ("127.0.0.1:8000", "http://localhost:8000"),
            ("0.0.0.0:8000", "http://localhost:8000"),
            ("10.1.2.3:80", "http://10.1.2.3:80"),
            ("[2001:db8::1]:8000", "http://[2001:db8::1]:8000"),
        ];
        for (address, url) in cases {
            assert_eq!(http_url(address.parse().unwrap()), url);
        }
    }
}
