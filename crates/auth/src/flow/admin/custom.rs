//! `/admin/custom-providers`: identity providers that a project's own people define.
//!
//! Secrets are sealed with a key that is not in the database. Addresses must be public and encrypted, and an OpenID
//! Connect issuer must answer before it is stored, so that mistakes show here rather than at a user's sign-in.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use store::ServiceClient;
use uuid::Uuid;

use crate::providers::{Custom, Trust};
use crate::queries::{self, Audit, Change};
use crate::request::{Context, text};
use crate::user::Object;
use crate::{Auth, Error, ExternalError};

const MAX_PROVIDERS: i64 = 100;
const MAX_ITEMS: usize = 100;
const MAX_URL: usize = 2048;
const PREFIX: &str = "custom:";

/// What a client may not send along with a redirect: we say it ourselves.
const RESERVED: &[&str] = &[
    "client_id",
    "client_secret",
    "redirect_uri",
    "response_type",
    "state",
    "code_challenge",
    "code_challenge_method",
    "code_verifier",
    "nonce",
];
/// What a provider may not decide about a user.
const PROTECTED: &[&str] = &[
    "id",
    "aud",
    "role",
    "app_metadata",
    "created_at",
    "updated_at",
    "confirmed_at",
    "email_confirmed_at",
    "phone_confirmed_at",
    "email_verified",
    "phone_verified",
    "banned_until",
    "is_super_admin",
];

/// The body of a new or changed provider.
#[derive(Clone, Default, Deserialize)]
pub(crate) struct Fields {
    provider_type: Option<String>,
    identifier: Option<String>,
    name: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    acceptable_client_ids: Option<Vec<String>>,
    scopes: Option<Vec<String>>,
    pkce_enabled: Option<bool>,
    attribute_mapping: Option<Object>,
    custom_claims_allowlist: Option<Vec<String>>,
    authorization_params: Option<Object>,
    enabled: Option<bool>,
    email_optional: Option<bool>,
    issuer: Option<String>,
    discovery_url: Option<String>,
    skip_nonce_check: Option<bool>,
    authorization_url: Option<String>,
    token_url: Option<String>,
    userinfo_url: Option<String>,
    jwks_uri: Option<String>,
}

/// The provider `identifier` with its secret in the clear.
pub(crate) async fn find(
    db: &ServiceClient,
    ctx: &Context,
    identifier: &str,
) -> Result<Option<(Custom, String)>, Error> {
    let Some(found) = queries::custom(db, identifier).await? else { return Ok(None) };
    let secret = if common::Vault::is_sealed(&found.client_secret) {
        let opened = ctx.project.vault.open(&Custom::context(found.custom.id), &found.client_secret);
        String::from_utf8(opened.map_err(Error::internal)?).map_err(Error::internal)?
    } else {
        found.client_secret
    };
    Ok(Some((found.custom, secret)))
}

/// All, or those of one type.
pub(crate) async fn list(auth: &Auth, ctx: &Context, kind: Option<&str>) -> Result<Vec<Custom>, Error> {
    let kind = kind.unwrap_or_default();
    if !matches!(kind, "" | "oauth2" | "oidc") {
        return Err(Error::invalid("type must be either 'oauth2' or 'oidc'"));
    }
    enabled(ctx)?;
    let db = auth.database(&ctx.project).await?;
    queries::customs(&db, kind, MAX_PROVIDERS).await
}

/// One.
pub(crate) async fn read(auth: &Auth, ctx: &Context, identifier: &str) -> Result<Custom, Error> {
    enabled(ctx)?;
    checked_identifier(identifier)?;
    let db = auth.database(&ctx.project).await?;
    let found = queries::custom(&db, identifier).await?.ok_or(ExternalError::CustomMissing)?;
    Ok(found.custom)
}

