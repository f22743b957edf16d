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

/// Private keys that stand for those of another server.
fn elsewhere(name: &str) -> Value {
    serde_json::from_str::<Value>(include_str!("jwks.json")).unwrap().get(name).unwrap().clone()
}

/// The ring of somebody who knows only the public half.
fn outsider(jwk: &Value) -> KeyRing {
    let mut public = jwk.clone();
    let fields = public.as_object_mut().unwrap();
    fields.retain(|name, _| ["kty", "kid", "crv", "x", "y", "n", "e"].contains(&name.as_str()));
    KeyRing::from_jwt_secret(&public.to_string()).unwrap()
}

#[test]
fn a_project_goes_on_with_the_keys_of_another_server() {
    run(async {
        let plane = Installation::new().start(Vec::new()).await.unwrap();
        let router = router(plane.clone());
        let call = async |path: &str, body: Option<&Value>| {
            let path = format!("/api/v1/projects/default/signing-keys{path}");
            send(&router, Some(TOKEN), (Method::POST, &path), body).await
        };
        for (name, algorithm) in [("rsa", "RS256"), ("ec", "ES256")] {
            let jwk = elsewhere(name);
            let taken = call("", Some(&json!({"jwk": jwk}))).await;
            assert_eq!(taken.status, 201, "{}", taken.body);
            let key = taken.body["keys"].as_array().unwrap().last().unwrap().clone();
            assert_eq!((&key["kid"], &key["algorithm"]), (&jwk["kid"], &json!(algorithm)));
            assert_eq!(key["status"], "standby");
            assert!(!taken.body.to_string().contains(jwk["d"].as_str().unwrap()));
            assert_eq!(call("/rotate", None).await.status, 200);
            let ring = ring(&plane).await;
            let token = sign(&ring);
            assert!(verify(&ring, &token).is_ok() && verify(&outsider(&jwk), &token).is_ok());
            let published = ring.jwks()["keys"][0].clone();
            assert_eq!(published["kid"], jwk["kid"]);
            for field in ["n", "e", "x", "y"] {
                assert_eq!(published.get(field), jwk.get(field), "{field}");
            }
            assert_eq!(call("", Some(&json!({"jwk": jwk}))).await.short(), "409 CP311");
        }
        let mut nameless = elsewhere("ec");
        nameless.as_object_mut().unwrap().remove("kid");
        assert_eq!(
            call("", Some(&json!({"jwk": nameless}))).await.status,
            201,
            "one without a name gets one"
        );
    });
}

#[test]
fn keys_that_cannot_sign_are_not_taken_over() {
    run(async {
        let plane = Installation::new().start(Vec::new()).await.unwrap();
        let router = router(plane.clone());
        let with = |name: &str, field: &str, value: &Value| {
            let mut jwk = elsewhere(name);
            jwk[field] = value.clone();
            json!({"jwk": jwk})
        };
        let other = elsewhere("rsa")["p"].clone();
        let cases = [
            (with("rsa", "d", &other), "the parts are not one key"),
            (with("rsa", "n", &json!("AQAB")), "the parts are not one key"),
            (with("rsa", "q", &json!("x".repeat(4000))), "q is no base64url"),
            (with("ec", "d", &json!("AQAB")), "the parts are not one key"),
            (with("ec", "x", &other), "x is longer than 32 bytes"),
            (with("ec", "d", &Value::Null), "d is missing"),
            (with("ec", "crv", &json!("P-384")), "crv is not P-256"),
            (with("ec", "alg", &json!("RS256")), "of another kind than kty"),
            (with("ec", "kid", &json!("../x")), "kid is no UUID"),
            (with("ec", "kty", &json!("OKP")), "kty is neither EC nor RSA"),
            (json!({"jwk": {"kty": "oct", "k": "c2VjcmV0"}}), "replace-jwt-secret"),
            (json!({"jwk": elsewhere("ec"), "algorithm": "ES256"}), "the one of jwk holds"),
        ];
        for (body, why) in cases {
            let path = "/api/v1/projects/default/signing-keys";
            let refused = send(&router, Some(TOKEN), (Method::POST, path), Some(&body)).await;
            assert_eq!(refused.short(), "400 CP101", "{why}");
            let text = refused.body.to_string();
            assert!(text.contains(why), "{why}: {text}");
            assert!(!text.contains(other.as_str().unwrap()), "nothing of a key is said again");
        }
        assert_eq!(ring(&plane).await.jwks()["keys"].as_array().unwrap().len(), 1);
    });
}
