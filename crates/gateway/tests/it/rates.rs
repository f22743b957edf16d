//! REQ C6: limits on addresses, users, keys and projects, in the words of each route, over all proxies.

use std::time::Duration;

use common::{LimitSettings, Project, RateLimits};
use gateway::{Config, RateLimitMiddleware, ServeSettings};
use serde_json::json;
use store::{Redis, RedisSettings};
use testkit::RedisServer;

use crate::world::{World, now, show, token};

/// A world with the operator's `limits`, behind a trusted proxy, so that tests choose addresses.
async fn world(limits: &str) -> World {
    let config = Config { trusted_proxies: vec!["127.0.0.1".parse().unwrap()], ..Config::default() };
    let world = World::with(config, ServeSettings::default()).await;
    world.gateway.limit_rates(RateLimitMiddleware::new(&Redis::none(), limits.parse().unwrap()));
    world
}

/// The default project with other limits.
fn set(world: &World, limits: LimitSettings) {
    let project = Project::clone(&world.shelf.get("default"));
    world.shelf.put(Project { limits, version: project.version + 1, ..project });
    world.gateway.forget_projects();
}

/// The statuses of `count` requests.
async fn statuses(count: usize, mut request: impl FnMut(usize) -> reqwest::RequestBuilder) -> Vec<u16> {
    let mut all = Vec::new();
    for idx in 0..count {
        all.push(request(idx).send().await.unwrap().status().as_u16());
    }
    all
}

