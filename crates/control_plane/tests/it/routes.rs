//! Every route × persona → status, as one table; and how tokens and bodies are judged.

use std::fmt::Write as _;

use control_plane::router;
use http::Method;
use serde_json::{Value, json};
use testkit::run;

use crate::{Installation, TOKEN, send};

/// Method, path, body; the project `gone` does not exist.
const CALLS: &[(Method, &str, &str)] = &[
    (Method::GET, "/health", ""),
    (Method::GET, "/ready", ""),
    (Method::GET, "/api/v1/projects", ""),
    (Method::POST, "/api/v1/projects", r#"{"ref": "Not A Ref"}"#),
    (Method::POST, "/api/v1/projects", r#"{"ref": "default"}"#),
    (Method::GET, "/api/v1/projects/default", ""),
    (Method::GET, "/api/v1/projects/gone", ""),
    (Method::GET, "/api/v1/projects/Not_A_Ref", ""),
    (Method::PATCH, "/api/v1/projects/default", r#"{"name": "Ours"}"#),
    (Method::PATCH, "/api/v1/projects/gone", r#"{"name": "Ours"}"#),
    (Method::DELETE, "/api/v1/projects/default", ""),
    (Method::DELETE, "/api/v1/projects/gone", ""),
    (Method::GET, "/api/v1/projects/default/keys", ""),
    (Method::GET, "/api/v1/projects/gone/keys", ""),
    (Method::POST, "/api/v1/projects/default/keys/rotate", ""),
    (Method::POST, "/api/v1/projects/gone/keys/rotate", ""),
    (Method::POST, "/api/v1/projects/default/keys/replace-jwt-secret", ""),
    (Method::POST, "/api/v1/projects/gone/keys/replace-jwt-secret", ""),
    (Method::GET, "/api/v1/projects/default/settings", ""),
    (Method::PATCH, "/api/v1/projects/default/settings", r#"{"auth": {"disable_signup": true}}"#),
    (Method::PATCH, "/api/v1/projects/gone/settings", r#"{"auth": {"disable_signup": true}}"#),
    (Method::GET, "/api/v1/projects/default/mail/invite/preview", ""),
    (Method::POST, "/api/v1/projects/default/mail/invite/preview", r#"{"subject": "x"}"#),
    (Method::POST, "/api/v1/projects/default/mail/invite/preview", r#"{"content": "{{ .Token"}"#),
    (Method::GET, "/api/v1/projects/default/mail/letter/preview", ""),
    (Method::GET, "/api/v1/projects/default/signing-keys", ""),
    (Method::POST, "/api/v1/projects/default/signing-keys/rotate", ""),
    (Method::POST, "/api/v1/projects/default/signing-keys", "{}"),
    (Method::POST, "/api/v1/projects/default/signing-keys/rotate", ""),
    (Method::POST, "/api/v1/projects/default/signing-keys/nobody/revoke", ""),
    (Method::POST, "/api/v1/projects/gone/signing-keys", "{}"),
    (Method::GET, "/api/v1/inbox", ""),
    (Method::DELETE, "/api/v1/inbox", ""),
    (Method::GET, "/api/v1/audit", ""),
    (Method::GET, "/api/v1/certificates", ""),
    (Method::GET, "/api/v1/audit?limit=0", ""),
    (Method::GET, "/api/v1/audit?project=%00", ""),
    (Method::PUT, "/api/v1/projects", ""),
    (Method::GET, "/api/v1/nothing", ""),
    (Method::GET, "/nothing", ""),
    (Method::POST, "/health", ""),
];

#[test]
fn every_route_answers_every_persona_as_listed() {
    run(async {
        let plane = Installation::new().start(Vec::new()).await.unwrap();
        let default = plane.project(&"default".parse().unwrap()).await.unwrap().unwrap();
        let router = router(plane);
        // The key that opens everything of a project opens nothing here.
        let service_role = secrecy::ExposeSecret::expose_secret(&default.keys.service_role);
        let personas = [None, Some("wrong"), Some(service_role), Some(TOKEN)];
        let mut table = String::from("nobody | wrong | service_role | admin\n");
        for (method, path, body) in CALLS {
            let body: Option<Value> = (!body.is_empty()).then(|| serde_json::from_str(body).unwrap());
            let mut row = Vec::new();
            for token in personas {
                row.push(send(&router, token, (method.clone(), path), body.as_ref()).await.short());
            }
            writeln!(table, "{method} {path}: {}", row.join(" | ")).unwrap();
        }
        insta::assert_snapshot!(table, @r"
        nobody | wrong | service_role | admin
        GET /health: 200 | 200 | 200 | 200
        GET /ready: 200 | 200 | 200 | 200
        GET /api/v1/projects: 401 CP200 | 401 CP200 | 401 CP200 | 200
        POST /api/v1/projects: 401 CP200 | 401 CP200 | 401 CP200 | 400 CP101
        POST /api/v1/projects: 401 CP200 | 401 CP200 | 401 CP200 | 409 CP303
        GET /api/v1/projects/default: 401 CP200 | 401 CP200 | 401 CP200 | 200
        GET /api/v1/projects/gone: 401 CP200 | 401 CP200 | 401 CP200 | 404 CP302
        GET /api/v1/projects/Not_A_Ref: 401 CP200 | 401 CP200 | 401 CP200 | 400 CP104
        PATCH /api/v1/projects/default: 401 CP200 | 401 CP200 | 401 CP200 | 200
        PATCH /api/v1/projects/gone: 401 CP200 | 401 CP200 | 401 CP200 | 404 CP302
        DELETE /api/v1/projects/default: 401 CP200 | 401 CP200 | 401 CP200 | 409 CP306
        DELETE /api/v1/projects/gone: 401 CP200 | 401 CP200 | 401 CP200 | 404 CP302
        GET /api/v1/projects/default/keys: 401 CP200 | 401 CP200 | 401 CP200 | 200
        GET /api/v1/projects/gone/keys: 401 CP200 | 401 CP200 | 401 CP200 | 404 CP302
        POST /api/v1/projects/default/keys/rotate: 401 CP200 | 401 CP200 | 401 CP200 | 200
        POST /api/v1/projects/gone/keys/rotate: 401 CP200 | 401 CP200 | 401 CP200 | 404 CP302
        POST /api/v1/projects/default/keys/replace-jwt-secret: 401 CP200 | 401 CP200 | 401 CP200 | 200
        POST /api/v1/projects/gone/keys/replace-jwt-secret: 401 CP200 | 401 CP200 | 401 CP200 | 404 CP302
        GET /api/v1/projects/default/settings: 401 CP200 | 401 CP200 | 401 CP200 | 200
        PATCH /api/v1/projects/default/settings: 401 CP200 | 401 CP200 | 401 CP200 | 200
        PATCH /api/v1/projects/gone/settings: 401 CP200 | 401 CP200 | 401 CP200 | 404 CP302
        GET /api/v1/projects/default/mail/invite/preview: 401 CP200 | 401 CP200 | 401 CP200 | 200
        POST /api/v1/projects/default/mail/invite/preview: 401 CP200 | 401 CP200 | 401 CP200 | 200
        POST /api/v1/projects/default/mail/invite/preview: 401 CP200 | 401 CP200 | 401 CP200 | 400 CP101
        GET /api/v1/projects/default/mail/letter/preview: 401 CP200 | 401 CP200 | 401 CP200 | 400 CP105
        GET /api/v1/projects/default/signing-keys: 401 CP200 | 401 CP200 | 401 CP200 | 200
        POST /api/v1/projects/default/signing-keys/rotate: 401 CP200 | 401 CP200 | 401 CP200 | 409 CP311
        POST /api/v1/projects/default/signing-keys: 401 CP200 | 401 CP200 | 401 CP200 | 201
        POST /api/v1/projects/default/signing-keys/rotate: 401 CP200 | 401 CP200 | 401 CP200 | 200
        POST /api/v1/projects/default/signing-keys/nobody/revoke: 401 CP200 | 401 CP200 | 401 CP200 | 404 CP310
        POST /api/v1/projects/gone/signing-keys: 401 CP200 | 401 CP200 | 401 CP200 | 404 CP302
        GET /api/v1/inbox: 401 CP200 | 401 CP200 | 401 CP200 | 200
        DELETE /api/v1/inbox: 401 CP200 | 401 CP200 | 401 CP200 | 204
        GET /api/v1/audit: 401 CP200 | 401 CP200 | 401 CP200 | 200
        GET /api/v1/certificates: 401 CP200 | 401 CP200 | 401 CP200 | 200
        GET /api/v1/audit?limit=0: 401 CP200 | 401 CP200 | 401 CP200 | 400 CP105
        GET /api/v1/audit?project=%00: 401 CP200 | 401 CP200 | 401 CP200 | 400 CP105
        PUT /api/v1/projects: 401 CP200 | 401 CP200 | 401 CP200 | 405 CP301
        GET /api/v1/nothing: 401 CP200 | 401 CP200 | 401 CP200 | 404 CP300
        GET /nothing: 404 CP300 | 404 CP300 | 404 CP300 | 404 CP300
        POST /health: 405 CP301 | 405 CP301 | 405 CP301 | 405 CP301
        ");
    });
}

#[test]
fn the_token_is_taken_as_http_says() {
    run(async {
        let it = Installation::new();
        let router = router(it.start(Vec::new()).await.unwrap());
        let cases = [
            (format!("Bearer {TOKEN}"), "200"),
            (format!("bearer  {TOKEN} "), "200"),
            (TOKEN.to_owned(), "401 CP200"),
            (format!("Basic {TOKEN}"), "401 CP200"),
            (format!("Bearer {}", &TOKEN[1..]), "401 CP200"),
            (format!("Bearer {TOKEN}x"), "401 CP200"),
            ("Bearer ".to_owned(), "401 CP200"),
            ("Bearer".to_owned(), "401 CP200"),
        ];
        for (header, wanted) in cases {
            let request = http::Request::get("/api/v1/inbox").header("authorization", &header);
            let reply = crate::reply(&router, request.body(axum::body::Body::empty()).unwrap()).await;
            assert_eq!(reply.short(), wanted, "{header}");
        }
    });
}

#[test]
fn bad_bodies_are_each_told_apart() {
    run(async {
        let it = Installation::new();
        let router = router(it.start(Vec::new()).await.unwrap());
        let huge = json!({"ref": "a", "name": "x".repeat(1024 * 1024)}).to_string();
        let cases: [(&str, &str, &str); 8] = [
            ("application/json", "{", "400 CP100"),
            ("application/json", "", "400 CP100"),
            ("application/json", "[]", "400 CP101"),
            ("application/json", r#"{"ref": "a", "nmae": "b"}"#, "400 CP101"),
            ("application/json", r#"{"name": "b"}"#, "400 CP101"),
            ("application/json; charset=utf-8", r#"{"ref": "a'b"}"#, "400 CP101"),
            ("text/plain", r#"{"ref": "a"}"#, "415 CP102"),
            ("application/json", &huge, "413 CP103"),
        ];
        for (media_type, body, wanted) in cases {
            let request = http::Request::post("/api/v1/projects")
                .header("authorization", format!("Bearer {TOKEN}"))
                .header("content-type", media_type)
                .body(axum::body::Body::from(body.to_owned()));
            let reply = crate::reply(&router, request.unwrap()).await;
            assert_eq!(reply.short(), wanted, "{} bytes", body.len());
            let error = &reply.body["error"];
            assert!(error["message"].is_string() && error["next"].is_string(), "{error}");
        }
    });
}

#[test]
fn a_control_database_that_is_gone_is_503_with_retry_after() {
    run(async {
        let it = Installation::new();
        let router = router(it.start(Vec::new()).await.unwrap());
        let server = testkit::server().await.store();
        let client = server.admin(server.database().unwrap_or("postgres")).await.unwrap();
        client
            .batch_execute(&format!("drop database {} with (force)", it.config.control_database))
            .await
            .unwrap();
        assert_eq!(send(&router, None, (Method::GET, "/health"), None).await.short(), "200");
        assert_eq!(send(&router, None, (Method::GET, "/ready"), None).await.short(), "503 CP900");
        let listing = send(&router, Some(TOKEN), (Method::GET, "/api/v1/projects"), None).await;
        assert_eq!(listing.short(), "503 CP900");
        assert!(!listing.body.to_string().contains(&it.config.control_database), "no names of ours");
    });
}
