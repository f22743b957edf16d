//! Who is let in, and as whom.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use common::Project;
use gateway::{Config, ServeSettings};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::world::{World, now, project, show, token};

/// A way to present oneself: headers.
fn personas(project: &Project, other: &Project) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let key = |it: &secrecy::SecretString| it.expose_secret().to_owned();
    let bearer = |it: &str| ("authorization", format!("Bearer {it}"));
    let apikey = |it: String| ("apikey", it);
    let (anon, publishable) = (key(&project.keys.anon), key(&project.keys.publishable));
    let user = json!({ "sub": "ada", "role": "authenticated", "exp": now() + 60 });
    let expired = json!({ "sub": "ada", "role": "authenticated", "exp": now() - 60 });
    let forged = token(other, &user);
    let service = key(&project.keys.service_role);
    let (header, payload) =
        (service.split('.').next().unwrap(), token(project, &json!({ "role": "postgres" })));
    let altered =
        format!("{header}.{}.{}", payload.split('.').nth(1).unwrap(), service.rsplit('.').next().unwrap());
    vec![
        ("nothing", vec![]),
        ("anon", vec![apikey(anon.clone()), bearer(&anon)]),
        ("publishable", vec![apikey(publishable.clone()), bearer(&publishable)]),
        ("publishable, key only", vec![apikey(publishable.clone())]),
        ("publishable, bearer only", vec![bearer(&publishable)]),
        ("user", vec![apikey(publishable.clone()), bearer(&token(project, &user))]),
        ("user, no key", vec![bearer(&token(project, &user))]),
        ("service_role", vec![apikey(service.clone()), bearer(&service)]),
        ("secret", vec![apikey(key(&project.keys.secret)), bearer(&key(&project.keys.secret))]),
        ("key without role", vec![apikey(token(project, &json!({ "sub": "ada" })))]),
        ("other project's anon", vec![apikey(key(&other.keys.anon)), bearer(&key(&other.keys.anon))]),
        ("other project's service_role", vec![bearer(&key(&other.keys.service_role))]),
        ("other project's secret", vec![apikey(key(&other.keys.secret))]),
        ("other project's user", vec![apikey(publishable.clone()), bearer(&forged)]),
        ("forged", vec![apikey(publishable.clone()), bearer(&altered)]),
        ("forged key", vec![apikey(altered)]),
        ("expired", vec![apikey(publishable.clone()), bearer(&token(project, &expired))]),
        ("expired, no key", vec![bearer(&token(project, &expired))]),
        ("nonsense", vec![apikey("sb_secret_".into()), bearer("sb_secret_")]),
        ("basic", vec![apikey(publishable), ("authorization", "Basic YTpi".into())]),
    ]
}

const ROUTES: [&str; 22] = [
    "/",
    "/health",
    "/ready",
    "/metrics",
    "/unknown",
    "/rest/v1",
    "/rest/v1/tasks",
    "/auth/v1",
    "/auth/v1/token",
    "/auth/v1/user",
    "/auth/v1/admin/users",
    "/auth/v1/verify",
    "/auth/v1/callback",
    "/auth/v1/authorize",
    "/auth/v1/sso/saml/metadata",
    "/auth/v1/.well-known/jwks.json",
    "/auth/v1/health",
    "/.well-known/oauth-authorization-server",
    "/realtime/v1/websocket",
    "/storage/v1/object/a/b",
    "/functions/v1/hello",
    "/graphql/v1",
];

/// For each route, the outcomes and who meets them.
async fn table(world: &World, routes: &[&str]) -> String {
    let (project, other) = (world.shelf.get("default"), world.shelf.get("board"));
    let mut table = String::new();
    for route in routes {
        let mut outcomes: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (persona, headers) in personas(&project, &other) {
            let mut request = world.client.get(world.url(route));
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            let body: Value = response.json().await.unwrap_or_default();
            let role = body["caller"]["role"].as_str().map(|it| format!("as {it}"));
            let reason = body["code"].as_str().or(body["message"].as_str()).unwrap_or("-");
            let outcome = format!("{status} {}", role.unwrap_or_else(|| reason.to_owned()));
            outcomes.entry(outcome).or_default().push(persona);
        }
        writeln!(table, "{route}").unwrap();
        for (outcome, personas) in &outcomes {
            let who = if outcomes.len() == 1 { "everybody".to_owned() } else { personas.join(" | ") };
            writeln!(table, "  {outcome} <- {who}").unwrap();
        }
    }
    table
}

/// Every route × persona → status, and the role that the service saw or the reason of the refusal.
#[tokio::test]
async fn every_route_admits_its_personas_and_nobody_else() {
    insta::assert_snapshot!("routes_by_persona", table(&World::new().await, &ROUTES).await);
}

