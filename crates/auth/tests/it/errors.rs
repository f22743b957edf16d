//! The shapes of refusals, and what may not reach a handler.

use axum::body::Body;
use common::AuthSettings;
use http::Method;
use serde_json::json;

use crate::support::Api;

#[test]
fn the_api_version_chooses_the_shape_of_errors() {
    testkit::run(async {
        let api = Api::new("shapes", AuthSettings::default()).await;
        let body = json!({"email": "a@b.c", "password": "short"}).to_string();
        let message = "Password should be at least 6 characters.";
        let old = json!({"code": 422, "error_code": "weak_password", "msg": message, "weak_password": {"reasons": ["length"]}});
        let new =
            json!({"code": "weak_password", "message": message, "weak_password": {"reasons": ["length"]}});
        for (version, expected) in [
            (None, &old),
            (Some("2023-12-31"), &old),
            (Some("x"), &old),
            (Some("2024-01-01"), &new),
            (Some("2025-06-01"), &new),
        ] {
            let mut request = api.request(&Method::POST, "/signup", None);
            if let Some(version) = version {
                request = request.header("x-supabase-api-version", version);
            }
            let answer = api.send(request.body(Body::from(body.clone())).unwrap()).await;
            assert_eq!(answer.refusal(), (422, "weak_password"));
            assert_eq!(&answer.body, expected, "{version:?}");
            let echoed = answer.headers.get("x-supabase-api-version").map(|it| it.to_str().unwrap());
            assert_eq!(echoed, version.filter(|_| expected == &new));
        }
    });
}

#[test]
fn bodies_that_are_no_json_or_too_large_are_refused() {
    testkit::run(async {
        let api = Api::new("bodies", AuthSettings::default()).await;
        let send = |body: Vec<u8>| {
            api.send(
                api.request(&Method::POST, "/token?grant_type=password", None)
                    .body(Body::from(body))
                    .unwrap(),
            )
        };
        for bad in ["", "{", "[]", "\"x\"", "{\"email\": 1}", "{\"email\": \"\\ud800\"}", "\u{0}"] {
            let answer = send(bad.as_bytes().to_vec()).await;
            assert_eq!(answer.refusal(), (400, "bad_json"), "{bad}");
            let message = answer.body["msg"].as_str().unwrap();
            assert!(message.starts_with("Could not parse request body as JSON: "), "{message}");
        }
        assert_eq!(send(vec![0xff, 0xfe]).await.refusal(), (400, "bad_json"));
        let large = send(format!("{{\"email\": \"{}\"}}", "a".repeat(1024 * 1024)).into_bytes()).await;
        assert_eq!(large.refusal(), (413, "request_entity_too_large"));
        assert_eq!(large.body["msg"], "Request body too large (max 1048576 bytes)");
        let deep = send("[".repeat(100_000).into_bytes()).await;
        assert_eq!(deep.refusal(), (400, "bad_json"));
    });
}

#[test]
fn nul_bytes_do_not_reach_the_database_as_a_failure() {
    testkit::run(async {
        let api = Api::new("nul", AuthSettings::default()).await;
        let answer = api.sign_in("a\u{0}@b.c", "x").await;
        assert_eq!(answer.refusal(), (400, "validation_failed"));
        let body = json!({"email": "a@b.c", "password": "long enough", "data": {"x": "a\u{0}b"}});
        assert_eq!(api.post("/signup", body).await.refusal(), (400, "validation_failed"));
    });
}

#[test]
fn unknown_paths_and_methods_are_told_as_json() {
    testkit::run(async {
        let api = Api::new("paths", AuthSettings::default()).await;
        assert_eq!(api.get("/nothing", None).await.refusal(), (404, "not_found"));
        assert_eq!(api.get("/signup", None).await.refusal(), (405, "method_not_allowed"));
        let twice = api.post("/token?grant_type=magic&grant_type=other", json!({})).await;
        assert_eq!(twice.refusal(), (400, "invalid_credentials"));
        let bytes = api.get("/verify?type=%ff&token=%00", None).await;
        assert_eq!(bytes.refusal(), (400, "validation_failed"));
        let path = api.admin(Method::GET, "/admin/users/%ff", serde_json::Value::Null).await;
        assert_eq!(path.refusal(), (404, "validation_failed"));
    });
}

#[test]
fn a_trigger_that_refuses_a_user_is_a_failure_without_its_words() {
    testkit::run(async {
        let api = Api::new("trigger", AuthSettings::default()).await;
        // As people write it on Supabase: the project's owner puts a trigger on auth.users.
        api.test
            .owner()
            .await
            .batch_execute(
                "create function public.refuse() returns trigger language plpgsql security definer as \
                 $$ begin raise exception 'secret words'; end $$; \
                 create trigger refuse after insert on auth.users for each row execute function public.refuse()",
            )
            .await
            .unwrap();
        let answer = api.post("/signup", json!({"email": "a@b.c", "password": "long enough"})).await;
        assert_eq!(answer.refusal(), (500, "unexpected_failure"));
        assert_eq!(answer.body["msg"], "Database error saving new user");
        assert_eq!(answer.body["error_id"], "request-1");
    });
}

