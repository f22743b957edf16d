//! Whoever tries to be given another one's answer, or an old one.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use common::{Asking, Project, ResponseCache as Mode, SessionCheck};
use gateway::{ResponseCache, ResponseCacheSettings};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use secrecy::ExposeSecret as _;
use serde_json::json;
use store::Versions;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::board::{Ask, Board, Gate, token};

const NOTES: &str = "/rest/v1/notes?select=body&order=id";

fn cache() -> ResponseCache {
    ResponseCache::new(ResponseCacheSettings::default(), Versions::alone())
}

/// Every one of `asks` gets what it would have got without the cache, in every order.
async fn alike(board: &Board, asks: &[Ask]) {
    for _ in 0..3 {
        for ask in asks {
            let (kept, fresh) = (board.cached.ask(ask).await, board.plain.ask(ask).await);
            assert_eq!(kept.essence(), fresh.essence(), "{ask:?}");
        }
    }
}

#[test]
fn other_callers_claims_roles_and_keys_are_other_requests() {
    testkit::run(async {
        let board = Board::new("callers").await;
        let keys = &board.test.project.keys;
        let (anon, service) = (keys.anon.expose_secret(), keys.service_role.expose_secret());
        let secret = keys.secret.expose_secret();
        let plain = board.test.project.jwt.sign_hs256(json!({"role": "authenticated"}).as_object().unwrap());
        let mut asks = Vec::new();
        for path in
            [NOTES, "/rest/v1/documents?select=id&order=id", "/rest/v1/posts?order=id", "/rest/v1/secrets"]
        {
            asks.extend([
                Ask::get(path),
                Ask::get(path).by(anon),
                Ask::get(path).by(service),
                Ask::get(path).header("apikey", secret),
                Ask::get(path).header("apikey", service).by(anon),
                Ask::get(path).by(&board.user(1, &[])),
                Ask::get(path).by(&board.user(2, &[])),
                Ask::get(path).by(&board.user(1, &[("tenant", json!("t3"))])),
                Ask::get(path).by(&board.user(1, &[("role", json!("anon"))])),
                Ask::get(path).by(&board.user(1, &[("role", json!("service_role"))])),
                Ask::get(path).by(&board.user(1, &[("app_metadata", json!({"teams": [3]}))])),
                Ask::get(path).by(plain.as_deref().unwrap()),
                Ask::get(&format!("{path}{}apikey={secret}", if path.contains('?') { '&' } else { '?' })),
                Ask::get(&format!("{path}{}apikey={anon}", if path.contains('?') { '&' } else { '?' })),
                Ask::get(path).by("nonsense"),
            ]);
        }
        alike(&board, &asks).await;
    });
}

#[test]
fn what_shapes_an_answer_makes_it_another_request() {
    testkit::run(async {
        let board = Board::new("shapes").await;
        let ada = board.user(1, &[]);
        let mut asks =
            vec![Ask::head(NOTES), Ask::get(NOTES), Ask::head(NOTES).header("prefer", "count=exact")];
        for (name, value) in [
            ("accept", "text/csv"),
            ("accept", "application/vnd.pgrst.object+json"),
            ("accept", "nothing/known"),
            ("prefer", "count=exact"),
            ("prefer", "count=planned"),
            ("prefer", "handling=strict, nonsense"),
            ("range", "0-0"),
            ("range", "1-2"),
            ("range", "900-901"),
            ("range-unit", "items"),
            ("accept-profile", "public"),
            ("accept-profile", "auth"),
            ("accept-encoding", "br"),
            ("x-http-method-override", "DELETE"),
        ] {
            asks.push(Ask::get(NOTES).header(name, value));
        }
        asks.push(Ask::get(NOTES).header("prefer", "count=exact").header("prefer", "max-affected=1"));
        asks.push(Ask::get(&format!("{NOTES}&limit=1")));
        asks.push(Ask::get(&NOTES.replace('?', "?limit=1&")));
        asks.push(Ask::get(&NOTES.replace("notes", "%6eotes")));
        asks.push(Ask::get(&NOTES.replace("select=body", "select=body&select=id")));
        let asks: Vec<Ask> = asks.into_iter().map(|it| it.by(&ada)).collect();
        alike(&board, &asks).await;
    });
}

