//! The data API served alone, as PostgREST is: every path, no keys, the project's own rules on tokens and origins.

use common::jwt::KeyRing;
use common::{Project, RestSettings};
use gateway::{Config, ServeSettings};
use serde_json::{Value, json};

use crate::world::{World, now, project, show, token};

/// A gateway before the data API alone, for a project with these settings.
pub(crate) async fn world(rest: RestSettings) -> (World, Project) {
    let config = Config { direct: true, require_api_key: false, ..Config::default() };
    let world = World::with(config, ServeSettings::default()).await;
    let project = Project { rest, version: 2, ..project("default", 2) };
    world.shelf.put(project.clone());
    (world, project)
}

async fn role(world: &World, token: &str) -> Value {
    let answer = world.client.get(world.url("/x")).bearer_auth(token).send().await.unwrap();
    answer.json::<Value>().await.unwrap()["caller"]["role"].clone()
}

#[tokio::test]
async fn every_path_is_the_data_api_s_and_no_key_is_needed() {
    let (world, _) = world(RestSettings::default()).await;
    for path in ["/", "/health", "/auth/v1/token", "/rest/v1/x?apikey=eq.1"] {
        let told: Value = world.client.get(world.url(path)).send().await.unwrap().json().await.unwrap();
        assert_eq!((&told["service"], &told["uri"]), (&json!("data_api"), &json!(path)));
        assert_eq!(told["caller"]["role"], "anon");
    }
}

#[tokio::test]
async fn the_role_is_where_the_project_says() {
    let rest = RestSettings { jwt_role_claim_key: "$.app.roles[0]".into(), ..RestSettings::default() };
    let (world, project) = world(rest).await;
    let of = |claims: Value| token(&project, &claims);
    assert_eq!(role(&world, &of(json!({ "role": "a", "app": { "roles": ["b", "c"] } }))).await, "b");
    assert_eq!(role(&world, &of(json!({ "role": "a" }))).await, "anon");
}

#[tokio::test]
async fn the_audience_is_the_project_s() {
    let rest = RestSettings { jwt_aud: Some("us".into()), ..RestSettings::default() };
    let (world, project) = world(rest).await;
    for (audience, known) in
        [(json!("us"), true), (json!(["x", "us"]), true), (json!([]), true), (json!("x"), false)]
    {
        let token = token(&project, &json!({ "role": "member", "aud": audience, "exp": now() + 60 }));
        let status = world.client.get(world.url("/x")).bearer_auth(token).send().await.unwrap().status();
        assert_eq!(status == 200, known, "{audience}");
    }
}

#[tokio::test]
async fn without_anonymous_role_or_secret_it_says_so() {
    let rest = RestSettings { db_anon_role: None, ..RestSettings::default() };
    let (world, project) = world(rest).await;
    let headers = ["www-authenticate", "proxy-status"];
    let answer = world.client.get(world.url("/x")).send().await.unwrap();
    insta::assert_snapshot!(show(answer, &headers).await, @r#"
    401
    www-authenticate: Bearer
    proxy-status: PostgREST; error=PGRST302
    {"code":"PGRST302","details":null,"hint":null,"message":"Anonymous access is disabled"}
    "#);
    world.shelf.put(Project { jwt: KeyRing::default(), version: 3, ..project });
    let answer = world.client.get(world.url("/x")).bearer_auth("a.b.c").send().await.unwrap();
    insta::assert_snapshot!(show(answer, &headers).await, @r#"
    500
    www-authenticate: -
    proxy-status: PostgREST; error=PGRST300
    {"code":"PGRST300","details":null,"hint":null,"message":"Server lacks JWT secret"}
    "#);
}

#[tokio::test]
async fn origins_and_trace_header_are_the_project_s() {
    let rest = RestSettings {
        server_cors_allowed_origins: vec!["https://a.example".into()],
        server_trace_header: Some("X-Trace".into()),
        ..RestSettings::default()
    };
    let (world, _) = world(rest).await;
    let headers = ["access-control-allow-origin", "access-control-allow-credentials", "x-trace"];
    for (origin, allowed) in [("https://a.example", true), ("https://b.example", false)] {
        let request = world.client.get(world.url("/x")).header("origin", origin).header("x-trace", "t1");
        let answer = request.send().await.unwrap();
        let got = headers.map(|it| answer.headers().get(it).map(|it| it.to_str().unwrap().to_owned()));
        let expected =
            if allowed { [Some(origin), Some("true"), Some("t1")] } else { [None, None, Some("t1")] };
        assert_eq!(got.each_ref().map(Option::as_deref), expected);
    }
}
