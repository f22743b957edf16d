//! Every provider of the table, against answers of the shape that it documents.

use common::ProviderSettings;
use serde_json::{Value, json};

use crate::external::{provider, said, settings};
use crate::idp::Idp;
use crate::support::Api;

/// A provider's answers, and what must come of them.
struct Case {
    name: &'static str,
    authorize: &'static str,
    token: &'static str,
    pages: Vec<(&'static str, Value)>,
    /// More beside the access token.
    granted: Value,
    subject: &'static str,
    /// The address, and whether it counts as verified.
    email: (&'static str, bool),
    /// Claims of the identity.
    claims: Value,
}

fn cases() -> Vec<Case> {
    let mut all = by_name();
    all.extend(by_form());
    all
}

#[expect(clippy::too_many_lines, reason = "the cases are data")]
fn by_name() -> Vec<Case> {
    vec![
        Case {
            name: "bitbucket",
            authorize: "/site/oauth2/authorize",
            token: "/site/oauth2/access_token",
            pages: vec![
                ("/2.0/user", json!({"display_name": "Ada", "uuid": "{1}", "avatar": {"href": "https://p"}})),
                (
                    "/2.0/user/emails",
                    json!({"values": [{"email": "a@b.co", "is_primary": true, "is_confirmed": true}]}),
                ),
            ],
            granted: json!({}),
            subject: "{1}",
            email: ("a@b.co", true),
            claims: json!({"name": "Ada", "picture": "https://p", "avatar_url": "https://p"}),
        },
        Case {
            name: "discord",
            authorize: "/api/oauth2/authorize",
            token: "/api/oauth2/token",
            pages: vec![(
                "/api/users/@me",
                json!({"id": "80", "username": "ada", "discriminator": "1337", "email": "a@b.co",
                "verified": true, "avatar": "hash", "global_name": "Ada"}),
            )],
            granted: json!({}),
            subject: "80",
            email: ("a@b.co", true),
            claims: json!({"name": "ada#1337", "full_name": "ada",
                "avatar_url": "https://cdn.discordapp.com/avatars/80/hash.png",
                "custom_claims": {"global_name": "Ada"}}),
        },
        Case {
            name: "facebook",
            authorize: "/dialog/oauth",
            token: "/oauth/access_token",
            pages: vec![(
                "/me",
                json!({"id": "9", "email": "a@b.co", "first_name": "Ada", "last_name": "L", "name": "Ada L",
                "picture": {"data": {"url": "https://p"}}}),
            )],
            granted: json!({}),
            subject: "9",
            email: ("a@b.co", true),
            claims: json!({"full_name": "Ada L", "nickname": "Ada L", "picture": "https://p"}),
        },
        Case {
            name: "figma",
            authorize: "/oauth",
            token: "/v1/oauth/token",
            pages: vec![(
                "/v1/me",
                json!({"id": "3", "email": "a@b.co", "handle": "ada", "img_url": "https://p"}),
            )],
            granted: json!({}),
            subject: "3",
            email: ("a@b.co", true),
            claims: json!({"name": "ada", "avatar_url": "https://p"}),
        },
        Case {
            name: "fly",
            authorize: "/oauth/authorize",
            token: "/oauth/token",
            pages: vec![(
                "/oauth/token/info",
                json!({"user_id": "u", "user_name": "ada", "email": "a@b.co", "organizations": [{"id": "o"}]}),
            )],
            granted: json!({}),
            subject: "u",
            email: ("a@b.co", true),
            claims: json!({"full_name": "ada", "custom_claims": {"organizations": [{"id": "o"}]}}),
        },
        Case {
            name: "gitlab",
            authorize: "/oauth/authorize",
            token: "/oauth/token",
            pages: vec![(
                "/api/v4/user",
                json!({"id": 5, "email": "a@b.co", "name": "Ada", "avatar_url": "https://p", "confirmed_at": null}),
            )],
            granted: json!({}),
            subject: "5",
            email: ("a@b.co", false),
            claims: json!({"name": "Ada", "picture": "https://p"}),
        },
        Case {
            name: "kakao",
            authorize: "/oauth/authorize",
            token: "/oauth/token",
            pages: vec![(
                "/v2/user/me",
                json!({"id": 6, "kakao_account": {"email": "a@b.co", "is_email_valid": true,
                "is_email_verified": false, "profile": {"nickname": "ada", "profile_image_url": "https://p"}}}),
            )],
            granted: json!({}),
            subject: "6",
            email: ("a@b.co", false),
            claims: json!({"user_name": "ada", "avatar_url": "https://p"}),
        },
        Case {
            name: "keycloak",
            authorize: "/protocol/openid-connect/auth",
            token: "/protocol/openid-connect/token",
            pages: vec![(
                "/protocol/openid-connect/userinfo",
                json!({"sub": "k", "email": "a@b.co", "email_verified": true, "name": "Ada", "groups": ["g"]}),
            )],
            granted: json!({}),
            subject: "k",
            email: ("a@b.co", true),
            claims: json!({"name": "Ada", "custom_claims": {"groups": ["g"]}}),
        },
        Case {
            name: "linkedin",
            authorize: "/oauth/v2/authorization",
            token: "/oauth/v2/accessToken",
            pages: vec![
                (
                    "/v2/me",
                    json!({"id": "l", "firstName": {"localized": {"en_US": "Ada"}},
                    "lastName": {"localized": {"en_US": "L"}}}),
                ),
                ("/v2/emailAddress", json!({"elements": [{"handle~": {"emailAddress": "a@b.co"}}]})),
            ],
            granted: json!({}),
            subject: "l",
            email: ("a@b.co", true),
            claims: json!({"name": "Ada L"}),
        },
    ]
}

#[expect(clippy::too_many_lines, reason = "the cases are data")]
fn by_form() -> Vec<Case> {
    vec![
        Case {
            name: "notion",
            authorize: "/v1/oauth/authorize",
            token: "/v1/oauth/token",
            pages: vec![(
                "/v1/users/me",
                json!({"bot": {"owner": {"user": {"id": "n", "name": "Ada", "avatar_url": "https://p",
                "person": {"email": "a@b.co"}}}}}),
            )],
            granted: json!({}),
            subject: "n",
            email: ("a@b.co", true),
            claims: json!({"name": "Ada"}),
        },
        Case {
            name: "slack_oidc",
            authorize: "/openid/connect/authorize",
            token: "/api/openid.connect.token",
            pages: vec![(
                "/api/openid.connect.userInfo",
                json!({"https://slack.com/user_id": "U1", "https://slack.com/team_id": "T1", "email": "a@b.co",
                "email_verified": false, "name": "Ada"}),
            )],
            granted: json!({}),
            subject: "U1",
            email: ("a@b.co", false),
            claims: json!({"custom_claims": {"https://slack.com/team_id": "T1"}}),
        },
        Case {
            name: "slack",
            authorize: "/oauth/authorize",
            token: "/api/oauth.access",
            pages: vec![(
                "/api/openid.connect.userInfo",
                json!({"https://slack.com/user_id": "U1", "email": "a@b.co", "name": "Ada"}),
            )],
            granted: json!({}),
            subject: "U1",
            email: ("a@b.co", true),
            claims: json!({"name": "Ada"}),
        },
        Case {
            name: "snapchat",
            authorize: "/accounts/oauth2/auth",
            token: "/accounts/oauth2/token",
            pages: vec![(
                "/v1/me",
                json!({"data": {"me": {"externalId": "s", "displayName": "Ada", "email": "a@b.co",
                "bitmoji": {"avatar": "https://p"}}}}),
            )],
            granted: json!({}),
            subject: "s",
            email: ("a@b.co", true),
            claims: json!({"name": "Ada", "slug": "Ada", "picture": "https://p"}),
        },
        Case {
            name: "spotify",
            authorize: "/authorize",
            token: "/api/token",
            pages: vec![(
                "/me",
                json!({"id": "sp", "display_name": "Ada", "email": "a@b.co", "images": [{"url": "https://p"}]}),
            )],
            granted: json!({}),
            subject: "sp",
            email: ("a@b.co", false),
            claims: json!({"name": "Ada", "picture": "https://p"}),
        },
        Case {
            name: "twitch",
            authorize: "/oauth2/authorize",
            token: "/oauth2/token",
            pages: vec![(
                "/helix/users",
                json!({"data": [{"id": "t", "login": "ada", "display_name": "Ada", "email": "a@b.co",
                "view_count": 3}]}),
            )],
            granted: json!({}),
            subject: "t",
            email: ("a@b.co", true),
            claims: json!({"name": "ada", "nickname": "Ada", "custom_claims": {"view_count": 3}}),
        },
        Case {
            name: "workos",
            authorize: "/sso/authorize",
            token: "/sso/token",
            pages: Vec::new(),
            granted: json!({"profile": {"id": "w", "email": "a@b.co", "first_name": "Ada", "last_name": "L",
                "connection_id": "c", "organization_id": "o"}}),
            subject: "w",
            email: ("a@b.co", true),
            claims: json!({"name": "Ada L", "custom_claims": {"connection_id": "c", "organization_id": "o"}}),
        },
        Case {
            name: "twitter",
            authorize: "/i/oauth2/authorize",
            token: "/2/oauth2/token",
            pages: vec![(
                "/2/users/me",
                json!({"data": {"id": "x", "name": "Ada", "username": "ada", "confirmed_email": "a@b.co"}}),
            )],
            granted: json!({}),
            subject: "x",
            email: ("a@b.co", true),
            claims: json!({"profile": "https://x.com/ada", "user_name": "ada"}),
        },
        Case {
            name: "zoom",
            authorize: "/oauth/authorize",
            token: "/oauth/token",
            pages: vec![(
                "/v2/users/me",
                json!({"id": "z", "first_name": "Ada", "last_name": "L", "email": "a@b.co", "verified": 0,
                "login_type": 100}),
            )],
            granted: json!({}),
            subject: "z",
            email: ("a@b.co", false),
            claims: json!({"name": "Ada L"}),
        },
    ]
}

/// Zoom's and Spotify's interfaces are on another path than their pages.
fn below(name: &str) -> &'static str {
    if name == "github" { "/api/v3" } else { "" }
}

#[test]
fn each_provider_is_asked_and_read_as_it_documents() {
    testkit::run(async {
        let first = Idp::start().await;
        let api = Api::new("providers", settings(&[("github", provider(&first))])).await;
        for case in cases() {
            let idp = Idp::start().await;
            let own = ProviderSettings { email_optional: false, ..provider(&idp) };
            let api = api.with(settings(&[(case.name, own)]));
            for (path, body) in &case.pages {
                idp.page(&format!("{}{path}", below(case.name)), body);
            }
            idp.grants(case.token, case.granted.clone());
            let answer = api.get(&format!("/authorize?provider={}", case.name), None).await;
            let target = answer.location();
            assert!(
                target.starts_with(&format!("{}{}?", idp.url, case.authorize)),
                "{}: {target}",
                case.name
            );
            let back = format!("/callback?state={}&code=x", said(&target)["state"]);
            let answer = api.get(&back, None).await;
            let said = said(&answer.location());
            let access = said.get("access_token").unwrap_or_else(|| panic!("{}: {said:?}", case.name));
            let user = api.get("/user", Some(access)).await.body;
            let identities = user["identities"].as_array().unwrap();
            let identity = identities.iter().find(|it| it["provider"] == case.name).unwrap();
            let data = &identity["identity_data"];
            assert_eq!(identity["id"], case.subject, "{}", case.name);
            assert_eq!(
                (&data["email"], &data["email_verified"]),
                (&json!(case.email.0), &json!(case.email.1))
            );
            for (name, value) in case.claims.as_object().unwrap() {
                assert_eq!(&data[name], value, "{}: {name} of {data}", case.name);
            }
            check_requests(&case, &idp);
            // The next provider tells the same address: leave it free.
            let path = format!("/admin/users/{}", user["id"].as_str().unwrap());
            api.admin(http::Method::DELETE, &path, Value::Null).await;
        }
    });
}

fn check_requests(case: &Case, idp: &Idp) {
    for (path, _) in &case.pages {
        let seen = idp.seen_at(path).remove(0);
        assert_eq!(seen.headers["authorization"], "Bearer provider-access", "{}", case.name);
        match case.name {
            "facebook" => assert!(seen.query.contains("&appsecret_proof="), "{}", seen.query),
            "notion" => assert_eq!(seen.headers["notion-version"], "2021-08-16"),
            "twitch" => assert_eq!(seen.headers["client-id"], "app"),
            _ => {}
        }
    }
    let asked = idp.seen_at(case.token).remove(0);
    let in_header = asked.headers.contains_key("authorization");
    assert_ne!(in_header, asked.form.contains_key("client_secret"), "{}: one way or the other", case.name);
}
