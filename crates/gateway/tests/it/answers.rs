//! What every answer carries: ids, CORS, security headers, encodings; and what services are told.

use gateway::{Config, ServeSettings};
use serde_json::Value;

use crate::world::{World, show};

#[tokio::test]
async fn services_are_told_everything_and_headers_arrive_unchanged() {
    let world = World::new().await;
    let request = world
        .get("/rest/v1/a%20b?select=*&id=eq.1")
        .header("host", "default.localhost:8000")
        .header("x-request-id", "one")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .header("tracestate", "vendor=1")
        .header("baggage", "k=v,k2=v2")
        // Between pillars only: no service sees it, whoever sends it.
        .header("madbase-traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .header("x-forwarded-for", "203.0.113.9");
    let seen: Value = request.send().await.unwrap().json().await.unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&seen).unwrap(), @r#"
    {
      "caller": {
        "authenticated": false,
        "claims": {
          "exp": 4102444800,
          "iss": "madbase",
          "ref": "default",
          "role": "anon"
        },
        "role": "anon"
      },
      "client": "127.0.0.1",
      "headers": {
        "accept": "*/*",
        "apikey": "sb_publishable_default",
        "baggage": "k=v,k2=v2",
        "host": "default.localhost:8000",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate": "vendor=1",
        "x-forwarded-for": "203.0.113.9",
        "x-request-id": "one"
      },
      "id": "one",
      "method": "GET",
      "project": "default",
      "service": "data_api",
      "uri": "/a%20b?select=*&id=eq.1",
      "url": "http://default.localhost:8000",
      "version": 1
    }
    "#);
}

#[tokio::test]
async fn ids_are_echoed_or_made() {
    let world = World::new().await;
    let id = async |sent: Option<&str>| {
        let request = world.get("/rest/v1/x");
        let request = if let Some(id) = sent { request.header("x-request-id", id) } else { request };
        let response = request.send().await.unwrap();
        let header = |it: &str| response.headers()[it].to_str().unwrap().to_owned();
        let (id, also) = (header("x-request-id"), header("sb-request-id"));
        let seen: Value = response.json().await.unwrap();
        assert_eq!((&*id, &*id), (seen["id"].as_str().unwrap(), &*also));
        id
    };
    assert_eq!(id(Some("abc-1")).await, "abc-1");
    assert_ne!(id(Some("two words")).await, "two words");
    assert_eq!(id(None).await.len(), 36);
}

