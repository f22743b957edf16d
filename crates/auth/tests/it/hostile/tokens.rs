//! Access tokens that somebody else made: other algorithms, other keys, other headers, too much of everything.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use common::AuthSettings;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Api, Session};

fn part(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token with that header, signed with HMAC-SHA256 by `secret`.
fn hs256(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag))
}

/// What an attacker would like to be.
fn claims(api: &Api, session: &Session) -> Value {
    json!({"sub": session.user_id, "role": "service_role", "aud": "authenticated", "exp": api.now_secs() + 3600})
}

async fn refused(api: &Api, token: &str, what: &str) {
    for (method, path) in [(Method::GET, "/user"), (Method::GET, "/admin/users"), (Method::POST, "/logout")] {
        let answer = api.call(method, path, Some(token), Value::Null).await;
        assert_eq!(answer.refusal(), (403, "bad_jwt"), "{what} at {path}");
    }
}

#[test]
fn tokens_of_another_algorithm_are_refused() {
    testkit::run(async {
        let api = Api::new("hostile_alg", AuthSettings::default()).await;
        let session = api.sign_up("ada@example.com").await;
        let claims = claims(&api, &session);
        for name in ["none", "None", "NONE", "nOnE", "", "HS256 ", "HS0"] {
            let head = format!("{}.{}", part(&json!({"alg": name, "typ": "JWT"})), part(&claims));
            refused(&api, &format!("{head}."), name).await;
            refused(&api, &format!("{head}.AAAA"), name).await;
        }
        // The public key as the secret, in every shape that an attacker can have it.
        let jwks = api.project.jwt.jwks();
        let jwk = jwks["keys"][0].clone();
        assert_eq!(jwk["alg"], "ES256", "{jwks}");
        let bytes = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
        let point = [vec![4], bytes("x"), bytes("y")].concat();
        let prefix = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
        let prefix: Vec<u8> = (0..prefix.len())
            .step_by(2)
            .map(|it| u8::from_str_radix(&prefix[it..it + 2], 16).unwrap())
            .collect();
        let der = [prefix, point.clone()].concat();
        let document = BASE64_STANDARD.encode(&der);
        let (first, rest) = document.split_at(64);
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{first}\n{rest}\n-----END PUBLIC KEY-----\n");
        let shapes =
            [point, der, pem.clone().into_bytes(), pem.trim_end().into(), jwk.to_string().into_bytes()];
        for secret in shapes {
            for header in [json!({"alg": "HS256"}), json!({"alg": "HS256", "kid": jwk["kid"]})] {
                refused(&api, &hs256(&header, &claims, &secret), "public key as secret").await;
            }
        }
        // An ES256 signature of zeros, and none at all.
        let head = format!("{}.{}", part(&json!({"alg": "ES256", "kid": jwk["kid"]})), part(&claims));
        for signature in [BASE64_URL_SAFE_NO_PAD.encode([0; 64]), String::new(), "A".repeat(100_000)] {
            refused(&api, &format!("{head}.{signature}"), "empty ES256 signature").await;
        }
        assert_eq!(api.get("/user", Some(&session.access)).await.status, 200);
    });
}

#[test]
fn a_header_names_a_key_and_brings_none() {
    testkit::run(async {
        let api = Api::new("hostile_kid", AuthSettings::default()).await;
        let session = api.sign_up("ada@example.com").await;
        let claims = claims(&api, &session);
        let long = "k".repeat(50_000);
        let names = [
            json!("../../../../dev/null"),
            json!("../../etc/passwd"),
            json!("/proc/self/environ"),
            json!("' union select 'x' --"),
            json!("x'; drop table auth.users; --"),
            json!("http://evil.test/jwks.json"),
            json!("$(id)\u{0}\r\n"),
            json!(long),
            json!(null),
            json!(7),
            json!(["a"]),
            json!({"a": 1}),
        ];
        for kid in names {
            // What a file would hold if `kid` were one.
            for secret in [b"".as_slice(), b"\n", b"x", b"0"] {
                refused(&api, &hs256(&json!({"alg": "HS256", "kid": kid}), &claims, secret), "kid").await;
            }
        }
        let own =
            json!({"kty": "oct", "alg": "HS256", "kid": "mine", "k": BASE64_URL_SAFE_NO_PAD.encode("mine")});
        for (name, value) in [
            ("jwk", own.clone()),
            ("jku", json!("http://evil.test/jwks.json")),
            ("x5u", json!("http://evil.test/cert.pem")),
            ("x5c", json!(["AAAA"])),
            ("crit", json!(["b64"])),
        ] {
            let mut header = json!({"alg": "HS256", "kid": "mine"});
            header[name] = value;
            refused(&api, &hs256(&header, &claims, b"mine"), name).await;
        }
        assert_eq!(api.get("/user", Some(&session.access)).await.status, 200);
    });
}

#[test]
fn tokens_too_large_or_too_deep_are_refused() {
    testkit::run(async {
        let api = Api::new("hostile_size", AuthSettings::default()).await;
        let session = api.sign_up("ada@example.com").await;
        let claims = claims(&api, &session);
        let head = part(&json!({"alg": "HS256"}));
        let deep = BASE64_URL_SAFE_NO_PAD.encode(format!("{}{}", "[".repeat(200_000), "]".repeat(200_000)));
        for (token, what) in [
            (format!("{deep}.{}.AAAA", part(&claims)), "deep header"),
            (format!("{head}.{deep}.AAAA"), "deep claims"),
            (format!("{head}.{}.AAAA", "A".repeat(1_000_000)), "huge claims"),
            (".".repeat(100_000), "dots"),
            ("a.".repeat(100_000), "parts"),
        ] {
            refused(&api, &token, what).await;
        }
        // Deep claims under a right signature, as a custom claims hook could have made them.
        let mut nested = json!(1);
        for _ in 0..200 {
            nested = json!([nested]);
        }
        let mut claims = claims;
        claims["deep"] = nested;
        let signed = api.project.jwt.sign(claims.as_object().unwrap()).unwrap();
        refused(&api, &signed, "deep and signed").await;
    });
}
