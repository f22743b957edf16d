//! `/admin/custom-providers`: what a project's own people may define, and what comes of it.

use common::AuthSettings;
use http::Method;
use serde_json::{Value, json};

use crate::external::said;
use crate::idp::Idp;
use crate::support::{Answer, Api};

const PATH: &str = "/admin/custom-providers";

fn oidc(idp: &Idp) -> Value {
    json!({"provider_type": "oidc", "identifier": "custom:mine", "name": "Mine", "client_id": "app",
        "client_secret": "hush", "issuer": idp.url, "scopes": ["profile"]})
}

fn oauth2(idp: &Idp) -> Value {
    let url = &idp.url;
    json!({"provider_type": "oauth2", "identifier": "custom:plain", "name": "Plain", "client_id": "app",
        "client_secret": "hush", "authorization_url": format!("{url}/go"), "token_url": format!("{url}/token"),
        "userinfo_url": format!("{url}/me"), "pkce_enabled": false, "scopes": ["read"],
        "attribute_mapping": {"sub": "id", "email": "mail", "name": "/profile/name", "locale": "en"},
        "custom_claims_allowlist": ["team"], "authorization_params": {"prompt": "login"}})
}

async fn create(api: &Api, body: Value) -> Answer {
    api.admin(Method::POST, PATH, body).await
}

