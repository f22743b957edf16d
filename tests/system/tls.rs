//! REQ H9, H11: HTTPS as curl sees it, with verification on; certificates from files and from an authority that speaks
//! ACME, exchanged while connections stay.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::Value;
use tempfile::TempDir;

use crate::node::{ADMIN_TOKEN, Node, Site, postgres};
use crate::pebble::{Pebble, free_ports};
use crate::server::{Home, Server, read, until};

const SLOW: &str = "create function slow(seconds float) returns text language sql as \
    $$ select pg_sleep(seconds); select 'done' $$";

/// An authority of the test's own, with a folder for what it signs.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().unwrap();
        // Each with a name of its own: OpenSSL finds authorities by name.
        let name = format!("Test authority {}", uuid::Uuid::new_v4());
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let folder = tempfile::Builder::new().prefix("madbase-tls-").tempdir_in("/tmp").unwrap();
        let authority = Self { issuer, folder };
        std::fs::write(authority.file("root.pem"), authority.issuer.pem()).unwrap();
        authority
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The file that clients believe.
    pub(crate) fn root(&self) -> String {
        self.file("root.pem").display().to_string()
    }

    /// A certificate for `names`, and its key: PEM.
    fn sign(&self, names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "server");
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// The same in files.
    pub(crate) fn files(&self, file: &str, names: &[&str]) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.sign(names);
        let paths = (self.file(&format!("{file}.crt")), self.file(&format!("{file}.key")));
        std::fs::write(&paths.0, certificate).unwrap();
        std::fs::write(&paths.1, key).unwrap();
        paths
    }
}

fn curl_command(args: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60", "--noproxy", "*"]).args(args);
    command.stdin(Stdio::null());
    command
}