#[tokio::test]
async fn keys_are_optional_when_the_operator_says_so() {
    let config = Config { require_api_key: false, ..Config::default() };
    let world = World::with(config, ServeSettings::default()).await;
    let told = table(&world, &["/rest/v1/tasks", "/auth/v1/user"]).await;
    insta::assert_snapshot!("routes_by_persona_without_required_keys", told);
}

/// And nothing else does.
#[tokio::test]
async fn realtime_takes_the_key_as_x_api_key() {
    let world = World::new().await;
    let get = async |path: &str| {
        let request = world.client.get(world.url(path)).header("x-api-key", "sb_publishable_default");
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!((get("/realtime/v1/api/ping").await, get("/rest/v1/tasks").await), (200, 401));
}

#[tokio::test]
async fn a_missing_key_is_told_in_kong_s_words() {
    let world = World::new().await;
    let response = world.client.get(world.url("/rest/v1/tasks")).send().await.unwrap();
    insta::assert_snapshot!(show(response, &["content-type", "www-authenticate"]).await, @r#"
    401
    content-type: application/json; charset=utf-8
    www-authenticate: -
    {"hint":"No `apikey` request header or url param was found.","message":"No API key found in request"}
    "#);
    let response = world.client.get(world.url("/auth/v1/user")).header("apikey", "x").send().await.unwrap();
    insta::assert_snapshot!(show(response, &["content-type"]).await, @r#"
    401
    content-type: application/json; charset=utf-8
    {"message":"Invalid authentication credentials"}
    "#);
}

#[tokio::test]
async fn a_bad_token_is_told_in_postgrest_s_words() {
    let world = World::new().await;
    let (project, other) = (world.shelf.get("default"), world.shelf.get("board"));
    let shown = async |token: &str| {
        let response = world.get("/rest/v1/x").header("authorization", format!("Bearer {token}"));
        show(response.send().await.unwrap(), &["content-type", "www-authenticate", "proxy-status"]).await
    };
    let expired = token(&project, &json!({ "role": "anon", "exp": now() - 60 }));
    insta::assert_snapshot!(shown(&expired).await, @r#"
    401
    content-type: application/json; charset=utf-8
    www-authenticate: Bearer error="invalid_token", error_description="JWT expired"
    proxy-status: PostgREST; error=PGRST303
    {"code":"PGRST303","details":null,"hint":null,"message":"JWT expired"}
    "#);
    insta::assert_snapshot!(shown("a.b").await, @r#"
    401
    content-type: application/json; charset=utf-8
    www-authenticate: Bearer error="invalid_token", error_description="Expected 3 parts in JWT; got 2"
    proxy-status: PostgREST; error=PGRST301
    {"code":"PGRST301","details":null,"hint":null,"message":"Expected 3 parts in JWT; got 2"}
    "#);
    insta::assert_snapshot!(shown(&token(&other, &json!({ "role": "anon" }))).await, @r#"
    401
    content-type: application/json; charset=utf-8
    www-authenticate: Bearer error="invalid_token", error_description="No suitable key or wrong key type"
    proxy-status: PostgREST; error=PGRST301
    {"code":"PGRST301","details":"None of the keys was able to decode the JWT","hint":null,"message":"No suitable key or wrong key type"}
    "#);
    insta::assert_snapshot!(shown("").await, @r#"
    401
    content-type: application/json; charset=utf-8
    www-authenticate: Bearer error="invalid_token", error_description="Empty JWT is sent in Authorization header"
    proxy-status: PostgREST; error=PGRST301
    {"code":"PGRST301","details":null,"hint":null,"message":"Empty JWT is sent in Authorization header"}
    "#);
}

#[tokio::test]
async fn a_project_without_an_anonymous_role_demands_a_token() {
    let config = Config { require_api_key: false, ..Config::default() };
    let world = World::with(config, ServeSettings::default()).await;
    let mut closed = project("closed", 1);
    closed.rest.db_anon_role = None;
    world.shelf.put(closed);
    let request = world.client.get(world.url("/rest/v1/x")).header("host", "closed.localhost");
    let shown = show(request.send().await.unwrap(), &["www-authenticate", "proxy-status"]).await;
    insta::assert_snapshot!(shown, @r#"
    401
    www-authenticate: Bearer
    proxy-status: PostgREST; error=PGRST302
    {"code":"PGRST302","details":null,"hint":null,"message":"Anonymous access is disabled"}
    "#);
}

async fn caller(world: &World, headers: &[(&str, String)], path: &str) -> Value {
    let mut request = world.client.get(world.url(path));
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    request.send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn an_opaque_key_stands_for_the_legacy_key_of_its_role() {
    let world = World::new().await;
    let keys = world.shelf.get("default").keys.clone();
    let secret = keys.secret.expose_secret().to_owned();
    let headers = [("apikey", secret.clone()), ("authorization", format!("Bearer {secret}"))];
    for path in ["/rest/v1/x", "/auth/v1/admin/users"] {
        let seen = caller(&world, &headers, path).await;
        assert_eq!(seen["caller"]["claims"]["ref"], "default");
        assert_eq!(seen["caller"]["role"], "service_role");
        assert_eq!(seen["caller"]["authenticated"], true);
        let expected = format!("Bearer {}", keys.service_role.expose_secret());
        assert_eq!(seen["headers"]["authorization"], expected, "services can read the swapped token");
    }
}

#[tokio::test]
async fn the_token_decides_who_asks_the_data_api_and_the_key_who_asks_auth() {
    let world = World::new().await;
    let project = world.shelf.get("default");
    let user = token(&project, &json!({ "sub": "ada", "role": "authenticated", "exp": now() + 60 }));
    let headers = [
        ("apikey", project.keys.publishable.expose_secret().to_owned()),
        ("authorization", format!("Bearer {user}")),
    ];
    let seen = caller(&world, &headers, "/rest/v1/x").await;
    assert_eq!(seen["caller"]["claims"]["sub"], "ada");
    assert_eq!(seen["caller"]["authenticated"], true);
    let seen = caller(&world, &headers, "/auth/v1/user").await;
    assert_eq!(seen["caller"]["role"], "anon");
    assert_eq!(seen["caller"]["authenticated"], false);
    assert_eq!(seen["headers"]["authorization"], format!("Bearer {user}"), "auth verifies it by itself");
}

#[tokio::test]
async fn what_an_oauth_client_is_told_about_a_user_opens_nothing() {
    let world = World::new().await;
    let project = world.shelf.get("default");
    let status = async |claims: Value| {
        let bearer = format!("Bearer {}", token(&project, &claims));
        let request = world.get("/rest/v1/x").header("authorization", bearer);
        request.send().await.unwrap().status().as_u16()
    };
    let told =
        json!({ "sub": "ada", "aud": ["c1"], "client_id": "c1", "auth_time": now(), "exp": now() + 60 });
    assert_eq!(status(told).await, 401);
    // The client's access token has a session and a role.
    let token = json!({ "sub": "ada", "client_id": "c1", "session_id": "s1", "role": "authenticated", "exp": now() + 60 });
    assert_eq!(status(token).await, 200);
}

#[tokio::test]
async fn a_token_s_role_is_passed_on_as_it_is() {
    let world = World::new().await;
    let project = world.shelf.get("default");
    let role = async |claims: Value| {
        let headers = [
            ("apikey", "sb_publishable_default".to_owned()),
            ("authorization", format!("Bearer {}", token(&project, &claims))),
        ];
        let seen = caller(&world, &headers, "/rest/v1/x").await;
        (seen["caller"]["role"].clone(), seen["caller"]["authenticated"].clone())
    };
    assert_eq!(role(json!({ "role": "postgres" })).await, (json!("postgres"), json!(true)));
    assert_eq!(role(json!({ "sub": "x" })).await, (json!("anon"), json!(false)));
    assert_eq!(role(json!({ "role": 7 })).await, (json!("anon"), json!(false)));
}

#[tokio::test]
async fn a_key_in_the_query_opens_and_is_not_passed_on() {
    let world = World::new().await;
    let url = world.url("/rest/v1/tasks?apikey=sb_publishable_default&select=*");
    let seen: Value = world.client.get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!(seen["uri"], "/tasks?select=*");
    assert_eq!(seen["caller"]["role"], "anon");
}

#[tokio::test]
async fn a_token_stops_working_when_it_expires_although_it_was_remembered() {
    // REQ C1: the cache must not outlive `exp`; PostgREST's leeway of 30 s stays.
    let world = World::new().await;
    let project = world.shelf.get("default");
    let status = async |exp: u64| {
        let token = token(&project, &json!({ "role": "authenticated", "exp": exp }));
        let mut statuses = Vec::new();
        for _ in 0..2 {
            let request = world.get("/rest/v1/x").header("authorization", format!("Bearer {token}"));
            statuses.push(request.send().await.unwrap().status().as_u16());
        }
        statuses
    };
    assert_eq!(status(now() + 60).await, [200, 200]);
    assert_eq!(status(now() - 10).await, [200, 200]);
    assert_eq!(status(now() - 40).await, [401, 401]);
}

#[tokio::test]
async fn rotated_keys_are_refused_as_soon_as_the_configuration_is_new() {
    let config = Config { project_ttl: std::time::Duration::from_millis(50), ..Config::default() };
    let world = World::with(config, ServeSettings::default()).await;
    let old = world.shelf.get("default");
    let user = token(&old, &json!({ "role": "authenticated" }));
    let status = async || {
        let request = world.get("/rest/v1/x").header("authorization", format!("Bearer {user}"));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status().await, 200);
    world.shelf.put(project("default", 2));
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(5);
    while status().await != 401 {
        assert!(tokio::time::Instant::now() < deadline, "the old token still opens");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
