//! `GET /oauth/authorize`: a client sent the user here; the site's own page asks for consent.
//!
//! Until the redirect address is known to be the client's, errors are told here; after that, to the client.

use common::AuthSettings;
use jiff::SignedDuration;
use url::Url;
use uuid::Uuid;

use super::{SCOPES, scopes};
use crate::flow::external::Parameters;
use crate::queries::{self, AuthorizationRow};
use crate::request::Context;
use crate::{Auth, Error, OAuthError, secret};

/// For how long a request may be answered, and its code exchanged.
const LIFETIME: SignedDuration = SignedDuration::from_mins(10);

/// Remember what the client asks; where the browser goes.
pub(crate) async fn run(auth: &Auth, ctx: &Context, query: &Parameters) -> Result<String, Error> {
    super::enabled(ctx)?;
    let client_id = query.get("client_id").ok_or(Error::invalid("client_id is required"))?;
    let redirect_uri = query.get("redirect_uri").ok_or(Error::invalid("redirect_uri is required"))?;
    let client_id: Uuid = client_id.parse().map_err(|_| OAuthError::ClientMalformed)?;
    let db = auth.database(&ctx.project).await?;
    let client = queries::client(&db, client_id).await?.ok_or(OAuthError::ClientUnknown)?;
    if !client.has_redirect(redirect_uri) {
        return Err(Error::invalid("invalid redirect_uri"));
    }
    let settings = &ctx.project.auth;
    let state = query.get("state");
    if let Err(description) = check(query, settings) {
        return failed(redirect_uri, "invalid_request", &description, state);
    }
    let authorization_id = secret::token()?;
    let text = |name: &str| query.get(name).map(str::to_owned);
    let row = AuthorizationRow {
        id: Uuid::new_v4(),
        authorization_id: authorization_id.clone(),
        client_id,
        user_id: None,
        redirect_uri: redirect_uri.to_owned(),
        scope: query.get("scope").unwrap_or(&settings.oauth_server.default_scope).to_owned(),
        state: text("state"),
        resource: text("resource"),
        code_challenge: text("code_challenge"),
        code_challenge_method: text("code_challenge_method").map(|it| it.to_lowercase()),
        status: "pending".into(),
        created_at: ctx.now,
        expires_at: ctx.now.saturating_add(LIFETIME).map_err(Error::internal)?,
        nonce: text("nonce"),
    };
    queries::new_authorization(&db, &row).await?;
    let site = settings.site_url.trim_end_matches('/');
    let path = settings.oauth_server.authorization_path.trim_start_matches('/');
    Ok(format!("{site}/{path}?authorization_id={authorization_id}"))
}

/// Everything but client and address.
fn check(query: &Parameters, settings: &AuthSettings) -> Result<(), String> {
    if query.get("response_type").is_some_and(|it| it != "code") {
        return Err("only response_type=code is supported".into());
    }
    let scope = query.get("scope").unwrap_or(&settings.oauth_server.default_scope);
    if scopes(scope).next().is_none() {
        return Err("scope parameter cannot be empty".into());
    }
    if let Some(unknown) = scopes(scope).find(|it| !SCOPES.contains(it)) {
        return Err(format!("unsupported scope: {unknown:.100}"));
    }
    if let Some(resource) = query.get("resource") {
        check_resource(resource)?;
    }
    let (Some(challenge), Some(method)) = (query.get("code_challenge"), query.get("code_challenge_method"))
    else {
        return Err("PKCE flow requires both code_challenge and code_challenge_method".into());
    };
    if !matches!(method.to_lowercase().as_str(), "s256" | "plain") {
        return Err("code_challenge_method must be 'S256' or 'plain'".into());
    }
    if !(43..=128).contains(&challenge.chars().count()) {
        return Err("code_challenge must be between 43 and 128 characters".into());
    }
    let bounds = [("state", 4096), ("nonce", 255), ("resource", 2048), ("scope", 2048)];
    let long = bounds.into_iter().find(|(name, most)| query.get(name).is_some_and(|it| it.len() > *most));
    long.map_or(Ok(()), |(name, most)| Err(format!("{name} cannot exceed {most} characters")))
}

/// RFC 8707 §2.
fn check_resource(resource: &str) -> Result<(), String> {
    let url = Url::parse(resource).map_err(|_| "resource must be an absolute URI")?;
    if url.fragment().is_some_and(|it| !it.is_empty()) {
        return Err("resource must not include a fragment component".into());
    }
    if url.query().is_some_and(|it| !it.is_empty()) {
        return Err("resource must not include a query component".into());
    }
    Ok(())
}

/// Back to the client with an error.
pub(super) fn failed(
    redirect_uri: &str,
    error: &str,
    description: &str,
    state: Option<&str>,
) -> Result<String, Error> {
    with(redirect_uri, &[("error", Some(error)), ("error_description", Some(description)), ("state", state)])
}

/// The address with further fields in its query; those that it has already under these names go.
pub(super) fn with(redirect_uri: &str, pairs: &[(&str, Option<&str>)]) -> Result<String, Error> {
    let mut url = Url::parse(redirect_uri).map_err(Error::internal)?;
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .into_owned()
        .filter(|(name, _)| !pairs.iter().any(|(it, value)| it == name && value.is_some()))
        .collect();
    {
        let mut query = url.query_pairs_mut();
        query.clear().extend_pairs(kept);
        for (name, value) in pairs {
            if let Some(value) = value.filter(|it| !it.is_empty()) {
                query.append_pair(name, value);
            }
        }
    }
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_own_query_survives() {
        let to = |uri: &str| with(uri, &[("code", Some("1 2")), ("state", None)]).unwrap();
        assert_eq!(to("https://a.b/cb?x=1&code=old"), "https://a.b/cb?x=1&code=1+2");
        assert_eq!(to("myapp://cb"), "myapp://cb?code=1+2");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = "code_challenge_method=S256&scope=openid+email&code_challenge=";
        let good = format!("{good}{}", "x".repeat(43));
        let checked =
            |query: &str| check(&Parameters::parse(query.as_bytes()), &AuthSettings::default()).err();
        assert_eq!(checked(&good), None);
        for (from, to, why) in [
            ("scope=openid", "scope=openid+admin", "unsupported scope: admin"),
            ("scope=openid+email", "scope=+", "scope parameter cannot be empty"),
            ("scope", "response_type=token&scope", "only response_type=code is supported"),
            ("S256", "md5", "code_challenge_method must be 'S256' or 'plain'"),
            ("code_challenge=x", "code_challenge=", "code_challenge must be between 43 and 128 characters"),
            (
                "code_challenge_method=S256",
                "",
                "PKCE flow requires both code_challenge and code_challenge_method",
            ),
            ("scope", "resource=x&scope", "resource must be an absolute URI"),
            ("scope", "resource=https://a%23b&scope", "resource must not include a fragment component"),
            ("scope", "resource=https://a%3Fb&scope", "resource must not include a query component"),
        ] {
            assert_eq!(checked(&good.replacen(from, to, 1)).as_deref(), Some(why), "{to}");
        }
        let long = format!("{good}&nonce={}", "n".repeat(256));
        assert_eq!(checked(&long).as_deref(), Some("nonce cannot exceed 255 characters"));
    }
}