/// A new one.
pub(crate) async fn create(auth: &Auth, ctx: &Context, fields: Fields) -> Result<Custom, Error> {
    enabled(ctx)?;
    let mut custom = new_custom(&fields, ctx.now)?;
    let secret = text(fields.client_secret.clone()).ok_or(Error::invalid("client_secret is required"))?;
    required(&custom)?;
    check(&custom)?;
    addresses(auth, &custom)?;
    {
        let db = auth.database(&ctx.project).await?;
        if queries::custom(&db, &custom.identifier).await?.is_some() {
            return Err(ExternalError::CustomExists.into());
        }
        if queries::count_customs(&db).await? >= MAX_PROVIDERS {
            return Err(ExternalError::CustomQuota.into());
        }
    }
    discover(auth, &mut custom).await?;
    let sealed = seal(ctx, custom.id, &secret)?;
    write(auth, ctx, &custom, &sealed, "custom_provider_created").await
}

/// Change one; what the body leaves out stays.
pub(crate) async fn update(
    auth: &Auth,
    ctx: &Context,
    identifier: &str,
    fields: Fields,
) -> Result<Custom, Error> {
    enabled(ctx)?;
    checked_identifier(identifier)?;
    let found = {
        let db = auth.database(&ctx.project).await?;
        queries::custom(&db, identifier).await?.ok_or(ExternalError::CustomMissing)?
    };
    let (mut custom, mut sealed) = (found.custom, found.client_secret);
    let asks_again = fields.issuer.is_some() || fields.discovery_url.is_some();
    if let (true, Some(issuer)) = (asks_again, &custom.issuer) {
        auth.providers().issuers.forget(Trust::Project, issuer, custom.discovery_url.as_deref()).await;
    }
    if let Some(secret) = text(fields.client_secret.clone()) {
        sealed = seal(ctx, custom.id, &secret)?;
    }
    fill(&mut custom, fields);
    custom.updated_at = ctx.now;
    check(&custom)?;
    addresses(auth, &custom)?;
    if asks_again {
        discover(auth, &mut custom).await?;
    }
    write(auth, ctx, &custom, &sealed, "custom_provider_updated").await
}

/// Remove one.
pub(crate) async fn delete(auth: &Auth, ctx: &Context, identifier: &str) -> Result<(), Error> {
    enabled(ctx)?;
    checked_identifier(identifier)?;
    let db = auth.database(&ctx.project).await?;
    let gone = queries::delete_custom(&db, identifier).await?.ok_or(ExternalError::CustomMissing)?;
    queries::apply(&db, &told(ctx, &gone, "custom_provider_deleted")).await?;
    if let Some(issuer) = &gone.issuer {
        auth.providers().issuers.forget(Trust::Project, issuer, gone.discovery_url.as_deref()).await;
    }
    Ok(())
}

fn enabled(ctx: &Context) -> Result<(), Error> {
    if ctx.project.auth.custom_providers {
        Ok(())
    } else {
        Err(ExternalError::CustomProvidersDisabled.into())
    }
}

fn checked_identifier(identifier: &str) -> Result<(), Error> {
    if identifier.is_empty() {
        return Err(Error::invalid("identifier is required"));
    }
    if !identifier.starts_with(PREFIX) {
        let message = format!("identifier must start with 'custom:' prefix, e.g. 'custom:{identifier}'");
        return Err(Error::Invalid(message.into()));
    }
    let legal = (PREFIX.len() + 1..=50).contains(&identifier.len())
        && !identifier.ends_with(['-', ':'])
        && identifier.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || b"-:".contains(&it));
    if legal {
        return Ok(());
    }
    Err(Error::invalid("identifier takes a-z, 0-9 and '-' behind 'custom:', at most 50 characters"))
}

