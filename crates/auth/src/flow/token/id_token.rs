//! `grant_type=id_token`: an app got an ID token from a provider by itself (a native sign-in) and shows it to us.
//!
//! Only issuers are asked that the project configured; the token must be for one of the project's clients, and show the
//! digest of the nonce that the app made for it.

use common::ProviderSettings;
use serde::Deserialize;
use serde_json::Value;

use crate::flow::external::{Arrival, METHOD, Outcome, account, link};
use crate::flow::{admin, whoami};
use crate::providers::{self, Expected, Profile, Provider, TokenError, Trust, unverified_issuer};
use crate::request::{Context, text};
use crate::session::Tokens;
use crate::user::Object;
use crate::{Auth, Error, ExternalError, OAuthError, secret};

const APPLE: [&str; 2] = ["https://appleid.apple.com", "https://account.apple.com"];

/// The body.
#[derive(Default, Deserialize)]
pub(crate) struct Fields {
    id_token: Option<String>,
    access_token: Option<String>,
    nonce: Option<String>,
    provider: Option<String>,
    client_id: Option<String>,
    issuer: Option<String>,
    #[serde(default)]
    link_identity: bool,
}

/// Whose tokens are taken, and how they are read.
struct Accepted {
    provider: Provider,
    issuers: Vec<String>,
    /// Where the issuer publishes its keys.
    issuer: String,
    discovery_url: Option<String>,
}

/// Sign in with an ID token, or link the identity that it tells about.
pub(crate) async fn run(auth: &Auth, ctx: &Context, fields: Fields) -> Result<Tokens, Error> {
    let bad = |description: &'static str| Err(OAuthError::protocol("invalid request", description).into());
    let Some(token) = text(fields.id_token.clone()) else { return bad("id_token required") };
    let named = text(fields.provider.clone()).is_some();
    if !named && (text(fields.client_id.clone()).is_none() || text(fields.issuer.clone()).is_none()) {
        return bad("provider or client_id and issuer required");
    }
    let target = match (fields.link_identity, ctx.claims()) {
        (false, _) => None,
        (true, Err(Error::NoAuthorization)) => {
            return bad("Linking requires a valid user access token in Authorization");
        }
        (true, _) => Some(whoami::in_person(auth, ctx).await?.account.user.id),
    };
    let accepted = accepted(auth, ctx, &fields, &token).await?;
    let claims = verified(auth, ctx, &accepted, (&token, fields.access_token.as_deref())).await?;
    if !accepted.provider.skip_nonce_check {
        check_nonce(&claims, fields.nonce.as_deref().unwrap_or_default())?;
    }
    let profile = Profile::of_claims(&accepted.provider, claims);
    let Ok(profile) = profile else { return bad("Missing sub claim in id_token") };
    let arrival = Arrival {
        provider: &accepted.provider.name,
        profile: &profile,
        email_optional: accepted.provider.email_optional,
        method: METHOD,
        flow: None,
        claim: None,
        session_ends: None,
    };
    let outcome = match target {
        Some(target) => link(auth, ctx, &arrival, target).await?,
        None => account::sign_in(auth, ctx, &arrival).await?,
    };
    match outcome {
        Outcome::SignedIn(tokens) => Ok(*tokens),
        Outcome::Claimed => Err(Error::Conflict),
    }
}

/// Which provider the request is about, by name or by issuer.
async fn accepted(auth: &Auth, ctx: &Context, fields: &Fields, token: &str) -> Result<Accepted, Error> {
    let settings = &ctx.project.auth;
    let issuer = text(fields.issuer.clone()).unwrap_or_default();
    let asked = text(fields.provider.clone()).unwrap_or_default();
    let known = ["apple", "google", "azure", "facebook", "keycloak", "kakao", "linkedin_oidc", "snapchat"];
    let by_issuer = || known.into_iter().find(|it| is_issuer_of(settings.external.get(*it), it, &issuer));
    let name = known.into_iter().find(|it| *it == asked).or_else(by_issuer);
    if let Some(name) = name {
        return of_preset(settings.external.get(name), (name, token), &issuer);
    }
    if asked.starts_with("custom:") {
        return match settings.external.get(&asked) {
            Some(own) => of_preset(Some(own), (&asked, token), &issuer),
            None => of_custom(auth, ctx, &asked).await,
        };
    }
    if !issuer.is_empty() && settings.allowed_id_token_issuers.contains(&issuer) {
        let client_id = text(fields.client_id.clone()).unwrap_or_default();
        let provider = providers::for_issuer(&issuer, &client_id);
        return Ok(Accepted { provider, issuers: vec![issuer.clone()], issuer, discovery_url: None });
    }
    Err(Error::Invalid(format!("Custom OIDC provider {asked:?} not allowed").into()))
}

