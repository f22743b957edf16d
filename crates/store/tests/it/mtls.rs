//! Nodes know each other by certificates of one authority, and by nothing else.

use std::time::{Duration, SystemTime};

use common::{NodeName, Pillar};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use rustls::pki_types::ServerName;
use store::mtls::{
    Clients, Credentials, Identity, MtlsError, SigningRequest, fingerprint, joining_client, name_of,
    peer_name,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const DAY: Duration = Duration::from_secs(86_400);

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// An identity that ends in `life` and began as long ago.
    fn identity(&self, uris: &[&str], life: Duration) -> Identity {
        let request = SigningRequest::new().unwrap();
        let csr = CertificateSigningRequestParams::from_pem(&request.csr).unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = uris.iter().map(|it| SanType::URI((*it).try_into().unwrap())).collect();
        params.not_before = (SystemTime::now() - life).into();
        params.not_after = (SystemTime::now() + life).into();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let own = params.signed_by(&csr.public_key, &self.0).unwrap();
        Identity { chain: own.pem() + &self.0.pem(), key: request.key, authority: self.0.pem() }
    }

    fn node(&self, pillar: &str) -> Credentials {
        let uri = format!("spiffe://madbase/{pillar}/one");
        Credentials::new(&self.identity(&[&uri], DAY)).unwrap()
    }
}

/// Whom the server let in (`None` without a certificate), or that the two do not talk.
async fn check(
    server: std::sync::Arc<rustls::ServerConfig>,
    client: std::sync::Arc<rustls::ClientConfig>,
) -> Result<Option<NodeName>, ()> {
    let (near, far) = duplex(16 * 1024);
    let serve = async {
        let mut stream = TlsAcceptor::from(server).accept(far).await.map_err(drop)?;
        stream.write_all(b"hello").await.map_err(drop)?;
        stream.shutdown().await.map_err(drop)?;
        let shown = stream.get_ref().1.peer_certificates();
        Ok(shown.and_then(|it| peer_name(it.first()?)))
    };
    let ask = async {
        let anywhere = ServerName::try_from("192.0.2.1").unwrap();
        let mut stream = TlsConnector::from(client).connect(anywhere, near).await.map_err(drop)?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.map_err(drop)?;
        assert_eq!(text, "hello");
        Ok::<_, ()>(())
    };
    let (served, asked) = tokio::join!(serve, ask);
    asked.and(served)
}

#[tokio::test]
async fn peers_of_the_expected_pillars_talk_wherever_they_are() {
    let authority = Authority::new();
    let (proxy, worker) = (authority.node("proxy"), authority.node("worker"));
    let listener = worker.server(Clients::required(&[Pillar::Proxy, Pillar::System])).unwrap();
    let met = check(listener, proxy.client(&[Pillar::Worker]).unwrap()).await;
    assert_eq!(met, Ok(Some("spiffe://madbase/proxy/one".parse().unwrap())));
}

#[tokio::test]
async fn nobody_else_gets_in() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let worker = authority.node("worker");
    let listener = || worker.server(Clients::required(&[Pillar::Proxy])).unwrap();
    let another_worker = authority.node("worker").client(&[Pillar::Worker]).unwrap();
    assert_eq!(check(listener(), another_worker).await, Err(()), "of another pillar");
    let forged = stranger.identity(&["spiffe://madbase/proxy/one"], DAY);
    let forged = Identity { authority: authority.0.pem(), ..forged };
    let forged = Credentials::new(&forged).unwrap().client(&[Pillar::Worker]).unwrap();
    assert_eq!(check(listener(), forged).await, Err(()), "signed by a stranger");
    let nobody = authority.identity(&["spiffe://madbase/proxy/one", "spiffe://madbase/system/one"], DAY);
    assert!(matches!(Credentials::new(&nobody), Err(MtlsError::Nameless)), "two names");
    let pin = fingerprint(&authority.0.pem()).unwrap();
    assert_eq!(check(listener(), joining_client(&pin).unwrap()).await, Err(()), "without a certificate");
}

