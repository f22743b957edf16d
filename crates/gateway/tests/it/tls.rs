//! REQ H9: HTTPS with real handshakes; certificates by name, exchanged while connections stay; the plain port beside it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{Certified, Challenged, Challenges, Pillar};
use gateway::{Certificates, Config, Drained, PemFiles, ServeSettings, Tls, TlsSettings};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType,
};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use serde_json::Value;
use store::mtls::{Clients, Credentials, Identity};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::world::World;

const SOON: Duration = Duration::from_secs(20);

/// An authority of the test's own, and a folder for what it signs.
pub(crate) struct Authority {
    pub(crate) issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, folder: tempfile::tempdir().unwrap() }
    }

    fn sign(&self, params: &CertificateParams) -> Certified {
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        Certified { chain, key: key.serialize_pem().into() }
    }

    fn certified(&self, name: &str) -> Certified {
        self.sign(&CertificateParams::new(vec![name.to_owned()]).unwrap())
    }

    /// A new certificate for `name` in the files called `file`.
    pub(crate) fn write(&self, file: &str, name: &str) -> PemFiles {
        use secrecy::ExposeSecret as _;
        let certified = self.certified(name);
        let path = |kind: &str| -> PathBuf { self.folder.path().join(format!("{file}.{kind}")) };
        std::fs::write(path("crt"), &certified.chain).unwrap();
        std::fs::write(path("key"), certified.key.expose_secret()).unwrap();
        PemFiles { certificate: path("crt"), key: path("key") }
    }

    pub(crate) fn node(&self, uri: &str) -> Credentials {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let Certified { chain, key } = self.sign(&params);
        let chain = chain + &self.issuer.pem();
        Credentials::new(&Identity { chain, key, authority: self.issuer.pem() }).unwrap()
    }

    /// A client that believes this authority.
    fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    pub(crate) fn http1(&self) -> Arc<ClientConfig> {
        self.client(&[&TLS13], &["http/1.1"])
    }
}

/// A gateway on a plain and an encrypted port.
pub(crate) struct Secure {
    world: World,
    pub(crate) address: SocketAddr,
    server: JoinHandle<Drained>,
}

impl Secure {
    pub(crate) async fn new(tls: Tls) -> Self {
        Self::bounded(tls, ServeSettings::default()).await
    }

    /// With these bounds on the encrypted port.
    pub(crate) async fn bounded(tls: Tls, settings: ServeSettings) -> Self {
        let world = World::with(Config::default(), ServeSettings::default()).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint = gateway::endpoint(world.gateway.clone());
        world.gateway.encrypt(tls.clone(), address.port());
        let serving = gateway::serve((listener, tls), endpoint, settings, world.shutdown.clone());
        Self { world, address, server: tokio::spawn(serving) }
    }

    async fn showing(files: &[PemFiles]) -> (Self, Arc<Certificates>) {
        let certificates = Certificates::none();
        certificates.load(files).unwrap();
        let tls = Tls::public(Arc::clone(&certificates), TlsSettings::default()).unwrap();
        (Self::new(tls).await, certificates)
    }

    pub(crate) async fn connect(
        &self,
        name: &str,
        config: Arc<ClientConfig>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(config).connect(ServerName::try_from(name.to_owned()).unwrap(), stream).await
    }
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

/// One request on a connection that stays open; status line, headers and body.
pub(crate) async fn ask(stream: &mut TlsStream<TcpStream>, host: &str, path: &str, headers: &str) -> String {
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {host}\r\napikey: sb_publishable_default\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    loop {
        let got = timeout(SOON, stream.read_buf(&mut text)).await.unwrap().unwrap();
        let so_far = String::from_utf8_lossy(&text);
        let Some((head, body)) = so_far.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|it| it.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) || got == 0 {
            return so_far.into_owned();
        }
    }
}

