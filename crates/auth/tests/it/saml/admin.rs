//! `/admin/sso/providers`: organisations are made, read, changed and removed.

use http::Method;
use serde_json::{Value, json};

use super::idp::{self, Signer, metadata_of};
use super::settings;
use crate::idp::Idp;
use crate::support::{Answer, Api};

const PATH: &str = "/admin/sso/providers";

fn told(answer: &Answer) -> (u16, &str, &str) {
    let (status, code) = answer.refusal();
    (status, code, answer.body["msg"].as_str().unwrap_or_default())
}

#[test]
fn organisations_are_made_read_changed_and_removed() {
    testkit::run(async {
        let api = Api::new("saml_admin", settings()).await;
        let made =
            api.organisation(json!({"domains": ["Org.test", "org.example"], "resource_id": "team-1"})).await;
        assert_eq!(made["domains"], json!([{"domain": "org.example"}, {"domain": "org.test"}]));
        assert_eq!(made["saml"]["entity_id"], idp::ENTITY);
        assert_eq!(made["saml"]["metadata_xml"], idp::metadata());
        assert_eq!((&made["resource_id"], &made["disabled"]), (&json!("team-1"), &json!(false)));
        let list =
            async |query: &str| api.admin(Method::GET, &format!("{PATH}{query}"), Value::Null).await.body;
        let listed = &list("").await["items"][0];
        assert_eq!(listed["id"], made["id"]);
        assert_eq!(listed["saml"], json!({"entity_id": idp::ENTITY, "attribute_mapping": {}}));
        assert_eq!(list("?resource_id=team-1").await["items"].as_array().unwrap().len(), 1);
        assert_eq!(list("?resource_id_prefix=team-2").await["items"], json!([]));
        let one = format!("{PATH}/{}", made["id"].as_str().unwrap());
        assert_eq!(api.admin(Method::GET, &one, Value::Null).await.body, made);
        assert_eq!(api.admin(Method::GET, &format!("{PATH}/resource_team-1"), Value::Null).await.body, made);

        let mapping = json!({"keys": {"name": {"name": "cn"}}});
        let change =
            json!({"domains": ["new.test"], "attribute_mapping": mapping, "name_id_format": idp::PERSISTENT});
        let changed = api.admin(Method::PUT, &one, change).await.body;
        assert_eq!(changed["domains"], json!([{"domain": "new.test"}]));
        assert_eq!(changed["saml"]["attribute_mapping"], mapping);
        let untouched = api.admin(Method::PUT, &one, json!({"disabled": true})).await.body;
        assert_eq!((&untouched["domains"], &untouched["saml"]), (&changed["domains"], &changed["saml"]));
        assert_eq!(
            api.post("/sso", json!({"domain": "new.test"})).await.refusal(),
            (404, "sso_provider_not_found")
        );
        assert_eq!(api.admin(Method::PUT, &one, json!({"disabled": false})).await.status, 200);
        assert_eq!(api.post("/sso", json!({"domain": "NEW.test"})).await.status, 303);

        assert_eq!(api.admin(Method::DELETE, &one, Value::Null).await.status, 200);
        for method in [Method::GET, Method::DELETE, Method::PUT] {
            let gone = api.admin(method, &one, json!({})).await;
            assert_eq!(told(&gone), (404, "sso_provider_not_found", "SSO Identity Provider not found"));
        }
        let path = api.admin(Method::GET, &format!("{PATH}/%ff"), Value::Null).await;
        assert_eq!(path.refusal(), (404, "sso_provider_not_found"));
        let admin = api.test.owner().await;
        let entries = admin.query(
            "select payload ->> 'action' from auth.audit_log_entries where payload ->> 'action' like 'sso%' order by created_at",
            &[],
        );
        let actions: Vec<String> = entries.await.unwrap().iter().map(|it| it.get(0)).collect();
        assert_eq!(actions.first().map(String::as_str), Some("sso_provider_created"));
        assert_eq!(actions.last().map(String::as_str), Some("sso_provider_deleted"));
    });
}