fn configured_url(own: Option<&ProviderSettings>) -> Option<&str> {
    own?.url.as_deref().map(|it| it.trim_end_matches('/')).filter(|it| !it.is_empty())
}

/// Whether `issuer` is the one of the provider `name`.
fn is_issuer_of(own: Option<&ProviderSettings>, name: &str, issuer: &str) -> bool {
    if issuer.is_empty() {
        return false;
    }
    match (name, configured_url(own)) {
        ("azure", _) => providers::is_azure_issuer(issuer),
        ("apple", None) => APPLE.contains(&issuer),
        (_, Some(url)) => url == issuer.trim_end_matches('/'),
        (_, None) => providers::issuer_of(name) == Some(issuer),
    }
}

fn of_preset(
    own: Option<&ProviderSettings>,
    (name, token): (&str, &str),
    asked: &str,
) -> Result<Accepted, Error> {
    let (issuer, issuers) = match name {
        "apple" => detected(own, ("Apple", token), asked)?,
        "azure" => detected(own, ("Azure", token), asked)?,
        _ => {
            let issuer = configured_url(own).or_else(|| providers::issuer_of(name)).unwrap_or_default();
            let mut issuers = vec![issuer.to_owned(), format!("{issuer}/")];
            if issuer == "https://accounts.google.com" {
                issuers.push("accounts.google.com".into());
            }
            (issuer.to_owned(), issuers)
        }
    };
    let own = own.filter(|it| it.enabled).ok_or_else(|| ExternalError::IssuerDisabled(issuer.clone()))?;
    let mut provider =
        providers::for_id_tokens(name, own).ok_or_else(|| ExternalError::IssuerDisabled(issuer.clone()))?;
    // Facebook's tokens carry a nonce that apps cannot know.
    provider.skip_nonce_check |= name == "facebook";
    Ok(Accepted { provider, issuers, issuer, discovery_url: None })
}

/// The issuer that the token names, when it is one of those that `vendor` has.
fn detected(
    own: Option<&ProviderSettings>,
    (vendor, token): (&str, &str),
    asked: &str,
) -> Result<(String, Vec<String>), Error> {
    let invalid = |message: String| Err(Error::Invalid(message.into()));
    let Some(found) = unverified_issuer(token) else {
        return invalid(format!("Unable to detect issuer in ID token for {vendor} provider"));
    };
    let url = configured_url(own);
    let right = match (vendor, url) {
        ("Apple", None) => APPLE.contains(&found.as_str()),
        ("Apple", Some(url)) => found == url,
        (_, url) => providers::is_azure_tenant(url, &found),
    };
    if !right {
        return invalid(format!("Detected ID token issuer is not an {vendor} ID token issuer"));
    }
    if !asked.is_empty() && asked != found {
        return Err(Error::invalid("Provided issuer does not match ID token issuer"));
    }
    // Apple's second name publishes nothing of its own.
    let publisher =
        if vendor == "Apple" && url.is_none() { APPLE.map(str::to_owned).into() } else { vec![found] };
    let issuer = publisher.first().cloned().unwrap_or_default();
    Ok((issuer, publisher))
}

async fn of_custom(auth: &Auth, ctx: &Context, name: &str) -> Result<Accepted, Error> {
    let invalid = |message: String| Err(Error::Invalid(message.into()));
    if !ctx.project.auth.custom_providers {
        return Err(Error::invalid("Custom OAuth providers are disabled"));
    }
    let found = {
        let db = auth.database(&ctx.project).await?;
        admin::custom::find(&db, ctx, name).await?
    };
    let Some((custom, secret)) = found else { return invalid(format!("Custom provider {name:?} not found")) };
    if !custom.enabled {
        return Err(ExternalError::CustomDisabled(name.to_owned()).into());
    }
    if !custom.is_oidc() {
        return invalid(format!("Provider {name:?} is not an OIDC provider"));
    }
    let Some(issuer) = custom.issuer.clone() else {
        return invalid(format!("OIDC provider {name:?} missing issuer"));
    };
    let discovery_url = custom.discovery_url.clone();
    let provider = providers::base_of_custom(&custom, secret);
    Ok(Accepted { provider, issuers: vec![issuer.clone()], issuer, discovery_url })
}

