//! Sign-in by SAML 2.0: to the organisation's identity provider ([`start`]), back from it ([`finish`]).
//!
//! What travels beside the request opens nothing by itself: its digest finds a row that works once, for a few minutes,
//! and names the request that the answer must name too. A provider may also send a user whom nobody sent there; then
//! the assertion alone counts, and like any other it counts once.

mod acs;
mod start;

pub(crate) use acs::{Form, run as finish};
pub(crate) use start::{Fields, run as start};

use http::{HeaderMap, HeaderValue, header};
use jiff::SignedDuration;
use uuid::Uuid;

use crate::error::SsoError;
use crate::events::{self, Event};
use crate::providers::Trust;
use crate::queries::{self, SsoProvider};
use crate::request::Context;
use crate::saml::{IdpMetadata, Service, ServiceKey, StoredKey};
use crate::{Auth, Error, secret};

/// `authentication_method` of these flows, and `amr` of their sessions.
pub(crate) const METHOD: &str = "sso/saml";
/// How often a provider's metadata is asked for again.
const FRESH: SignedDuration = SignedDuration::from_hours(24);
/// For how long our downloaded metadata is good.
const VALID: SignedDuration = SignedDuration::from_hours(24 * 365 * 5);

/// Refuse where the project did not switch it on.
pub(crate) fn enabled(ctx: &Context) -> Result<(), Error> {
    if ctx.project.auth.saml_enabled { Ok(()) } else { Err(SsoError::Disabled.into()) }
}

/// What identity providers import about us.
pub(crate) async fn metadata(auth: &Auth, ctx: &Context, download: bool) -> Result<String, Error> {
    enabled(ctx)?;
    let key = key(auth, ctx).await?;
    let until = download.then(|| ctx.now.saturating_add(VALID).unwrap_or(ctx.now));
    Ok(service(ctx).metadata(&key.certificate, until))
}

fn service(ctx: &Context) -> Service {
    Service::new(&ctx.issuer())
}

/// The id that a relay state is stored under: of what travels, the database holds a digest.
fn relay_id(token: Uuid) -> Uuid {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = secret::fingerprint(&token.to_string());
    Uuid::from_bytes([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
}

/// The project's key; made when it is needed first.
async fn key(auth: &Auth, ctx: &Context) -> Result<ServiceKey, Error> {
    let vault = &ctx.project.vault;
    let found = queries::saml_key(&auth.database(&ctx.project).await?).await?;
    if let Some(found) = found {
        return found.open(vault);
    }
    let sealing = vault.clone();
    let made = tokio::task::spawn_blocking(move || StoredKey::make(&sealing)).await;
    let made = made.map_err(Error::internal)??;
    let db = auth.database(&ctx.project).await?;
    queries::new_saml_key(&db, &made, ctx.now).await?;
    // Another request may have been faster: what is stored counts.
    let stored = queries::saml_key(&db).await?;
    stored.ok_or_else(|| Error::internal("the key is gone"))?.open(vault)
}

/// What `provider` publishes: asked for again once a day where the project told an address. When that fails, what was
/// known before counts.
async fn idp(auth: &Auth, ctx: &Context, provider: &SsoProvider) -> Result<IdpMetadata, Error> {
    let known = IdpMetadata::parse(&provider.saml.metadata_xml).map_err(Error::internal)?;
    let asked = provider.saml.updated_at.unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let over = known.valid_until.is_some_and(|it| it <= ctx.now);
    let stale = over || ctx.now.duration_since(asked) > FRESH;
    let Some(url) = provider.saml.metadata_url.as_deref().filter(|_| stale) else { return Ok(known) };
    let fresh = match fetch(auth, url).await {
        Ok(text) => {
            IdpMetadata::parse(&text).ok().filter(|it| it.entity_id == known.entity_id).map(|it| (it, text))
        }
        Err(_) => None,
    };
    let db = auth.database(&ctx.project).await?;
    let Some((fresh, text)) = fresh else {
        let project = Some(&ctx.project.reference);
        events::tell(&Event::SamlRefused { project, reason: "metadata could not be refreshed" });
        // Tried: not with every sign-in again.
        queries::refresh_metadata(&db, &provider.saml, &provider.saml.metadata_xml, ctx.now).await?;
        return Ok(known);
    };
    queries::refresh_metadata(&db, &provider.saml, &text, ctx.now).await?;
    Ok(fresh)
}

/// Ask for metadata: as for everything that a project's people name, at public and encrypted addresses only.
pub(crate) async fn fetch(auth: &Auth, url: &str) -> Result<String, Error> {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/xml;charset=UTF-8"));
    let answer = auth.providers().http.document(Trust::Project, url, headers).await;
    let (status, body) =
        answer.map_err(|source| SsoError::Fetch { url: url.to_owned(), source: source.into() })?;
    if status != http::StatusCode::OK {
        return Err(SsoError::FetchStatus { status: status.as_u16(), url: url.to_owned() }.into());
    }
    String::from_utf8(body).map_err(|_| {
        Error::invalid(
            "SAML Metadata XML contains invalid UTF-8 characters, which are not supported at this time",
        )
    })
}