#[test]
fn providers_are_made_read_changed_and_removed() {
    testkit::run(async {
        let idp = Idp::start().await;
        let api = Api::trusting("custom", AuthSettings::default()).await;
        let made = create(&api, oidc(&idp)).await;
        assert_eq!(made.status, 201, "{}", made.body);
        assert_eq!(made.body["scopes"], json!(["openid", "profile"]));
        assert_eq!((&made.body["enabled"], &made.body["pkce_enabled"]), (&json!(true), &json!(true)));
        assert_eq!(made.body["discovery_document"]["token_endpoint"], format!("{}/token", idp.url));
        assert!(!made.body.to_string().contains("hush"), "{}", made.body);
        assert_eq!(create(&api, oidc(&idp)).await.refusal(), (400, "conflict"));
        assert_eq!(create(&api, oauth2(&idp)).await.status, 201);
        let list = async |query: &str| {
            let answer = api.admin(Method::GET, &format!("{PATH}{query}"), Value::Null).await;
            let all = answer.body["providers"].as_array().unwrap().clone();
            all.iter().map(|it| it["identifier"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(list("").await, ["custom:plain", "custom:mine"]);
        assert_eq!(list("?type=oidc").await, ["custom:mine"]);
        let one = format!("{PATH}/custom:mine");
        assert_eq!(api.admin(Method::GET, &one, Value::Null).await.body, made.body);
        let changed =
            api.admin(Method::PUT, &one, json!({"name": "Ours", "enabled": false, "client_secret": "new"}));
        let changed = changed.await;
        assert_eq!((&changed.body["name"], &changed.body["enabled"]), (&json!("Ours"), &json!(false)));
        assert_eq!(changed.body["issuer"], idp.url.as_str());
        let rows = api.test.owner().await;
        let row = rows
            .query_one("select string_agg(client_secret, ' ') from auth.custom_oauth_providers", &[])
            .await;
        let secrets: String = row.unwrap().get(0);
        assert!(!secrets.contains("hush") && !secrets.contains("new"), "sealed: {secrets}");
        assert_eq!(api.admin(Method::DELETE, &one, Value::Null).await.status, 204);
        for method in [Method::GET, Method::DELETE] {
            let gone = api.admin(method, &one, Value::Null).await;
            assert_eq!(gone.refusal(), (404, "custom_provider_not_found"));
        }
        let gone = api.admin(Method::PUT, &one, json!({})).await;
        assert_eq!(gone.refusal(), (404, "custom_provider_not_found"));
        assert_eq!(gone.body["msg"], "Custom OAuth provider not found");
    });
}

#[test]
fn users_sign_in_with_them() {
    testkit::run(async {
        let idp = Idp::start().await;
        let api = Api::trusting("custom_use", AuthSettings::default()).await;
        create(&api, oidc(&idp)).await;
        create(&api, oauth2(&idp)).await;
        let token = idp.id_token(json!({"email": "a@b.co", "email_verified": true, "name": "Ada"}));
        idp.grants("/token", json!({"id_token": token}));
        let user = api.arrive("provider=custom:mine").await;
        assert_eq!(
            (&user["email"], &user["app_metadata"]["provider"]),
            (&json!("a@b.co"), &json!("custom:mine"))
        );
        let grant = json!({"provider": "custom:mine", "id_token": token});
        let again = api.post("/token?grant_type=id_token", grant).await;
        assert_eq!(again.body["user"]["id"], user["id"]);
        idp.grants("/token", json!({}));
        let me = json!({"id": 7, "mail": "Bob@B.co", "email_verified": true, "profile": {"name": "Bob"}, "team": "t",
            "role": "service_role"});
        idp.page("/me", &me);
        let sent = said(&api.get("/authorize?provider=custom:plain", None).await.location());
        assert_eq!((sent["prompt"].as_str(), sent["scope"].as_str()), ("login", "read"));
        assert!(!sent.contains_key("code_challenge"));
        let bob = api.arrive("provider=custom:plain").await;
        let data = &bob["identities"][0]["identity_data"];
        assert_eq!((&bob["email"], &bob["role"]), (&json!("bob@b.co"), &json!("authenticated")));
        assert_eq!((&data["sub"], &data["name"]), (&json!("7"), &json!("Bob")));
        assert_eq!(data["custom_claims"], json!({"team": "t"}));
        let plain = api
            .post("/token?grant_type=id_token", json!({"provider": "custom:plain", "id_token": token}))
            .await;
        assert_eq!(plain.refusal(), (400, "validation_failed"));
        assert_eq!(plain.body["msg"], "Provider \"custom:plain\" is not an OIDC provider");
        api.admin(Method::PUT, &format!("{PATH}/custom:mine"), json!({"enabled": false})).await;
        let off = api
            .post("/token?grant_type=id_token", json!({"provider": "custom:mine", "id_token": token}))
            .await;
        assert_eq!(off.refusal(), (400, "provider_disabled"));
        assert_eq!(off.body["msg"], "Custom provider \"custom:mine\" is disabled");
        let off = api.get("/authorize?provider=custom:mine", None).await;
        assert_eq!(off.body["msg"], "Unsupported provider: custom provider custom:mine is disabled");
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "the cases are data")]
fn what_is_missing_or_not_allowed_is_named() {
    testkit::run(async {
        let idp = Idp::start().await;
        let api = Api::trusting("custom_rules", AuthSettings::default()).await;
        let with = |mut body: Value, name: &str, value: Value| {
            body[name] = value;
            body
        };
        let (oidc, oauth2) = (oidc(&idp), oauth2(&idp));
        for (body, message) in [
            (
                with(oidc.clone(), "provider_type", json!("saml")),
                "provider_type must be either 'oauth2' or 'oidc'",
            ),
            (with(oidc.clone(), "identifier", json!("")), "identifier is required"),
            (
                with(oidc.clone(), "identifier", json!("mine")),
                "identifier must start with 'custom:' prefix, e.g. 'custom:mine'",
            ),
            (
                with(oidc.clone(), "identifier", json!("custom:Ü")),
                "identifier takes a-z, 0-9 and '-' behind 'custom:', at most 50 characters",
            ),
            (with(oidc.clone(), "name", json!("")), "name is required"),
            (with(oidc.clone(), "client_id", json!("")), "client_id is required"),
            (with(oidc.clone(), "client_secret", json!(null)), "client_secret is required"),
            (with(oidc.clone(), "issuer", json!("")), "issuer is required for OIDC providers"),
            (
                with(oauth2.clone(), "authorization_url", json!("")),
                "authorization_url is required for OAuth2 providers",
            ),
            (with(oauth2.clone(), "token_url", json!("")), "token_url is required for OAuth2 providers"),
            (
                with(oauth2.clone(), "userinfo_url", json!("")),
                "userinfo_url is required for OAuth2 providers",
            ),
            (
                with(oauth2.clone(), "authorization_params", json!({"state": "x"})),
                "Cannot override reserved OAuth parameter: state",
            ),
            (
                with(oauth2.clone(), "authorization_params", json!({"x": 1})),
                "Authorization parameter \"x\" must be a string",
            ),
            (
                with(oauth2.clone(), "attribute_mapping", json!({"role": "admin"})),
                "Cannot map to protected system field: role",
            ),
            (
                with(oauth2.clone(), "custom_claims_allowlist", json!([" "])),
                "custom_claims_allowlist entries must be non-empty strings",
            ),
        ] {
            let answer = create(&api, body).await;
            assert_eq!(answer.refusal(), (400, "validation_failed"), "{message}");
            assert_eq!(answer.body["msg"], message);
        }
        let list = api.admin(Method::GET, &format!("{PATH}?type=saml"), Value::Null).await;
        assert_eq!(list.refusal(), (400, "validation_failed"));
        let read = api.admin(Method::GET, &format!("{PATH}/google"), Value::Null).await;
        assert_eq!(read.refusal(), (400, "validation_failed"));
        idp.page("/.well-known/openid-configuration", &json!({"issuer": idp.url, "jwks_uri": "x"}));
        let answer = create(&api, oidc.clone()).await;
        let missing =
            "OIDC discovery document is missing required fields: authorization_endpoint, token_endpoint";
        assert_eq!(answer.body["msg"], missing);
        let stranger = Idp::start().await;
        stranger.page("/.well-known/openid-configuration", &idp.metadata());
        let answer = create(&api, with(oidc, "issuer", json!(stranger.url))).await;
        let text = answer.body["msg"].as_str().unwrap();
        assert!(text.starts_with("OIDC discovery from ") && text.contains("another issuer"), "{text}");
    });
}

#[test]
fn addresses_inside_are_never_contacted() {
    testkit::run(async {
        let idp = Idp::start().await;
        let api = Api::new("custom_inside", AuthSettings::default()).await;
        let https = idp.url.replace("http://", "https://");
        for (issuer, message) in [
            (idp.url.as_str(), "URL must use HTTPS"),
            (https.as_str(), "URL cannot point to localhost or loopback addresses"),
            ("https://169.254.169.254", "URL cannot point to private or internal networks"),
        ] {
            let mut body = oidc(&idp);
            body["issuer"] = json!(issuer);
            let answer = create(&api, body).await;
            assert_eq!(answer.refusal(), (400, "validation_failed"));
            assert_eq!(answer.body["msg"], message);
        }
        // The project's people may write the table too; what they write there is checked when it is used.
        let insert = format!(
            "insert into auth.custom_oauth_providers (provider_type, identifier, name, client_id, client_secret, \
             issuer) values ('oidc', 'custom:inside', 'x', 'x', 'x', '{}')",
            idp.url
        );
        api.test.owner().await.batch_execute(&insert).await.unwrap();
        let answer = api.get("/authorize?provider=custom:inside", None).await;
        assert_eq!(answer.refusal(), (400, "validation_failed"));
        assert!(idp.seen().is_empty(), "nobody came");
    });
}

#[test]
fn they_are_for_the_service_key_and_can_be_switched_off() {
    testkit::run(async {
        let api = Api::new("custom_off", AuthSettings::default()).await;
        assert_eq!(api.get(PATH, None).await.refusal(), (401, "no_authorization"));
        let ada = api.sign_up("ada@example.com").await;
        assert_eq!(api.get(PATH, Some(&ada.access)).await.refusal(), (403, "not_admin"));
        let off = api.with(AuthSettings { custom_providers: false, ..AuthSettings::default() });
        let answer = off.admin(Method::GET, PATH, Value::Null).await;
        assert_eq!(answer.refusal(), (404, "feature_disabled"));
        assert_eq!(answer.body["msg"], "Custom OAuth providers are disabled");
    });
}

#[test]
fn saml_is_told_to_be_off() {
    testkit::run(async {
        let api = Api::new("saml_off", AuthSettings::default()).await;
        for (method, path) in [
            (Method::POST, "/sso"),
            (Method::GET, "/sso/saml/metadata"),
            (Method::POST, "/sso/saml/acs"),
            (Method::GET, "/admin/sso/providers"),
            (Method::PUT, "/admin/sso/providers/x"),
        ] {
            let answer = api.admin(method, path, json!({"domain": "example.com"})).await;
            assert_eq!(answer.refusal(), (404, "saml_provider_disabled"), "{path}");
            assert_eq!(answer.body["msg"], "SAML 2.0 is disabled");
        }
        assert_eq!(api.get("/admin/sso/providers", None).await.refusal(), (401, "no_authorization"));
        assert_eq!(api.get("/settings", None).await.body["saml_enabled"], false);
    });
}
