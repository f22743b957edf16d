//! Sign-in by identity providers: to them, back from them, and who that is.

use std::collections::BTreeMap;

use common::{AuthSettings, ProviderSettings};
use http::Method;
use serde_json::{Value, json};

use crate::idp::Idp;
use crate::support::{Answer, Api, PASSWORD, Session, path_of};

const SITE: &str = "https://app.example.com";
const BACK: &str = "https://app.example.com/welcome";

/// `name` at `idp`, for the client `app`.
pub(crate) fn provider(idp: &Idp) -> ProviderSettings {
    ProviderSettings {
        enabled: true,
        client_ids: vec!["app".into(), "ios".into()],
        secret: Some("hush".into()),
        url: Some(idp.url.clone()),
        ..ProviderSettings::default()
    }
}

pub(crate) fn settings(providers: &[(&str, ProviderSettings)]) -> AuthSettings {
    let external: BTreeMap<String, ProviderSettings> =
        providers.iter().map(|(name, it)| ((*name).to_owned(), it.clone())).collect();
    AuthSettings { site_url: SITE.into(), external, manual_linking: true, ..AuthSettings::default() }
}

/// What a URL's query and fragment say.
pub(crate) fn said(location: &str) -> BTreeMap<String, String> {
    let url = url::Url::parse(location).unwrap();
    let fragment = url.fragment().unwrap_or_default().to_owned();
    let fragment = url::form_urlencoded::parse(fragment.as_bytes()).into_owned().collect::<Vec<_>>();
    url.query_pairs().into_owned().chain(fragment).collect()
}

impl Api {
    /// Begin a flow; the state that the provider gets.
    pub(crate) async fn begin(&self, query: &str) -> String {
        let answer = self.get(&format!("/authorize?{query}&redirect_to={BACK}"), None).await;
        assert_eq!(answer.status, 302, "{}", answer.body);
        said(&answer.location())["state"].clone()
    }

    /// A whole flow; where the browser ends.
    pub(crate) async fn through(&self, query: &str) -> Answer {
        let state = self.begin(query).await;
        self.get(&format!("/callback?state={state}&code=a-code"), None).await
    }

    /// A whole flow that ends in a session.
    pub(crate) async fn arrive(&self, query: &str) -> Value {
        let answer = self.through(query).await;
        let said = said(&answer.location());
        let access = said.get("access_token").unwrap_or_else(|| panic!("{}", answer.location()));
        self.get("/user", Some(access)).await.body
    }

    async fn failure(&self, query: &str) -> (String, String, String) {
        let answer = self.through(query).await;
        assert_eq!(answer.status, 302);
        words(&answer)
    }
}

/// The words of a failed flow: error, code, description.
fn words(answer: &Answer) -> (String, String, String) {
    let said = said(&answer.location());
    assert_eq!(said.get("access_token"), None, "{}", answer.location());
    let word = |it: &str| said.get(it).cloned().unwrap_or_default();
    (word("error"), word("error_code"), word("error_description"))
}

/// A project with GitHub, which knows Ada.
async fn github(name: &str) -> (Api, Idp) {
    github_with(name, |it| it).await
}

async fn github_with(name: &str, edit: impl Fn(AuthSettings) -> AuthSettings) -> (Api, Idp) {
    let idp = Idp::start().await;
    let api = Api::new(name, edit(settings(&[("github", provider(&idp))]))).await;
    idp.grants("/login/oauth/access_token", json!({"refresh_token": "provider-refresh"}));
    idp.page(
        "/api/v3/user",
        &json!({"id": 7, "login": "ada", "name": "Ada L", "avatar_url": "https://a.b/c.png"}),
    );
    emails(&idp, &[("ada@example.com", true, true), ("old@example.com", true, false)]);
    (api, idp)
}

fn emails(idp: &Idp, all: &[(&str, bool, bool)]) {
    let list: Vec<Value> = all
        .iter()
        .map(|(email, verified, primary)| json!({"email": email, "verified": verified, "primary": primary}))
        .collect();
    idp.page("/api/v3/user/emails", &list.into());
}

