//! Security keys as a second factor, answered by a software authenticator.

use common::{AuthSettings, FactorUse};
use serde_json::{Value, json};

use crate::authenticator::Authenticator;
use crate::factors::{claims, post};
use crate::support::{Answer, Api, PASSWORD, Session};

fn with_keys() -> AuthSettings {
    AuthSettings { mfa_webauthn: FactorUse::On, ..AuthSettings::default() }
}

async fn enroll(api: &Api, session: &Session, name: &str) -> String {
    let body = json!({"factor_type": "webauthn", "friendly_name": name});
    let answer = post(api, session, "/factors", body).await;
    assert_eq!((answer.status.as_u16(), &answer.body["type"]), (200, &json!("webauthn")), "{}", answer.body);
    answer.body["id"].as_str().unwrap().to_owned()
}

async fn challenge(api: &Api, session: &Session, factor: &str) -> (String, Value) {
    let body = json!({"webauthn": {"rpId": "localhost", "rpOrigins": ["http://localhost:3000"]}});
    let answer = post(api, session, &format!("/factors/{factor}/challenge"), body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    (answer.body["id"].as_str().unwrap().to_owned(), answer.body["webauthn"].clone())
}

async fn verify(
    api: &Api,
    session: &Session,
    (factor, challenge): (&str, &str),
    (kind, response): (&str, Value),
) -> Answer {
    let body =
        json!({"challenge_id": challenge, "webauthn": {"type": kind, "credential_response": response}});
    post(api, session, &format!("/factors/{factor}/verify"), body).await
}

#[test]
fn a_security_key_is_registered_and_used() {
    testkit::run(async {
        let api = Api::new("key", with_keys()).await;
        let session = api.sign_up("ada@example.com").await;
        let id = enroll(&api, &session, "key").await;
        let mut key = Authenticator::new();
        let (waiting, asked) = challenge(&api, &session, &id).await;
        assert_eq!(asked["type"], "create");
        let options = &asked["credential_options"]["publicKey"];
        assert_eq!(
            (&options["rp"]["id"], &options["user"]["name"]),
            (&json!("localhost"), &json!("ada@example.com"))
        );
        let answer = verify(&api, &session, (&id, &waiting), ("create", key.create(options))).await;
        let strong = Session::of(&answer);
        assert_eq!(claims(&strong)["aal"], "aal2");
        assert!(!answer.body.to_string().contains("web_authn"), "{}", answer.body);
        // Another session shows the key again.
        let weak = Session::of(&api.sign_in("ada@example.com", PASSWORD).await);
        let (waiting, asked) = challenge(&api, &weak, &id).await;
        assert_eq!(asked["type"], "request");
        let options = &asked["credential_options"]["publicKey"];
        assert_eq!(options["allowCredentials"].as_array().unwrap().len(), 1);
        let response = key.get(options);
        let answer = verify(&api, &weak, (&id, &waiting), ("request", response.clone())).await;
        let strong = Session::of(&answer);
        assert!(claims(&strong)["amr"].to_string().contains("mfa/webauthn"));
        // An answer is good once.
        let again = verify(&api, &strong, (&id, &waiting), ("request", response.clone())).await;
        assert_eq!(again.refusal(), (422, "mfa_ip_address_mismatch"));
        let (other, _) = challenge(&api, &strong, &id).await;
        let replay = verify(&api, &strong, (&id, &other), ("request", response)).await;
        assert_eq!(replay.refusal(), (422, "mfa_verification_failed"));
    });
}

#[test]
fn answers_from_elsewhere_do_not_verify() {
    testkit::run(async {
        let api = Api::new("badkeys", with_keys()).await;
        let session = api.sign_up("ada@example.com").await;
        let id = enroll(&api, &session, "key").await;
        let mut key = Authenticator::new();
        let mut fake = Authenticator::new();
        fake.origin = "https://evil.com";
        let (waiting, asked) = challenge(&api, &session, &id).await;
        let options = asked["credential_options"]["publicKey"].clone();
        let phished = verify(&api, &session, (&id, &waiting), ("create", fake.create(&options))).await;
        assert_eq!(phished.refusal(), (422, "mfa_verification_failed"));
        let mut foreign = options.clone();
        foreign["rp"]["id"] = json!("evil.com");
        let answer = verify(&api, &session, (&id, &waiting), ("create", key.create(&foreign))).await;
        assert_eq!(answer.refusal(), (422, "mfa_verification_failed"));
        assert_eq!(
            verify(&api, &session, (&id, &waiting), ("create", key.create(&options))).await.status,
            200
        );
        let (waiting, asked) = challenge(&api, &session, &id).await;
        let options = asked["credential_options"]["publicKey"].clone();
        let mut other = Authenticator::new();
        other.user_handle.clone_from(&key.user_handle);
        let answer = verify(&api, &session, (&id, &waiting), ("request", other.get(&options))).await;
        assert_eq!(answer.refusal(), (422, "mfa_verification_failed"));
        let mut old = key.get(&options);
        old["response"]["signature"] = json!("AAAA");
        assert_eq!(verify(&api, &session, (&id, &waiting), ("request", old)).await.status, 422);
        let wrong_kind =
            verify(&api, &session, (&id, &waiting), ("create", key.create(&options_of_create()))).await;
        assert_eq!(wrong_kind.refusal(), (422, "mfa_verification_failed"));
    });
}

fn options_of_create() -> Value {
    json!({"rp": {"id": "localhost"}, "user": {"id": "AA"}, "challenge": "AAAA"})
}

#[test]
fn malformed_answers_of_keys_are_told() {
    testkit::run(async {
        let api = Api::new("badkeyjson", with_keys()).await;
        let session = api.sign_up("ada@example.com").await;
        let id = enroll(&api, &session, "key").await;
        let (waiting, _) = challenge(&api, &session, &id).await;
        let cases = [
            (json!({}), "WebAuthn config required"),
            (json!({"webauthn": {}}), "WebAuthn type must be create or request"),
            (json!({"webauthn": {"type": "create"}}), "credential_response required"),
            (
                json!({"webauthn": {"type": "create", "credential_response": {}}}),
                "Invalid credential_response",
            ),
        ];
        for (mut body, message) in cases {
            body["challenge_id"] = json!(waiting);
            let answer = post(&api, &session, &format!("/factors/{id}/verify"), body).await;
            assert_eq!(
                (answer.refusal(), &answer.body["msg"]),
                ((400, "validation_failed"), &json!(message))
            );
        }
    });
}
