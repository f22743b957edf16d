//! Sign-in by SAML 2.0 at an organisation's identity provider.

mod admin;
mod hostile;
pub(crate) mod idp;

use std::collections::BTreeMap;

use common::AuthSettings;
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::external::said;
use crate::support::{Answer, Api, s256};
use idp::{Draft, PERSISTENT, SERVICE, Signer, refusal};

pub(crate) fn settings() -> AuthSettings {
    AuthSettings {
        saml_enabled: true,
        redirect_urls: vec!["https://app.test/**".into()],
        // Forgeries come in numbers here.
        rate_limit_sso: 10_000,
        ..AuthSettings::default()
    }
}

/// The claims of the session that the browser ends with.
fn claims(answer: &Answer) -> Value {
    let said = said(&answer.location());
    let token = said.get("access_token").unwrap_or_else(|| panic!("{}", answer.location()));
    claims_of(token)
}

fn claims_of(token: &str) -> Value {
    use base64::Engine as _;
    let body = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap()
}

#[test]
fn an_organisations_user_signs_in_and_comes_back_as_the_same() {
    testkit::run(async {
        let api = Api::new("saml_implicit", settings()).await;
        let provider = api.organisation(json!({})).await;
        let id = provider["id"].as_str().unwrap();
        let begun = api.begin_sso(json!({"redirect_to": "https://app.test/in"})).await;
        assert!(begun.url.starts_with("https://idp.test/sso?SAMLRequest="), "{}", begun.url);
        let draft = Draft::new(Some(&begun.request_id));
        let answer = api.bring(&draft.signed(), &begun.relay_state).await;
        assert_eq!(answer.status, 302);
        assert!(answer.location().starts_with("https://app.test/in#access_token="), "{}", answer.location());
        let first = claims(&answer);
        assert_eq!(first["email"], "ada@org.test");
        assert_eq!(
            first["app_metadata"],
            json!({"provider": format!("sso:{id}"), "providers": [format!("sso:{id}")]})
        );
        assert_eq!(first["amr"][0]["method"], "sso/saml");
        assert_eq!(first["amr"][0]["provider"], id);
        assert_eq!(first["user_metadata"]["iss"], idp::ENTITY);
        let token = said(&answer.location())["access_token"].clone();
        let user = api.get("/user", Some(&token)).await.body;
        let identity = &user["identities"][0];
        assert_eq!((&identity["provider"], &identity["id"]), (&json!(format!("sso:{id}")), &json!("user-1")));
        assert_eq!(identity["identity_data"]["email_verified"], true);
        let admin = api.test.owner().await;
        let rows = admin
            .query("select is_sso_user, email_confirmed_at is not null from auth.users", &[])
            .await
            .unwrap();
        assert_eq!(rows.len(), 1);
        assert!(rows[0].get::<_, bool>(0) && rows[0].get::<_, bool>(1));

        let again = api.through_sso(|_| ()).await;
        assert_eq!(claims(&again)["sub"], first["sub"]);
        // A new name for the same address is the same person of the same organisation.
        let renamed = api.through_sso(|it| it.name_id = "user-1-renamed".into()).await;
        assert_eq!(claims(&renamed)["sub"], first["sub"]);
        let refreshed = api.refresh(&said(&again.location())["refresh_token"]).await;
        assert_eq!(refreshed.status, 200, "{}", refreshed.body);
        assert_eq!(claims_of(refreshed.body["access_token"].as_str().unwrap())["amr"][0]["provider"], id);
    });
}