/// Exit code, and what it printed.
pub(crate) fn curl(args: &[&str]) -> (i32, String) {
    let output = curl_command(args).output().expect("curl is missing: apt-get install curl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().unwrap(), text + &String::from_utf8_lossy(&output.stderr))
}

/// `curl` with the authority's file, to a server of this machine called `name`.
struct Asking {
    name: &'static str,
    port: u16,
    root: String,
}

impl Asking {
    fn args(&self, more: &[&str]) -> Vec<String> {
        let resolve = format!("{}:{}:127.0.0.1", self.name, self.port);
        let ours = ["--cacert".to_owned(), self.root.clone(), "--resolve".to_owned(), resolve];
        ours.into_iter().chain(more.iter().map(|it| (*it).to_owned())).collect()
    }

    fn run(&self, more: &[&str]) -> (i32, String) {
        let args = self.args(more);
        curl(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}:{}{path}", self.name, self.port)
    }

    /// Whether the certificate that is shown now is believed.
    fn is_believed(&self) -> bool {
        self.run(&[&self.url("/health")]).0 == 0
    }

    /// The certificates that are shown.
    fn shown(&self) -> String {
        let (code, text) =
            self.run(&["--output", "/dev/null", "--write-out", "%{certs}", &self.url("/health")]);
        assert_eq!(code, 0, "{text}");
        text
    }
}

/// `madbase start` with a certificate for `names` in files; its port of HTTPS.
fn start(authority: &Authority, names: &[&str]) -> (Server, u16) {
    let (certificate, key) = authority.files("server", names);
    let [port] = free_ports();
    let mut home = Home::new();
    home.variables.push(("MADBASE_TLS_CERT", certificate.display().to_string()));
    home.variables.push(("MADBASE_TLS_KEY", key.display().to_string()));
    home.variables.push(("MADBASE_TLS_PORT", port.to_string()));
    (home.start(), port)
}

/// A call of `slow` under way: `curl` does that and then asks for `/health` on the same connection, if that still stands.
fn slow_and_more(server: &Server, asking: &Asking, seconds: u32) -> std::process::Child {
    let key = server.fact("service_role_key");
    let (apikey, bearer) = (format!("apikey: {key}"), format!("authorization: Bearer {key}"));
    let (slow, health) = (asking.url(&format!("/rest/v1/rpc/slow?seconds={seconds}")), asking.url("/health"));
    let told = "\n%{http_code} %{num_connects}\n";
    let args = asking.args(&["-H", &apikey, "-H", &bearer, "--write-out", told, &slow, &health]);
    let mut command = curl_command(&args.iter().map(String::as_str).collect::<Vec<_>>());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

async fn until_sleeping(owner: &tokio_postgres::Client) {
    let sleeping = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
    until("the request is in PostgreSQL", async || {
        owner.query_one(sleeping, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
}

// REQ H9 H11
#[tokio::test]
async fn curl_believes_a_certificate_from_files_and_a_new_one_drops_no_connection() {
    let (old, new) = (Authority::new(), Authority::new());
    let (server, port) = start(&old, &["api.test", "127.0.0.1"]);
    let asking = |root: String| Asking { name: "api.test", port, root };
    let before = asking(old.root());
    for (flag, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let (code, told) =
            before.run(&[flag, "--write-out", " %{http_version} %{http_code}", &before.url("/health")]);
        assert_eq!((code, told.as_str()), (0, format!(r#"{{"status":"ok"}} {version} 200"#).as_str()));
    }
    for (flag, version) in [("1.2", "TLSv1.2"), ("1.3", "TLSv1.3")] {
        let exactly = [format!("--tlsv{flag}"), "--tls-max".to_owned(), flag.to_owned()];
        let exactly: Vec<&str> = exactly.iter().map(String::as_str).collect();
        let (code, told) = before.run(&[&exactly[..], &["--verbose", &before.url("/health")]].concat());
        assert!(code == 0 && told.contains(version), "{told}");
    }
    let (code, _) = curl(&["--resolve", &format!("api.test:{port}:127.0.0.1"), &before.url("/health")]);
    assert_eq!(code, 60, "nobody else believes the authority");
    let (_, head) = before.run(&["--head", &before.url("/health")]);
    assert!(head.contains("strict-transport-security: max-age=31536000"), "{head}");

    let plain = server.home().ports[0];
    let to_plain = format!("api.test:{plain}:127.0.0.1");
    let asked = format!("http://api.test:{plain}/auth/v1/health?x=1");
    let (_, told) =
        before.run(&["--resolve", &to_plain, "--write-out", "%{http_code} %{redirect_url}", &asked]);
    assert_eq!(told, format!("308 {}", before.url("/auth/v1/health?x=1")));
    let (_, told) = before.run(&[
        "--resolve",
        &to_plain,
        "--location",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
        &asked,
    ]);
    assert_eq!(told, "200", "the redirect leads somewhere");

    let owner = server.owner(SLOW).await;
    let client = reqwest::Client::new();
    server.until_ok(|| client.get(server.url("/rest/v1/rpc/slow?seconds=0"))).await;
    let kept = slow_and_more(&server, &before, 6);
    until_sleeping(&owner).await;
    let (certificate, key) = new.sign(&["api.test"]);
    std::fs::write(old.file("server.crt"), certificate).unwrap();
    std::fs::write(old.file("server.key"), key).unwrap();
    let after = asking(new.root());
    until("the new certificate is shown", async || after.is_believed()).await;
    assert!(!before.is_believed(), "new connections see the new one only");
    let output = kept.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let expected = "\"done\"\n200 1\n{\"status\":\"ok\"}\n200 0\n";
    assert_eq!(told, expected, "{}", String::from_utf8_lossy(&output.stderr));

    std::fs::write(old.file("server.key"), "no key").unwrap();
    let home = server.home();
    until("the broken file is told", async || {
        read(&home.file("log")).contains("a certificate cannot be used")
    })
    .await;
    assert!(after.is_believed(), "what was shown stays");
}

// REQ H5 H9
#[tokio::test]
async fn encrypted_requests_finish_when_the_server_stops() {
    let authority = Authority::new();
    let (server, port) = start(&authority, &["api.test"]);
    let asking = Asking { name: "api.test", port, root: authority.root() };
    let owner = server.owner(SLOW).await;
    let client = reqwest::Client::new();
    server.until_ok(|| client.get(server.url("/rest/v1/rpc/slow?seconds=0"))).await;
    let slow = slow_and_more(&server, &asking, 2);
    until_sleeping(&owner).await;
    server.signal(Signal::SIGTERM);
    until("new connections are refused", async || asking.run(&[&asking.url("/health")]).0 == 7).await;
    let output = slow.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.starts_with("\"done\"\n200 1\n"), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(server.ended().await.0.code(), Some(0));
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_said_at_once() {
    let authority = Authority::new();
    let (certificate, key) = authority.files("server", &["api.test"]);
    let mut home = Home::new();
    home.variables.push(("MADBASE_TLS_CERT", certificate.display().to_string()));
    let (_, told) = home.refusal(&["start"]);
    assert!(told.contains("--tls-cert names 1 files and --tls-key 0"), "{told}");
    home.variables.push(("MADBASE_TLS_KEY", key.display().to_string()));
    std::fs::remove_file(&key).unwrap();
    let (_, told) = home.refusal(&["start"]);
    assert!(told.contains("cannot read") && told.contains("server.key"), "{told}");
    assert!(!home.data().join("postgres").exists(), "before anything slow");
}

/// Two proxies of one cluster, each asked to care for one domain; the authority asks the second only.
async fn by_acme(kind: &str) {
    let database = postgres().await;
    let system = Site::new("system", &database).start();
    let ours = Authority::new();
    let ports: [u16; 4] = free_ports();
    let pebble = Pebble::start(&ours, ports[2], ports[3]).await;
    let proxy = |domain: &str, plain: u16, encrypted: u16| -> Node {
        let (plain, encrypted) = (plain.to_string(), encrypted.to_string());
        let (directory, root) = (pebble.directory(), ours.root());
        let mut site = Site::new("proxy", &database);
        site.variables.retain(|it| it.0 != "MADBASE_PORT");
        let flags = ["--port", &plain, "--tls-port", &encrypted, "--acme-domain", domain, "--acme-ca", &root];
        let more =
            ["--acme-directory", &directory, "--acme-challenge", kind, "--acme-email", "ada@example.com"];
        site.with(&flags).with(&more).start()
    };
    let second = proxy("b.test", ports[2], ports[3]);
    let first = proxy("a.test", ports[0], ports[1]);
    let root = pebble.root(&ours);
    let ask = |name, port| Asking { name, port, root: root.clone() };
    let all = [("a.test", ports[1]), ("a.test", ports[3]), ("b.test", ports[1]), ("b.test", ports[3])];
    until("both proxies show both certificates", async || all.iter().all(|it| ask(it.0, it.1).is_believed()))
        .await;
    let (_, told) = ask("a.test", ports[1]).run(&[
        "--http2",
        "--write-out",
        " %{http_version} %{ssl_verify_result}",
        &ask("a.test", ports[1]).url("/health"),
    ]);
    assert_eq!(told, r#"{"status":"ok"} 2 0"#);

    let listed = certificates(&system).await;
    let domains: Vec<&str> = listed.iter().map(|it| it["domain"].as_str().unwrap()).collect();
    assert_eq!(domains, ["a.test", "b.test"]);
    assert!(listed.iter().all(|it| it["failures"] == 0 && it["not_after"].is_string()), "{listed:?}");
    let mut control: tokio_postgres::Config = database.url().parse().unwrap();
    let (control, connection) = control.dbname("madbase").connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let stored = "select key || credentials from madbase.certificates, madbase.acme_accounts";
    for row in control.query(stored, &[]).await.unwrap() {
        assert!(!row.get::<_, String>(0).contains("PRIVATE KEY"), "keys are sealed");
    }
    let left = control.query("select from madbase.acme_challenges", &[]).await.unwrap();
    assert!(left.is_empty(), "answers are not kept");

    let before = ask("a.test", ports[3]).shown();
    control
        .batch_execute("update madbase.certificates set due_at = now() where domain = 'a.test'")
        .await
        .unwrap();
    until("a certificate that is due is renewed", async || ask("a.test", ports[3]).shown() != before).await;
    for node in [first, second, system] {
        node.stop().await;
    }
}

async fn certificates(system: &Node) -> Vec<Value> {
    let request = reqwest::Client::new().get(system.url("/api/v1/certificates")).bearer_auth(ADMIN_TOKEN);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    answer["certificates"].as_array().unwrap().clone()
}

// REQ H9
#[tokio::test]
async fn certificates_come_by_acme_proved_by_a_file_that_any_proxy_serves() {
    by_acme("http-01").await;
}

// REQ H9
#[tokio::test]
async fn certificates_come_by_acme_proved_by_a_handshake_that_any_proxy_answers() {
    by_acme("tls-alpn-01").await;
}

#[tokio::test]
async fn an_authority_that_does_not_answer_is_told_and_hinders_nobody() {
    let database = postgres().await;
    let system = Site::new("system", &database).start();
    let [encrypted, dead] = free_ports::<2>().map(|it| it.to_string());
    let directory = format!("https://127.0.0.1:{dead}/dir");
    let flags = ["--tls-port", &encrypted, "--acme-domain", "a.test", "--acme-directory", &directory];
    let proxy = Site::new("proxy", &database).with(&flags).start();
    until("the failure is told", async || {
        certificates(&system).await.first().is_some_and(|it| it["failures"] == 1)
    })
    .await;
    let listed = certificates(&system).await;
    assert!(
        !listed[0]["last_error"].as_str().unwrap().is_empty() && listed[0]["not_after"].is_null(),
        "{listed:?}"
    );
    assert!(proxy.site().log().contains("no certificate; trying again later"));
    let metrics = reqwest::get(proxy.url("/metrics")).await.unwrap().text().await.unwrap();
    assert!(metrics.contains(r#"madbase_acme_orders_total{result="failed"} 1"#), "{metrics}");
    let plain = reqwest::Client::new().get(proxy.url("/auth/v1/health")).header("host", "a.test");
    assert_eq!(plain.send().await.unwrap().status(), 200, "no redirect to where nothing can be shown");
}

/// A process that ends with the test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The one block of that language on a page of the docs.
fn block<'a>(page: &'a str, language: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

// REQ H9
#[tokio::test]
async fn the_documented_caddyfile_puts_caddy_in_front() {
    let authority = Authority::new();
    let mut home = Home::new();
    home.variables.push(("MADBASE_TRUSTED_PROXIES", "127.0.0.1".to_owned()));
    let server = home.start();
    let [port] = free_ports();
    let (certificate, key) = authority.files("caddy", &["api.test"]);
    let (certificate, key) = (certificate.display(), key.display());
    let documented = block(include_str!("../../docs/operations/tls.md"), "caddyfile");
    // Names, ports and certificates are the test's, the rest is the page's.
    let plain = format!("127.0.0.1:{}", server.home().ports[0]);
    let site = documented.replace("127.0.0.1:8000", &plain);
    let opening = format!("https://api.test:{port} {{\n\ttls {certificate} {key}\n");
    let site = site.replace("api.example.com {\n", &opening);
    assert!(site.contains(&plain) && site.contains(&opening), "{site}");
    let file = authority.file("Caddyfile");
    let options = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n";
    std::fs::write(&file, format!("{options}{site}")).unwrap();
    let log = std::fs::File::create(authority.file("caddy.log")).unwrap();
    let mut caddy = Command::new("caddy");
    caddy.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file).stdin(Stdio::null());
    caddy
        .env("HOME", authority.file(""))
        .env("XDG_DATA_HOME", authority.file("caddy"))
        .env("XDG_CONFIG_HOME", authority.file("caddy"));
    caddy.stdout(log.try_clone().unwrap()).stderr(log);
    let _caddy = Running(caddy.spawn().expect("caddy is missing: apt-get install caddy"));
    let asking = Asking { name: "api.test", port, root: authority.root() };
    until("caddy answers", async || asking.is_believed()).await;
    let (_, head) = asking.run(&["--head", &asking.url("/health")]);
    assert!(
        head.contains("strict-transport-security:"),
        "it is believed that clients come encrypted: {head}"
    );
    let client = reqwest::Client::new();
    server.owner("create table notes (id int); insert into notes values (7)").await;
    server.until_ok(|| client.get(server.url("/rest/v1/notes"))).await;
    let apikey = format!("apikey: {}", server.fact("service_role_key"));
    let (_, rows) = asking.run(&["-H", &apikey, &asking.url("/rest/v1/notes")]);
    assert_eq!(rows, r#"[{"id":7}]"#);
}