fn new_custom(fields: &Fields, now: Timestamp) -> Result<Custom, Error> {
    let provider_type = fields.provider_type.clone().unwrap_or_default();
    if !matches!(provider_type.as_str(), "oauth2" | "oidc") {
        return Err(Error::invalid("provider_type must be either 'oauth2' or 'oidc'"));
    }
    let identifier = fields.identifier.clone().unwrap_or_default();
    checked_identifier(&identifier)?;
    let required = |field: &Option<String>, message| text(field.clone()).ok_or(Error::invalid(message));
    let mut custom = Custom {
        id: Uuid::new_v4(),
        provider_type,
        identifier,
        name: required(&fields.name, "name is required")?,
        client_id: required(&fields.client_id, "client_id is required")?,
        acceptable_client_ids: Vec::new(),
        scopes: Vec::new(),
        pkce_enabled: true,
        attribute_mapping: Object::new(),
        custom_claims_allowlist: Vec::new(),
        authorization_params: Object::new(),
        enabled: true,
        email_optional: false,
        issuer: None,
        discovery_url: None,
        skip_nonce_check: false,
        cached_discovery: None,
        authorization_url: None,
        token_url: None,
        userinfo_url: None,
        jwks_uri: None,
        created_at: now,
        updated_at: now,
    };
    fill(&mut custom, fields.clone());
    Ok(custom)
}

/// Write the fields that are there.
fn fill(custom: &mut Custom, fields: Fields) {
    fn put<T>(to: &mut T, from: Option<T>) {
        if let Some(from) = from {
            *to = from;
        }
    }
    put(&mut custom.name, text(fields.name));
    put(&mut custom.client_id, text(fields.client_id));
    put(&mut custom.acceptable_client_ids, fields.acceptable_client_ids);
    put(&mut custom.scopes, fields.scopes);
    put(&mut custom.pkce_enabled, fields.pkce_enabled);
    put(&mut custom.attribute_mapping, fields.attribute_mapping);
    put(&mut custom.custom_claims_allowlist, fields.custom_claims_allowlist);
    put(&mut custom.authorization_params, fields.authorization_params);
    put(&mut custom.enabled, fields.enabled);
    put(&mut custom.email_optional, fields.email_optional);
    if custom.is_oidc() {
        put(&mut custom.issuer, text(fields.issuer).map(Some));
        put(&mut custom.discovery_url, text(fields.discovery_url).map(Some));
        put(&mut custom.skip_nonce_check, fields.skip_nonce_check);
        if !custom.scopes.iter().any(|it| it == "openid") {
            custom.scopes.insert(0, "openid".into());
        }
    } else {
        put(&mut custom.authorization_url, text(fields.authorization_url).map(Some));
        put(&mut custom.token_url, text(fields.token_url).map(Some));
        put(&mut custom.userinfo_url, text(fields.userinfo_url).map(Some));
        put(&mut custom.jwks_uri, text(fields.jwks_uri).map(Some));
    }
}

fn required(custom: &Custom) -> Result<(), Error> {
    let rules = if custom.is_oidc() {
        vec![(&custom.issuer, "issuer is required for OIDC providers")]
    } else {
        vec![
            (&custom.authorization_url, "authorization_url is required for OAuth2 providers"),
            (&custom.token_url, "token_url is required for OAuth2 providers"),
            (&custom.userinfo_url, "userinfo_url is required for OAuth2 providers"),
        ]
    };
    rules.into_iter().find(|(it, _)| it.is_none()).map_or(Ok(()), |(_, message)| Err(Error::invalid(message)))
}

/// The rules that need no network.
fn check(custom: &Custom) -> Result<(), Error> {
    let invalid = |message: String| Err(Error::Invalid(message.into()));
    for (name, value) in &custom.authorization_params {
        if RESERVED.contains(&name.as_str()) {
            return invalid(format!("Cannot override reserved OAuth parameter: {name}"));
        }
        if !value.is_string() {
            return invalid(format!("Authorization parameter {name:?} must be a string"));
        }
    }
    if let Some(name) = custom.attribute_mapping.keys().find(|it| PROTECTED.contains(&it.as_str())) {
        return invalid(format!("Cannot map to protected system field: {name}"));
    }
    if custom.custom_claims_allowlist.iter().any(|it| it.trim().is_empty()) {
        return Err(Error::invalid("custom_claims_allowlist entries must be non-empty strings"));
    }
    let lists = [
        custom.scopes.len(),
        custom.acceptable_client_ids.len(),
        custom.custom_claims_allowlist.len(),
        custom.attribute_mapping.len(),
        custom.authorization_params.len(),
    ];
    if lists.iter().any(|it| *it > MAX_ITEMS) {
        return Err(Error::invalid("A list of a provider takes at most 100 entries"));
    }
    if !(1..=100).contains(&custom.name.chars().count()) || custom.client_id.len() > 512 {
        return Err(Error::invalid("name takes at most 100 characters, client_id 512"));
    }
    Ok(())
}

