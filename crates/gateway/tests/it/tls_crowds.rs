//! REQ H9: many connections of one address, or of nobody known, keep nobody else out of an encrypted port.

use std::collections::BTreeSet;
use std::time::Duration;

use common::Pillar;
use gateway::{Certificates, ServeSettings, Tls, TlsSettings};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use store::mtls::{Clients, fingerprint, joining_client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::tls::{Authority, Secure, ask};

/// Less than a handshake may take.
const SOON: Duration = Duration::from_secs(8);

#[tokio::test]
async fn half_done_handshakes_of_one_address_delay_nobody_else() {
    let authority = Authority::new();
    let certificates = Certificates::none();
    certificates.load(&[authority.write("a", "a.test")]).unwrap();
    let settings = TlsSettings { max_handshakes: 4, max_handshakes_of_one: 3, ..TlsSettings::default() };
    let secure = Secure::new(Tls::public(certificates, settings).unwrap()).await;
    let name = || ServerName::try_from("a.test").unwrap();
    let mut hello = Vec::new();
    ClientConnection::new(authority.http1(), name()).unwrap().write_tls(&mut hello).unwrap();
    let mut half_done = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(secure.address).await.unwrap();
        stream.write_all(&hello).await.unwrap();
        half_done.push(stream);
    }
    // Its permits are taken when it gets answers, and no more than those.
    let mut answered = BTreeSet::new();
    let mut look = || {
        let new = (0..half_done.len()).filter(|it| half_done[*it].try_read(&mut [0; 1]).is_ok());
        answered.extend(new);
        answered.len()
    };
    let deadline = Instant::now() + SOON / 2;
    while look() < 3 && Instant::now() < deadline {
        sleep(Duration::from_millis(10)).await;
    }
    sleep(Duration::from_millis(300)).await;
    assert_eq!(look(), 3);
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let other = socket.connect(secure.address).await.unwrap();
    let shaken = timeout(SOON, TlsConnector::from(authority.http1()).connect(name(), other)).await;
    let mut stream = shaken.expect("another address waits for the first one's handshakes").unwrap();
    assert!(ask(&mut stream, "a.test", "/health", "").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn connections_without_a_certificate_leave_room_for_nodes() {
    let authority = Authority::new();
    let node = authority.node("spiffe://madbase/system/s");
    let config = node.server(Clients::optional(&[Pillar::Proxy])).unwrap();
    let tls =
        TlsSettings { max_strangers: 2, stranger_timeout: Duration::from_secs(1), ..TlsSettings::default() };
    let bounds = ServeSettings { max_connections: 8, ..ServeSettings::default() };
    let secure = Secure::bounded(Tls::between_nodes(config, tls), bounds).await;
    let stranger = joining_client(&fingerprint(&authority.issuer.pem()).unwrap()).unwrap();
    let mut strangers = Vec::new();
    for _ in 0..2 {
        let mut stream = secure.connect("node.invalid", stranger.clone()).await.unwrap();
        assert!(ask(&mut stream, "s", "/health", "").await.starts_with("HTTP/1.1 200"));
        strangers.push(stream);
    }
    for _ in 0..20 {
        let connecting = secure.connect("node.invalid", stranger.clone());
        let Ok(mut stream) = timeout(SOON, connecting).await.expect("refusals keep slots") else { continue };
        let end = timeout(SOON, stream.read_u8()).await.expect("a third stranger stays");
        assert!(end.is_err(), "it is closed without an answer");
    }
    let proxy = authority.node("spiffe://madbase/proxy/p").client(&[Pillar::System]).unwrap();
    let connecting = timeout(SOON, secure.connect("node.invalid", proxy)).await;
    let mut proxy = connecting.expect("a node waits for strangers").unwrap();
    assert!(ask(&mut proxy, "s", "/health", "").await.starts_with("HTTP/1.1 200"));
    for mut stream in strangers {
        let end = timeout(SOON, stream.read_u8()).await.expect("a silent stranger stays");
        assert!(end.is_err());
    }
    assert!(ask(&mut proxy, "s", "/health", "").await.starts_with("HTTP/1.1 200"), "nodes may be silent");
    secure.connect("node.invalid", stranger).await.expect("there is a place again");
}
