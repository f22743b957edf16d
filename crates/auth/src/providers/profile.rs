//! What a provider tells about a user, in one form for all: a subject, addresses, claims.

use aws_lc_rs::hmac;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::mapping;
use super::oidc::{Expected, TokenError};
use super::resolve::{IdTokens, Source};
use super::table::{At, Emails};
use super::{Failure, Granted, Provider, Providers};
use crate::user::{Object, object};

/// What an ID token says about itself rather than about the user.
const PROTOCOL_CLAIMS: &[&str] = &[
    "aio",
    "at_hash",
    "aud",
    "c_hash",
    "email",
    "email_verified",
    "exp",
    "iat",
    "iss",
    "jti",
    "name",
    "nbf",
    "nonce",
    "preferred_username",
    "rh",
    "sub",
    "uti",
    "ver",
];
const MAX_EMAILS: usize = 100;
const MAX_EMAIL: usize = 255;

/// A user as a provider knows it.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    /// The provider's id of the user; never empty.
    pub(crate) subject: String,
    pub(crate) emails: Vec<Email>,
    /// What goes into `identity_data` and the user's metadata.
    pub(crate) claims: Object,
}

/// An address, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Email {
    pub(crate) address: String,
    pub(crate) verified: bool,
    pub(crate) primary: bool,
}

impl Profile {
    /// From claims and addresses; the address that counts is written among the claims.
    pub(crate) fn new(mut claims: Object, emails: Vec<Email>) -> Option<Self> {
        let subject = claims.get("sub").and_then(Value::as_str).filter(|it| !it.is_empty())?.to_owned();
        claims.entry("provider_id").or_insert_with(|| subject.clone().into());
        for (short, long) in [("name", "full_name"), ("picture", "avatar_url")] {
            if let Some(value) = claims.get(short).cloned() {
                claims.entry(long).or_insert(value);
            }
        }
        let chosen = emails.iter().find(|it| it.primary).or_else(|| emails.last());
        if let Some(email) = chosen {
            claims.insert("email".into(), email.address.clone().into());
        }
        claims.insert("email_verified".into(), chosen.is_some_and(|it| it.verified).into());
        claims.insert("phone_verified".into(), false.into());
        Some(Self { subject, emails, claims })
    }

    /// The profile in what an ID token of `provider` says.
    pub(crate) fn of_claims(provider: &Provider, claims: Object) -> Result<Self, Failure> {
        let issuer = claims.get("iss").and_then(Value::as_str).unwrap_or_default().to_owned();
        let document = Value::Object(claims);
        let emails = one_email(provider, &document);
        read(provider, &issuer, &document, emails)
    }

    /// A wallet's owner, of whom only `custom` is known.
    pub(crate) fn of_wallet(subject: &str, custom: &Value) -> Option<Self> {
        Self::new(object(json!({"sub": subject, "custom_claims": custom})), Vec::new())
    }

    /// The address that the provider calls the user's own, or nothing.
    pub(crate) fn primary(&self) -> Option<&Email> {
        self.emails.iter().find(|it| it.primary)
    }

    /// What Apple sends beside the code, once: the user's name.
    pub(crate) fn add_name(&mut self, user: &str) {
        let Ok(user) = serde_json::from_str::<Value>(user) else { return };
        let part = |it: &str| mapping::text(&user, it).unwrap_or_default();
        let name = format!("{} {}", part("/name/firstName"), part("/name/lastName"));
        let name: String = name.trim().chars().take(256).collect();
        if !name.is_empty() {
            self.claims.insert("name".into(), name.clone().into());
            self.claims.insert("full_name".into(), name.into());
        }
    }
}

/// Ask `provider` who the user is that it gave `granted` for.
pub(super) async fn fetch(
    providers: &Providers,
    provider: &Provider,
    granted: &Granted,
    now_secs: i64,
) -> Result<Profile, Failure> {
    let (issuer, document) = match (&provider.source, &granted.id_token) {
        (Source::Token(pointer), _) => {
            let found = mapping::at(&granted.document, pointer).cloned().unwrap_or_default();
            (provider.issuer.clone(), found)
        }
        (Source::Get(url), _) | (Source::IdToken { userinfo: Some(url), .. }, None) => {
            let url = proved(provider, url, &granted.access_token);
            let headers = headers(provider, &granted.access_token)?;
            (provider.issuer.clone(), providers.http.get(provider.trust, &url, headers).await?)
        }
        (Source::IdToken { tokens, .. }, Some(token)) => {
            let access_token = Some(granted.access_token.as_str());
            let claims = id_token(providers, provider, tokens, (token, access_token), now_secs).await;
            let claims = claims.map_err(|it| Failure::new(it.to_string()))?;
            let issuer = claims.get("iss").and_then(Value::as_str).unwrap_or_default().to_owned();
            (issuer, Value::Object(claims))
        }
        (Source::Azure { tenant }, Some(token)) => {
            let access_token = Some(granted.access_token.as_str());
            let tokens = providers.azure(tenant.as_deref(), token).await?;
            let claims = id_token(providers, provider, &tokens, (token, access_token), now_secs).await;
            let claims = claims.map_err(|it| Failure::new(it.to_string()))?;
            (tokens.issuers.first().cloned().unwrap_or_default(), Value::Object(claims))
        }
        (Source::IdToken { userinfo: None, .. } | Source::Azure { .. }, None) => {
            return Err(Failure::new("the provider gave no ID token"));
        }
    };
    let emails = emails(providers, provider, granted, &document).await?;
    read(provider, &issuer, &document, emails)
}