#[test]
fn a_pkce_sign_in_ends_in_a_code_that_the_verifier_opens() {
    testkit::run(async {
        let api = Api::new("saml_pkce", settings()).await;
        api.organisation(json!({})).await;
        let verifier = "v".repeat(43);
        let begun = api
            .begin_sso(json!({"code_challenge": s256(&verifier), "code_challenge_method": "s256",
                "redirect_to": "https://app.test/cb"}))
            .await;
        let mut draft = Draft::new(Some(&begun.request_id));
        let ends = Timestamp::from_second(api.now_secs() + 1800).unwrap();
        draft.session_ends = Some(ends);
        let answer = api.bring(&draft.signed(), &begun.relay_state).await;
        assert!(answer.location().starts_with("https://app.test/cb?code="), "{}", answer.location());
        let code = said(&answer.location())["code"].clone();
        let exchange = async |verifier: &str| {
            api.post("/token?grant_type=pkce", json!({"auth_code": code, "code_verifier": verifier})).await
        };
        assert_eq!(exchange(&"w".repeat(43)).await.refusal(), (400, "bad_code_verifier"));
        let session = exchange(&verifier).await;
        assert_eq!(session.status, 200, "{}", session.body);
        assert_eq!(claims_of(session.body["access_token"].as_str().unwrap())["amr"][0]["method"], "sso/saml");
        let row = api.test.owner().await.query_one("select not_after from auth.sessions", &[]).await.unwrap();
        assert_eq!(row.get::<_, Timestamp>(0), ends);
        assert_eq!(exchange(&verifier).await.refusal(), (404, "flow_state_not_found"));
    });
}

#[test]
fn a_session_ends_when_the_organisation_says() {
    testkit::run(async {
        let api = Api::new("saml_ends", settings()).await;
        api.organisation(json!({})).await;
        let ends = Timestamp::from_second(api.now_secs() + 1800).unwrap();
        let answer = api.through_sso(|it| it.session_ends = Some(ends)).await;
        let said = said(&answer.location());
        api.wait(1700);
        let refreshed = api.refresh(&said["refresh_token"]).await;
        assert_eq!(refreshed.status, 200, "{}", refreshed.body);
        api.wait(200);
        let over = api.refresh(refreshed.body["refresh_token"].as_str().unwrap()).await;
        assert_eq!(over.refusal(), (400, "session_expired"));
    });
}

#[test]
fn the_request_is_signed_by_the_key_that_our_metadata_tells() {
    testkit::run(async {
        let api = Api::new("saml_request", settings()).await;
        api.organisation(json!({"name_id_format": "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"}))
            .await;
        let told = api.get("/sso/saml/metadata", None).await;
        assert_eq!(told.headers["content-type"], "application/xml");
        assert_eq!(told.headers["cache-control"], "public, max-age=600");
        let text = told.body.as_str().unwrap();
        for part in [
            format!("entityID=\"{SERVICE}\""),
            "AuthnRequestsSigned=\"true\" WantAssertionsSigned=\"true\"".into(),
            format!("Location=\"{}\"", idp::ACS),
            PERSISTENT.into(),
        ] {
            assert!(text.contains(&part), "{part} in {text}");
        }
        assert!(!text.contains("validUntil"));
        let download = api.get("/sso/saml/metadata?download=true", None).await;
        assert_eq!(download.headers["content-disposition"], "attachment; filename=\"metadata.xml\"");
        assert!(download.body.as_str().unwrap().contains("validUntil="));
        let certificate = |text: &str| {
            text.split("<ds:X509Certificate>").nth(1).unwrap().split('<').next().unwrap().to_owned()
        };
        assert_eq!(certificate(download.body.as_str().unwrap()), certificate(text));

        let begun = api.begin_sso(json!({})).await;
        for part in [
            "Destination=\"https://idp.test/sso\"",
            "AssertionConsumerServiceURL=\"http://api.test/auth/v1/sso/saml/acs\"",
            "Format=\"urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress\"",
        ] {
            assert!(begun.request.contains(part), "{part} in {}", begun.request);
        }
        let query = begun.url.split_once('?').unwrap().1;
        let (signed, _) = query.rsplit_once("&Signature=").unwrap();
        let said = said(&begun.url);
        let verify = |signed: &str| {
            saml_rs::crypto::verify_message_signature(
                signed,
                &said["Signature"],
                &certificate(text),
                &said["SigAlg"],
            )
        };
        assert!(verify(signed).unwrap());
        assert!(!verify(&signed.replace("RelayState=", "RelayState=x")).unwrap());
        let row =
            api.test.owner().await.query_one("select private_key from auth.saml_keys", &[]).await.unwrap();
        assert!(row.get::<_, String>(0).starts_with("sealed1:"));
    });
}