#[test]
fn code_that_reads_the_request_makes_all_of_it_count() {
    testkit::run(async {
        let board = Board::new("headers").await;
        let ada = board.user(1, &[]);
        let seen = |value: &str| Ask::get("/rest/v1/seen?select=*").header("x-tenant", value).by(&ada);
        board.cached.ask(&Ask::get(NOTES).header("x-tenant", "a").by(&ada)).await;
        let other = board.cached.ask(&Ask::get(NOTES).header("x-tenant", "b").by(&ada)).await;
        assert_eq!(other.header("x-cache"), "hit", "nobody reads it yet");
        board.test.owner().await.batch_execute(
            "create view public.seen as select current_setting('request.headers', true)::json->>'x-tenant' as tenant, \
             current_setting('request.cookies', true)::json->>'a' as cookie; \
             grant select on public.seen to authenticated",
        ).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while board.cached.ask(&seen("a")).await.status != 200
            || board.plain.ask(&seen("a")).await.status != 200
        {
            assert!(Instant::now() < deadline, "the view is not found");
            sleep(Duration::from_millis(20)).await;
        }
        alike(
            &board,
            &[seen("a"), seen("b"), seen("a").header("cookie", "a=1"), seen("a").header("cookie", "a=2")],
        )
        .await;
        assert_eq!(board.cached.ask(&seen("a")).await.header("x-cache"), "hit");
        // An answer of the time when nobody read it is not given any more.
        let before = board.cached.ask(&Ask::get(NOTES).header("x-tenant", "c").by(&ada)).await;
        assert_eq!(before.header("x-cache"), "miss");
    });
}

#[test]
fn changes_of_rights_and_policies_count_as_soon_as_they_are_told() {
    testkit::run(async {
        let board = Board::new("rights").await;
        let (ada, owner) = (board.user(1, &[]), board.test.owner().await);
        let ask = Ask::get("/rest/v1/posts?select=id&order=id").by(&ada);
        let same = async || board.cached.ask(&ask).await.essence() == board.plain.ask(&ask).await.essence();
        for change in [
            "revoke select on public.posts from authenticated",
            "grant select on public.posts to authenticated",
            "alter policy all_of_them on public.posts using (id < 3)",
            "drop policy all_of_them on public.posts",
            "create policy few on public.posts for select to authenticated using (id > 3)",
            "alter table public.posts disable row level security",
            "alter table public.posts alter title set default 'x'",
        ] {
            board.cached.ask(&ask).await;
            board.cached.ask(&ask).await;
            owner.batch_execute(change).await.unwrap();
            let deadline = Instant::now() + Duration::from_secs(5);
            while !same().await {
                assert!(Instant::now() < deadline, "never seen: {change}");
                sleep(Duration::from_millis(10)).await;
            }
        }
    });
}

