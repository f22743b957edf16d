//! A provider's code for its tokens (RFC 6749 §4.1.3).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use serde_json::Value;

use super::{Failure, Outbound, Provider};

/// What a provider gave for its code.
#[derive(Clone)]
pub(crate) struct Granted {
    pub(crate) access_token: String,
    pub(crate) refresh_token: Option<String>,
    pub(super) id_token: Option<String>,
    /// The whole answer: some tell there who the user is.
    pub(super) document: Value,
}

/// Exchange `code`, which was sent to `redirect_uri`.
pub(super) async fn run(
    http: &Outbound,
    provider: &Provider,
    (code, redirect_uri): (&str, &str),
    verifier: Option<&str>,
) -> Result<Granted, Failure> {
    let mut form = vec![("grant_type", "authorization_code"), ("code", code), ("redirect_uri", redirect_uri)];
    if let Some(verifier) = verifier {
        form.push(("code_verifier", verifier));
    }
    let authorization = if provider.basic && !provider.secret.is_empty() {
        Some(basic(&provider.client_id, &provider.secret)?)
    } else {
        form.push(("client_id", &provider.client_id));
        if !provider.secret.is_empty() {
            form.push(("client_secret", &provider.secret));
        }
        None
    };
    let document = http.post(provider.trust, &provider.token, &form, authorization).await?;
    let text = |name: &str| {
        document.get(name).and_then(Value::as_str).filter(|it| !it.is_empty()).map(str::to_owned)
    };
    Ok(Granted {
        access_token: text("access_token")
            .ok_or_else(|| Failure::new("the provider gave no access token"))?,
        refresh_token: text("refresh_token"),
        id_token: text("id_token"),
        document,
    })
}

/// Both halves are form-encoded before they are joined (RFC 6749 §2.3.1).
fn basic(client_id: &str, secret: &str) -> Result<HeaderValue, Failure> {
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let joined = format!("{}:{}", encoded(client_id), encoded(secret));
    let mut value = HeaderValue::from_str(&format!("Basic {}", BASE64_STANDARD.encode(joined)))
        .map_err(|_| Failure::new("the client id is no text"))?;
    value.set_sensitive(true);
    Ok(value)
}
