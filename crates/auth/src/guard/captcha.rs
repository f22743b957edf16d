//! Captchas: hCaptcha and Turnstile speak the same protocol.

use std::net::IpAddr;

use common::Project;
use http::{HeaderMap, Method};
use serde::Deserialize;

use crate::error::GuardError;
use crate::web::Call;
use crate::{Auth, Error};

/// What a provider says.
#[derive(Deserialize)]
struct Verdict {
    #[serde(default)]
    success: bool,
    #[serde(default, rename = "error-codes")]
    error_codes: Vec<String>,
}

/// Ask the project's provider whether `token` was earned.
///
/// # Errors
/// [`GuardError::NoCaptcha`], [`GuardError::Captcha`]; [`GuardError::Silent`] when the provider does not answer.
pub(super) async fn check(
    auth: &Auth,
    project: &Project,
    token: Option<String>,
    address: Option<IpAddr>,
) -> Result<(), Error> {
    const SILENT: GuardError = GuardError::Silent("captcha verification process failed");
    let token = token.map(|it| it.trim().to_owned()).filter(|it| !it.is_empty());
    let token = token.ok_or(GuardError::NoCaptcha)?;
    let settings = &project.auth;
    let provider = settings.security_captcha_provider;
    let url = settings.security_captcha_url.as_deref().unwrap_or(provider.url());
    let secret = settings.security_captcha_secret.as_deref().unwrap_or_default();
    let body = form(secret, &token, address);
    let mut headers = HeaderMap::new();
    headers.insert("content-type", http::HeaderValue::from_static("application/x-www-form-urlencoded"));
    let call = Call { method: Method::POST, url, headers, body };
    let answer = auth.web().call(call).await.map_err(|_| SILENT)?;
    let verdict: Verdict = serde_json::from_slice(&answer.body).map_err(|_| SILENT)?;
    if verdict.success {
        return Ok(());
    }
    // What a provider writes is shown to clients: its codes only.
    let plain = |it: &String| it.len() <= 60 && it.bytes().all(|it| it.is_ascii_lowercase() || it == b'-');
    let codes: Vec<String> = verdict.error_codes.into_iter().filter(plain).take(5).collect();
    Err(GuardError::Captcha(codes.join(", ")).into())
}

fn form(secret: &str, token: &str, address: Option<IpAddr>) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("secret", secret).append_pair("response", token);
    if let Some(address) = address {
        form.append_pair("remoteip", &address.to_string());
    }
    form.finish()
}