/// Status and code, which is told in an answer or, to browsers, in a redirect.
type Pair<'a> = (&'a str, &'a str);

const PAGE: &str = include_str!("../../../../docs/reference/errors-auth.md");

/// The files below `folder` of this crate, `.rs` only.
fn sources(folder: &str) -> Vec<String> {
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut texts = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                texts.push(std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    texts
}

/// What the errors of this crate say of themselves: `(S::FORBIDDEN, "bad_jwt")`.
fn answered(texts: &[String]) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for text in texts {
        for (at, prefix) in text.match_indices("(S::").chain(text.match_indices("(StatusCode::")) {
            let rest = &text[at + prefix.len()..];
            let Some((name, rest)) = rest.split_once(',') else { continue };
            let code = rest.trim_start().strip_prefix('"').and_then(|it| it.split_once("\")"));
            let (Some((code, _)), true) =
                (code, name.bytes().all(|it| it.is_ascii_uppercase() || it == b'_'))
            else {
                continue;
            };
            pairs.push((number(name).to_owned(), code.to_owned()));
        }
    }
    pairs.push(("403".to_owned(), "unknown".to_owned()));
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

fn number(name: &str) -> &'static str {
    match name {
        "BAD_REQUEST" => "400",
        "UNAUTHORIZED" => "401",
        "FORBIDDEN" => "403",
        "NOT_FOUND" => "404",
        "METHOD_NOT_ALLOWED" => "405",
        "CONFLICT" => "409",
        "PAYLOAD_TOO_LARGE" => "413",
        "UNPROCESSABLE_ENTITY" => "422",
        "TOO_MANY_REQUESTS" => "429",
        "INTERNAL_SERVER_ERROR" => "500",
        "SERVICE_UNAVAILABLE" => "503",
        other => panic!("{other} has no number here"),
    }
}

/// The cells of the tables before and after the heading of what is never answered.
fn tables() -> (Vec<Vec<&'static str>>, Vec<Vec<&'static str>>) {
    let (answered, never) = PAGE.split_once("## What we do not answer").unwrap();
    let rows = |text: &'static str| {
        let rows = text.lines().filter(|it| it.starts_with("| `"));
        rows.map(|it| it.trim_matches(['|', ' ']).split(" | ").collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    (rows(answered), rows(never))
}

fn pair<'a>(row: &[&'a str]) -> Pair<'a> {
    (row[1].trim_end_matches(" ↪"), row[0].trim_end_matches(" †").trim_matches('`'))
}

/// Whether `body`, the source of a test, expects that pair.
fn expects(body: &str, (status, code): Pair<'_>, in_redirect: bool) -> bool {
    if in_redirect {
        let read = ["location", "words(", "lost(", "refusal(&"].iter().any(|it| body.contains(it));
        return read
            && (body.contains(&format!("\"{code}\"")) || body.contains(&format!("error_code={code}")));
    }
    let compact: String = body.split_whitespace().collect::<Vec<_>>().join(" ");
    compact.contains(&format!("{status}, \"{code}\""))
}

/// Every pair that this crate answers has its row, and the row's test expects the pair.
#[test]
fn every_error_is_documented_and_produced() {
    let (rows, _) = tables();
    let mut documented: Vec<_> =
        rows.iter().map(|it| pair(it)).map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
    documented.sort_unstable();
    assert_eq!(answered(&sources("src")), documented);
    let tests = sources("tests/it");
    for row in &rows {
        let name = row.last().unwrap().trim_matches('`');
        let start = format!("#[test]\nfn {name}(");
        let body = tests.iter().find_map(|it| {
            // Attributes may stand between.
            let at = it.find(&start).or_else(|| it.find(&format!("]\nfn {name}(")))?;
            it[at..].split("\n}\n").next()
        });
        let body = body.unwrap_or_else(|| panic!("{row:?} names no test"));
        assert!(expects(body, pair(row), row[1].ends_with('↪')), "{name} does not expect {:?}", pair(row));
    }
}

/// Every pair of Supabase's auth service is answered and proved, or stands in the list of those that are not.
#[test]
fn every_error_of_supabase_is_answered_or_explained() {
    let (rows, never) = tables();
    let supabases = include_str!("errors.tsv");
    assert!(supabases.lines().count() > 100);
    for line in supabases.lines() {
        let wanted = line.split_once('\t').unwrap();
        let (proved, explained) =
            (rows.iter().any(|it| pair(it) == wanted), never.iter().any(|it| pair(it) == wanted));
        assert!(proved || explained, "{wanted:?} is neither answered nor explained");
        assert!(!(proved && explained), "{wanted:?} is answered: take it off the list");
    }
    for row in never {
        assert!(
            supabases.lines().any(|it| it.split_once('\t') == Some(pair(&row))),
            "{row:?} is no error of Supabase"
        );
    }
}
