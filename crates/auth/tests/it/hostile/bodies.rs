//! Bodies that are too large, too deep or too odd, at every route that takes one, also behind a right token.

use http::Method;
use serde_json::{Value, json};

use super::confirming;
use crate::support::{Api, PASSWORD};

const ROUTES: [(Method, &str); 12] = [
    (Method::POST, "/signup"),
    (Method::POST, "/token?grant_type=password"),
    (Method::POST, "/token?grant_type=refresh_token"),
    (Method::POST, "/token?grant_type=pkce"),
    (Method::POST, "/token?grant_type=id_token"),
    (Method::POST, "/token?grant_type=web3"),
    (Method::POST, "/otp"),
    (Method::POST, "/recover"),
    (Method::POST, "/resend"),
    (Method::POST, "/verify"),
    (Method::PUT, "/user"),
    (Method::POST, "/factors"),
];

#[test]
fn no_body_stops_the_server() {
    testkit::run(async {
        let api = Api::new("hostile_bodies", confirming()).await;
        let auto = api.with(common::AuthSettings { mailer_autoconfirm: true, ..confirming() });
        let session = auto.sign_up("ada@example.com").await;
        let huge = format!("{{\"email\": \"{}\"}}", "a".repeat(2 * 1024 * 1024));
        let deep = format!("{{\"data\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let many =
            format!("{{{}\"email\": 1}}", (0..50_000).map(|it| format!("\"k{it}\":1,")).collect::<String>());
        let odd = [
            "",
            "null",
            "[]",
            "0",
            "\"x\"",
            "{\"email\": {\"$ne\": null}}",
            "{\"data\": 1e999}",
            "\u{feff}{}",
        ];
        for (method, path) in ROUTES {
            let send = |body: String| {
                let bearer = Some(session.access.as_str());
                api.send(api.request(&method, path, bearer).body(body.into()).unwrap())
            };
            assert_eq!(send(huge.clone()).await.refusal(), (413, "request_entity_too_large"), "{path}");
            let answer = send(deep.clone()).await;
            assert!(
                matches!(answer.refusal(), (400, "bad_json" | "validation_failed")),
                "{path}: {}",
                answer.body
            );
            for body in odd.iter().map(|it| (*it).to_owned()).chain([many.clone()]) {
                let answer = send(body.clone()).await;
                let status = answer.status.as_u16();
                assert!(
                    (400..500).contains(&status) || status == 200,
                    "{path} {:.40}: {}",
                    body,
                    answer.body
                );
            }
        }
        assert_eq!(api.get("/user", Some(&session.access)).await.status, 200);
    });
}

#[test]
fn metadata_is_bounded_in_size_and_depth() {
    testkit::run(async {
        let api = Api::new("hostile_metadata", confirming()).await;
        let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        let sign_up = |name: &str, data: Value| {
            let body = json!({"email": format!("{name}@example.com"), "password": PASSWORD, "data": data});
            api.post("/signup", body)
        };
        assert_eq!(sign_up("flat", json!({"pet": nested(20)})).await.status, 200);
        assert_eq!(sign_up("deep", json!({"pet": nested(500)})).await.refusal(), (400, "bad_json"));
        let large = sign_up("large", json!({"pet": "c".repeat(900_000)})).await;
        assert_eq!(large.refusal(), (422, "validation_failed"));
    });
}