#[tokio::test]
async fn an_address_over_its_limit_is_429_in_the_words_of_the_route() {
    let world = world("ip=2,bypass=10.0.0.0/8").await;
    let from = |address: &'static str, path: &str| world.get(path).header("x-forwarded-for", address);
    let headers = ["ratelimit-policy", "proxy-status", "x-sb-error-code", "content-type"];
    let first = from("203.0.113.9", "/rest/v1/x").send().await.unwrap();
    assert_eq!(first.headers()["ratelimit-policy"], r#""ip";q=2;w=60"#);
    assert_eq!(first.headers()["ratelimit"], r#""ip";r=1"#);
    let exposed: Vec<_> = first.headers().get_all("access-control-expose-headers").iter().collect();
    assert!(exposed.iter().any(|it| it.to_str().unwrap().contains("RateLimit-Policy")), "{exposed:?}");
    assert_eq!(from("203.0.113.9", "/auth/v1/health").send().await.unwrap().status(), 200);
    let refused = from("203.0.113.9", "/rest/v1/x").send().await.unwrap();
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((20..=30).contains(&wait), "one comes back every half minute: {wait}");
    assert_eq!(refused.headers()["ratelimit"], format!(r#""ip";r=0;t={wait}"#));
    insta::assert_snapshot!(show(refused, &headers).await, @r#"
    429
    ratelimit-policy: "ip";q=2;w=60
    proxy-status: PostgREST; error=over_request_rate_limit
    x-sb-error-code: -
    content-type: application/json; charset=utf-8
    {"code":"over_request_rate_limit","details":null,"hint":null,"message":"Request rate limit reached"}
    "#);
    insta::assert_snapshot!(show(from("203.0.113.9", "/auth/v1/health").send().await.unwrap(), &headers).await, @r#"
    429
    ratelimit-policy: "ip";q=2;w=60
    proxy-status: -
    x-sb-error-code: over_request_rate_limit
    content-type: application/json; charset=utf-8
    {"code":429,"error_code":"over_request_rate_limit","msg":"Request rate limit reached"}
    "#);
    assert_eq!(from("203.0.113.8", "/rest/v1/x").send().await.unwrap().status(), 200, "another address");
    assert_eq!(statuses(5, |_| from("10.1.1.1", "/rest/v1/x")).await, [200; 5], "as the operator set");
    let health = world.client.get(world.url("/health")).header("x-forwarded-for", "203.0.113.9");
    assert_eq!(health.send().await.unwrap().status(), 200, "probes are not limited");
}

#[tokio::test]
async fn nobody_untrusted_chooses_the_address_that_counts() {
    let world = World::new().await;
    world.gateway.limit_rates(RateLimitMiddleware::new(&Redis::none(), "ip=3".parse().unwrap()));
    let forged =
        statuses(4, |idx| world.get("/rest/v1/x").header("x-forwarded-for", format!("203.0.113.{idx}")));
    assert_eq!(forged.await, [200, 200, 200, 429]);
}

#[tokio::test]
async fn bad_keys_count_for_their_address_and_for_nothing_else() {
    let world = world("ip=4,data.project=3").await;
    let bad = statuses(5, |_| {
        let request = world.client.get(world.url("/rest/v1/x")).header("apikey", "sb_publishable_wrong");
        request.header("x-forwarded-for", "203.0.113.9")
    });
    assert_eq!(bad.await, [401, 401, 401, 401, 429]);
    let good = statuses(4, |_| world.get("/rest/v1/x").header("x-forwarded-for", "203.0.113.8"));
    assert_eq!(good.await, [200, 200, 200, 429]);
}

#[tokio::test]
async fn nothing_is_limited_unless_it_is_set() {
    let world = world("").await;
    let response = world.get("/rest/v1/x").send().await.unwrap();
    assert!(!response.headers().contains_key("ratelimit"));
    let all = statuses(100, |_| world.get("/rest/v1/x")).await;
    assert!(all.iter().all(|it| *it == 200));
}

#[tokio::test]
async fn a_project_s_limits_change_while_it_runs_and_tiers_raise_them_for_users() {
    let world = world("data.user=1000").await;
    let data = RateLimits { user: Some(2), ..RateLimits::default() };
    let tiers = [("pro".to_owned(), 4)].into();
    set(&world, LimitSettings { data, tiers, ..LimitSettings::default() });
    let default = world.shelf.get("default");
    let user = |name: &str, tier: &str| {
        let metadata = json!({ "tier": tier });
        let claims =
            json!({"sub": name, "role": "authenticated", "exp": now() + 60, "app_metadata": metadata});
        token(&default, &claims)
    };
    let (ada, bob) = (user("ada", "free"), user("bob", "pro"));
    let ask = |token: &String| world.get("/rest/v1/x").bearer_auth(token);
    assert_eq!(statuses(3, |_| ask(&ada)).await, [200, 200, 429]);
    assert_eq!(statuses(5, |_| ask(&bob)).await, [200, 200, 200, 200, 429]);
    assert_eq!(statuses(3, |_| world.get("/rest/v1/x")).await, [200; 3], "nobody is no user");
    let response = ask(&bob).send().await.unwrap();
    assert_eq!(response.headers()["ratelimit-policy"], r#""data-user";q=4;w=60"#);
    let data = RateLimits { user: Some(100), ..RateLimits::default() };
    set(&world, LimitSettings { data, ..LimitSettings::default() });
    // The refusal itself lasts for what `Retry-After` said; another user sees the new limit at once.
    assert_eq!(statuses(5, |_| ask(&user("eve", "free"))).await, [200; 5]);
}

#[tokio::test]
async fn keys_and_classes_are_counted_apart() {
    let world = world("data.key=2,auth.ip=1").await;
    let with = |key: &str, path: &str| world.client.get(world.url(path)).header("apikey", key);
    let (publishable, secret) = ("sb_publishable_default", "sb_secret_default");
    assert_eq!(statuses(3, |_| with(publishable, "/rest/v1/x")).await, [200, 200, 429]);
    assert_eq!(statuses(2, |_| with(secret, "/rest/v1/x")).await, [200, 200]);
    assert_eq!(statuses(2, |_| with(publishable, "/auth/v1/health")).await, [200, 429]);
    let board = || with("sb_publishable_board", "/rest/v1/x").header("host", "board.localhost");
    assert_eq!(statuses(2, |_| board()).await, [200, 200], "another project");
}

// REQ C6, C8
#[test]
fn two_proxies_count_together_and_one_project_s_tokens_not_against_another_s_users() {
    testkit::run(async {
        let server = RedisServer::start().await;
        let redis = || {
            let url = Some(server.url().into());
            Redis::open(RedisSettings { url, ..RedisSettings::default() }).unwrap()
        };
        let (one, other) = (World::new().await, World::new().await);
        for world in [&one, &other] {
            let redis = redis();
            while !redis.is_up() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            world.gateway.limit_rates(RateLimitMiddleware::new(&redis, "ip=10,user=3".parse().unwrap()));
        }
        let sub = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
        let claims = json!({"sub": sub, "role": "authenticated", "exp": now() + 60});
        let ask = |world: &World, name: &str| {
            let token = token(&world.shelf.get(name), &claims);
            let request = world.client.get(world.url("/rest/v1/x")).bearer_auth(token);
            request
                .header("host", format!("{name}.localhost"))
                .header("apikey", format!("sb_publishable_{name}"))
        };
        assert_eq!(statuses(2, |_| ask(&one, "board")).await, [200, 200]);
        assert_eq!(statuses(2, |_| ask(&other, "board")).await, [200, 429]);
        assert_eq!(statuses(2, |_| ask(&other, "default")).await, [200, 200]);
        assert_eq!(server.cli(&["hvals", &format!("ratelimit:user:{sub}")]), "2");
        let ttl: u64 = server.cli(&["pttl", "ratelimit:ip:127.0.0.1"]).parse().unwrap();
        assert!(ttl <= 60_000, "{ttl}");
        assert_eq!(statuses(6, |_| one.get("/rest/v1/x")).await, [200, 200, 200, 200, 200, 429]);
    });
}

#[tokio::test]
async fn unknown_projects_count_against_the_address_and_are_not_looked_for_over_its_limit() {
    let world = world("ip=3").await;
    let ask = |address: &'static str, method: http::Method, project: String| {
        let request = world.client.request(method, world.url("/rest/v1/x"));
        request.header("host", format!("{project}.localhost")).header("x-forwarded-for", address)
    };
    let get = |idx: usize| ask("203.0.113.9", http::Method::GET, format!("unknown-{idx}"));
    assert_eq!(statuses(8, get).await, [404, 404, 404, 429, 429, 429, 429, 429]);
    let questions = || world.shelf.questions.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(questions(), 4, "after the first refusal nobody is looked for");
    let known = world.get("/rest/v1/x").header("x-forwarded-for", "203.0.113.9").send().await.unwrap();
    assert_eq!((known.status().as_u16(), questions()), (429, 4), "all requests of an address count");
    let preflight = |idx: usize| {
        let request = ask("203.0.113.8", http::Method::OPTIONS, format!("elsewhere-{idx}"));
        request.header("origin", "https://a.test").header("access-control-request-method", "GET")
    };
    assert_eq!(statuses(8, preflight).await, [200; 8]);
    assert_eq!(questions(), 8, "a page's questions count as well");
}
