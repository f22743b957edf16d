//! Addresses that look like the site's, and are not: in links, in redirects of flows, and in the OAuth server.

use common::{AuthSettings, OAuthServerSettings};
use http::Method;
use serde_json::{Value, json};

use super::confirming;
use crate::external::{provider, said};
use crate::idp::Idp;
use crate::support::{Api, s256};

const SITE: &str = "https://app.test";

/// What attackers have tried elsewhere; none is on the site, nor on the allow list.
pub(super) const TRICKS: [&str; 32] = [
    "//evil.test",
    "///evil.test",
    "////evil.test/%2f..",
    "\\\\evil.test",
    "/\\evil.test",
    "https:\\\\evil.test",
    "https:/\\evil.test",
    "https://app.test\\@evil.test",
    "https://app.test@evil.test",
    "https://app.test:x@evil.test/",
    "https://evil.test@app.test",
    "https://app.test%40evil.test",
    "https://app.test%2f@evil.test",
    "%68ttps://evil.test",
    "https%3A%2F%2Fevil.test",
    "https://%65vil.test",
    "JaVaScRiPt:alert(1)",
    "java\tscript:alert(1)",
    " javascript:alert(1)",
    "javascript://app.test/%0aalert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "file:///etc/passwd",
    "https://app.test.",
    "https://app.test./",
    "https://app.test:8443/",
    "http://app.test/",
    "https://app.test.evil.test",
    "https://evilapp.test",
    "https://xn--pp-7kc.test/",
    "https://\u{430}pp.test/",
    "https://app.test\r\nSet-Cookie: a=b",
];

fn listed() -> AuthSettings {
    AuthSettings {
        site_url: SITE.into(),
        redirect_urls: vec![
            "https://*.app.test/**".into(),
            "myapp://back".into(),
            "http://localhost:*/in".into(),
        ],
        ..confirming()
    }
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Whether `target` is of the site, and not only begins like it.
fn is_home(target: &str) -> bool {
    let url = url::Url::parse(target).unwrap();
    url.scheme() == "https"
        && url.host_str() == Some("app.test")
        && url.port().is_none()
        && url.username().is_empty()
}

#[test]
fn links_and_redirects_lead_to_nobody_else() {
    testkit::run(async {
        let api = Api::new("hostile_redirect", listed()).await;
        for (idx, trick) in TRICKS.into_iter().enumerate() {
            let email = format!("user{idx}@example.com");
            // In the body of a link, which an administrator's program may have taken from a form.
            let body = json!({"type": "magiclink", "email": email, "redirect_to": trick});
            let made = api.admin(Method::POST, "/admin/generate_link", body).await;
            assert_eq!(made.status, 200, "{trick}: {}", made.body);
            assert!(is_home(made.body["redirect_to"].as_str().unwrap()), "{trick}: {}", made.body);
            // In the query of a request for a mail.
            let path = format!("/otp?redirect_to={}", encoded(trick));
            assert_eq!(api.post(&path, json!({"email": email})).await.status, 200, "{trick}");
            let link = said(api.mail().link.as_ref().unwrap());
            assert!(is_home(&link["redirect_to"]), "{trick}: {}", link["redirect_to"]);
            // In the link itself, bent afterwards, once alone and once before a good one.
            for more in ["", "&redirect_to=https://app.test"] {
                let path = format!("/verify?type=magiclink&token=x&redirect_to={}{more}", encoded(trick));
                let answer = api.get(&path, None).await;
                assert!(is_home(&answer.location()), "{trick}: {}", answer.location());
            }
            // In a header that pages of others choose.
            if let Ok(referer) = http::HeaderValue::from_str(trick) {
                let request = api.request(&Method::GET, "/verify?type=magiclink&token=x", None);
                let answer = api.send(request.header("referer", referer).body("".into()).unwrap()).await;
                assert!(is_home(&answer.location()), "{trick}: {}", answer.location());
            }
        }
        let good = format!("/verify?type=magiclink&token=x&redirect_to={}", encoded("https://a.app.test/x"));
        assert!(api.get(&good, None).await.location().starts_with("https://a.app.test/x#error="));
    });
}

#[test]
fn a_provider_sends_back_to_nobody_else() {
    testkit::run(async {
        let idp = Idp::start().await;
        let external = [("github".to_owned(), provider(&idp))].into();
        let api = Api::new("hostile_flow", AuthSettings { external, ..listed() }).await;
        for trick in TRICKS {
            let answer =
                api.get(&format!("/authorize?provider=github&redirect_to={}", encoded(trick)), None).await;
            let state = said(&answer.location())["state"].clone();
            let query = format!("state={state}&error=access_denied&redirect_to={}", encoded(trick));
            let back = api.get(&format!("/callback?{query}"), None).await;
            assert!(is_home(&back.location()), "{trick}: {}", back.location());
        }
    });
}

#[test]
fn the_oauth_server_sends_to_registered_addresses_only() {
    testkit::run(async {
        let oauth_server = OAuthServerSettings {
            enabled: true,
            allow_dynamic_registration: true,
            ..OAuthServerSettings::default()
        };
        let api = Api::new("hostile_oauth", AuthSettings { oauth_server, ..listed() }).await;
        let registered = "https://client.test/cb";
        let body = json!({"client_name": "Notes", "redirect_uris": [registered]});
        let made = api.post("/oauth/clients/register", body).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let id = made.body["client_id"].as_str().unwrap();
        let ask = async |address: &str, more: &str| {
            let challenge = s256("a-verifier-of-at-least-forty-three-characters-it-is");
            let query = format!(
                "response_type=code&client_id={id}&redirect_uri={}&code_challenge={challenge}\
                 &code_challenge_method=S256{more}",
                encoded(address)
            );
            api.get(&format!("/oauth/authorize?{query}"), None).await
        };
        assert_eq!(ask(registered, "").await.status, 302);
        let near = [
            "https://client.test/cb/",
            "https://client.test/cb?x=1",
            "https://client.test/cb#x",
            "https://client.test/cb/../evil",
            "https://client.test/cb%2f..%2fevil",
            "https://client.test/CB",
            "https://CLIENT.test:443/cb/.",
            "https://client.test./cb",
            "https://client.test:444/cb",
            "https://client.test@evil.test/cb",
            "https://client.test.evil.test/cb",
            "http://client.test/cb",
            SITE,
        ];
        for address in near.into_iter().chain(TRICKS) {
            let answer = ask(address, "").await;
            assert_eq!(answer.refusal(), (400, "validation_failed"), "{address}: {}", answer.body);
            assert!(!answer.headers.contains_key("location"), "{address}");
        }
        // Said twice, whichever comes first: never to the other one.
        for (first, second) in [(registered, "https://evil.test"), ("https://evil.test", registered)] {
            let answer = ask(first, &format!("&redirect_uri={}", encoded(second))).await;
            if let Some(location) = answer.headers.get("location") {
                assert!(!location.to_str().unwrap().contains("evil"), "{location:?}");
            }
        }
        for trick in
            ["javascript:alert(1)", "data:text/html,x", "http://evil.test/", "//evil.test", "https://a#b"]
        {
            let body = json!({"client_name": "Evil", "redirect_uris": [trick]});
            let refused = api.post("/oauth/clients/register", body).await;
            assert_eq!(refused.refusal(), (400, "validation_failed"), "{trick}");
        }
        let all = api.admin(Method::GET, "/admin/oauth/clients", Value::Null).await;
        assert_eq!(all.body["clients"].as_array().unwrap().len(), 1, "{}", all.body);
    });
}