#[test]
#[expect(clippy::too_many_lines, reason = "the cases are data")]
fn a_provider_leads_back_to_the_site_with_a_session() {
    testkit::run(async {
        let (api, idp) = github("external_session").await;
        let query =
            "provider=github&scopes=repo%20gist&login=ada&apikey=k&state=x&redirect_uri=https://evil.com";
        let answer = api.get(&format!("/authorize?{query}&redirect_to={BACK}"), None).await;
        let target = answer.location();
        assert!(target.starts_with(&format!("{}/login/oauth/authorize?", idp.url)), "{target}");
        let sent = said(&target);
        let expected = [
            ("client_id", "app"),
            ("login", "ada"),
            ("redirect_uri", "http://api.test/auth/v1/callback"),
            ("response_type", "code"),
            ("scope", "user:email repo gist"),
        ];
        for (name, value) in expected {
            assert_eq!(sent[name], value, "{name}");
        }
        assert_eq!(sent.len(), expected.len() + 1, "nothing but these and the state: {sent:?}");
        let back = api.get(&format!("/callback?state={}&code=the-code", sent["state"]), None).await;
        assert_eq!(
            (back.status.as_u16(), back.headers["cache-control"].to_str().unwrap()),
            (302, "no-store")
        );
        let location = back.location();
        assert!(location.starts_with(&format!("{BACK}#access_token=")), "{location}");
        let said = said(&location);
        assert_eq!(
            (said["provider_token"].as_str(), said["token_type"].as_str()),
            ("provider-access", "bearer")
        );
        assert_eq!(said["provider_refresh_token"], "provider-refresh");
        let asked = idp.seen_at("/login/oauth/access_token").remove(0).form;
        assert_eq!((asked["code"].as_str(), asked["client_secret"].as_str()), ("the-code", "hush"));
        assert_eq!(asked["redirect_uri"], "http://api.test/auth/v1/callback");
        let asked = idp.seen_at("/api/v3/user").remove(0).headers;
        assert_eq!(asked["authorization"], "Bearer provider-access");
        assert_eq!(api.refresh(&said["refresh_token"]).await.status, 200);
        let user = api.get("/user", Some(&said["access_token"])).await;
        let shown = user.redacted().replace(&idp.url, "[idp]");
        insta::assert_snapshot!(shown, @r#"
        200 {
          "app_metadata": {
            "provider": "github",
            "providers": [
              "github"
            ]
          },
          "aud": "authenticated",
          "confirmed_at": "[time]",
          "created_at": "[time]",
          "email": "ada@example.com",
          "email_confirmed_at": "[time]",
          "id": "[id]",
          "identities": [
            {
              "created_at": "[time]",
              "email": "ada@example.com",
              "id": "7",
              "identity_data": {
                "avatar_url": "https://a.b/c.png",
                "email": "ada@example.com",
                "email_verified": true,
                "full_name": "Ada L",
                "iss": "[idp]/api/v3",
                "name": "Ada L",
                "phone_verified": false,
                "preferred_username": "ada",
                "provider_id": "7",
                "sub": "7",
                "user_name": "ada"
              },
              "identity_id": "[id]",
              "last_sign_in_at": "[time]",
              "provider": "github",
              "updated_at": "[time]",
              "user_id": "[id]"
            }
          ],
          "is_anonymous": false,
          "last_sign_in_at": "[time]",
          "phone": "",
          "role": "authenticated",
          "updated_at": "[time]",
          "user_metadata": {
            "avatar_url": "https://a.b/c.png",
            "email": "ada@example.com",
            "email_verified": true,
            "full_name": "Ada L",
            "iss": "[idp]/api/v3",
            "name": "Ada L",
            "phone_verified": false,
            "preferred_username": "ada",
            "provider_id": "7",
            "sub": "7",
            "user_name": "ada"
          }
        }
        "#);
    });
}

#[test]
fn a_pkce_flow_ends_in_a_code_that_only_the_verifier_opens() {
    testkit::run(async {
        let (api, _) = github("external_pkce").await;
        let verifier = "a-verifier-of-at-least-forty-three-characters-it-is";
        let query = format!("provider=github&code_challenge={verifier}&code_challenge_method=plain");
        let answer = api.through(&query).await;
        let location = answer.location();
        assert!(location.starts_with(&format!("{BACK}?code=")), "{location}");
        assert!(!location.contains('#'), "no session in the address: {location}");
        let code = said(&location)["code"].clone();
        let rows = api.test.owner().await;
        let row = rows.query_one("select f::text from auth.flow_state f", &[]).await.unwrap();
        let row: String = row.get(0);
        assert!(!row.contains("provider-access") && !row.contains(&code), "sealed or digested: {row}");
        let exchange = |verifier: &str| {
            api.post("/token?grant_type=pkce", json!({"auth_code": code, "code_verifier": verifier}))
        };
        let wrong = exchange("another-verifier-of-at-least-forty-three-charac").await;
        assert_eq!(wrong.refusal(), (400, "bad_code_verifier"));
        let tokens = exchange(verifier).await;
        assert_eq!(tokens.status, 200, "{}", tokens.body);
        assert_eq!(tokens.body["provider_token"], "provider-access");
        assert_eq!(tokens.body["provider_refresh_token"], "provider-refresh");
        assert_eq!(exchange(verifier).await.refusal(), (404, "flow_state_not_found"));
    });
}

#[test]
fn scripts_ask_for_the_address_instead_of_a_redirect() {
    testkit::run(async {
        let (api, idp) = github("external_skip").await;
        let answer = api.get("/authorize?provider=github&skip_http_redirect=true", None).await;
        assert_eq!(answer.status, 200);
        let url = answer.body["url"].as_str().unwrap();
        assert!(url.starts_with(&idp.url) && !url.contains("skip_http_redirect"), "{url}");
    });
}

#[test]
fn unknown_and_unready_providers_are_refused() {
    testkit::run(async {
        let idp = Idp::start().await;
        let ready = provider(&idp);
        let off = ProviderSettings { enabled: false, ..ready.clone() };
        let nameless = ProviderSettings { client_ids: Vec::new(), ..ready.clone() };
        let bare = ProviderSettings { secret: None, ..ready.clone() };
        let homeless = ProviderSettings { url: None, ..ready.clone() };
        let lost = ProviderSettings { url: Some(format!("{}/nothing", idp.url)), ..ready };
        let all = [
            ("github", off),
            ("gitlab", nameless),
            ("discord", bare),
            ("keycloak", homeless),
            ("custom:lost", lost),
        ];
        let api = Api::new("external_unready", settings(&all)).await;
        for (name, why) in [
            ("nothing", "Provider nothing could not be found"),
            ("", "Provider  could not be found"),
            ("github", "provider is not enabled"),
            ("google", "provider is not enabled"),
            ("gitlab", "missing OAuth client ID"),
            ("discord", "missing OAuth secret"),
            ("keycloak", "unable to find URL for the keycloak provider"),
            ("custom:lost", "the provider's configuration cannot be fetched"),
            ("custom:nothing", "custom provider custom:nothing not found"),
        ] {
            let answer = api.get(&format!("/authorize?provider={name}"), None).await;
            assert_eq!(answer.refusal(), (400, "validation_failed"), "{name}");
            assert_eq!(answer.body["msg"], format!("Unsupported provider: {why}"));
        }
        let settings = AuthSettings { custom_providers: false, ..settings(&all) };
        let answer = api.with(settings).get("/authorize?provider=custom:mine", None).await;
        assert_eq!(answer.body["msg"], "Unsupported provider: custom OAuth providers are disabled");
    });
}

#[test]
fn half_a_challenge_and_unknown_invitations_begin_nothing() {
    testkit::run(async {
        let (api, _) = github("external_start").await;
        for (query, expected) in [
            ("code_challenge=x", (400, "validation_failed")),
            ("code_challenge=x&code_challenge_method=s256", (400, "validation_failed")),
            ("invite_token=unknown", (404, "user_not_found")),
        ] {
            let answer = api.get(&format!("/authorize?provider=github&{query}"), None).await;
            assert_eq!(answer.refusal(), expected, "{query}");
        }
        let rows = api.test.owner().await;
        let count: i64 = rows.query_one("select count(*) from auth.flow_state", &[]).await.unwrap().get(0);
        assert_eq!(count, 0);
    });
}

#[test]
fn a_state_works_once_and_for_five_minutes() {
    testkit::run(async {
        let (api, _) = github("external_state").await;
        let lost = |answer: &Answer| {
            assert_eq!(answer.status, 303);
            assert!(answer.location().starts_with(&format!("{SITE}?error=")), "{}", answer.location());
            words(answer)
        };
        for (query, code, description) in [
            ("code=x", "bad_oauth_callback", "OAuth state parameter missing"),
            ("code=x&state=..%2F", "bad_oauth_state", "OAuth state parameter is invalid"),
            (
                "code=x&state=6f3c7c61-8a5e-4c4b-9d3a-1f0c8f0e2a11",
                "bad_oauth_state",
                "OAuth state not found or expired",
            ),
        ] {
            let answer = api.get(&format!("/callback?{query}"), None).await;
            let expected = ("invalid_request".into(), code.into(), description.into());
            assert_eq!(lost(&answer), expected);
        }
        let state = api.begin("provider=github").await;
        let back = format!("/callback?state={state}&code=x");
        assert!(said(&api.get(&back, None).await.location()).contains_key("access_token"));
        assert_eq!(lost(&api.get(&back, None).await).1, "bad_oauth_state", "spent");
        let pkce = "provider=github&code_challenge_method=plain\
                    &code_challenge=a-challenge-of-at-least-forty-three-characters";
        let state = api.begin(pkce).await;
        let back = format!("/callback?state={state}&code=x");
        assert!(said(&api.get(&back, None).await.location()).contains_key("code"));
        let again = lost(&api.get(&back, None).await);
        assert_eq!(
            (again.1.as_str(), again.2.as_str()),
            ("flow_state_already_used", "State has already been used")
        );
        let state = api.begin("provider=github").await;
        api.wait(301);
        let late = lost(&api.get(&format!("/callback?state={state}&code=x"), None).await);
        assert_eq!((late.1.as_str(), late.2.as_str()), ("bad_oauth_state", "OAuth state has expired"));
    });
}

#[test]
fn two_callbacks_at_once_open_one_session() {
    testkit::run(async {
        let (api, _) = github("external_twice").await;
        let state = api.begin("provider=github").await;
        let back = format!("/callback?state={state}&code=x");
        let answers = futures_util::future::join_all((0..4).map(|_| api.get(&back, None))).await;
        let opened = answers.iter().filter(|it| it.location().contains("access_token")).count();
        assert_eq!(opened, 1);
        let users = api.admin(Method::GET, "/admin/users", Value::Null).await;
        assert_eq!(users.body["users"].as_array().unwrap().len(), 1);
    });
}

#[test]
fn what_the_provider_says_or_does_wrong_is_told_to_the_site() {
    testkit::run(async {
        let (api, idp) = github("external_failures").await;
        let state = api.begin("provider=github").await;
        let query = "error=access_denied&error_description=No%20%0Athanks";
        let answer = api.get(&format!("/callback?state={state}&{query}"), None).await;
        assert_eq!(words(&answer), ("access_denied".into(), String::new(), "No thanks".into()));
        assert!(answer.location().starts_with(&format!("{BACK}?error=access_denied")));
        assert!(answer.location().ends_with("&sb="), "in the fragment too: {}", answer.location());
        let answer = api.get(&format!("/callback?state={state}"), None).await;
        let missing = "OAuth callback with missing authorization code missing";
        assert_eq!(words(&answer), ("invalid_request".into(), "bad_oauth_callback".into(), missing.into()));
        let failed = |description: &str| {
            ("server_error".to_owned(), "unexpected_failure".to_owned(), description.to_owned())
        };
        emails(&idp, &[]);
        let nobody = "Error getting user email from external provider";
        assert_eq!(api.failure("provider=github").await, failed(nobody));
        let profile = "Error getting user profile from external provider";
        for (status, body) in [
            (500, json!({})),
            (302, json!(format!("{}/elsewhere", idp.url))),
            (200, json!("no json")),
            (200, json!({"name": "nobody"})),
            (200, json!("x".repeat(1024 * 1024 + 1))),
        ] {
            idp.page_with("/api/v3/user", status, &body);
            assert_eq!(api.failure("provider=github").await, failed(profile), "{status}");
        }
        assert!(idp.seen_at("/elsewhere").is_empty(), "redirects are not followed");
        idp.page("/login/oauth/access_token", &json!({"error": "bad_verification_code"}));
        let exchange = "Unable to exchange external code: a-co";
        assert_eq!(api.failure("provider=github").await, failed(exchange));
    });
}

#[test]
fn a_provider_that_was_switched_off_meanwhile_is_named() {
    testkit::run(async {
        let (api, _) = github("external_gone").await;
        let state = api.begin("provider=github").await;
        let answer = api.with(settings(&[])).get(&format!("/callback?state={state}&code=x"), None).await;
        let (error, code, description) = words(&answer);
        assert_eq!((error.as_str(), code.as_str()), ("invalid_request", "oauth_provider_not_supported"));
        assert_eq!(description, "Unsupported provider: provider is not enabled");
    });
}

#[test]
fn redirects_of_others_lead_to_the_site() {
    testkit::run(async {
        let (api, _) = github("external_redirects").await;
        for bad in
            ["https://evil.com", "//evil.com", "https://app.example.com@evil.com", "javascript:alert(1)"]
        {
            let bad: String = url::form_urlencoded::byte_serialize(bad.as_bytes()).collect();
            let answer = api.get(&format!("/authorize?provider=github&redirect_to={bad}"), None).await;
            let state = said(&answer.location())["state"].clone();
            let answer = api.get(&format!("/callback?state={state}&code=x&redirect_to={bad}"), None).await;
            assert!(answer.location().starts_with(&format!("{SITE}#access_token=")), "{}", answer.location());
        }
    });
}

#[test]
fn the_same_identity_is_the_same_user_whatever_the_address() {
    testkit::run(async {
        let (api, idp) = github("external_again").await;
        let first = api.arrive("provider=github").await;
        emails(&idp, &[("new@example.com", true, true)]);
        idp.page("/api/v3/user", &json!({"id": 7, "login": "ada2", "name": "Ada"}));
        let again = api.arrive("provider=github").await;
        assert_eq!(again["id"], first["id"]);
        assert_eq!(again["email"], "ada@example.com", "the account's own address stays");
        assert_eq!(again["identities"][0]["identity_data"]["email"], "new@example.com");
        assert_eq!(again["identities"].as_array().unwrap().len(), 1);
        assert_eq!(again["user_metadata"]["user_name"], "ada2");
    });
}

#[test]
fn a_verified_address_leads_to_the_user_who_has_it() {
    testkit::run(async {
        let (api, _) = github("external_link").await;
        let ada = api.sign_up("old@example.com").await;
        let user = api.arrive("provider=github").await;
        assert_eq!(user["id"], ada.user_id.as_str(), "any verified address will do");
        assert_eq!(user["app_metadata"], json!({"provider": "email", "providers": ["email", "github"]}));
        assert_eq!(user["email"], "old@example.com");
        assert_eq!(api.sign_in("old@example.com", PASSWORD).await.status, 200, "the password stays");
    });
}

#[test]
fn an_unverified_address_leads_to_nobody_else() {
    testkit::run(async {
        // Confirmations are off, and still nobody becomes somebody else by an address that the provider did not verify.
        let (api, idp) = github("external_unverified").await;
        let victim = api.sign_up("ada@example.com").await;
        emails(&idp, &[("ada@example.com", false, true)]);
        let user = api.arrive("provider=github").await;
        assert_ne!(user["id"], victim.user_id.as_str());
        assert_eq!(user["email"], "");
    });
}

#[test]
fn an_identity_with_an_unverified_address_attracts_nobody() {
    testkit::run(async {
        // Mallory links an identity that claims Ada's address; when Ada comes, she is not Mallory.
        let (api, idp) = github_with("external_bait", |mut it| {
            it.external.insert("gitlab".into(), it.external["github"].clone());
            it
        })
        .await;
        let mallory = api.sign_up("mallory@example.com").await;
        emails(&idp, &[("ada@example.com", false, true)]);
        let answer = api.get("/user/identities/authorize?provider=github", Some(&mallory.access)).await;
        let state = said(&answer.location())["state"].clone();
        api.get(&format!("/callback?state={state}&code=x"), None).await;
        idp.grants("/oauth/token", json!({}));
        let ada = json!({"id": 1, "name": "Ada", "email": "ada@example.com", "confirmed_at": "2020-01-01"});
        idp.page("/api/v4/user", &ada);
        let user = api.arrive("provider=gitlab").await;
        assert_ne!(user["id"], mallory.user_id.as_str());
        assert_eq!(user["email"], "ada@example.com");
    });
}

#[test]
fn an_account_that_nobody_proved_loses_its_password_to_the_owner() {
    testkit::run(async {
        let (api, _) =
            github_with("external_takeover", |it| AuthSettings { mailer_autoconfirm: false, ..it }).await;
        let early = json!({"email": "ada@example.com", "password": PASSWORD, "data": {"role": "attacker"}});
        let early = api.post("/signup", early).await;
        let user = api.arrive("provider=github").await;
        assert_eq!(user["id"], early.body["id"], "the same account");
        assert_eq!(user["identities"].as_array().unwrap().len(), 1);
        assert_eq!(user["app_metadata"], json!({"provider": "github", "providers": ["github"]}));
        assert_eq!(user["user_metadata"].get("role"), None);
        let refused = api.sign_in("ada@example.com", PASSWORD).await;
        assert_eq!(refused.refusal(), (400, "invalid_credentials"));
    });
}

#[test]
fn an_unverified_address_must_be_proved_first() {
    testkit::run(async {
        let (api, idp) =
            github_with("external_prove", |it| AuthSettings { mailer_autoconfirm: false, ..it }).await;
        emails(&idp, &[("ada@example.com", false, true)]);
        let (error, code, description) = api.failure("provider=github").await;
        assert_eq!((error.as_str(), code.as_str()), ("access_denied", "provider_email_needs_verification"));
        let sent = "Unverified email with github. A confirmation email has been sent to your github email";
        assert_eq!(description, sent);
        let answer = api.get(&path_of(&api.mail()), None).await;
        assert!(answer.location().contains("access_token"), "{}", answer.location());
        let user = api.arrive("provider=github").await;
        assert_eq!(user["email"], "ada@example.com");
    });
}

#[test]
fn an_unverified_address_of_somebody_else_is_not_mailed() {
    testkit::run(async {
        let (api, idp) =
            github_with("external_other", |it| AuthSettings { mailer_autoconfirm: false, ..it }).await;
        let body = json!({"email": "ada@example.com", "password": PASSWORD, "email_confirm": true});
        api.admin(Method::POST, "/admin/users", body).await;
        emails(&idp, &[("ada@example.com", false, true)]);
        let (error, code, description) = api.failure("provider=github").await;
        assert_eq!((error.as_str(), code.as_str()), ("access_denied", "provider_email_needs_verification"));
        let verify = "Unverified email with github. Verify the email with github in order to sign in";
        assert_eq!(description, verify);
        assert!(api.inbox.list().is_empty());
    });
}

#[test]
fn a_soft_deleted_user_may_come_back_as_somebody_new() {
    testkit::run(async {
        let (api, _) = github("external_soft").await;
        let first = api.arrive("provider=github").await;
        let path = format!("/admin/users/{}", first["id"].as_str().unwrap());
        let soft = json!({"should_soft_delete": true});
        assert_eq!(api.admin(Method::DELETE, &path, soft).await.status, 200);
        let shell = api.admin(Method::GET, &path, Value::Null).await.body;
        let (gone, left) = (&first["identities"][0], &shell["identities"][0]);
        assert_eq!((&left["provider"], &left["identity_data"]), (&json!("github"), &json!({})));
        assert_ne!(left["id"], gone["id"], "the provider's id names a person");
        let second = api.arrive("provider=github").await;
        assert_ne!(second["id"], first["id"]);
        assert_eq!(second["email"], first["email"]);
    });
}

#[test]
fn banned_users_and_closed_projects_stay_closed() {
    testkit::run(async {
        let (api, idp) = github("external_closed").await;
        let user = api.arrive("provider=github").await;
        let path = format!("/admin/users/{}", user["id"].as_str().unwrap());
        api.admin(Method::PUT, &path, json!({"ban_duration": "1h"})).await;
        let banned = ("access_denied".into(), "user_banned".into(), "User is banned".into());
        assert_eq!(api.failure("provider=github").await, banned);
        api.admin(Method::PUT, &path, json!({"ban_duration": "none"})).await;
        let closed = api.with(AuthSettings { disable_signup: true, ..api.project.auth.clone() });
        assert_eq!(closed.arrive("provider=github").await["id"], user["id"], "who has an account comes in");
        idp.page("/api/v3/user", &json!({"id": 8, "login": "bob"}));
        emails(&idp, &[("bob@example.com", true, true)]);
        let refused = closed.failure("provider=github").await;
        let text = "Signups not allowed for this instance";
        assert_eq!(refused, ("access_denied".into(), "signup_disabled".into(), text.into()));
    });
}

#[test]
fn two_users_with_the_addresses_of_one_are_not_mixed() {
    testkit::run(async {
        let (api, _) = github("external_ambiguous").await;
        api.sign_up("ada@example.com").await;
        api.sign_up("old@example.com").await;
        let (error, code, description) = api.failure("provider=github").await;
        assert_eq!((error.as_str(), code.as_str()), ("server_error", "unexpected_failure"));
        assert!(description.starts_with("Multiple accounts with the same email address"), "{description}");
    });
}

#[test]
fn without_an_address_only_where_that_is_allowed() {
    testkit::run(async {
        let (api, idp) = github_with("external_optional", |mut it| {
            it.external.get_mut("github").unwrap().email_optional = true;
            it
        })
        .await;
        emails(&idp, &[]);
        let user = api.arrive("provider=github").await;
        assert_eq!((user["email"].as_str(), user.get("email_confirmed_at")), (Some(""), None));
        assert_eq!(api.arrive("provider=github").await["id"], user["id"]);
    });
}

#[test]
fn signed_in_users_link_further_identities() {
    testkit::run(async {
        let (api, _) = github("external_linking").await;
        let link = async |who: &Session, api: &Api| {
            let path = format!(
                "/user/identities/authorize?provider=github&skip_http_redirect=true&redirect_to={BACK}"
            );
            let answer = api.get(&path, Some(&who.access)).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            let state = said(answer.body["url"].as_str().unwrap())["state"].clone();
            api.get(&format!("/callback?state={state}&code=x"), None).await
        };
        let bob = api.sign_up("bob@example.com").await;
        let linked = link(&bob, &api).await;
        let access = said(&linked.location())["access_token"].clone();
        let user = api.get("/user", Some(&access)).await.body;
        assert_eq!(
            (user["id"].as_str(), user["email"].as_str()),
            (Some(&*bob.user_id), Some("bob@example.com"))
        );
        assert_eq!(user["app_metadata"]["providers"], json!(["email", "github"]));
        assert_eq!(
            api.arrive("provider=github").await["id"],
            bob.user_id.as_str(),
            "it signs in from now on"
        );
        let again = words(&link(&bob, &api).await);
        let text =
            |it: &str| ("server_error".to_owned(), "identity_already_exists".to_owned(), it.to_owned());
        assert_eq!(again, text("Identity is already linked"));
        let eve = api.sign_up("eve@example.com").await;
        assert_eq!(words(&link(&eve, &api).await), text("Identity is already linked to another user"));
        let off = api.with(AuthSettings { manual_linking: false, ..api.project.auth.clone() });
        let refused = off.get("/user/identities/authorize?provider=github", Some(&bob.access)).await;
        assert_eq!(refused.refusal(), (404, "manual_linking_disabled"));
        let nobody = api.get("/user/identities/authorize?provider=github", None).await;
        assert_eq!(nobody.refusal(), (401, "no_authorization"));
    });
}

#[test]
fn anonymous_users_become_permanent_by_linking() {
    testkit::run(async {
        let (api, idp) =
            github_with("external_anonymous", |it| AuthSettings { anonymous_users: true, ..it }).await;
        let link = async |access: &str| {
            let answer = api.get("/user/identities/authorize?provider=github", Some(access)).await;
            let state = said(&answer.location())["state"].clone();
            api.get(&format!("/callback?state={state}&code=x"), None).await
        };
        let guest = Session::of(&api.post("/signup", json!({})).await);
        let access = said(&link(&guest.access).await.location())["access_token"].clone();
        let user = api.get("/user", Some(&access)).await.body;
        assert_eq!(user["id"], guest.user_id.as_str());
        assert_eq!(
            (user["is_anonymous"].clone(), user["email"].clone()),
            (json!(false), json!("ada@example.com"))
        );
        let second = Session::of(&api.post("/signup", json!({})).await);
        idp.page("/api/v3/user", &json!({"id": 9, "login": "copy"}));
        let taken = words(&link(&second.access).await);
        assert_eq!((taken.0.as_str(), taken.1.as_str()), ("invalid_request", "email_exists"));
        emails(&idp, &[("new@example.com", false, true)]);
        let (error, code, description) = words(&link(&second.access).await);
        assert_eq!((error.as_str(), code.as_str()), ("server_error", "email_not_confirmed"));
        let sent = "Unverified email with github. A confirmation email has been sent to your github email";
        assert_eq!((description.as_str(), api.mail().to.as_str()), (sent, "new@example.com"));
    });
}

#[test]
fn a_flow_whose_user_is_gone_links_nothing() {
    testkit::run(async {
        let (api, _) = github("external_target").await;
        let bob = api.sign_up("bob@example.com").await;
        let answer = api.get("/user/identities/authorize?provider=github", Some(&bob.access)).await;
        let state = said(&answer.location())["state"].clone();
        api.admin(Method::DELETE, &format!("/admin/users/{}", bob.user_id), Value::Null).await;
        let answer = api.get(&format!("/callback?state={state}&code=x"), None).await;
        let (_, code, description) = words(&answer);
        assert_eq!(
            (code.as_str(), description.as_str()),
            ("user_not_found", "Linking target user not found")
        );
    });
}

#[test]
fn invitations_are_accepted_by_a_provider() {
    testkit::run(async {
        let (api, idp) = github_with("external_invited", |it| AuthSettings {
            mailer_autoconfirm: false,
            disable_signup: true,
            ..it
        })
        .await;
        let invited = api.admin(Method::POST, "/invite", json!({"email": "ada@example.com"})).await;
        let token = crate::support::token_of(&api.mail());
        emails(&idp, &[("eve@example.com", true, true)]);
        let (error, code, description) = api.failure(&format!("provider=github&invite_token={token}")).await;
        assert_eq!((error.as_str(), code.as_str()), ("invalid_request", "validation_failed"));
        assert_eq!(description, "Invited email does not match emails from external provider");
        emails(&idp, &[("ada@example.com", false, true)]);
        let waiting = api.begin(&format!("provider=github&invite_token={token}")).await;
        let user = api.arrive(&format!("provider=github&invite_token={token}")).await;
        assert_eq!(user["id"], invited.body["id"]);
        assert_eq!(user["app_metadata"]["provider"], "github");
        assert!(user["email_confirmed_at"].is_string(), "the mailed token proved it");
        let (_, code, description) =
            words(&api.get(&format!("/callback?state={waiting}&code=x"), None).await);
        assert_eq!((code.as_str(), description.as_str()), ("invite_not_found", "Invite not found"));
    });
}

#[test]
fn providers_that_want_pkce_get_it_and_keep_to_their_own_flow() {
    testkit::run(async {
        let idp = Idp::start().await;
        let api = Api::new("external_x", settings(&[("x", provider(&idp))])).await;
        idp.grants("/2/oauth2/token", json!({}));
        let ada = json!({"data": {"id": "1", "name": "Ada", "username": "ada", "confirmed_email": "ada@example.com"}});
        idp.page("/2/users/me", &ada);
        let answer = api.get("/authorize?provider=x", None).await;
        let sent = said(&answer.location());
        assert_eq!(sent["code_challenge_method"], "S256");
        let back = format!("/callback?state={}&code=x", sent["state"]);
        assert!(api.get(&back, None).await.location().contains("access_token"));
        let asked = idp.seen_at("/2/oauth2/token").remove(0);
        let challenge = sent["code_challenge"].clone();
        assert_eq!(crate::support::s256(&asked.form["code_verifier"]), challenge);
        assert_eq!(asked.headers["authorization"], "Basic YXBwOmh1c2g=", "app:hush");
        assert!(!asked.form.contains_key("client_secret"));
        let rows = api.test.owner().await;
        let edits = [
            ("delete from auth.oauth_client_states", "oauth_client_state_not_found", "OAuth state not found"),
            (
                "update auth.oauth_client_states set provider_type = 'github'",
                "oauth_invalid_state",
                "OAuth provider mismatch",
            ),
            (
                "update auth.oauth_client_states set created_at = now() - interval '1 hour'",
                "oauth_client_state_expired",
                "OAuth state expired",
            ),
            (
                "update auth.flow_state set oauth_client_state_id = null",
                "oauth_invalid_state",
                "OAuth PKCE code verifier missing",
            ),
        ];
        for (edit, code, description) in edits {
            let state = api.begin("provider=x").await;
            rows.batch_execute(edit).await.unwrap();
            let said = words(&api.get(&format!("/callback?state={state}&code=x"), None).await);
            assert_eq!((said.1.as_str(), said.2.as_str()), (code, description));
        }
    });
}

#[test]
fn apple_sends_a_form_and_the_name_once() {
    testkit::run(async {
        let idp = Idp::start().await;
        let api = Api::new("external_apple", settings(&[("apple", provider(&idp))])).await;
        let token = idp.id_token(json!({"email": "ada@privaterelay.example", "is_private_email": "true"}));
        idp.grants("/token", json!({"id_token": token}));
        let answer = api.get("/authorize?provider=apple&response_mode=query", None).await;
        let sent = said(&answer.location());
        assert_eq!((sent["response_mode"].as_str(), sent["scope"].as_str()), ("form_post", "email name"));
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("state", &sent["state"])
            .append_pair("code", "x")
            .append_pair(
                "user",
                r#"{"name": {"firstName": "Ada", "lastName": "L"}, "email": "evil@example.com"}"#,
            )
            .finish();
        let request = api.request(&Method::POST, "/callback", None);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = api.send(request.body(form.into()).unwrap()).await;
        assert_eq!(answer.status, 302);
        let access = said(&answer.location())["access_token"].clone();
        let user = api.get("/user", Some(&access)).await.body;
        assert_eq!(user["email"], "ada@privaterelay.example", "the token's, not the form's");
        assert_eq!(user["user_metadata"]["full_name"], "Ada L");
        assert_eq!(user["user_metadata"]["custom_claims"], json!({"is_private_email": "true"}));
    });
}

#[test]
fn any_openid_provider_is_found_by_its_issuer() {
    testkit::run(async {
        let idp = Idp::start().await;
        let api = Api::new("external_oidc", settings(&[("custom:zitadel", provider(&idp))])).await;
        let claims = json!({"email": "Ada@Example.com", "email_verified": true, "name": "Ada", "picture": "https://p",
            "preferred_username": "ada", "groups": ["staff"], "aud": ["other", "ios"]});
        idp.grants("/token", json!({"id_token": idp.id_token(claims)}));
        let user = api.arrive("provider=custom:zitadel").await;
        assert_eq!(
            (user["email"].as_str(), &user["user_metadata"]["name"]),
            (Some("ada@example.com"), &json!("Ada"))
        );
        assert_eq!(user["identities"][0]["provider"], "custom:zitadel");
        let asked = idp.seen_at("/token").remove(0).form;
        assert!(asked.contains_key("code_verifier"), "PKCE by itself");
        // Without an ID token the userinfo endpoint tells.
        idp.grants("/token", json!({}));
        idp.page("/userinfo", &json!({"sub": "user-2", "email": "bob@example.com", "email_verified": false}));
        let bob = api.arrive("provider=custom:zitadel").await;
        assert_eq!(bob["identities"][0]["id"], "user-2");
    });
}

#[test]
fn forged_id_tokens_open_nothing() {
    testkit::run(async {
        let idp = Idp::start().await;
        let stranger = Idp::start().await;
        let api = Api::new("external_forged", settings(&[("custom:mine", provider(&idp))])).await;
        let now = jiff::Timestamp::now().as_second();
        let good = idp.id_token(json!({"email": "a@b.co"}));
        let parts: Vec<&str> = good.split('.').collect();
        let none = format!("eyJhbGciOiJub25lIn0.{}.", parts[1]);
        for (what, token) in [
            ("another's key", stranger.id_token(json!({"iss": idp.url, "email": "a@b.co"}))),
            ("another issuer", idp.id_token(json!({"iss": stranger.url, "email": "a@b.co"}))),
            ("another client", idp.id_token(json!({"aud": "other", "email": "a@b.co"}))),
            ("over", idp.id_token(json!({"exp": now - 60, "email": "a@b.co"}))),
            ("endless", idp.id_token(json!({"exp": null, "email": "a@b.co"}))),
            ("not yet", idp.id_token(json!({"nbf": now + 600, "email": "a@b.co"}))),
            ("nobody", idp.id_token(json!({"sub": "", "email": "a@b.co"}))),
            ("unsigned", none),
            (
                "another access token",
                idp.id_token(json!({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA", "email": "a@b.co"})),
            ),
            ("no token", "x".into()),
        ] {
            idp.grants("/token", json!({"id_token": token}));
            let said = api.failure("provider=custom:mine").await;
            assert_eq!(said.2, "Error getting user profile from external provider", "{what}");
        }
        idp.grants("/token", json!({"id_token": good}));
        assert_eq!(api.arrive("provider=custom:mine").await["email"], "a@b.co");
    });
}

#[test]
fn the_settings_show_which_providers_are_on() {
    testkit::run(async {
        let (api, _) = github("external_settings").await;
        let shown = api.get("/settings", None).await.body["external"].clone();
        let shown = shown.as_object().unwrap();
        assert_eq!(shown.len(), 26);
        let on: Vec<&str> = shown.iter().filter(|it| it.1 == &json!(true)).map(|it| it.0.as_str()).collect();
        assert_eq!(on, ["email", "github"]);
    });
}
