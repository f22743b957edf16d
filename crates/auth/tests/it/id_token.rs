//! `grant_type=id_token`: tokens that apps bring, and those that are refused.

use common::{AuthSettings, ProviderSettings};
use http::Method;
use serde_json::{Value, json};

use crate::external::{provider, settings};
use crate::idp::Idp;
use crate::support::{Answer, Api, Session};

const NONCE: &str = "the-app-s-nonce";

async fn google(name: &str) -> (Api, Idp) {
    let idp = Idp::start().await;
    let all = settings(&[("google", provider(&idp))]);
    (Api::new(name, all).await, idp)
}

fn digest(nonce: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, nonce.as_bytes());
    digest.as_ref().iter().map(|it| format!("{it:02x}")).collect()
}

async fn grant(api: &Api, body: Value) -> Answer {
    api.post("/token?grant_type=id_token", body).await
}

/// The two fields of an OAuth error.
fn oauth(answer: &Answer) -> (u16, String, String) {
    let text = |it: &str| answer.body[it].as_str().unwrap_or_default().to_owned();
    (answer.status.as_u16(), text("error"), text("error_description"))
}

fn refused(error: &str, description: &str) -> (u16, String, String) {
    (400, error.into(), description.into())
}

#[test]
fn an_apps_token_opens_a_session() {
    testkit::run(async {
        let (api, idp) = google("id_token").await;
        let claims = json!({"email": "ada@example.com", "email_verified": true, "name": "Ada", "picture": "https://p",
            "hd": "example.com", "nonce": digest(NONCE), "aud": "ios"});
        let body = json!({"provider": "google", "id_token": idp.id_token(claims), "nonce": NONCE});
        let answer = grant(&api, body.clone()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let user = &answer.body["user"];
        assert_eq!(
            (&user["email"], &user["app_metadata"]["provider"]),
            (&json!("ada@example.com"), &json!("google"))
        );
        assert_eq!(user["user_metadata"]["custom_claims"], json!({"hd": "example.com"}));
        assert_eq!(answer.body.get("provider_token"), None);
        let again = grant(&api, body).await;
        assert_eq!(again.body["user"]["id"], user["id"]);
        // By client and issuer instead of the name.
        let token = idp.id_token(json!({"email": "ada@example.com"}));
        let body = json!({"client_id": "app", "issuer": idp.url, "id_token": token});
        assert_eq!(grant(&api, body).await.body["user"]["id"], user["id"]);
    });
}

#[test]
fn incomplete_requests_are_refused_in_oauths_words() {
    testkit::run(async {
        let (api, idp) = google("id_token_incomplete").await;
        let token = idp.id_token(json!({}));
        for (body, description) in [
            (json!({"provider": "google"}), "id_token required"),
            (json!({"id_token": token}), "provider or client_id and issuer required"),
            (json!({"id_token": token, "issuer": idp.url}), "provider or client_id and issuer required"),
            (
                json!({"id_token": token, "provider": "google", "link_identity": true}),
                "Linking requires a valid user access token in Authorization",
            ),
        ] {
            let answer = grant(&api, body).await;
            assert_eq!(oauth(&answer), refused("invalid request", description));
            assert_eq!(answer.refusal(), (400, "invalid request"));
        }
    });
}

#[test]
fn forged_foreign_and_replayed_tokens_are_refused() {
    testkit::run(async {
        let (api, idp) = google("id_token_forged").await;
        let stranger = Idp::start().await;
        let now = jiff::Timestamp::now().as_second();
        let bad = refused("invalid request", "Bad ID token");
        for token in [
            "x".to_owned(),
            "x.y.z".to_owned(),
            "a".repeat(70_000),
            stranger.id_token(json!({"iss": idp.url})),
            stranger.id_token(json!({})),
            idp.id_token(json!({"iss": stranger.url})),
            idp.id_token(json!({"exp": now - 60})),
            idp.id_token(json!({"iat": now + 600})),
        ] {
            let answer = grant(&api, json!({"provider": "google", "id_token": token})).await;
            assert_eq!(oauth(&answer), bad, "{token:.100}");
        }
        assert!(stranger.seen().is_empty(), "only the configured issuer is asked");
        for (claims, body, error, description) in [
            (
                json!({"aud": ["a", "b"]}),
                json!({}),
                "invalid request",
                "Unacceptable audience in id_token: [a b]",
            ),
            (json!({"sub": ""}), json!({}), "invalid request", "Missing sub claim in id_token"),
            (
                json!({"nonce": digest(NONCE)}),
                json!({}),
                "invalid request",
                "Passed nonce and nonce in id_token should either both exist or not.",
            ),
            (
                json!({}),
                json!({"nonce": NONCE}),
                "invalid request",
                "Passed nonce and nonce in id_token should either both exist or not.",
            ),
            (json!({"nonce": NONCE}), json!({"nonce": NONCE}), "invalid nonce", "Nonces mismatch"),
            (
                json!({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}),
                json!({"access_token": "stolen"}),
                "invalid request",
                "Bad ID token",
            ),
        ] {
            let mut body = body;
            body["provider"] = json!("google");
            body["id_token"] = json!(idp.id_token(claims));
            assert_eq!(oauth(&grant(&api, body).await), refused(error, description));
        }
    });
}

#[test]
fn the_access_token_must_be_the_one_of_the_id_token() {
    testkit::run(async {
        let (api, idp) = google("id_token_at_hash").await;
        // The left half of SHA-256 of `jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y` (OpenID Connect Core A.3).
        let token = idp.id_token(
            json!({"at_hash": "77QmUPtjPfzWtF2AnpK9RQ", "email": "a@b.co", "email_verified": true}),
        );
        let access = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        let body = |access: &str| json!({"provider": "google", "id_token": token, "access_token": access});
        assert_eq!(grant(&api, body(access)).await.status, 200);
        assert_eq!(grant(&api, body("another")).await.status, 400);
        assert_eq!(grant(&api, body("")).await.status, 200, "without one there is nothing to compare");
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "the cases are data")]
fn only_providers_that_are_on_are_taken() {
    testkit::run(async {
        let idp = Idp::start().await;
        let off = ProviderSettings { enabled: false, ..provider(&idp) };
        let all = [("google", off), ("azure", provider(&idp)), ("apple", provider(&idp))];
        let api = Api::new("id_token_off", settings(&all)).await;
        let token = idp.id_token(json!({}));
        for (body, refusal, message) in [
            (
                json!({"provider": "google"}),
                (400, "provider_disabled"),
                format!("Provider (issuer {:?}) is not enabled", idp.url),
            ),
            (
                json!({"provider": "kakao"}),
                (400, "provider_disabled"),
                "Provider (issuer \"https://kauth.kakao.com\") is not enabled".into(),
            ),
            (
                json!({"provider": "github"}),
                (400, "validation_failed"),
                "Custom OIDC provider \"github\" not allowed".into(),
            ),
            (
                json!({"issuer": "https://evil.example.com", "client_id": "x"}),
                (400, "validation_failed"),
                "Custom OIDC provider \"\" not allowed".into(),
            ),
            (
                json!({"provider": "custom:none"}),
                (400, "validation_failed"),
                "Custom provider \"custom:none\" not found".into(),
            ),
            (
                json!({"provider": "azure"}),
                (400, "validation_failed"),
                "Detected ID token issuer is not an Azure ID token issuer".into(),
            ),
            (
                json!({"provider": "apple", "issuer": "https://appleid.apple.com"}),
                (400, "validation_failed"),
                "Provided issuer does not match ID token issuer".into(),
            ),
            (
                json!({"provider": "apple", "id_token": "x"}),
                (400, "validation_failed"),
                "Unable to detect issuer in ID token for Apple provider".into(),
            ),
            (
                json!({"provider": "azure", "id_token": "x.y.z"}),
                (400, "validation_failed"),
                "Unable to detect issuer in ID token for Azure provider".into(),
            ),
        ] {
            let mut sent = json!({"id_token": token});
            sent.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
            let answer = grant(&api, sent).await;
            assert_eq!(answer.refusal(), refusal, "{body}");
            assert_eq!(answer.body["msg"], message.as_str());
        }
        let public = ProviderSettings { url: None, ..provider(&idp) };
        let api = api.with(settings(&[("apple", public)]));
        let answer = grant(&api, json!({"id_token": token, "provider": "apple"})).await;
        assert_eq!(answer.body["msg"], "Detected ID token issuer is not an Apple ID token issuer");
        let closed = api.with(AuthSettings { custom_providers: false, ..AuthSettings::default() });
        let answer = grant(&closed, json!({"id_token": token, "provider": "custom:x"})).await;
        assert_eq!(answer.refusal(), (400, "validation_failed"));
        assert_eq!(answer.body["msg"], "Custom OAuth providers are disabled");
    });
}

#[test]
fn each_provider_reads_its_own_tokens() {
    testkit::run(async {
        let idp = Idp::start().await;
        let names = ["apple", "facebook", "kakao", "keycloak", "snapchat", "custom:mine"];
        let all: Vec<(&str, ProviderSettings)> = names.map(|it| (it, provider(&idp))).to_vec();
        let api = Api::new("id_token_each", settings(&all)).await;
        for name in names {
            let email = format!("{}@example.com", name.replace(':', "-"));
            // Facebook's nonce is not known to apps, and it does not say that addresses are verified.
            let nonce = if name == "facebook" { json!("x") } else { json!(null) };
            let verified = if matches!(name, "keycloak" | "custom:mine") { json!(true) } else { json!(null) };
            let claims = json!({"sub": name, "email": email, "nonce": nonce, "nickname": "Nick", "name": "Nick",
                "email_verified": verified});
            let answer = grant(&api, json!({"provider": name, "id_token": idp.id_token(claims)})).await;
            assert_eq!(answer.status, 200, "{name}: {}", answer.body);
            let user = &answer.body["user"];
            assert_eq!((&user["email"], &user["identities"][0]["provider"]), (&json!(email), &json!(name)));
            assert_eq!(user["user_metadata"]["email_verified"], true, "{name}");
        }
    });
}

#[test]
fn azures_tokens_are_of_the_tenant() {
    testkit::run(async {
        let idp = Idp::start().await;
        let api = Api::new("id_token_azure", settings(&[("azure", provider(&idp))])).await;
        let issuer = format!("{}/v2.0", idp.url);
        let mut metadata = idp.metadata();
        metadata["issuer"] = json!(issuer);
        idp.page("/v2.0/.well-known/openid-configuration", &metadata);
        let token = |edov: Value| {
            idp.id_token(json!({"iss": issuer, "email": "ada@example.com", "name": "Ada", "xms_edov": edov,
                "roles": ["x"], "tid": "t-1"}))
        };
        let answer = grant(&api, json!({"provider": "azure", "id_token": token(json!("1"))})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let metadata = &answer.body["user"]["user_metadata"];
        assert_eq!(
            (&metadata["full_name"], &metadata["custom_claims"]["roles"]),
            (&json!("Ada"), &json!(["x"]))
        );
        assert_eq!(metadata["custom_claims"].get("aud"), None);
        let strict = api.with(AuthSettings { mailer_autoconfirm: false, ..api.project.auth.clone() });
        let claims = json!({"iss": issuer, "sub": "2", "email": "eve@example.com", "xms_edov": false});
        let answer = grant(&strict, json!({"provider": "azure", "id_token": idp.id_token(claims)})).await;
        assert_eq!(answer.refusal(), (422, "provider_email_needs_verification"));
    });
}

#[test]
fn further_issuers_are_taken_for_the_client_that_is_named() {
    testkit::run(async {
        let idp = Idp::start().await;
        let allowed = vec![idp.url.clone()];
        let api = Api::new(
            "id_token_allowed",
            AuthSettings { allowed_id_token_issuers: allowed, ..AuthSettings::default() },
        )
        .await;
        let token = idp.id_token(json!({"email": "a@b.co", "email_verified": true}));
        let body = |client: &str| json!({"issuer": idp.url, "client_id": client, "id_token": token});
        let answer = grant(&api, body("app")).await;
        assert_eq!(answer.body["user"]["identities"][0]["provider"], idp.url.as_str());
        assert_eq!(grant(&api, body("other")).await.status, 400);
    });
}

#[test]
fn nobody_is_asked_about_what_is_no_id_token() {
    testkit::run(async {
        let (api, idp) = google("id_token_shapeless").await;
        let (header, signature) = ("eyJhbGciOiJSUzI1NiJ9", "c2ln");
        for token in ["native-token".to_owned(), format!("{header}.e30.{signature}"), format!("{header}.!.")]
        {
            let answer = grant(&api, json!({"provider": "google", "id_token": token})).await;
            assert_eq!(oauth(&answer), refused("invalid request", "Bad ID token"), "{token}");
        }
        assert!(idp.seen().is_empty());
    });
}

#[test]
fn a_rotated_key_is_found_and_a_silent_issuer_is_our_failure() {
    testkit::run(async {
        let (api, idp) = google("id_token_keys").await;
        let sign_in = async || {
            let token = idp.id_token(json!({"email": "a@b.co", "email_verified": true}));
            grant(&api, json!({"provider": "google", "id_token": token})).await
        };
        assert_eq!(sign_in().await.status, 200);
        assert_eq!(sign_in().await.status, 200);
        assert_eq!(idp.seen_at("/jwks").len(), 1, "kept");
        let lost = Idp::start().await;
        lost.page_with("/jwks", 500, &json!({}));
        let api = api.with(settings(&[("google", provider(&lost))]));
        let token = lost.id_token(json!({}));
        let answer = grant(&api, json!({"provider": "google", "id_token": token})).await;
        assert_eq!(answer.refusal(), (500, "unexpected_failure"));
        lost.page("/jwks", &json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}));
        let answer = grant(&api, json!({"provider": "google", "id_token": token})).await;
        assert_eq!(answer.refusal(), (500, "unexpected_failure"), "a published secret is no key");
        lost.rotate("key-2");
        let token = lost.id_token(json!({"email": "c@b.co", "email_verified": true}));
        let answer = grant(&api, json!({"provider": "google", "id_token": token})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    });
}

#[test]
fn an_id_token_links_an_identity() {
    testkit::run(async {
        let (api, idp) = google("id_token_link").await;
        let bob = api.sign_up("bob@example.com").await;
        let token = idp.id_token(json!({"email": "work@example.com", "email_verified": true}));
        let body = json!({"provider": "google", "id_token": token, "link_identity": true});
        let path = "/token?grant_type=id_token";
        let linked = api.call(Method::POST, path, Some(&bob.access), body.clone()).await;
        assert_eq!(Session::of(&linked).user_id, bob.user_id);
        assert_eq!(linked.body["user"]["app_metadata"]["providers"], json!(["email", "google"]));
        let again = api.call(Method::POST, path, Some(&bob.access), body).await;
        assert_eq!(again.refusal(), (422, "identity_already_exists"));
    });
}
