//! The project as an identity provider: clients, consent, tokens, what clients may know, and what is refused.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use common::{AuthSettings, OAuthServerSettings};
use http::Method;
use serde_json::{Value, json};

use crate::external::said;
use crate::support::{Answer, Api, Session, s256};

const BACK: &str = "https://client.example.com/cb";
const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters-it-is";
const CLIENTS: &str = "/admin/oauth/clients";

fn settings() -> AuthSettings {
    AuthSettings {
        site_url: "https://app.example.com".into(),
        oauth_server: OAuthServerSettings {
            enabled: true,
            allow_dynamic_registration: true,
            ..OAuthServerSettings::default()
        },
        ..AuthSettings::default()
    }
}

/// A registered client.
struct Client {
    id: String,
    secret: String,
}

async fn client(api: &Api, more: Value) -> Client {
    let mut body = json!({"client_name": "Notes", "redirect_uris": [BACK]});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    let made = api.admin(Method::POST, CLIENTS, body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let text = |it: &str| made.body[it].as_str().unwrap_or_default().to_owned();
    Client { id: text("client_id"), secret: text("client_secret") }
}

fn ask(client: &Client, more: &str) -> String {
    let challenge = s256(VERIFIER);
    format!(
        "/oauth/authorize?response_type=code&client_id={}&redirect_uri={BACK}&state=s-1\
         &code_challenge={challenge}&code_challenge_method=S256{more}",
        client.id
    )
}

/// Begin; the id of the request for consent.
async fn begin(api: &Api, client: &Client, more: &str) -> String {
    let answer = api.get(&ask(client, more), None).await;
    assert_eq!(answer.status, 302, "{}", answer.body);
    let target = answer.location();
    assert!(target.starts_with("https://app.example.com/oauth/consent?authorization_id="), "{target}");
    said(&target)["authorization_id"].clone()
}

async fn look(api: &Api, user: &Session, id: &str) -> Answer {
    api.get(&format!("/oauth/authorizations/{id}"), Some(&user.access)).await
}

async fn answer(api: &Api, user: &Session, id: &str, action: &str) -> Answer {
    let path = format!("/oauth/authorizations/{id}/consent");
    api.call(Method::POST, &path, Some(&user.access), json!({"action": action})).await
}

/// A whole consent; the client's code.
async fn code(api: &Api, user: &Session, client: &Client, more: &str) -> String {
    let id = begin(api, client, more).await;
    let details = look(api, user, &id).await;
    if details.body.get("redirect_url").is_some() {
        return said(details.body["redirect_url"].as_str().unwrap())["code"].clone();
    }
    let answered = answer(api, user, &id, "approve").await;
    let url = answered.body["redirect_url"].as_str().unwrap_or_else(|| panic!("{}", answered.body));
    said(url)["code"].clone()
}

/// A token request with the client's secret in the header, if it has one.
async fn exchange(api: &Api, client: &Client, form: &[(&str, &str)]) -> Answer {
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(form);
    let mut request = api.request(&Method::POST, "/oauth/token", None);
    if client.secret.is_empty() {
        body.append_pair("client_id", &client.id);
    } else {
        let pair = BASE64_STANDARD.encode(format!("{}:{}", client.id, client.secret));
        request = request.header("authorization", format!("Basic {pair}"));
    }
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    api.send(request.body(body.finish().into()).unwrap()).await
}

async fn redeem(api: &Api, client: &Client, code: &str) -> Answer {
    let form = [("grant_type", "authorization_code"), ("code", code), ("code_verifier", VERIFIER)];
    exchange(api, client, &form).await
}

fn oauth(answer: &Answer) -> (u16, String, String) {
    let text = |it: &str| answer.body[it].as_str().unwrap_or_default().to_owned();
    (answer.status.as_u16(), text("error"), text("error_description"))
}

fn payload(token: &str) -> Value {
    let payload = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

#[test]
fn everything_is_404_until_it_is_switched_on() {
    testkit::run(async {
        let api = Api::new("oauth_off", AuthSettings::default()).await;
        let ada = api.sign_up("ada@example.com").await;
        for path in [
            "/.well-known/oauth-authorization-server",
            "/.well-known/oauth-authorization-server/auth/v1",
            "/oauth/authorize?client_id=x",
            "/oauth/userinfo",
            "/oauth/authorizations/x",
            "/user/oauth/grants",
        ] {
            let answer = api.get(path, Some(&ada.access)).await;
            assert_eq!(answer.refusal(), (404, "feature_disabled"), "{path}");
            assert_eq!(answer.body["msg"], "OAuth server is disabled");
        }
        for path in ["/oauth/token", "/oauth/clients/register", "/oauth/authorizations/x/consent"] {
            let answer = api.call(Method::POST, path, Some(&ada.access), json!({})).await;
            assert_eq!(answer.refusal(), (404, "feature_disabled"), "{path}");
        }
        let answer = api.admin(Method::GET, CLIENTS, Value::Null).await;
        assert_eq!(answer.refusal(), (404, "feature_disabled"));
        let document = api.with(settings()).get("/.well-known/oauth-authorization-server", None).await;
        assert_eq!(document.body["issuer"], "http://api.test/auth/v1");
        assert_eq!(document.body["registration_endpoint"], "http://api.test/auth/v1/oauth/clients/register");
    });
}

#[test]
fn clients_are_made_read_changed_and_removed() {
    testkit::run(async {
        let api = Api::new("oauth_clients", settings()).await;
        let body = json!({"client_name": "Notes", "redirect_uris": [BACK], "client_uri": "https://notes.example.com"});
        let made = api.admin(Method::POST, CLIENTS, body).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let secret = made.body["client_secret"].as_str().unwrap();
        assert_eq!(secret.len(), 43);
        for (name, value) in [
            ("client_type", json!("confidential")),
            ("registration_type", json!("manual")),
            ("token_endpoint_auth_method", json!("client_secret_basic")),
            ("grant_types", json!(["authorization_code", "refresh_token"])),
            ("response_types", json!(["code"])),
            ("redirect_uris", json!([BACK])),
        ] {
            assert_eq!(made.body[name], value, "{name}");
        }
        let one = format!("{CLIENTS}/{}", made.body["client_id"].as_str().unwrap());
        let read = api.admin(Method::GET, &one, Value::Null).await;
        assert_eq!(
            (read.body["client_name"].as_str(), read.body.get("client_secret")),
            (Some("Notes"), None)
        );
        let public = client(&api, json!({"token_endpoint_auth_method": "none"})).await;
        assert_eq!(public.secret, "", "who cannot keep a secret gets none");
        let list = api.admin(Method::GET, &format!("{CLIENTS}?per_page=1"), Value::Null).await;
        assert_eq!(list.body["clients"].as_array().unwrap().len(), 1);
        assert_eq!(list.headers["x-total-count"], "2");
        let link = list.headers["link"].to_str().unwrap();
        assert!(link.contains("page=2&per_page=1>; rel=\"next\""), "{link}");
        let changed = api.admin(Method::PUT, &one, json!({"client_name": "Papers", "client_uri": ""})).await;
        assert_eq!(
            (changed.body["client_name"].as_str(), changed.body.get("client_uri")),
            (Some("Papers"), None)
        );
        let regenerated = api.admin(Method::POST, &format!("{one}/regenerate_secret"), Value::Null).await;
        assert_ne!(regenerated.body["client_secret"], secret);
        let path = format!("{CLIENTS}/{}/regenerate_secret", public.id);
        let refused = api.admin(Method::POST, &path, Value::Null).await;
        assert_eq!(refused.refusal(), (400, "validation_failed"));
        assert_eq!(refused.body["msg"], "Cannot regenerate secret for public client");
        assert_eq!(api.admin(Method::DELETE, &one, Value::Null).await.status, 204);
        for method in [Method::GET, Method::DELETE, Method::PUT] {
            let gone = api.admin(method, &one, json!({"client_name": "x"})).await;
            assert_eq!(gone.refusal(), (404, "oauth_client_not_found"));
        }
        let malformed = api.admin(Method::GET, &format!("{CLIENTS}/x"), Value::Null).await;
        assert_eq!(
            (malformed.refusal(), &malformed.body["msg"]),
            ((400, "validation_failed"), &json!("invalid client_id format"))
        );
        assert_eq!(api.get(CLIENTS, None).await.refusal(), (401, "no_authorization"));
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "the cases are data")]
fn what_a_client_may_not_be_is_named() {
    testkit::run(async {
        let api = Api::new("oauth_client_rules", settings()).await;
        let with = |name: &str, value: Value| {
            let mut body = json!({"redirect_uris": [BACK]});
            body[name] = value;
            body
        };
        let many: Vec<String> = (0..11).map(|it| format!("{BACK}{it}")).collect();
        for (body, message) in [
            (json!({}), "redirect_uris is required"),
            (with("redirect_uris", json!([])), "redirect_uris is required"),
            (with("redirect_uris", json!(many)), "redirect_uris cannot exceed 10 items"),
            (
                with("redirect_uris", json!(["http://a.b/"])),
                "invalid redirect_uri 'http://a.b/': HTTP scheme only allowed for localhost",
            ),
            (
                with("grant_types", json!(["password"])),
                "grant_types must only contain 'authorization_code' and/or 'refresh_token'",
            ),
            (with("client_name", json!("x".repeat(1025))), "client_name cannot exceed 1024 characters"),
            (with("client_uri", json!("x".repeat(2049))), "client_uri cannot exceed 2048 characters"),
            (with("client_uri", json!("javascript:alert(1)")), "client_uri must be a valid URL"),
            (with("logo_uri", json!("x".repeat(2049))), "logo_uri cannot exceed 2048 characters"),
            (with("logo_uri", json!("x")), "logo_uri must be a valid URL"),
            (with("client_type", json!("secret")), "client_type must be 'public' or 'confidential'"),
            (
                with("token_endpoint_auth_method", json!("jwt")),
                "token_endpoint_auth_method must be one of: [none client_secret_basic client_secret_post]",
            ),
            (
                json!({"redirect_uris": [BACK], "client_type": "public", "token_endpoint_auth_method": "client_secret_post"}),
                "client_type 'public' is inconsistent with token_endpoint_auth_method 'client_secret_post' (expected client_type 'confidential')",
            ),
        ] {
            let answer = api.admin(Method::POST, CLIENTS, body).await;
            assert_eq!(answer.refusal(), (400, "validation_failed"), "{message}");
            assert_eq!(answer.body["msg"], message);
        }
        let dynamic = api.post("/oauth/clients/register", json!({})).await;
        assert_eq!(dynamic.body["msg"], "redirect_uris is required");
        let one = format!("{CLIENTS}/{}", client(&api, json!({})).await.id);
        for (body, message) in [
            (json!({}), "No fields provided for update"),
            (json!({"redirect_uris": []}), "redirect_uris cannot be empty"),
            (json!({"grant_types": []}), "grant_types cannot be empty"),
            (
                json!({"token_endpoint_auth_method": "jwt"}),
                "invalid token_endpoint_auth_method: must be one of [none client_secret_basic client_secret_post]",
            ),
            (
                json!({"token_endpoint_auth_method": "none"}),
                "token_endpoint_auth_method 'none' is not valid for client_type 'confidential'; valid methods: [client_secret_basic client_secret_post]",
            ),
        ] {
            let answer = api.admin(Method::PUT, &one, body).await;
            assert_eq!(answer.refusal(), (400, "validation_failed"));
            assert_eq!(answer.body["msg"], message);
        }
        let request = api.request(&Method::POST, "/oauth/clients/register", None);
        let broken = api.send(request.body("{".into()).unwrap()).await;
        assert_eq!((broken.refusal(), &broken.body["msg"]), ((400, "bad_json"), &json!("Invalid JSON body")));
    });
}

#[test]
fn clients_register_themselves_where_they_may() {
    testkit::run(async {
        let api = Api::new("oauth_register", settings()).await;
        let body =
            json!({"redirect_uris": ["http://localhost:8000/cb"], "token_endpoint_auth_method": "none"});
        let made = api.post("/oauth/clients/register", body.clone()).await;
        assert_eq!((made.status.as_u16(), &made.body["registration_type"]), (201, &json!("dynamic")));
        let mut closed = settings();
        closed.oauth_server.allow_dynamic_registration = false;
        let refused = api.with(closed).post("/oauth/clients/register", body).await;
        assert_eq!(refused.refusal(), (403, "oauth_dynamic_client_registration_disabled"));
        assert_eq!(refused.body["msg"], "Dynamic client registration is not enabled");
    });
}

#[test]
fn a_user_consents_and_the_client_gets_tokens() {
    testkit::run(async {
        let api = Api::new("oauth_flow", settings()).await;
        let notes = client(&api, json!({})).await;
        let ada = api.sign_up("ada@example.com").await;
        let scope = "&scope=openid+email+profile&nonce=n-1&resource=https://mcp.example.com";
        let id = begin(&api, &notes, scope).await;
        let details = look(&api, &ada, &id).await;
        let expected = json!({
            "authorization_id": id, "redirect_uri": BACK, "client": {"id": notes.id, "name": "Notes"},
            "user": {"id": ada.user_id, "email": "ada@example.com"}, "scope": "openid email profile",
        });
        assert_eq!(details.body, expected);
        let answered = answer(&api, &ada, &id, "approve").await;
        let url = answered.body["redirect_url"].as_str().unwrap();
        assert!(url.starts_with(&format!("{BACK}?code=")), "{url}");
        assert_eq!(said(url)["state"], "s-1");
        let code = said(url)["code"].clone();
        let tokens = redeem(&api, &notes, &code).await;
        assert_eq!(tokens.status, 200, "{}", tokens.body);
        assert_eq!(tokens.headers["cache-control"], "no-store");
        let names: Vec<&String> = tokens.body.as_object().unwrap().keys().collect();
        assert_eq!(names, ["access_token", "expires_in", "id_token", "refresh_token", "token_type"]);
        let claims = payload(tokens.body["id_token"].as_str().unwrap());
        assert_eq!((&claims["aud"], &claims["nonce"]), (&json!([notes.id]), &json!("n-1")));
        assert_eq!((&claims["sub"], &claims["email"]), (&json!(ada.user_id), &json!("ada@example.com")));
        assert_eq!(claims["iss"], "http://api.test/auth/v1");
        let access = tokens.body["access_token"].as_str().unwrap();
        assert_eq!(payload(access)["client_id"], notes.id.as_str());
        let info = api.get("/oauth/userinfo", Some(access)).await.body;
        assert_eq!((&info["sub"], &info["email"]), (&json!(ada.user_id), &json!("ada@example.com")));
        assert_eq!((&info["name"], info.get("phone")), (&json!("ada@example.com"), None));
        let own = api.get("/oauth/userinfo", Some(&ada.access)).await.body;
        assert_eq!(own, json!({"sub": ada.user_id}), "a session without scopes shows the id");
        let again = redeem(&api, &notes, &code).await;
        assert_eq!(oauth(&again), (400, "invalid_grant".into(), "Invalid authorization code".into()));
        let id = begin(&api, &notes, "&scope=email").await;
        let known = look(&api, &ada, &id).await;
        assert!(
            known.body["redirect_url"].as_str().unwrap().contains("code="),
            "granted before: {}",
            known.body
        );
        let id = begin(&api, &notes, "&scope=email+phone").await;
        assert!(look(&api, &ada, &id).await.body.get("redirect_url").is_none(), "more than before is asked");
    });
}

#[test]
fn a_client_does_not_take_the_account_over() {
    testkit::run(async {
        let settings = AuthSettings { manual_linking: true, passkeys: true, ..settings() };
        let api = Api::new("oauth_owner", settings).await;
        let notes = client(&api, json!({})).await;
        let ada = api.sign_up("ada@example.com").await;
        let code = code(&api, &ada, &notes, "&scope=openid").await;
        let tokens = redeem(&api, &notes, &code).await;
        let access = tokens.body["access_token"].as_str().unwrap();
        assert_eq!(api.get("/user", Some(access)).await.status, 200);
        let data = api.call(Method::PUT, "/user", Some(access), json!({"data": {"theme": "dark"}})).await;
        assert_eq!(data.status, 200, "{}", data.body);
        for (method, path, body) in [
            (Method::PUT, "/user", json!({"password": "the client's own"})),
            (Method::PUT, "/user", json!({"email": "client@example.com"})),
            (Method::POST, "/factors", json!({"factor_type": "totp"})),
            #[cfg(feature = "webauthn")]
            (Method::POST, "/passkeys/registration/options", json!({})),
            (Method::GET, "/user/identities/authorize?provider=github", Value::Null),
            (Method::DELETE, "/user/identities/00000000-0000-0000-0000-000000000001", Value::Null),
        ] {
            let answer = api.call(method, path, Some(access), body).await;
            assert_eq!(answer.refusal(), (403, "bad_jwt"), "{path}: {}", answer.body);
        }
        assert_eq!(api.sign_in("ada@example.com", crate::support::PASSWORD).await.status, 200);
    });
}

#[test]
fn an_id_token_is_no_access_token() {
    testkit::run(async {
        let api = Api::new("oauth_id_token", settings()).await;
        let notes = client(&api, json!({})).await;
        let ada = api.sign_up("ada@example.com").await;
        let code = code(&api, &ada, &notes, "&scope=openid").await;
        let tokens = redeem(&api, &notes, &code).await;
        let id_token = tokens.body["id_token"].as_str().unwrap();
        for path in ["/user", "/oauth/userinfo", "/user/oauth/grants"] {
            assert_eq!(api.get(path, Some(id_token)).await.refusal(), (403, "bad_jwt"), "{path}");
        }
        let body = json!({"password": "the client's own"});
        let answer = api.call(Method::PUT, "/user", Some(id_token), body).await;
        assert_eq!(answer.refusal(), (403, "bad_jwt"));
        // A client must not consent to more than the user did.
        let id = begin(&api, &notes, "&scope=openid+email+profile").await;
        let path = format!("/oauth/authorizations/{id}");
        assert_eq!(api.get(&path, Some(id_token)).await.refusal(), (403, "bad_jwt"));
    });
}

#[test]
fn two_exchanges_of_one_code_give_one_session() {
    testkit::run(async {
        let api = Api::new("oauth_race", settings()).await;
        let notes = client(&api, json!({})).await;
        let ada = api.sign_up("ada@example.com").await;
        let code = code(&api, &ada, &notes, "").await;
        let answers = futures_util::future::join_all((0..4).map(|_| redeem(&api, &notes, &code))).await;
        assert_eq!(answers.iter().filter(|it| it.status == 200).count(), 1);
    });
}

#[test]
fn a_code_is_for_its_client_address_verifier_and_time() {
    testkit::run(async {
        let api = Api::new("oauth_code", settings()).await;
        let notes = client(&api, json!({})).await;
        let other = client(&api, json!({})).await;
        let ada = api.sign_up("ada@example.com").await;
        let first = code(&api, &ada, &notes, "&resource=https://mcp.example.com").await;
        let refused = |description: &str| (400, "invalid_grant".to_owned(), description.to_owned());
        let form = |more: &[(&'static str, &'static str)]| {
            let mut form = vec![("grant_type", "authorization_code"), ("code_verifier", VERIFIER)];
            form.retain(|(name, _)| !more.iter().any(|(it, _)| it == name));
            form.extend_from_slice(more);
            form
        };
        for (who, more, description) in [
            (&other, form(&[]), "Authorization code was not issued for this client"),
            (&notes, form(&[("redirect_uri", "https://evil.com")]), "Invalid redirect_uri"),
            (
                &notes,
                form(&[("resource", "https://evil.com")]),
                "Authorization code resource does not match the resource parameter",
            ),
            (
                &notes,
                form(&[("code_verifier", "another-verifier-of-at-least-forty-three-charac")]),
                "PKCE verification failed: code challenge does not match previously saved code verifier",
            ),
            (
                &notes,
                form(&[("code_verifier", "")]),
                "PKCE verification failed: code_verifier is required when PKCE challenge is present",
            ),
        ] {
            let mut form = more;
            form.push(("code", &first));
            assert_eq!(oauth(&exchange(&api, who, &form).await), refused(description));
        }
        let unknown = redeem(&api, &notes, "unknown").await;
        assert_eq!(oauth(&unknown), refused("Invalid authorization code"));
        api.wait(601);
        let late = redeem(&api, &notes, &first).await;
        assert_eq!(oauth(&late), refused("Authorization code has expired"));
        api.wait(-601);
        let path = format!("/admin/users/{}", ada.user_id);
        api.admin(Method::PUT, &path, json!({"ban_duration": "1h"})).await;
        let banned = redeem(&api, &notes, &first).await;
        assert_eq!(oauth(&banned), (400, "access_denied".into(), "User is banned".into()));
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "the cases are data")]
fn clients_prove_who_they_are_as_they_registered() {
    testkit::run(async {
        let api = Api::new("oauth_credentials", settings()).await;
        let notes = client(&api, json!({})).await;
        let public = client(&api, json!({"token_endpoint_auth_method": "none"})).await;
        let narrow = client(&api, json!({"grant_types": ["authorization_code"]})).await;
        let nobody = "6f3c7c61-8a5e-4c4b-9d3a-1f0c8f0e2a11";
        let post = async |body: Value| {
            let request = api.request(&Method::POST, "/oauth/token", None);
            let request = request.header("content-type", "application/json");
            api.send(request.body(body.to_string().into()).unwrap()).await
        };
        for (body, message) in [
            (json!({}), "Invalid client credentials: client_id is required"),
            (json!({"client_id": "x"}), "Invalid client_id format"),
            (json!({"client_id": nobody}), "Invalid client credentials"),
            (
                json!({"client_id": notes.id}),
                "invalid authentication method: client is registered for 'client_secret_basic' but 'none' was used",
            ),
            (
                json!({"client_id": public.id, "client_secret": "x"}),
                "invalid authentication method: client is registered for 'none' but 'client_secret_post' was used",
            ),
        ] {
            let answer = post(body).await;
            assert_eq!(answer.refusal(), (400, "invalid_credentials"), "{message}");
            assert_eq!(answer.body["msg"], message);
        }
        let forged = Client { id: notes.id.clone(), secret: "wrong".into() };
        let answer = exchange(&api, &forged, &[]).await;
        assert_eq!(
            (answer.refusal(), &answer.body["msg"]),
            ((400, "invalid_credentials"), &json!("invalid client credentials"))
        );
        let old = Client { id: notes.id.clone(), secret: notes.secret.clone() };
        api.admin(Method::POST, &format!("{CLIENTS}/{}/regenerate_secret", notes.id), Value::Null).await;
        assert_eq!(
            exchange(&api, &old, &[]).await.refusal(),
            (400, "invalid_credentials"),
            "the old secret is void"
        );
        for (form, error, description) in [
            (vec![], "invalid_request", "grant_type is required"),
            (
                vec![("grant_type", "authorization_code")],
                "invalid_request",
                "code is required for authorization_code grant",
            ),
            (
                vec![("grant_type", "refresh_token")],
                "invalid_request",
                "refresh_token is required for refresh_token grant",
            ),
            (
                vec![("grant_type", "password")],
                "unsupported_grant_type",
                "Client is not allowed to use grant type: password",
            ),
        ] {
            let answer = exchange(&api, &public, &form).await;
            assert_eq!(oauth(&answer), (400, error.into(), description.into()));
        }
        let form = [("grant_type", "refresh_token"), ("refresh_token", "x")];
        let answer = exchange(&api, &narrow, &form).await;
        assert_eq!(oauth(&answer).1, "unsupported_grant_type");
    });
}

#[test]
fn refresh_tokens_stay_with_the_client_that_got_them() {
    testkit::run(async {
        let api = Api::new("oauth_refresh", settings()).await;
        let notes = client(&api, json!({"token_endpoint_auth_method": "none"})).await;
        let other = client(&api, json!({})).await;
        let ada = api.sign_up("ada@example.com").await;
        let tokens = redeem(&api, &notes, &code(&api, &ada, &notes, "").await).await;
        let refresh = tokens.body["refresh_token"].as_str().unwrap().to_owned();
        let form =
            |token: &str| [("grant_type", "refresh_token".to_owned()), ("refresh_token", token.to_owned())];
        let send = async |client: &Client, token: &str| {
            let form = form(token);
            let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
            exchange(&api, client, &form).await
        };
        let refused = |description: &str| (400, "invalid_client".to_owned(), description.to_owned());
        let answer = send(&other, &refresh).await;
        assert_eq!(oauth(&answer), refused("Client does not match the session's OAuth client"));
        let answer = api.refresh(&refresh).await;
        assert_eq!(oauth(&answer), refused("Client authentication required for OAuth session"));
        let answer = send(&notes, &ada.refresh).await;
        assert_eq!(oauth(&answer), refused("Client authentication not allowed for non-OAuth session"));
        let fresh = send(&notes, &refresh).await;
        assert_eq!(fresh.status, 200, "{}", fresh.body);
        assert_ne!(fresh.body["refresh_token"], refresh.as_str());
        assert_eq!(payload(fresh.body["access_token"].as_str().unwrap())["client_id"], notes.id.as_str());
        assert_eq!(fresh.body.get("user"), None);
        api.admin(Method::DELETE, &format!("{CLIENTS}/{}", notes.id), Value::Null).await;
        let access = fresh.body["access_token"].as_str().unwrap();
        assert_eq!(api.get("/user", Some(access)).await.refusal(), (403, "session_not_found"));
    });
}

#[test]
fn requests_for_consent_name_client_and_address_rightly() {
    testkit::run(async {
        let api = Api::new("oauth_authorize", settings()).await;
        let notes = client(&api, json!({})).await;
        let good = ask(&notes, "");
        let nobody = "6f3c7c61-8a5e-4c4b-9d3a-1f0c8f0e2a11";
        for (path, refusal, message) in [
            (good.replace("client_id=", "x="), (400, "validation_failed"), "client_id is required"),
            (good.replace("redirect_uri=", "x="), (400, "validation_failed"), "redirect_uri is required"),
            (good.replace(&notes.id, "x"), (400, "oauth_client_not_found"), "invalid client_id format"),
            (good.replace(&notes.id, nobody), (400, "oauth_client_not_found"), "invalid client_id"),
            (good.replace(BACK, "https://evil.com/cb"), (400, "validation_failed"), "invalid redirect_uri"),
            (good.replace(BACK, &format!("{BACK}/")), (400, "validation_failed"), "invalid redirect_uri"),
            (good.replace(BACK, &format!("{BACK}%3Fx")), (400, "validation_failed"), "invalid redirect_uri"),
        ] {
            let answer = api.get(&path, None).await;
            assert_eq!(answer.refusal(), refusal, "{path}");
            assert_eq!(answer.body["msg"], message);
        }
        let answer = api.get(&good.replace("code_challenge_method=S256", ""), None).await;
        assert_eq!(answer.status, 302);
        assert!(answer.location().starts_with(BACK), "the client hears: {}", answer.location());
        let words = said(&answer.location());
        assert_eq!((words["error"].as_str(), words["state"].as_str()), ("invalid_request", "s-1"));
        assert_eq!(
            words["error_description"],
            "PKCE flow requires both code_challenge and code_challenge_method"
        );
    });
}

#[test]
fn only_the_user_whom_it_was_shown_to_answers_and_only_once() {
    testkit::run(async {
        let api = Api::new("oauth_consent", settings()).await;
        let notes = client(&api, json!({})).await;
        let (ada, eve) = (api.sign_up("ada@example.com").await, api.sign_up("eve@example.com").await);
        let missing = (404, "oauth_authorization_not_found");
        let id = begin(&api, &notes, "").await;
        assert_eq!(look(&api, &ada, "unknown").await.refusal(), missing);
        assert_eq!(answer(&api, &ada, &id, "approve").await.refusal(), missing, "not looked at yet");
        assert_eq!(look(&api, &ada, &id).await.status, 200);
        assert_eq!(look(&api, &eve, &id).await.refusal(), missing);
        assert_eq!(answer(&api, &eve, &id, "approve").await.refusal(), missing);
        let odd = answer(&api, &ada, &id, "perhaps").await;
        assert_eq!(
            (odd.refusal(), &odd.body["msg"]),
            ((400, "validation_failed"), &json!("action must be 'approve' or 'deny'"))
        );
        let denied = answer(&api, &ada, &id, "deny").await;
        let words = said(denied.body["redirect_url"].as_str().unwrap());
        assert_eq!((words["error"].as_str(), words["state"].as_str()), ("access_denied", "s-1"));
        assert_eq!(words["error_description"], "User denied the request");
        let again = answer(&api, &ada, &id, "approve").await;
        assert_eq!(
            (again.refusal(), &again.body["msg"]),
            ((400, "validation_failed"), &json!("authorization request is no longer pending"))
        );
        let again = look(&api, &ada, &id).await;
        assert_eq!(
            (again.refusal(), &again.body["msg"]),
            ((400, "validation_failed"), &json!("authorization request cannot be processed"))
        );
        let late = begin(&api, &notes, "").await;
        api.wait(601);
        assert_eq!(look(&api, &ada, &late).await.refusal(), missing);
        let path = format!("/oauth/authorizations/{late}");
        assert_eq!(api.get(&path, None).await.refusal(), (401, "no_authorization"));
        let broken = api.request(&Method::POST, &format!("{path}/consent"), Some(&ada.access));
        let broken = api.send(broken.body("{".into()).unwrap()).await;
        assert_eq!((broken.refusal(), &broken.body["msg"]), ((400, "bad_json"), &json!("invalid JSON body")));
    });
}

#[test]
fn pages_of_other_sites_and_clients_themselves_consent_to_nothing() {
    testkit::run(async {
        let api = Api::new("oauth_origin", settings()).await;
        let notes = client(&api, json!({})).await;
        let ada = api.sign_up("ada@example.com").await;
        let tokens = redeem(&api, &notes, &code(&api, &ada, &notes, "").await).await;
        let id = begin(&api, &notes, "&scope=openid+phone").await;
        for (origin, allowed) in
            [("https://app.example.com", true), ("https://evil.com", false), ("null", false)]
        {
            let request =
                api.request(&Method::GET, &format!("/oauth/authorizations/{id}"), Some(&ada.access));
            let answer = api.send(request.header("origin", origin).body("".into()).unwrap()).await;
            assert_eq!(answer.status == 200, allowed, "{origin}");
            if !allowed {
                assert_eq!(answer.refusal(), (400, "validation_failed"));
                assert_eq!(answer.body["msg"], "unauthorized request origin");
            }
        }
        let access = tokens.body["access_token"].as_str().unwrap();
        let answer = api.get(&format!("/oauth/authorizations/{id}"), Some(access)).await;
        assert_eq!(
            (answer.refusal(), &answer.body["msg"]),
            ((403, "bad_jwt"), &json!("authentication required"))
        );
    });
}

#[test]
fn users_see_and_take_back_what_they_granted() {
    testkit::run(async {
        let api = Api::new("oauth_grants", settings()).await;
        let notes = client(&api, json!({})).await;
        let ada = api.sign_up("ada@example.com").await;
        let path = "/user/oauth/grants";
        assert_eq!(api.get(path, Some(&ada.access)).await.body, json!([]));
        let tokens = redeem(&api, &notes, &code(&api, &ada, &notes, "&scope=openid+email").await).await;
        let grants = api.get(path, Some(&ada.access)).await.body;
        assert_eq!(grants[0]["client"], json!({"id": notes.id, "name": "Notes"}));
        assert_eq!(grants[0]["scopes"], json!(["openid", "email"]));
        assert!(grants[0]["granted_at"].is_string());
        let revoke = async |query: &str| {
            api.call(Method::DELETE, &format!("{path}{query}"), Some(&ada.access), Value::Null).await
        };
        for (query, message) in
            [("", "client_id query parameter is required"), ("?client_id=x", "invalid client_id format")]
        {
            let answer = revoke(query).await;
            assert_eq!(
                (answer.refusal(), &answer.body["msg"]),
                ((400, "validation_failed"), &json!(message))
            );
        }
        let query = format!("?client_id={}", notes.id);
        assert_eq!(revoke(&query).await.status, 204);
        let again = revoke(&query).await;
        assert_eq!(again.refusal(), (404, "oauth_consent_not_found"));
        assert_eq!(again.body["msg"], "No active grant found for this client");
        let access = tokens.body["access_token"].as_str().unwrap();
        assert_eq!(api.get("/oauth/userinfo", Some(access)).await.refusal(), (403, "session_not_found"));
        assert_eq!(api.get("/user", Some(&ada.access)).await.status, 200, "the user's own session stays");
    });
}

#[test]
fn secrets_and_codes_are_kept_as_digests() {
    testkit::run(async {
        let api = Api::new("oauth_digests", settings()).await;
        let notes = client(&api, json!({})).await;
        let ada = api.sign_up("ada@example.com").await;
        let code = code(&api, &ada, &notes, "").await;
        let rows = api.test.owner().await;
        let text = "select (select string_agg(c::text, '') from auth.oauth_clients c) \
                    || (select string_agg(a::text, '') from auth.oauth_authorizations a)";
        let all: String = rows.query_one(text, &[]).await.unwrap().get(0);
        assert!(!all.contains(&notes.secret) && !all.contains(&code), "{all}");
    });
}