#[test]
fn organisations_are_for_the_service_key() {
    testkit::run(async {
        let api = Api::new("saml_keys", settings()).await;
        let user = api.sign_up("ada@b.c").await;
        for (method, path) in
            [(Method::GET, PATH), (Method::POST, PATH), (Method::PUT, "/admin/sso/providers/x")]
        {
            let refused = api.call(method.clone(), path, Some(&user.access), json!({})).await;
            assert_eq!(refused.refusal(), (403, "not_admin"));
            assert_eq!(api.call(method, path, None, json!({})).await.refusal(), (401, "no_authorization"));
        }
        assert_eq!(api.get("/settings", None).await.body["saml_enabled"], true);
    });
}

#[test]
fn bad_organisations_are_refused_in_gotrues_words() {
    testkit::run(async {
        let api = Api::new("saml_bad", settings()).await;
        let formats = "name_id_format must be unspecified or one of \
             urn:oasis:names:tc:SAML:2.0:nameid-format:persistent, \
             urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress, \
             urn:oasis:names:tc:SAML:2.0:nameid-format:transient, \
             urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified";
        let inside = "URL cannot point to private or internal networks";
        for (body, message) in [
            (json!({}), "Only 'saml' supported for SSO provider type"),
            (json!({"type": "saml"}), "Either metadata_xml or metadata_url must be set"),
            (
                json!({"type": "saml", "metadata_xml": "x", "metadata_url": "https://a.b"}),
                "Only one of metadata_xml or metadata_url needs to be set",
            ),
            (json!({"type": "saml", "metadata_url": "x"}), "metadata_url is not a valid URL"),
            (json!({"type": "saml", "metadata_url": "http://a.b"}), "metadata_url is not a HTTPS URL"),
            (json!({"type": "saml", "metadata_url": "https://169.254.169.254/x"}), inside),
            (json!({"type": "saml", "metadata_xml": idp::metadata(), "name_id_format": "x"}), formats),
            (
                json!({"type": "saml", "metadata_xml": idp::metadata(), "domains": ["a@b.c"]}),
                "domains takes at most 100 names of hosts, without '@'",
            ),
        ] {
            let answer = api.admin(Method::POST, PATH, body).await;
            assert_eq!(told(&answer), (400, "validation_failed", message));
        }
    });
}

#[test]
fn metadata_that_cannot_be_used_is_refused_before_it_is_stored() {
    testkit::run(async {
        let api = Api::new("saml_metadata", settings()).await;
        let xml = |from: &str, to: &str| {
            let text = idp::metadata().replace(from, to);
            json!({"type": "saml", "metadata_xml": text})
        };
        for (body, message) in [
            (xml(idp::ENTITY, ""), "SAML Metadata does not contain an EntityID"),
            (
                xml("IDPSSODescriptor", "SPSSODescriptor"),
                "SAML Metadata does not contain any IDPSSODescriptor",
            ),
            (
                xml("<IDPSSODescriptor ", "<IDPSSODescriptor/><IDPSSODescriptor "),
                "SAML Metadata contains multiple IDPSSODescriptors",
            ),
            (
                xml("HTTP-Redirect", "HTTP-POST"),
                "SAML Metadata does not contain a SingleSignOnService with the HTTP-Redirect binding",
            ),
            (
                xml(&Signer::right().certificate, "x"),
                "SAML Metadata does not contain a signing certificate that can be read",
            ),
            (
                xml("<?xml version=\"1.0\"?>", "<!DOCTYPE a [<!ENTITY b \"c\">]>"),
                "SAML Metadata is not valid XML: CDATA and document types are not allowed",
            ),
        ] {
            let answer = api.admin(Method::POST, PATH, body).await;
            assert_eq!(told(&answer), (400, "validation_failed", message));
        }
        let rows = api.test.owner().await.query("select 1 from auth.sso_providers", &[]).await.unwrap();
        assert_eq!(rows.len(), 0);
    });
}

