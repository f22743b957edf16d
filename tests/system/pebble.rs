//! Pebble, the test server of those who run Let's Encrypt, as a process of a test's own; and its name server, for which
//! every name is this machine. Debian's package `pebble`; `./madbase test` installs it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::server::until;
use crate::tls::{Authority, curl};

/// A certificate authority that speaks ACME, on loopback.
pub(crate) struct Pebble {
    processes: Vec<Child>,
    folder: PathBuf,
    ports: [u16; 2],
}

/// Ports that nobody uses right now.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let sockets = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    sockets.map(|it| it.local_addr().unwrap().port())
}

impl Pebble {
    /// One that asks for proof at these ports (HTTP-01, TLS-ALPN-01) of this machine.
    pub(crate) async fn start(authority: &Authority, http_port: u16, tls_port: u16) -> Self {
        let [directory, management, dns, dns_management] = free_ports();
        let (certificate, key) = authority.files("pebble", &["127.0.0.1"]);
        let config = authority.file("pebble.json");
        let settings = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{directory}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": certificate, "privateKey": key,
            "httpPort": http_port, "tlsPort": tls_port,
            "ocspResponderURL": "", "externalAccountBindingRequired": false,
        }});
        std::fs::write(&config, settings.to_string()).unwrap();
        let mut names = command("pebble-challtestsrv", authority);
        names.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]);
        names.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        names.arg("-dns01").arg(format!("127.0.0.1:{dns}"));
        names.arg("-management").arg(format!("127.0.0.1:{dns_management}"));
        let mut server = command("pebble", authority);
        server.arg("-config").arg(&config).arg("-dnsserver").arg(format!("127.0.0.1:{dns}"));
        // It would wait up to 15 s before each proof.
        server.env("PEBBLE_VA_NOSLEEP", "1");
        let mut pebble =
            Self { processes: Vec::new(), folder: authority.file(""), ports: [directory, management] };
        for mut it in [names, server] {
            let missing = "pebble is missing: apt-get install pebble";
            pebble.processes.push(it.spawn().expect(missing));
        }
        until("pebble answers", async || curl(&["--cacert", &authority.root(), &pebble.directory()]).0 == 0)
            .await;
        pebble
    }

    /// Its directory.
    pub(crate) fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.ports[0])
    }

    /// A file with the certificate that signs for those that it issues.
    pub(crate) fn root(&self, authority: &Authority) -> String {
        let url = format!("https://127.0.0.1:{}/roots/0", self.ports[1]);
        let (code, pem) = curl(&["--cacert", &authority.root(), &url]);
        assert_eq!(code, 0, "{pem}");
        let path = self.folder.join("pebble-root.pem");
        std::fs::write(&path, pem).unwrap();
        path.display().to_string()
    }
}

fn command(program: &str, authority: &Authority) -> Command {
    let log = std::fs::File::options().append(true).create(true).open(authority.file("pebble.log")).unwrap();
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.current_dir(Path::new("/tmp"));
    command
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