#[tokio::test]
async fn preflights_need_no_key() {
    let world = World::new().await;
    let shown = async |path: &str| {
        let request = world
            .client
            .request(http::Method::OPTIONS, world.url(path))
            .header("origin", "http://localhost:3000")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "apikey,x-mine");
        let headers = [
            "access-control-allow-origin",
            "access-control-allow-methods",
            "access-control-allow-headers",
            "access-control-max-age",
        ];
        show(request.send().await.unwrap(), &headers).await
    };
    insta::assert_snapshot!(shown("/rest/v1/tasks").await, @r#"
    200
    access-control-allow-origin: *
    access-control-allow-methods: GET, POST, PATCH, PUT, DELETE, OPTIONS, HEAD
    access-control-allow-headers: Authorization, apikey, x-mine, Accept, Accept-Language, Content-Language
    access-control-max-age: 86400
    "#);
    insta::assert_snapshot!(shown("/auth/v1/token").await, @r#"
    200
    access-control-allow-origin: *
    access-control-allow-methods: GET, POST, PATCH, PUT, DELETE, OPTIONS, HEAD
    access-control-allow-headers: authorization, x-client-info, apikey, content-type, x-retry-count, x-supabase-api-version, accept-profile, content-profile, prefer, range, x-upsert, x-region, x-metadata, tus-resumable, upload-length, upload-offset, upload-metadata, x-signature, x-request-id, traceparent, tracestate, baggage, x-mine
    access-control-max-age: 86400
    "#);
    assert_eq!(shown("/functions/v1/x").await, shown("/auth/v1/token").await);
}

#[tokio::test]
async fn errors_are_readable_across_origins_and_marked_for_browsers() {
    let world = World::new().await;
    for path in ["/rest/v1/x", "/auth/v1/user", "/nowhere", "/storage/v1/x", "/health"] {
        let response = world.client.get(world.url(path)).header("origin", "http://a").send().await.unwrap();
        let header = |it: &str| response.headers()[it].to_str().unwrap();
        assert_eq!(header("access-control-allow-origin"), "*", "{path}");
        assert!(response.headers().contains_key("access-control-expose-headers"), "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(header("x-frame-options"), "DENY", "{path}");
        assert!(!response.headers().contains_key("strict-transport-security"), "{path}: plain HTTP");
    }
}

#[tokio::test]
async fn the_data_api_exposes_postgrest_s_headers() {
    let world = World::new().await;
    let exposed = async |path: &str| {
        let response = world.get(path).send().await.unwrap();
        response.headers()["access-control-expose-headers"].to_str().unwrap().to_owned()
    };
    insta::assert_snapshot!(exposed("/rest/v1/x").await, @r#"Content-Encoding, Content-Location, Content-Range, Content-Type, Date, Location, Server, Transfer-Encoding, Range-Unit"#);
    let list = exposed("/auth/v1/x").await;
    for name in
        ["content-range", "location", "link", "x-total-count", "x-supabase-api-version", "x-relay-error"]
    {
        assert!(list.split(", ").any(|it| it == name), "{name}");
    }
}

#[tokio::test]
async fn only_listed_origins_are_answered_when_there_is_a_list() {
    let config = Config { cors_origins: vec!["https://app.example".into()], ..Config::default() };
    let world = World::with(config, ServeSettings::default()).await;
    let shown = async |origin: &str| {
        let response = world.get("/rest/v1/nothing").header("origin", origin).send().await.unwrap();
        show(response, &["access-control-allow-origin", "access-control-allow-credentials", "vary"]).await
    };
    insta::assert_snapshot!(shown("https://app.example").await, @r#"
    204
    access-control-allow-origin: https://app.example
    access-control-allow-credentials: true
    vary: Origin
    "#);
    insta::assert_snapshot!(shown("https://other.example").await, @r#"
    204
    access-control-allow-origin: -
    access-control-allow-credentials: -
    vary: Origin
    "#);
}

#[tokio::test]
async fn a_service_s_own_headers_win() {
    let world = World::new().await;
    let response = world.get("/rest/v1/own").send().await.unwrap();
    let shown = show(response, &["x-frame-options", "x-request-id"]).await;
    insta::assert_snapshot!(shown, @r#"
    200
    x-frame-options: SAMEORIGIN
    x-request-id: mine
    "#);
}

async fn encoded(world: &World, path: &str, accept: Option<&str>) -> String {
    let request = world.get(path);
    let request = if let Some(accept) = accept { request.header("accept-encoding", accept) } else { request };
    let response = request.send().await.unwrap();
    let header = |it: &str| response.headers().get(it).map_or("-", |it| it.to_str().unwrap()).to_owned();
    let shown = ["content-encoding", "content-length", "content-range", "vary"].map(header).join(" | ");
    format!("{} {shown} [{}]", response.status().as_u16(), response.bytes().await.unwrap().len() < 4000)
}

#[tokio::test]
async fn answers_are_compressed_when_asked_for_and_when_it_pays() {
    let world = World::new().await;
    insta::assert_snapshot!(encoded(&world, "/rest/v1/rows", Some("gzip, deflate")).await, @r#"200 gzip | - | 0-9/* | accept-encoding [true]"#);
    insta::assert_snapshot!(encoded(&world, "/rest/v1/rows", Some("gzip, br")).await, @r#"200 br | - | 0-9/* | accept-encoding [true]"#);
    insta::assert_snapshot!(encoded(&world, "/rest/v1/rows", None).await, @r#"200 - | 4000 | 0-9/* | - [false]"#);
    insta::assert_snapshot!(encoded(&world, "/rest/v1/rows", Some("identity, gzip;q=0")).await, @r#"200 - | 4000 | 0-9/* | accept-encoding [false]"#);
    insta::assert_snapshot!(encoded(&world, "/rest/v1/rows/1000", Some("gzip")).await, @r#"200 - | 1000 | 0-9/* | - [true]"#);
    insta::assert_snapshot!(encoded(&world, "/rest/v1/events", Some("gzip")).await, @r#"200 - | 9000 | - | - [false]"#);
    insta::assert_snapshot!(encoded(&world, "/rest/v1/rows", Some("gzip, identity;q=0")).await, @r#"200 gzip | - | 0-9/* | accept-encoding [true]"#);
}

#[tokio::test]
async fn lengths_are_exact_and_absent_where_they_mean_nothing() {
    let world = World::new().await;
    let length = async |method: http::Method, path: &str| {
        let request =
            world.client.request(method, world.url(path)).header("apikey", "sb_publishable_default");
        let response = request.send().await.unwrap();
        response.headers().get("content-length").map(|it| it.to_str().unwrap().to_owned())
    };
    assert_eq!(length(http::Method::GET, "/rest/v1/rows/1000").await.as_deref(), Some("1000"));
    assert_eq!(length(http::Method::POST, "/rest/v1/empty").await.as_deref(), Some("0"));
    assert_eq!(length(http::Method::POST, "/rest/v1/nothing").await, None);
    assert_eq!(length(http::Method::HEAD, "/rest/v1/nothing").await, None);
    assert_eq!(length(http::Method::HEAD, "/rest/v1/empty").await, None);
}

#[tokio::test]
async fn trusted_proxies_name_the_client_and_the_public_address() {
    let config = Config { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..Config::default() };
    let world = World::with(config, ServeSettings::default()).await;
    let request = world
        .get("/rest/v1/x")
        .header("x-forwarded-for", "203.0.113.9")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "api.example.com");
    let response = request.send().await.unwrap();
    assert!(response.headers().contains_key("strict-transport-security"));
    let seen: Value = response.json().await.unwrap();
    assert_eq!(seen["client"], "203.0.113.9");
    assert_eq!(seen["url"], "https://api.example.com");
}

#[tokio::test]
async fn a_foreign_host_header_is_in_no_link() {
    let world = World::new().await;
    for (host, url) in [
        ("evil.example", "http://localhost:8000"),
        ("203.0.113.7", "http://localhost:8000"),
        ("192.168.1.5:8000", "http://192.168.1.5:8000"),
        ("localhost:9", "http://localhost:9"),
    ] {
        let seen: Value =
            world.get("/auth/v1/x").header("host", host).send().await.unwrap().json().await.unwrap();
        assert_eq!(seen["url"], url, "{host}");
    }
}

#[tokio::test]
async fn the_operator_s_address_beats_the_host_header() {
    let config = Config { public_url: Some("https://api.example.com/".into()), ..Config::default() };
    let world = World::with(config, ServeSettings::default()).await;
    let seen: Value =
        world.get("/auth/v1/x").header("host", "evil.example").send().await.unwrap().json().await.unwrap();
    assert_eq!(seen["url"], "https://api.example.com");
    let request = world.client.get(world.url("/auth/v1/verify")).header("host", "board.localhost:8000");
    let seen: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(seen["url"], "http://board.localhost:8000");
}

#[tokio::test]
async fn a_service_has_no_say_in_how_its_answer_is_framed() {
    let world = World::new().await;
    for _ in 0..2 {
        let response = world.get("/rest/v1/framed/200").send().await.unwrap();
        assert_eq!(response.headers()["content-length"], "8");
        assert!(!response.headers().contains_key("transfer-encoding"));
        assert_eq!(response.text().await.unwrap(), "12345678");
    }
    for status in [100, 101] {
        let response = world.get(&format!("/rest/v1/framed/{status}")).send().await.unwrap();
        assert_eq!(response.status(), 500);
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["code"], "unexpected_failure");
    }
}