#[test]
fn an_organisation_and_a_domain_belong_to_one_provider() {
    testkit::run(async {
        let api = Api::new("saml_taken", settings()).await;
        let first = api.organisation(json!({})).await;
        let id = first["id"].as_str().unwrap();
        let again =
            api.admin(Method::POST, PATH, json!({"type": "saml", "metadata_xml": idp::metadata()})).await;
        let message = format!("SAML Identity Provider with this EntityID ({}) already exists", idp::ENTITY);
        assert_eq!(told(&again), (422, "saml_idp_already_exists", &*message));
        let new = metadata_of("https://new.test", &[Signer::right()]);
        let same = json!({"type": "saml", "metadata_xml": new, "domains": ["ORG.test"]});
        let taken = api.admin(Method::POST, PATH, same).await;
        let message = format!("SSO Domain 'org.test' is already assigned to an SSO identity provider ({id})");
        assert_eq!(told(&taken), (400, "sso_domain_already_exists", &*message));
        let other = api.admin(Method::PUT, &format!("{PATH}/{id}"), json!({"metadata_xml": new})).await;
        let message = format!(
            "SAML Metadata can be updated only if the EntityID matches for the provider; \
             expected '{}' but got 'https://new.test'",
            idp::ENTITY
        );
        assert_eq!(told(&other), (400, "saml_entity_id_mismatch", &*message));
        // Two requests take the same resource id at once: the index says no, not a failure.
        api.organisation(json!({"metadata_xml": new, "domains": [], "resource_id": "x"})).await;
        let conflict = api.admin(Method::PUT, &format!("{PATH}/{id}"), json!({"resource_id": "X"})).await;
        let message = "Updating SSO provider failed, likely due to a conflict. Try again?";
        assert_eq!(told(&conflict), (422, "conflict", message));
    });
}

#[test]
fn metadata_is_fetched_and_fetched_again_when_it_is_a_day_old() {
    testkit::run(async {
        let api = Api::trusting("saml_fetch", settings()).await;
        let web = Idp::start().await;
        let url = format!("{}/metadata", web.url);
        let create = || json!({"type": "saml", "metadata_url": url, "domains": ["org.test"]});
        let missing = api.admin(Method::POST, PATH, create()).await;
        let message = format!("HTTP 404 error fetching SAML Metadata from URL '{url}'");
        assert_eq!(told(&missing), (400, "saml_metadata_fetch_failed", &*message));
        let nobody = json!({"type": "saml", "metadata_url": "http://127.0.0.1:1/x"});
        assert_eq!(
            api.admin(Method::POST, PATH, nobody).await.refusal(),
            (400, "saml_metadata_fetch_failed")
        );
        web.page("/metadata", &json!("x".repeat(2 * 1024 * 1024)));
        assert_eq!(
            api.admin(Method::POST, PATH, create()).await.refusal(),
            (400, "saml_metadata_fetch_failed")
        );

        web.page("/metadata", &json!(idp::metadata()));
        let made = api.admin(Method::POST, PATH, create()).await;
        assert_eq!(made.status, 201, "{}", made.body);
        assert_eq!(made.body["saml"]["metadata_url"], url);
        assert_eq!(api.through_sso(|_| ()).await.status, 302);
        let asked = web.seen_at("/metadata").len();
        // The organisation changes its key: known a day later, without anybody's help.
        web.page("/metadata", &json!(metadata_of(idp::ENTITY, &[Signer::wrong()])));
        assert_eq!(api.through_sso(|_| ()).await.status, 302);
        assert_eq!(web.seen_at("/metadata").len(), asked);
        api.wait(24 * 3600 + 60);
        let begun = api.begin_sso(json!({})).await;
        assert_eq!(web.seen_at("/metadata").len(), asked + 1);
        let mut draft = idp::Draft::new(Some(&begun.request_id));
        draft.issued = jiff::Timestamp::from_second(api.now_secs()).unwrap();
        let answer = api.bring(&Signer::wrong().sign_assertion(&draft.unsigned()), &begun.relay_state).await;
        assert_eq!(answer.status, 302, "{}", answer.location());
        // Nobody there: what was known counts, and is not asked for with every sign-in.
        web.page_with("/metadata", 500, &json!("x"));
        api.wait(24 * 3600 + 60);
        api.begin_sso(json!({})).await;
        api.begin_sso(json!({})).await;
        assert_eq!(web.seen_at("/metadata").len(), asked + 2);
    });
}
