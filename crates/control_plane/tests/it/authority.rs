//! The cluster's authority: one for all nodes, sealed at rest, and what it signs opens doors between nodes.

use common::{NodeName, Pillar};
use control_plane::Error;
use futures_util::future::join;
use store::mtls::{Clients, Credentials, SigningRequest, name_of};
use testkit::run;

use crate::{Installation, text};

fn name(uri: &str) -> NodeName {
    uri.parse().unwrap()
}

#[test]
fn all_processes_have_one_authority_and_its_key_is_sealed() {
    run(async {
        let installation = Installation::new();
        let plane = installation.start(Vec::new()).await.unwrap();
        let other = installation.start(Vec::new()).await.unwrap();
        let (one, two) = join(plane.authority(), other.authority()).await;
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!(one.certificate(), two.certificate());
        assert_eq!(one.fingerprint().unwrap().len(), 64);
        let stored = text(&installation.control().await, "select key from madbase.authority").await;
        assert!(stored.starts_with("sealed1:"), "{stored}");
    });
}

#[test]
fn another_master_key_does_not_open_the_authority() {
    run(async {
        let installation = Installation::new();
        installation.start(Vec::new()).await.unwrap().authority().await.unwrap();
        let forged = "update madbase.authority set key = 'sealed1:' || md5(key)";
        installation.control().await.batch_execute(forged).await.unwrap();
        let plane = installation.start(Vec::new()).await.unwrap();
        assert!(matches!(plane.authority().await, Err(Error::MasterKey)));
    });
}

#[test]
fn a_node_s_certificate_names_it_and_says_nothing_of_what_it_asked_for() {
    run(async {
        let plane = Installation::new().start(Vec::new()).await.unwrap();
        let authority = plane.authority().await.unwrap();
        let worker = name("spiffe://madbase/worker/w-1");
        let request = SigningRequest::new().unwrap();
        let chain = authority.issue(&request.csr, &worker, &["10.0.0.7".parse().unwrap()]).unwrap();
        assert_eq!(name_of(&chain).unwrap(), worker);
        assert!(chain.ends_with(authority.certificate()));
        for bad in [
            "",
            "no request",
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        ] {
            assert!(matches!(authority.issue(bad, &worker, &[]), Err(Error::Body(_))), "{bad}");
        }
    });
}

#[test]
fn identities_of_the_authority_are_ones_that_nodes_can_use() {
    run(async {
        let plane = Installation::new().start(Vec::new()).await.unwrap();
        let authority = plane.authority().await.unwrap();
        let identity = authority.identify(&name("spiffe://madbase/proxy/p-1"), &[]).unwrap();
        let credentials = Credentials::new(&identity).unwrap();
        assert_eq!(credentials.name().pillar, Pillar::Proxy);
        let now = std::time::SystemTime::now();
        assert!(!credentials.is_due(now) && credentials.expires() <= now + control_plane::NODE_LIFE);
        credentials.server(Clients::required(&[Pillar::System])).unwrap();
        credentials.client(&[Pillar::Worker]).unwrap();
    });
}