// REQ H9 H10
#[tokio::test]
async fn test_tls_rustls_config() {
    let authority = Authority::new();
    let files = [authority.write("a", "a.test"), authority.write("b", "b.test")];
    let (secure, _) = Secure::showing(&files).await;
    for version in [&TLS12, &TLS13] {
        for (offered, chosen) in
            [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)]
        {
            let config = authority.client(&[version], offered);
            let stream = secure.connect("a.test", config).await.unwrap();
            let connection = stream.get_ref().1;
            let alpn = connection.alpn_protocol().map(|it| std::str::from_utf8(it).unwrap());
            assert_eq!((connection.protocol_version(), alpn), (Some(version.version), chosen));
        }
    }
    let mut one = secure.connect("a.test", authority.http1()).await.unwrap();
    let other = secure.connect("b.test", authority.http1()).await.unwrap();
    assert_ne!(shown(&one), shown(&other), "each name has its certificate");
    let answer = ask(&mut one, "a.test", "/rest/v1/x", "").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("strict-transport-security: max-age=31536000\r\n"), "{answer}");
    assert!(answer.contains(r#""client":"127.0.0.1""#), "{answer}");
    secure.connect("c.test", authority.http1()).await.unwrap_err();
    secure.connect("a.test", authority.client(&[&TLS13], &["smtp"])).await.unwrap_err();
    secure.connect("a.test", Authority::new().http1()).await.unwrap_err();
}

#[tokio::test]
async fn http2_is_spoken_where_the_client_can() {
    let authority = Authority::new();
    let (secure, _) = Secure::showing(&[authority.write("a", "a.test")]).await;
    let stream = secure.connect("a.test", authority.client(&[&TLS13], &["h2"])).await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = |path: &str| {
        let uri = format!("https://a.test{path}");
        let builder = http::Request::get(uri).header("apikey", "sb_publishable_default");
        builder.body(Empty::<Bytes>::new()).unwrap()
    };
    let head = http::Request::head("https://a.test/health").body(Empty::<Bytes>::new()).unwrap();
    let answer = sender.send_request(head).await.unwrap();
    assert_eq!(answer.headers()["content-length"], "15");
    assert!(answer.into_body().collect().await.unwrap().to_bytes().is_empty(), "HEAD has no body");
    let slow = sender.send_request(request("/rest/v1/sleep/200"));
    let mut sender = sender.clone();
    let quick = sender.send_request(request("/auth/v1/callback"));
    let (slow, quick) = tokio::join!(slow, quick);
    assert_eq!(slow.unwrap().status(), 200);
    let body: Value = serde_json::from_slice(&quick.unwrap().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(body["url"], "http://localhost:8000", "a foreign name is not linked to, encrypted or not");
}

#[tokio::test]
async fn a_replaced_certificate_is_shown_to_new_connections_and_drops_none() {
    let authority = Authority::new();
    let files = vec![authority.write("a", "a.test")];
    let (secure, certificates) = Secure::showing(&files).await;
    let follower = tokio::spawn(Arc::clone(&certificates).follow(files.clone()));
    let mut kept = secure.connect("a.test", authority.http1()).await.unwrap();
    let first = shown(&kept);
    let slow = tokio::spawn({
        let mut stream = secure.connect("a.test", authority.http1()).await.unwrap();
        async move { ask(&mut stream, "a.test", "/rest/v1/sleep/2500", "").await }
    });
    authority.write("a", "a.test");
    let deadline = Instant::now() + SOON;
    while shown(&secure.connect("a.test", authority.http1()).await.unwrap()) == first {
        assert!(Instant::now() < deadline, "the new certificate is not shown");
        sleep(Duration::from_millis(50)).await;
    }
    std::fs::write(&files[0].certificate, "-----BEGIN CERTIFICATE-----\nbroken").unwrap();
    sleep(Duration::from_millis(1500)).await;
    let still = secure.connect("a.test", authority.http1()).await.unwrap();
    assert_ne!(shown(&still), first, "a broken file changes nothing");
    assert!(ask(&mut kept, "a.test", "/rest/v1/x", "").await.starts_with("HTTP/1.1 200"));
    assert!(slow.await.unwrap().ends_with("slept"));
    follower.abort();
}

#[tokio::test]
async fn who_says_nothing_is_dropped_and_holds_up_nobody() {
    let authority = Authority::new();
    let certificates = Certificates::none();
    certificates.load(&[authority.write("a", "a.test")]).unwrap();
    let settings = TlsSettings {
        handshake_timeout: Duration::from_millis(500),
        max_handshakes: 1,
        ..TlsSettings::default()
    };
    let secure = Secure::new(Tls::public(certificates, settings).unwrap()).await;
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(TcpStream::connect(secure.address).await.unwrap());
    }
    let mut plain = TcpStream::connect(secure.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await.unwrap();
    secure.connect("a.test", authority.http1()).await.unwrap();
    for mut stream in silent {
        let end = timeout(SOON, stream.read_u8()).await.unwrap();
        assert!(end.is_err(), "a silent connection ends");
    }
}

// REQ H5
#[tokio::test]
async fn encrypted_requests_in_flight_finish_when_the_server_stops() {
    let authority = Authority::new();
    let (secure, _) = Secure::showing(&[authority.write("a", "a.test")]).await;
    let mut idle = secure.connect("a.test", authority.http1()).await.unwrap();
    assert!(ask(&mut idle, "a.test", "/health", "").await.starts_with("HTTP/1.1 200"));
    let half_open = TcpStream::connect(secure.address).await.unwrap();
    let mut stream = secure.connect("a.test", authority.http1()).await.unwrap();
    let request = tokio::spawn(async move { ask(&mut stream, "a.test", "/rest/v1/sleep/502", "").await });
    crate::world::asleep(502).await;
    secure.world.shutdown.cancel();
    assert!(request.await.unwrap().ends_with("slept"));
    assert_eq!(timeout(SOON, secure.server).await.unwrap().unwrap(), Drained { finished: 1, cut: 0 });
    let mut rest = Vec::new();
    assert_eq!(idle.read_to_end(&mut rest).await.unwrap(), 0, "ended in order, by TLS's own good-bye");
    TcpStream::connect(secure.address).await.unwrap_err();
    drop(half_open);
}

// TLS takes answers that the socket has no room for.
#[tokio::test]
async fn who_takes_no_encrypted_answers_is_cut() {
    let authority = Authority::new();
    let certificates = Certificates::none();
    certificates.load(&[authority.write("a", "a.test")]).unwrap();
    let tls = Tls::public(certificates, TlsSettings::default()).unwrap();
    let settings = ServeSettings { write_timeout: Duration::from_millis(200), ..ServeSettings::default() };
    let secure = Secure::bounded(tls, settings).await;
    let stream = secure.connect("a.test", authority.http1()).await.unwrap();
    let (_reads, mut writes) = tokio::io::split(stream);
    let requests = "GET /nowhere HTTP/1.1\r\nhost: a.test\r\n\r\n".repeat(1000);
    let cut = async {
        while writes.write_all(requests.as_bytes()).await.is_ok() && writes.flush().await.is_ok() {}
    };
    timeout(SOON, cut).await.unwrap();
}

#[tokio::test]
async fn plain_http_is_sent_to_https_but_for_probes_and_this_machine() {
    let authority = Authority::new();
    let certificates = Certificates::none();
    let tls = Tls::public(Arc::clone(&certificates), TlsSettings::default()).unwrap();
    let Secure { world, address, .. } = Secure::new(tls).await;
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let check = async |host: &str, path: &str, method: http::Method, forwarded: Option<&str>| {
        let mut request = client.request(method, world.url(path)).header("host", host);
        if let Some(value) = forwarded {
            request = request.header("x-forwarded-for", value);
        }
        let answer = request.header("apikey", "sb_publishable_default").send().await.unwrap();
        let place = answer.headers().get("location").map(|it| it.to_str().unwrap().to_owned());
        (answer.status().as_u16(), place)
    };
    let get = || http::Method::GET;
    assert_eq!(check("a.test", "/rest/v1/x", get(), None).await, (200, None), "no certificate yet");
    certificates.load(&[authority.write("a", "a.test")]).unwrap();
    let port = address.port();
    let there = Some(format!("https://a.test:{port}/rest/v1/x?a=%20b"));
    for (method, forwarded) in [(get(), None), (http::Method::POST, None), (get(), Some("203.0.113.9"))] {
        assert_eq!(check("a.test:8000", "/rest/v1/x?a=%20b", method, forwarded).await, (308, there.clone()));
    }
    assert_eq!(check("a.test", "/", get(), None).await, (308, Some(format!("https://a.test:{port}/"))));
    for (host, path) in [
        ("a.test", "/health"),
        ("a.test", "/ready"),
        ("localhost:1", "/rest/v1/x"),
        ("127.0.0.1", "/rest/v1/x"),
    ] {
        assert_eq!(check(host, path, get(), None).await, (200, None), "{host}{path}");
    }
    let there = Some(format!("https://localhost:{port}/rest/v1/x"));
    assert_eq!(check("localhost", "/rest/v1/x", get(), Some("203.0.113.9")).await, (308, there));
    assert_eq!(check("a.test", "/.well-known/acme-challenge/none", get(), None).await, (404, None));
    assert_eq!(check("a/b", "/x", get(), None).await, (400, None));
}

/// One open challenge of each kind.
#[derive(Debug)]
struct Open(Certified);

impl Challenges for Open {
    fn key_authorization<'a>(&'a self, token: &'a str) -> Challenged<'a, String> {
        Box::pin(async move { (token == "tok-1_A").then(|| "tok-1_A.thumb".to_owned()) })
    }

    fn certificate<'a>(&'a self, domain: &'a str) -> Challenged<'a, Certified> {
        Box::pin(async move { (domain == "a.test").then(|| self.0.clone()) })
    }
}

#[tokio::test]
async fn authorities_get_their_answers_on_both_ports() {
    let authority = Authority::new();
    let certificates = Certificates::none();
    certificates.load(&[authority.write("a", "a.test")]).unwrap();
    let tls = Tls::public(certificates, TlsSettings::default()).unwrap();
    let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&[7; 32])];
    let answer = authority.sign(&params);
    tls.answer_challenges(Arc::new(Open(answer.clone())));
    let secure = Secure::new(tls).await;
    for (path, expected) in [("tok-1_A", Some("tok-1_A.thumb")), ("other", None), ("..%2f", None), ("", None)]
    {
        let url = secure.world.url(&format!("/.well-known/acme-challenge/{path}"));
        let got = secure.world.client.get(url).header("host", "a.test").send().await.unwrap();
        let expected = expected.map_or((404, None), |it| (200, Some(it.to_owned())));
        let status = got.status().as_u16();
        assert_eq!((status, Some(got.text().await.unwrap()).filter(|_| status == 200)), expected, "{path}");
    }
    let asking = || authority.client(&[&TLS13], &["acme-tls/1"]);
    // The answer is for authorities only: other clients refuse its critical extension, having seen it.
    let refused = secure.connect("a.test", asking()).await.unwrap_err().to_string();
    assert!(refused.contains("UnsupportedCriticalExtension"), "{refused}");
    let refused = secure.connect("b.test", asking()).await.unwrap_err().to_string();
    assert!(!refused.contains("UnsupportedCriticalExtension"), "{refused}");
    let both = authority.client(&[&TLS13], &["http/1.1", "acme-tls/1"]);
    let stream = secure.connect("a.test", both).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]), "clients see no challenge");
}

#[tokio::test]
async fn nodes_of_ours_speak_for_their_clients() {
    let authority = Authority::new();
    let worker = authority.node("spiffe://madbase/worker/w");
    let config = worker.server(Clients::required(&[Pillar::Proxy])).unwrap();
    let secure = Secure::new(Tls::between_nodes(config, TlsSettings::default())).await;
    let proxy = authority.node("spiffe://madbase/proxy/p").client(&[Pillar::Worker]).unwrap();
    let mut stream = secure.connect("worker.invalid", proxy).await.unwrap();
    let said =
        "x-forwarded-for: 203.0.113.9\r\nx-forwarded-proto: https\r\nx-forwarded-host: board.localhost\r\n";
    let answer = ask(&mut stream, "worker", "/auth/v1/callback", said).await;
    assert!(answer.contains(r#""client":"203.0.113.9""#), "{answer}");
    assert!(answer.contains(r#""url":"https://board.localhost""#), "{answer}");
    let stranger = authority.client(&[&TLS13], &[]);
    let refused = match secure.connect("worker.invalid", stranger).await {
        Ok(mut stream) => stream.read_u8().await.is_err(),
        Err(_) => true,
    };
    assert!(refused, "nobody without a certificate");
}