#[test]
fn another_project_s_host_is_another_project() {
    testkit::run(async {
        let (board, other) = (Board::new("host").await, testkit::project("host").await);
        other.owner().await.batch_execute(
            "create table public.notes (id int primary key, body text); insert into public.notes values (1, 'theirs'); \
             grant select on public.notes to anon; notify pgrst",
        ).await.unwrap();
        let gate = Gate::open(&[&board.test, &other], Mode::On, cache()).await;
        let theirs = Ask::get(NOTES)
            .header("host", &format!("{}.localhost", other.project.reference))
            .header("apikey", other.project.keys.publishable.expose_secret());
        for _ in 0..3 {
            assert!(!gate.ask(&Ask::get(NOTES)).await.body.contains("theirs"));
            assert_eq!(gate.ask(&theirs).await.body, r#"[{"body":"theirs"}]"#);
        }
        assert_eq!(gate.ask(&theirs).await.header("x-cache"), "hit");
        // A write to one is none to the other.
        let ada = board.user(1, &[]);
        gate.ask(&Ask::write("POST", "/rest/v1/notes", r#"{"body":"x"}"#).by(&ada)).await;
        assert_eq!(gate.ask(&theirs).await.header("x-cache"), "hit");
        assert_eq!(gate.ask(&Ask::get(NOTES)).await.header("x-cache"), "miss");
        // The key of one project opens no answers of the other.
        let crossed = Ask::get(NOTES).header("host", &format!("{}.localhost", other.project.reference));
        assert_eq!(gate.ask(&crossed).await.status, 401);
    });
}

#[test]
fn a_token_that_has_expired_opens_no_answer_that_is_kept() {
    testkit::run(async {
        let board = Board::new("expired").await;
        // Long enough for two requests; on a busy machine that is longer.
        let (mut seen, mut expires, mut soon) = (String::new(), 0, String::new());
        for life in [2, 6, 18] {
            expires = crate::world::now() + life;
            soon = board.user(1, &[("exp", json!(expires))]);
            board.cached.ask(&Ask::get(NOTES).by(&soon)).await;
            seen = board.cached.ask(&Ask::get(NOTES).by(&soon)).await.header("x-cache").to_owned();
            if seen == "hit" {
                break;
            }
        }
        assert_eq!(seen, "hit");
        while crate::world::now() <= expires {
            sleep(Duration::from_millis(100)).await;
        }
        // Let in for some seconds more, as ever, but given nothing that was kept.
        let late = board.cached.ask(&Ask::get(NOTES).by(&soon)).await;
        assert_eq!((late.status, late.header("x-cache")), (200, "miss"));
        let gone = board.user(1, &[("exp", json!(crate::world::now() - 60))]);
        assert_eq!(board.cached.ask(&Ask::get(NOTES).by(&gone)).await.status, 401);
    });
}

/// Sessions of which one has ended.
#[derive(Debug)]
struct Ended(Uuid);

impl SessionCheck for Ended {
    fn remembered(&self, _: &Project, session: Uuid) -> Option<bool> {
        Some(session != self.0)
    }

    fn ask<'a>(&'a self, _: &'a Arc<Project>, _: Uuid) -> Asking<'a> {
        Box::pin(async { Ok(false) })
    }
}

#[test]
fn who_has_signed_out_of_a_strict_project_gets_nothing_that_was_kept() {
    testkit::run(async {
        let board = Board::new("strict").await;
        let gate = Gate::changed(&[&board.test], cache(), |project| {
            project.rest.response_cache = Mode::On;
            project.auth.strict_sessions = true;
        })
        .await;
        let (alive, ended) = (Uuid::new_v4(), Uuid::new_v4());
        gate.gateway.check_sessions(Arc::new(Ended(ended)));
        let of = |session: Uuid| token(&board.test.project, 1, &[("session_id", json!(session))]);
        for _ in 0..2 {
            assert_eq!(gate.ask(&Ask::get(NOTES).by(&of(alive))).await.status, 200);
            assert_eq!(gate.ask(&Ask::get(NOTES).by(&of(ended))).await.status, 401);
        }
        assert_eq!(gate.ask(&Ask::get(NOTES).by(&of(alive))).await.header("x-cache"), "hit");
    });
}

#[test]
fn sign_ins_and_outs_make_everything_new() {
    testkit::run(async {
        let board = Board::new("auth").await;
        let ada = board.user(1, &[]);
        let kept = async || board.cached.ask(&Ask::get(NOTES).by(&ada)).await.header("x-cache") == "hit";
        for (ask, is_write) in [
            (Ask::write("POST", "/auth/v1/token?grant_type=password", "{}"), true),
            (Ask::write("POST", "/auth/v1/logout", "").by(&ada), true),
            (Ask::get("/auth/v1/verify?token=x"), true),
            (Ask::get("/auth/v1/user").by(&ada), false),
            (Ask::get("/auth/v1/settings"), false),
            (Ask::get("/auth/v1/verify?a"), false),
            (Ask::write("POST", "/auth/v1/verify?a", "{}"), true),
            (Ask::get("/auth/v1/.well-known/none"), false),
        ] {
            kept().await;
            assert!(kept().await, "{ask:?}");
            board.cached.ask(&ask).await;
            assert_eq!(kept().await, !is_write, "{ask:?}");
        }
        board.cached.cache.invalidate(&board.test.project.reference).await;
        // The reference that the gateway knows the project by.
        assert!(!kept().await, "whoever learns of a change may say so");
    });
}

#[test]
fn the_host_that_http_2_names_is_seen_by_sql_and_makes_another_request() {
    testkit::run(async {
        let board = Board::new("authorities").await;
        let view = "create view public.seen as \
            select current_setting('request.headers', true)::json->>'host' as host; \
            grant select on public.seen to authenticated; notify pgrst";
        board.test.owner().await.batch_execute(view).await.unwrap();
        let (ada, address) = (board.user(1, &[]), board.cached.address);
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (client, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        let ask = async |host: &str| {
            let request = http::Request::get(format!("http://{host}/rest/v1/seen?select=host"))
                .header("apikey", &board.cached.key)
                .header("authorization", format!("Bearer {ada}"));
            let request = request.body(Body::empty()).unwrap();
            let answer = client.clone().send_request(request).await.unwrap();
            let kept = answer.headers().get("x-cache").map(|it| it.to_str().unwrap().to_owned());
            let status = answer.status().as_u16();
            let body = axum::body::to_bytes(Body::new(answer.into_body()), 9999).await.unwrap();
            (status, kept.unwrap_or_default(), String::from_utf8_lossy(&body).into_owned())
        };
        let hosts = [format!("127.0.0.1:{}", address.port()), format!("localhost:{}", address.port())];
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        while ask(&hosts[0]).await.0 != 200 {
            assert!(tokio::time::Instant::now() < deadline, "the view is not known");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        for round in 0..3 {
            for host in &hosts {
                let (_, kept, body) = ask(host).await;
                assert_eq!(body, format!(r#"[{{"host":"{host}"}}]"#));
                assert!(round == 0 || kept == "hit", "{round} {host}: {kept}");
            }
        }
    });
}
