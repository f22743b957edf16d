//! How a client proves who it is at the token endpoint: in a header, in the body, or (public ones) not at all.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, header};
use uuid::Uuid;

use crate::queries::{self, ClientRow};
use crate::request::Context;
use crate::{Auth, Error, OAuthError, secret};

/// A token request: the header, and the fields of the body.
pub(crate) struct TokenRequest {
    authorization: Option<String>,
    fields: BTreeMap<String, String>,
}

impl TokenRequest {
    /// A form, or JSON as some clients send it.
    ///
    /// # Errors
    /// [`OAuthError::Credentials`] when the body is neither.
    pub(crate) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, Error> {
        let text = |name| headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
        let fields = if text(header::CONTENT_TYPE).contains("application/json") {
            let parsed: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_slice(body);
            let parsed = parsed.map_err(|_| refused("failed to parse JSON body"))?;
            let texts = parsed.into_iter().filter_map(|(name, it)| Some((name, it.as_str()?.to_owned())));
            texts.collect()
        } else {
            url::form_urlencoded::parse(body).into_owned().collect()
        };
        let authorization = text(header::AUTHORIZATION).strip_prefix("Basic ").map(str::to_owned);
        Ok(Self { authorization, fields })
    }

    /// A field of the body that says something.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str).filter(|it| !it.is_empty())
    }

    /// Id, secret and the way they came.
    fn credentials(&self) -> Result<(String, String, &'static str), Error> {
        if let Some(encoded) = &self.authorization {
            let decoded = BASE64_STANDARD.decode(encoded).ok().and_then(|it| String::from_utf8(it).ok());
            let decoded = decoded.ok_or_else(|| refused("invalid basic auth encoding"))?;
            let (id, secret) = decoded.split_once(':').ok_or_else(|| refused("invalid basic auth format"))?;
            return Ok((unencoded(id), unencoded(secret), "client_secret_basic"));
        }
        let id = self.field("client_id").ok_or_else(|| refused("client_id is required"))?;
        let secret = self.field("client_secret").unwrap_or_default();
        let method = if secret.is_empty() { "none" } else { "client_secret_post" };
        Ok((id.to_owned(), secret.to_owned(), method))
    }
}

/// Both halves are form-encoded before they are joined (RFC 6749 §2.3.1); ours have nothing to encode.
fn unencoded(text: &str) -> String {
    let form = format!("x={}", text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D"));
    url::form_urlencoded::parse(form.as_bytes()).next().map(|it| it.1.into_owned()).unwrap_or_default()
}

fn refused(why: &str) -> Error {
    OAuthError::Credentials(format!("Invalid client credentials: {why}").into()).into()
}

/// The client that the request comes from.
pub(crate) async fn client(auth: &Auth, ctx: &Context, request: &TokenRequest) -> Result<ClientRow, Error> {
    let (id, given, method) = request.credentials()?;
    let bad = |why: &'static str| Error::from(OAuthError::Credentials(why.into()));
    let id: Uuid = id.parse().map_err(|_| bad("Invalid client_id format"))?;
    let client = {
        let db = auth.database(&ctx.project).await?;
        queries::client(&db, id).await?.ok_or_else(|| bad("Invalid client credentials"))?
    };
    if client.token_endpoint_auth_method != method {
        let text = format!(
            "invalid authentication method: client is registered for '{}' but '{method}' was used",
            client.token_endpoint_auth_method
        );
        return Err(OAuthError::Credentials(text.into()).into());
    }
    if !client.is_confidential() {
        let free = given.is_empty();
        return if free { Ok(client) } else { Err(bad("public clients must not provide client_secret")) };
    }
    if given.is_empty() {
        return Err(bad("confidential clients must provide client_secret"));
    }
    let stored = client.client_secret_hash.as_deref().unwrap_or_default();
    if stored.is_empty() || !secret::same(&secret::s256(&given), stored) {
        return Err(bad("invalid client credentials"));
    }
    Ok(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(authorization: &str, body: &str) -> Result<(String, String, &'static str), String> {
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        }
        if body.starts_with('{') {
            headers.insert(header::CONTENT_TYPE, "application/json; charset=utf-8".parse().unwrap());
        }
        let request = TokenRequest::parse(&headers, body.as_bytes()).map_err(|it| it.to_string())?;
        request.credentials().map_err(|it| it.to_string())
    }

    #[test]
    fn credentials_come_in_three_ways() {
        let found = |id: &str, secret: &str, way| Ok((id.to_owned(), secret.to_owned(), way));
        assert_eq!(check("Basic YTpiOmM=", "client_id=x"), found("a", "b:c", "client_secret_basic"));
        assert_eq!(check("Basic YTpiJTJGYw==", ""), found("a", "b/c", "client_secret_basic"));
        assert_eq!(check("", "client_id=a&client_secret=b"), found("a", "b", "client_secret_post"));
        assert_eq!(check("", r#"{"client_id": "a"}"#), found("a", "", "none"));
        for (authorization, body, why) in [
            ("", "", "client_id is required"),
            ("Bearer x", "", "client_id is required"),
            ("Basic %", "", "invalid basic auth encoding"),
            ("Basic YQ==", "", "invalid basic auth format"),
            ("", "{", "failed to parse JSON body"),
        ] {
            assert_eq!(check(authorization, body), Err(format!("Invalid client credentials: {why}")));
        }
    }
}
