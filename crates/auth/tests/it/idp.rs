//! An identity provider on a port of its own: what it answers is set by the test, what it was asked is kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use common::jwt::{Key, KeyRing};
use http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};

/// One request that it got.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) form: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct Idp {
    pub(crate) url: String,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    pages: HashMap<String, (StatusCode, Value)>,
    seen: Vec<Seen>,
    keys: KeyRing,
}

impl Idp {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let keys = ring("key-1");
        let shared = Shared { pages: HashMap::new(), seen: Vec::new(), keys };
        let idp = Self { url, shared: Arc::new(Mutex::new(shared)) };
        let router = Router::new().fallback(answer).with_state(idp.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        idp.page("/.well-known/openid-configuration", &idp.metadata());
        idp.publish_keys();
        idp
    }

    pub(crate) fn metadata(&self) -> Value {
        let url = &self.url;
        json!({
            "issuer": url, "authorization_endpoint": format!("{url}/auth"), "jwks_uri": format!("{url}/jwks"),
            "token_endpoint": format!("{url}/token"), "userinfo_endpoint": format!("{url}/userinfo"),
        })
    }

    pub(crate) fn page(&self, path: &str, body: &Value) {
        self.page_with(path, 200, body);
    }

    pub(crate) fn page_with(&self, path: &str, status: u16, body: &Value) {
        let status = StatusCode::from_u16(status).unwrap();
        self.shared.lock().unwrap().pages.insert(path.to_owned(), (status, body.clone()));
    }

    fn publish_keys(&self) {
        let keys = self.shared.lock().unwrap().keys.jwks();
        self.page("/jwks", &keys);
    }

    /// Sign with another key from now on.
    pub(crate) fn rotate(&self, kid: &str) {
        self.shared.lock().unwrap().keys = ring(kid);
        self.publish_keys();
    }

    /// An ID token of `claims` over the usual ones.
    pub(crate) fn id_token(&self, claims: Value) -> String {
        let now = jiff::Timestamp::now().as_second();
        let mut all = json!({"iss": self.url, "aud": "app", "sub": "user-1", "iat": now, "exp": now + 600});
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        let all = all.as_object().unwrap().iter().filter(|it| !it.1.is_null());
        let all = all.map(|(name, value)| (name.clone(), value.clone())).collect();
        self.shared.lock().unwrap().keys.sign(&all).unwrap()
    }

    /// Answer the token endpoint at `path` with an access token and `more`.
    pub(crate) fn grants(&self, path: &str, more: Value) {
        let mut answer = json!({"access_token": "provider-access", "token_type": "bearer"});
        for (name, value) in more.as_object().unwrap() {
            answer[name] = value.clone();
        }
        self.page(path, &answer);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.lock().unwrap().seen.clone()
    }

    pub(crate) fn seen_at(&self, path: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|it| it.path == path).collect()
    }
}

fn ring(kid: &str) -> KeyRing {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let document = BASE64_STANDARD.encode(pair.to_pkcs8v1().unwrap().as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{document}\n-----END PRIVATE KEY-----\n");
    KeyRing::new(vec![Key::from_es256(kid, &pem, pair.public_key().as_ref()).unwrap()])
}

async fn answer(State(idp): State<Idp>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mut shared = idp.shared.lock().unwrap();
    let form = url::form_urlencoded::parse(&body).into_owned().collect();
    let (path, query) = (uri.path().to_owned(), uri.query().unwrap_or_default().to_owned());
    shared.seen.push(Seen { path: path.clone(), query, headers, form, body: body.to_vec() });
    match shared.pages.get(&path) {
        Some((status, Value::String(text))) if status.is_redirection() => {
            (*status, [("location", text.clone())]).into_response()
        }
        Some((status, Value::String(text))) => (*status, text.clone()).into_response(),
        Some((status, body)) => (*status, axum::Json(body.clone())).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