/// The claims of an ID token of `provider`.
pub(super) async fn id_token(
    providers: &Providers,
    provider: &Provider,
    tokens: &IdTokens,
    (token, access_token): (&str, Option<&str>),
    now_secs: i64,
) -> Result<Object, TokenError> {
    let expected =
        Expected { issuers: &tokens.issuers, audience: &provider.client_ids, now_secs, access_token };
    providers.issuers.verify((provider.trust, &tokens.jwks_uri), token, &expected).await
}

fn read(provider: &Provider, issuer: &str, document: &Value, emails: Vec<Email>) -> Result<Profile, Failure> {
    let sources: Vec<(&str, &str)> =
        provider.claims.iter().map(|(target, source)| (target.as_str(), source.as_str())).collect();
    let (mut claims, mut custom) = mapping::claims(document, &sources);
    if provider.rest {
        let all = document.as_object().cloned().unwrap_or_default();
        custom.extend(all.into_iter().filter(|(name, _)| !PROTOCOL_CLAIMS.contains(&name.as_str())));
    }
    for name in &provider.custom_claims {
        if let Some(value) = document.get(name) {
            custom.insert(name.clone(), value.clone());
        }
    }
    claims.extend(provider.literals.clone());
    if !custom.is_empty() {
        claims.insert("custom_claims".into(), custom.into());
    }
    if !issuer.is_empty() {
        claims.insert("iss".into(), issuer.into());
    }
    Profile::new(claims, emails).ok_or_else(|| Failure::new("the provider did not say who the user is"))
}

async fn emails(
    providers: &Providers,
    provider: &Provider,
    granted: &Granted,
    document: &Value,
) -> Result<Vec<Email>, Failure> {
    let Emails::List { from, list, at, verified, primary } = provider.emails else {
        return Ok(one_email(provider, document));
    };
    let url = match from {
        At::Web(path) => format!("{}{path}", provider.web),
        At::Api(path) => format!("{}{path}", provider.api),
    };
    let headers = headers(provider, &granted.access_token)?;
    let answer = providers.http.get(provider.trust, &url, headers).await?;
    let items = mapping::at(&answer, list).and_then(Value::as_array).cloned().unwrap_or_default();
    let read = |(idx, item): (usize, &Value)| {
        let address = mapping::text(item, at).filter(|it| it.len() <= MAX_EMAIL)?.to_lowercase();
        let flag = |pointer: &str| pointer.is_empty() || mapping::is_true(item, pointer);
        let primary = if primary.is_empty() { idx == 0 } else { flag(primary) };
        Some(Email { address, verified: flag(verified), primary })
    };
    Ok(items.iter().take(MAX_EMAILS).enumerate().filter_map(read).collect())
}

fn one_email(provider: &Provider, document: &Value) -> Vec<Email> {
    let Emails::One { at, verified } = provider.emails else { return Vec::new() };
    let at = provider.email_at.as_deref().unwrap_or(at);
    let address = mapping::text(document, at).filter(|it| it.len() <= MAX_EMAIL);
    address
        .map(|it| Email {
            address: it.to_lowercase(),
            verified: mapping::verified(document, verified),
            primary: true,
        })
        .into_iter()
        .collect()
}

fn headers(provider: &Provider, access_token: &str) -> Result<HeaderMap, Failure> {
    let bad = |_| Failure::new("the access token is no text");
    let mut headers = HeaderMap::new();
    let mut bearer = HeaderValue::from_str(&format!("Bearer {access_token}")).map_err(bad)?;
    bearer.set_sensitive(true);
    headers.insert(http::header::AUTHORIZATION, bearer);
    headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
    for (name, value) in provider.headers {
        let value = value.replace("{client_id}", &provider.client_id);
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(&value).map_err(bad)?);
    }
    Ok(headers)
}

/// Facebook wants to see that who has the access token has the secret too.
fn proved(provider: &Provider, url: &str, access_token: &str) -> String {
    if !provider.proof {
        return url.to_owned();
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, provider.secret.as_bytes());
    let proof = crate::secret::hex(hmac::sign(&key, access_token.as_bytes()).as_ref());
    format!("{url}&appsecret_proof={proof}")
}