#[test]
fn a_provider_may_send_a_user_by_itself_and_only_to_allowed_places() {
    testkit::run(async {
        let api = Api::new("saml_unsolicited", settings()).await;
        api.organisation(json!({})).await;
        for (relay_state, target) in [
            ("", "http://localhost:3000#"),
            ("https://app.test/deep", "https://app.test/deep#"),
            ("https://evil.test/", "http://localhost:3000#"),
            ("https://app.test@evil.test/", "http://localhost:3000#"),
            ("//evil.test", "http://localhost:3000#"),
            ("/\\evil.test", "http://localhost:3000#"),
            ("javascript:alert(1)", "http://localhost:3000#"),
            ("https:/\\evil.test", "http://localhost:3000#"),
        ] {
            let answer = api.bring(&Draft::new(None).signed(), relay_state).await;
            assert!(answer.location().starts_with(target), "{relay_state}: {}", answer.location());
            assert_eq!(claims(&answer)["email"], "ada@org.test");
        }
        let answer = api.bring(&Draft::new(None).signed(), "neither").await;
        let words = "SAML RelayState is not a valid UUID or URL";
        assert_eq!(refusal(&answer), (303, "validation_failed".into(), words.into()));
    });
}

#[test]
fn signatures_over_the_response_or_both_count_as_well() {
    testkit::run(async {
        let api = Api::new("saml_signed", settings()).await;
        api.organisation(json!({})).await;
        let key = Signer::right();
        let whole = |draft: &Draft| key.sign_response(&draft.unsigned());
        let both = |draft: &Draft| key.sign_response(&key.sign_assertion(&draft.unsigned()));
        for sign in [&whole as &dyn Fn(&Draft) -> String, &both] {
            let begun = api.begin_sso(json!({})).await;
            let answer = api.bring(&sign(&Draft::new(Some(&begun.request_id))), &begun.relay_state).await;
            assert_eq!(claims(&answer)["email"], "ada@org.test");
        }
    });
}

#[test]
fn attributes_become_claims_as_the_project_maps_them() {
    testkit::run(async {
        let api = Api::new("saml_mapping", settings()).await;
        api.organisation(json!({"attribute_mapping": {"keys": {
            "email": {"name": "urn:mail"},
            "full_name": {"names": ["nothing", "cn"]},
            "groups": {"name": "memberOf", "array": true},
            "team": {"name": "team", "default": "none"},
            "sub": {"name": "cn"},
            "email_verified": {"default": "no"},
        }}}))
        .await;
        let answer = api
            .through_sso(|it| {
                let values = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
                it.attributes = vec![
                    ("urn:mail".into(), values(&["bo@org.test"])),
                    ("mail".into(), values(&["other@org.test"])),
                    ("cn".into(), values(&["Bo &amp; Co"])),
                    ("memberOf".into(), values(&["a", "b"])),
                ];
            })
            .await;
        let told = &claims(&answer)["user_metadata"];
        let told: BTreeMap<String, Value> = serde_json::from_value(told.clone()).unwrap();
        assert_eq!(told["email"], "bo@org.test");
        assert_eq!(told["full_name"], "Bo & Co");
        assert_eq!(told["custom_claims"], json!({"groups": ["a", "b"], "team": "none"}));
        assert_eq!((&told["sub"], &told["email_verified"]), (&json!("user-1"), &json!(true)));
    });
}

