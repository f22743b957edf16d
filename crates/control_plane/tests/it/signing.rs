//! The life of signing keys over REST: standby, current, previous, revoked; what verifies at each step.

use common::jwt::{Error, KeyRing, Rules};
use control_plane::{ControlPlane, router};
use http::Method;
use serde_json::{Value, json};
use testkit::run;

use crate::{Installation, TOKEN, send};

async fn ring(plane: &ControlPlane) -> KeyRing {
    plane.project(&"default".parse().unwrap()).await.unwrap().unwrap().jwt.clone()
}

fn sign(ring: &KeyRing) -> String {
    ring.sign(json!({"role": "authenticated"}).as_object().unwrap()).unwrap()
}

fn verify(ring: &KeyRing, token: &str) -> Result<String, Error> {
    let now_secs = jiff::Timestamp::now().as_second();
    let rules = Rules { now_secs, leeway_secs: 5, audience: None, default_role: "anon" };
    ring.verify(token, &rules).map(|it| it.role)
}

fn statuses(answer: &Value) -> Vec<(&str, &str)> {
    let text = |it: &'_ Value, name: &str| it[name].as_str().unwrap().to_owned().leak() as &str;
    answer["keys"].as_array().unwrap().iter().map(|it| (text(it, "algorithm"), text(it, "status"))).collect()
}

#[test]
fn a_key_is_published_before_it_signs_and_verifies_until_it_is_revoked() {
    run(async {
        let plane = Installation::new().start(Vec::new()).await.unwrap();
        let router = router(plane.clone());
        let call = async |method: Method, path: &str, body: Option<&Value>| {
            let path = format!("/api/v1/projects/default/signing-keys{path}");
            send(&router, Some(TOKEN), (method, &path), body).await
        };
        let first = ring(&plane).await;
        let old_token = sign(&first);
        let made = call(Method::POST, "", Some(&json!({"algorithm": "RS256"}))).await;
        assert_eq!(statuses(&made.body), [("ES256", "current"), ("RS256", "standby")]);
        let prepared = ring(&plane).await;
        assert_eq!(prepared.jwks()["keys"].as_array().unwrap().len(), 2, "published, and not in use");
        assert_eq!(prepared.jwks()["keys"][1]["kty"], "RSA");
        assert!(verify(&first, &sign(&prepared)).is_ok());

        let rotated = call(Method::POST, "/rotate", None).await;
        assert_eq!(statuses(&rotated.body), [("ES256", "previous"), ("RS256", "current")]);
        let after = ring(&plane).await;
        let new_token = sign(&after);
        assert!(verify(&after, &old_token).is_ok(), "whoever is signed in stays so");
        assert!(verify(&prepared, &new_token).is_ok(), "who keeps the published set knows it already");
        assert_eq!(verify(&first, &new_token), Err(Error::Key));

        let old = made.body["keys"][0]["kid"].as_str().unwrap().to_owned();
        let current = made.body["keys"][1]["kid"].as_str().unwrap().to_owned();
        assert_eq!(call(Method::POST, &format!("/{current}/revoke"), None).await.short(), "409 CP311");
        let revoked = call(Method::POST, &format!("/{old}/revoke"), None).await;
        assert_eq!(statuses(&revoked.body), [("ES256", "revoked"), ("RS256", "current")]);
        let last = ring(&plane).await;
        assert_eq!(last.jwks()["keys"].as_array().unwrap().len(), 1);
        assert!(verify(&last, &old_token).is_err() && verify(&last, &new_token).is_ok());
        // The legacy keys are signed by the shared secret, which stays.
        let project = plane.project(&"default".parse().unwrap()).await.unwrap().unwrap();
        let anon = secrecy::ExposeSecret::expose_secret(&project.keys.anon);
        assert_eq!(verify(&last, anon).as_deref(), Ok("anon"));
        let shown = call(Method::GET, "", None).await.body.to_string();
        assert!(!shown.contains("PRIVATE"), "{shown}");
    });
}