#[tokio::test]
async fn a_client_talks_to_whom_it_looks_for_only() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let client = || authority.node("proxy").client(&[Pillar::Worker]).unwrap();
    let open = |it: Credentials| it.server(Clients::optional(&[Pillar::Proxy])).unwrap();
    assert!(check(open(authority.node("worker")), client()).await.is_ok());
    assert_eq!(check(open(authority.node("system")), client()).await, Err(()));
    assert_eq!(check(open(stranger.node("worker")), client()).await, Err(()));
}

#[tokio::test]
async fn a_joining_node_knows_its_system_by_the_authoritys_hash() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let system = authority.node("system");
    let listener = || system.server(Clients::optional(&[Pillar::Proxy, Pillar::Worker])).unwrap();
    let pin = |it: &Authority| fingerprint(&it.0.pem()).unwrap();
    assert_eq!(check(listener(), joining_client(&pin(&authority)).unwrap()).await, Ok(None));
    assert_eq!(check(listener(), joining_client(&pin(&stranger)).unwrap()).await, Err(()));
    let worker = authority.node("worker").server(Clients::optional(&[])).unwrap();
    assert_eq!(check(worker, joining_client(&pin(&authority)).unwrap()).await, Err(()), "no system node");
}

#[tokio::test]
async fn a_replaced_identity_counts_for_settings_made_before() {
    let (old, new) = (Authority::new(), Authority::new());
    let worker = old.node("worker");
    let listener = worker.server(Clients::required(&[Pillar::Proxy])).unwrap();
    let newcomer = || new.node("proxy").client(&[Pillar::Worker]).unwrap();
    assert_eq!(check(listener.clone(), newcomer()).await, Err(()));
    worker.replace(&new.identity(&["spiffe://madbase/worker/one"], DAY)).unwrap();
    assert!(check(listener.clone(), newcomer()).await.is_ok());
    let broken = Identity { chain: "none".into(), ..new.identity(&["spiffe://madbase/worker/one"], DAY) };
    assert!(matches!(worker.replace(&broken), Err(MtlsError::Pem("certificate"))));
    let alien_key = Identity {
        key: SigningRequest::new().unwrap().key,
        ..new.identity(&["spiffe://madbase/worker/one"], DAY)
    };
    assert!(matches!(worker.replace(&alien_key), Err(MtlsError::Identity(_))));
    assert!(check(listener, newcomer()).await.is_ok(), "the good one stays");
}

#[tokio::test]
async fn a_certificate_is_due_before_it_ends_and_of_no_use_after() {
    let authority = Authority::new();
    let identity = authority.identity(&["spiffe://madbase/proxy/one"], DAY);
    assert_eq!(name_of(&identity.chain).unwrap().to_string(), "spiffe://madbase/proxy/one");
    let proxy = Credentials::new(&identity).unwrap();
    let now = SystemTime::now();
    assert!(!proxy.is_due(now) && proxy.is_due(now + DAY / 2) && proxy.expires() > now + DAY / 2);
    let ended =
        Credentials::new(&authority.identity(&["spiffe://madbase/proxy/one"], Duration::ZERO)).unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let listener = authority.node("worker").server(Clients::required(&[Pillar::Proxy])).unwrap();
    assert_eq!(check(listener, ended.client(&[Pillar::Worker]).unwrap()).await, Err(()));
}

#[tokio::test]
async fn a_refused_node_gets_no_handshake_whichever_end_it_is() {
    let authority = Authority::new();
    let proxy = Credentials::new(&authority.identity(&["spiffe://madbase/proxy/p"], DAY)).unwrap();
    let worker = Credentials::new(&authority.identity(&["spiffe://madbase/worker/w"], DAY)).unwrap();
    let listener = worker.server(Clients::required(&[Pillar::Proxy])).unwrap();
    let client = proxy.client(&[Pillar::Worker]).unwrap();
    let talk = async || check(listener.clone(), client.clone()).await.is_ok();
    let nodes = |id: &str| std::collections::HashSet::from([id.parse().unwrap()]);
    assert!(talk().await);
    worker.refuse(nodes("p"));
    assert!(!talk().await && worker.refuses(&proxy.name().id));
    worker.refuse(nodes("other"));
    proxy.refuse(nodes("w"));
    assert!(!talk().await);
    proxy.refuse(nodes("p"));
    assert!(talk().await);
}
