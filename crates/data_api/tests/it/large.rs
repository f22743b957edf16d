//! Large answers, which come in pieces, are what small ones are: whole, of the announced length, with all headers.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use common::{Caller, Project, RestSettings};
use data_api::{Config, DataApi};
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use testkit::TestProject;
use tower::ServiceExt as _;

/// Functions whose answer is as large as they are told.
const SEED: &str = "
    create table pieces (id int primary key, pad text);
    create function rows_of(n int) returns setof pieces language sql stable
        as 'select i, repeat(''x'', 1000) from generate_series(1, n) i';
    create function text_of(n int) returns text language sql stable as 'select repeat(''é'', n)';
    create domain \"application/octet-stream\" as bytea;
    create function bytes_of(n int) returns \"application/octet-stream\" language sql stable
        as 'select convert_to(repeat(''abc'', n), ''UTF8'')';
    create domain \"application/vnd.notes\" as jsonb;
    create function notes_of(n int) returns \"application/vnd.notes\" language sql stable
        as 'select to_jsonb(repeat(''n'', n))';
    create function told(n int) returns setof pieces language plpgsql as $$ begin
        perform set_config('response.headers', '[{\"x-told\": \"early\"}]', true);
        perform set_config('response.status', '418', true);
        return query select * from rows_of(n);
    end $$;
    create function failing() returns text language plpgsql as $$ begin
        insert into pieces values (-1, ''), (-1, '');
        return repeat('x', 1000000);
    end $$;
    grant all on pieces to service_role; grant execute on all functions in schema public to service_role";

/// More rows than a small answer has.
const MANY: usize = 2000;

struct Api {
    test: TestProject,
    project: Arc<Project>,
    router: Router,
}

impl Api {
    async fn new(name: &str) -> Self {
        let test = testkit::project(name).await;
        test.owner().await.batch_execute(SEED).await.unwrap();
        let project = Arc::new(Project {
            rest: RestSettings { db_max_rows: None, ..RestSettings::default() },
            ..(*test.project).clone()
        });
        let router = crate::support::router(DataApi::new(Config::default(), test.databases.clone()));
        Self { test, project, router }
    }

    /// Method, path and headers, one a line, as the service role. The body is as long as the answer says.
    async fn ask(&self, head: &str, body: String) -> (u16, HeaderMap, Bytes) {
        let caller: Caller = self.test.caller("service_role");
        let mut lines = head.lines().map(str::trim);
        let (method, uri) = lines.next().unwrap().split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in lines.filter_map(|it| it.split_once(": ")) {
            request = request.header(name, value);
        }
        let request = request.extension(Arc::clone(&self.project)).extension(caller);
        let answer = self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let (parts, body) = answer.into_parts();
        let hint = http_body::Body::size_hint(&body).exact();
        let body = body.collect().await.unwrap().to_bytes();
        assert_eq!(hint, Some(body.len() as u64), "{head}");
        if let Some(announced) = parts.headers.get("content-length").filter(|_| method != "HEAD") {
            assert_eq!(announced, &body.len().to_string(), "{head}");
        }
        (parts.status.as_u16(), parts.headers, body)
    }

    async fn get(&self, head: &str) -> (u16, HeaderMap, Bytes) {
        self.ask(head, String::new()).await
    }
}

/// For messages.
fn begin(body: &Bytes) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(body.get(..body.len().min(200)).unwrap_or_default())
}