#[test]
fn users_of_an_organisation_are_apart_from_all_others() {
    testkit::run(async {
        let api = Api::new("saml_apart", settings()).await;
        api.organisation(json!({})).await;
        // An organisation's word about an address opens no account outside of it.
        let password = api.sign_up("ada@org.test").await;
        let answer = api.through_sso(|_| ()).await;
        assert_ne!(claims(&answer)["sub"], password.user_id.as_str());
        let token = said(&answer.location())["access_token"].clone();
        let changed =
            api.call(Method::PUT, "/user", Some(&token), json!({"password": "another password"})).await;
        assert_eq!(changed.refusal(), (422, "user_sso_managed"));
        let other = idp::metadata_of("https://other.test", &[Signer::wrong()]);
        api.organisation(json!({"metadata_xml": other, "domains": ["other.test"]})).await;
        let mut draft = Draft::new(None);
        draft.issuer = "https://other.test".into();
        let answer = api.bring(&Signer::wrong().sign_assertion(&draft.unsigned()), "").await;
        assert_eq!(claims(&answer)["email"], "ada@org.test");
        let admin = api.test.owner().await;
        let rows = admin.query("select 1 from auth.users where email = 'ada@org.test'", &[]).await.unwrap();
        assert_eq!(rows.len(), 3);
    });
}

#[test]
fn what_a_sign_in_lacks_is_told_in_gotrues_words() {
    testkit::run(async {
        let api = Api::new("saml_words", settings()).await;
        let provider = api.organisation(json!({})).await;
        let id = &provider["id"];
        for (body, expected) in [
            (json!({}), (400, "validation_failed", "A provider_id or domain needs to be provided")),
            (
                json!({"provider_id": id, "domain": "org.test"}),
                (400, "validation_failed", "Only one of provider_id or domain supported"),
            ),
            (
                json!({"domain": "org.test", "code_challenge": "c".repeat(43), "code_challenge_method": "x"}),
                (400, "validation_failed", "Invalid code_challenge_method"),
            ),
            (
                json!({"domain": "no.test"}),
                (404, "sso_provider_not_found", "No SSO provider assigned for this domain"),
            ),
            (
                json!({"provider_id": "00000000-0000-4000-8000-000000000000"}),
                (404, "sso_provider_not_found", "No such SSO provider"),
            ),
        ] {
            let answer = api.post("/sso", body).await;
            let (status, code) = answer.refusal();
            assert_eq!((status, code, answer.body["msg"].as_str().unwrap()), expected);
        }
        let redirected = api.post("/sso", json!({"provider_id": id})).await;
        assert_eq!(redirected.status, 303);
        assert!(redirected.location().starts_with("https://idp.test/sso?"));
        let lost = |status, code: &str, words: &str| (status, code.to_owned(), words.to_owned());
        let no_mail = api.through_sso(|it| it.attributes.clear()).await;
        let words = "SAML Assertion does not contain an email address";
        assert_eq!(refusal(&no_mail), lost(303, "saml_assertion_no_email", words));
        let transient = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient";
        let nobody = api.through_sso(|it| it.name_id_format = transient.into()).await;
        assert_eq!(refusal(&nobody).1, "saml_assertion_no_user_id");
        let mut draft = Draft::new(None);
        draft.issuer = "https://unknown.test".into();
        let unknown = api.bring(&draft.signed(), "").await;
        let words = "A SAML connection has not been established with this Identity Provider";
        assert_eq!(refusal(&unknown), lost(303, "saml_idp_not_found", words));
        for (fields, words) in [
            (vec![("RelayState", "")], "SAMLResponse is missing"),
            (vec![("SAMLart", "x")], "SAML Artifact response can only be used with SP initiated flow"),
            (vec![("SAMLResponse", "%%%")], "SAMLResponse is not a valid Base64 string"),
            (vec![("SAMLResponse", "PGE+")], "SAMLResponse is not a valid XML SAML assertion"),
        ] {
            assert_eq!(refusal(&api.bring_form(&fields).await), lost(303, "validation_failed", words));
        }
        assert_eq!(refusal(&api.through_sso(|_| ()).await).1, "");
        let closed = api.with(AuthSettings { disable_signup: true, ..settings() });
        assert_eq!(refusal(&closed.through_sso(|_| ()).await).1, "", "who is here already comes in");
        let newcomer = closed.through_sso(|it| {
            it.name_id = "newer".into();
            it.attributes = vec![("email".into(), vec!["newer@org.test".into()])];
        });
        assert_eq!(refusal(&newcomer.await).1, "signup_disabled");
    });
}