async fn verified(
    auth: &Auth,
    ctx: &Context,
    accepted: &Accepted,
    (token, access_token): (&str, Option<&str>),
) -> Result<Object, Error> {
    let bad = |description: String| OAuthError::protocol("invalid request", description).into();
    // Nobody is asked about what names no issuer: that is no ID token, whoever's keys it may be compared with.
    if unverified_issuer(token).is_none() {
        return Err(bad("Bad ID token".into()));
    }
    let trust: Trust = accepted.provider.trust;
    let issuers = &auth.providers().issuers;
    let metadata = issuers.discover(trust, &accepted.issuer, accepted.discovery_url.as_deref()).await;
    let metadata = metadata.map_err(Error::internal)?;
    let expected = Expected {
        issuers: &accepted.issuers,
        audience: &accepted.provider.client_ids,
        now_secs: ctx.now.as_second(),
        access_token: access_token.filter(|it| !it.is_empty()),
    };
    issuers.verify((trust, &metadata.jwks_uri), token, &expected).await.map_err(|it| match it {
        TokenError::Keys(failure) => Error::internal(failure),
        TokenError::Audience(named) => {
            bad(format!("Unacceptable audience in id_token: [{}]", named.join(" ")))
        }
        other => {
            tracing::debug!(reason = %other, "an ID token was refused");
            bad("Bad ID token".into())
        }
    })
}

/// The token carries the digest of the nonce that only the app that asked for it knows.
fn check_nonce(claims: &Object, nonce: &str) -> Result<(), OAuthError> {
    let in_token = claims.get("nonce").and_then(Value::as_str).unwrap_or_default();
    if in_token.is_empty() != nonce.is_empty() {
        let description = "Passed nonce and nonce in id_token should either both exist or not.";
        return Err(OAuthError::protocol("invalid request", description));
    }
    if !nonce.is_empty() && !secret::same(&secret::hex(&secret::fingerprint(nonce)), in_token) {
        return Err(OAuthError::protocol("invalid nonce", "Nonces mismatch"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_token_carries_the_digest_of_the_nonce() {
        let check = |in_token: &str, nonce: &str| {
            let claims = crate::user::object(json!({"nonce": in_token}));
            check_nonce(&claims, nonce).map_err(|it| it.to_string())
        };
        let digest = secret::hex(&secret::fingerprint("n-1"));
        assert_eq!((check(&digest, "n-1"), check("", "")), (Ok(()), Ok(())));
        assert_eq!(check(&digest, "n-2").unwrap_err(), "Nonces mismatch");
        assert_eq!(check("n-1", "n-1").unwrap_err(), "Nonces mismatch");
        assert!(check("", "n-1").unwrap_err().starts_with("Passed nonce"));
        assert!(check(&digest, "").unwrap_err().starts_with("Passed nonce"));
    }

    #[test]
    fn azures_issuers_are_tenants_of_one_host() {
        let tenant = "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0";
        assert!(providers::is_azure_tenant(None, tenant));
        assert!(providers::is_azure_tenant(None, "https://sts.windows.net/9188040d-6c67/"));
        for bad in [
            "https://login.microsoftonline.com.evil.com/x/v2.0",
            "https://login.microsoftonline.com/x/../y/v2.0",
            "https://login.microsoftonline.com//v2.0",
            "https://login.microsoftonline.com/x@evil.com/v2.0",
            "http://login.microsoftonline.com/x/v2.0",
            "https://sts.windows.net/x",
            "https://evil.com/v2.0",
        ] {
            assert!(!providers::is_azure_tenant(None, bad), "{bad}");
        }
        let own = Some("https://login.microsoftonline.com/mine");
        assert!(providers::is_azure_tenant(own, "https://login.microsoftonline.com/mine/v2.0"));
        assert!(!providers::is_azure_tenant(own, tenant), "another tenant's users are not ours");
    }
}