fn rows(count: usize) -> String {
    let pad = "x".repeat(1000);
    let rows: Vec<_> = (1..=count).map(|id| format!(r#"{{"id":{id},"pad":"{pad}"}}"#)).collect();
    format!("[{}]", rows.join(", \n "))
}

#[test]
fn a_large_answer_differs_from_a_small_one_in_length_only() {
    testkit::run(async {
        let api = Api::new("large").await;
        for count in [2, MANY] {
            let (status, headers, body) = api.get(&format!("GET /rpc/rows_of?n={count}")).await;
            assert_eq!(
                (status, headers["content-range"].to_str().unwrap()),
                (200, &*format!("0-{}/*", count - 1))
            );
            let same = serde_json::from_slice::<serde_json::Value>(&body).unwrap()
                == serde_json::from_str::<serde_json::Value>(&rows(count)).unwrap();
            assert!(same, "{count} rows");

            let (status, _, body) = api.get(&format!("GET /rpc/text_of?n={}", count * 500)).await;
            let expected = format!("\"{}\"", "é".repeat(count * 500));
            assert!(status == 200 && body == expected, "{status}: {}", begin(&body));

            let head = format!("GET /rpc/bytes_of?n={}\naccept: application/octet-stream", count * 500);
            let (status, _, body) = api.get(&head).await;
            assert!(status == 200 && body == "abc".repeat(count * 500), "{status}: {}", begin(&body));

            // As PostgreSQL sends `jsonb` in binary: its version goes before it.
            let head = format!("GET /rpc/notes_of?n={}\naccept: application/vnd.notes", count * 500);
            let (status, _, body) = api.get(&head).await;
            let expected = format!("\u{1}\"{}\"", "n".repeat(count * 500));
            assert!(status == 200 && body == expected, "{status}: {}", begin(&body));

            let (status, headers, body) = api.get(&format!("HEAD /rpc/rows_of?n={count}")).await;
            assert_eq!((status, body.len()), (200, 0));
            assert_eq!(headers["content-range"], format!("0-{}/*", count - 1));

            let call = "POST /rpc/told\ncontent-type: application/json";
            let (status, headers, body) = api.ask(call, format!(r#"{{"n":{count}}}"#)).await;
            assert_eq!((status, headers["x-told"].to_str().unwrap()), (418, "early"));
            assert!(body.len() > count * 1000);
        }
    });
}

#[test]
fn what_is_decided_by_the_number_of_rows_is_decided_before_a_large_body() {
    testkit::run(async {
        let api = Api::new("large_checks").await;
        let single = format!("GET /rpc/rows_of?n={MANY}\naccept: application/vnd.pgrst.object+json");
        let (status, _, body) = api.get(&single).await;
        assert!(status == 406 && body.starts_with(b"{\"code\":\"PGRST116\""), "{status}");

        let insert = "POST /pieces\ncontent-type: application/json\nprefer: return=representation";
        let (status, _, body) = api.ask(insert, rows(MANY)).await;
        assert!(status == 201 && body.len() > MANY * 1000, "{status}: {} bytes", body.len());
        let (_, headers, body) = api.get("GET /pieces?limit=1999\nprefer: count=exact").await;
        assert_eq!(headers["content-range"], format!("0-1998/{MANY}"));
        assert!(body.len() > 1999 * 1000);
        let (status, _, body) = api.get("GET /pieces?offset=5000\nprefer: count=exact").await;
        assert!(status == 416 && body.starts_with(b"{\"code\":\"PGRST103\""), "{status}");
        // The planner is asked after the rows, with the large answer waiting.
        let (_, headers, body) = api.get("GET /pieces\nprefer: count=planned").await;
        assert!(headers["content-range"].to_str().unwrap().starts_with("0-1999/"), "{headers:?}");
        assert!(body.len() > MANY * 1000);

        let update = |limit: usize| {
            format!(
                "PATCH /pieces?id=gt.0\ncontent-type: application/json\nprefer: return=representation, handling=strict, max-affected={limit}"
            )
        };
        let pad = |it: &str| format!(r#"{{"pad":"{}"}}"#, it.repeat(1000));
        let (status, _, body) = api.ask(&update(10), pad("y")).await;
        assert!(status == 400 && body.starts_with(b"{\"code\":\"PGRST124\""), "{status}");
        let (status, _, body) = api.ask(&update(MANY), pad("z")).await;
        assert!(status == 200 && body.len() > MANY * 1000, "{status}: {} bytes", body.len());
        let (_, undone, _) = api.get("HEAD /pieces?pad=like.y*\nprefer: count=exact").await;
        assert_eq!(undone["content-range"], "*/0");

        let (status, _, body) =
            api.ask("POST /rpc/failing\ncontent-type: application/json", "{}".into()).await;
        assert!(status == 409 && body.starts_with(b"{\"code\":\"23505\""), "{status}");
    });
}