fn addresses(auth: &Auth, custom: &Custom) -> Result<(), Error> {
    let all = [
        &custom.issuer,
        &custom.discovery_url,
        &custom.authorization_url,
        &custom.token_url,
        &custom.userinfo_url,
        &custom.jwks_uri,
    ];
    for url in all.into_iter().flatten() {
        if url.len() > MAX_URL {
            return Err(Error::invalid("Invalid URL format"));
        }
        auth.providers().http.check_public(url).map_err(Error::invalid)?;
    }
    Ok(())
}

/// Ask an OpenID Connect issuer what it publishes.
async fn discover(auth: &Auth, custom: &mut Custom) -> Result<(), Error> {
    let Some(issuer) = custom.issuer.as_deref().filter(|_| custom.is_oidc()) else { return Ok(()) };
    let address = custom.discovery_url.as_deref();
    let found = auth.providers().issuers.discover(Trust::Project, issuer, address).await;
    let failed = |reason: String| {
        let url = address.map_or_else(
            || format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')),
            str::to_owned,
        );
        Error::Invalid(format!("OIDC discovery from {url:?} failed: {reason}").into())
    };
    let metadata = found.map_err(|it| failed(it.to_string()))?;
    let missing: Vec<&str> = [
        ("authorization_endpoint", &metadata.authorization_endpoint),
        ("token_endpoint", &metadata.token_endpoint),
        ("jwks_uri", &metadata.jwks_uri),
    ]
    .into_iter()
    .filter_map(|(name, value)| value.is_empty().then_some(name))
    .collect();
    if !missing.is_empty() {
        let message = format!("OIDC discovery document is missing required fields: {}", missing.join(", "));
        return Err(Error::Invalid(message.into()));
    }
    let kept = ["issuer", "authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri"];
    let document = kept.iter().filter_map(|it| Some(((*it).to_owned(), metadata.document.get(*it)?.clone())));
    custom.cached_discovery = Some(Value::Object(document.collect()));
    Ok(())
}

fn seal(ctx: &Context, id: Uuid, secret: &str) -> Result<String, Error> {
    ctx.project.vault.seal(&Custom::context(id), secret.as_bytes()).map_err(Error::internal)
}

async fn write(
    auth: &Auth,
    ctx: &Context,
    custom: &Custom,
    sealed: &str,
    action: &'static str,
) -> Result<Custom, Error> {
    let mut row = serde_json::to_value(custom).map_err(Error::internal)?;
    if let Some(row) = row.as_object_mut() {
        let document = row.remove("discovery_document");
        row.insert("cached_discovery".into(), document.unwrap_or_default());
        row.insert("client_secret".into(), json!(sealed));
    }
    let db = auth.database(&ctx.project).await?;
    let written = queries::write_custom(&db, &row).await?.ok_or(ExternalError::CustomExists)?;
    queries::apply(&db, &told(ctx, &written, action)).await?;
    Ok(written)
}

fn told(ctx: &Context, custom: &Custom, action: &'static str) -> Change {
    let mut change = Change::new(ctx.now);
    let traits = crate::user::object(json!({"identifier": custom.identifier}));
    change.audit(Audit { action, log_type: "team", actor: None, traits, ip: ctx.ip_text() });
    change
}
