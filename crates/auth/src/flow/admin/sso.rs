//! `/admin/sso/providers`: the identity providers of organisations.
//!
//! A provider's metadata must be read before it is stored, so that mistakes show here rather than at a user's sign-in.

use serde::Deserialize;
use serde_json::{Value, json};
use store::ServiceClient;
use url::Url;
use uuid::Uuid;

use crate::error::SsoError;
use crate::flow::sso::{enabled, fetch};
use crate::queries::{self, Audit, Change, ProviderKey, SamlProvider, SsoProvider};
use crate::request::{Context, text};
use crate::saml::mapping::Mapping;
use crate::saml::{IdpMetadata, NAME_ID_FORMATS};
use crate::{Auth, Error};

const MAX_PROVIDERS: i64 = 1000;
const MAX_DOMAINS: usize = 100;
const MAX_RESOURCE_ID: usize = 255;
/// A path that names a provider by the client's id for it.
const RESOURCE: &str = "resource_";

/// The body of a new or changed provider; what is not there stays.
#[derive(Default, Deserialize)]
pub(crate) struct Fields {
    r#type: Option<String>,
    metadata_url: Option<String>,
    metadata_xml: Option<String>,
    domains: Option<Vec<String>>,
    attribute_mapping: Option<Mapping>,
    name_id_format: Option<String>,
    resource_id: Option<String>,
    disabled: Option<bool>,
}

/// Which of them are listed.
#[derive(Default, Deserialize)]
pub(crate) struct Filter {
    resource_id: Option<String>,
    resource_id_prefix: Option<String>,
}

/// All of them.
pub(crate) async fn list(auth: &Auth, ctx: &Context, filter: Filter) -> Result<Value, Error> {
    enabled(ctx)?;
    let db = auth.database(&ctx.project).await?;
    let (resource, prefix) =
        (filter.resource_id.unwrap_or_default(), filter.resource_id_prefix.unwrap_or_default());
    let found = queries::sso_providers(&db, &resource, &prefix).await?;
    Ok(json!({"items": found.iter().map(SsoProvider::view).collect::<Vec<_>>()}))
}

/// One of them.
pub(crate) async fn read(auth: &Auth, ctx: &Context, path: &str) -> Result<Value, Error> {
    enabled(ctx)?;
    let db = auth.database(&ctx.project).await?;
    find(&db, path).await.map(|it| it.view())
}

/// A new one.
pub(crate) async fn create(auth: &Auth, ctx: &Context, fields: Fields) -> Result<Value, Error> {
    enabled(ctx)?;
    if fields.r#type.as_deref() != Some("saml") {
        return Err(Error::invalid("Only 'saml' supported for SSO provider type"));
    }
    check(auth, &fields)?;
    let given = metadata(auth, &fields).await?;
    let (metadata_xml, idp) =
        given.ok_or(Error::invalid("Either metadata_xml or metadata_url must be set"))?;
    let db = auth.database(&ctx.project).await?;
    if queries::sso_provider(&db, &ProviderKey::Entity(&idp.entity_id)).await?.is_some() {
        return Err(SsoError::IdpExists(idp.entity_id).into());
    }
    if queries::count_sso_providers(&db).await? >= MAX_PROVIDERS {
        return Err(Error::invalid("A project has at most 1000 SSO providers"));
    }
    let mut provider = SsoProvider {
        id: Uuid::new_v4(),
        resource_id: None,
        disabled: None,
        saml: SamlProvider {
            id: Uuid::new_v4(),
            entity_id: idp.entity_id,
            metadata_xml,
            metadata_url: text(fields.metadata_url.clone()),
            attribute_mapping: None,
            name_id_format: None,
            updated_at: Some(ctx.now),
        },
        domains: Vec::new(),
        created_at: Some(ctx.now),
        updated_at: Some(ctx.now),
    };
    fill(&mut provider, fields)?;
    write(ctx, &db, &provider, "sso_provider_created").await
}

/// Change one.
pub(crate) async fn update(auth: &Auth, ctx: &Context, path: &str, fields: Fields) -> Result<Value, Error> {
    enabled(ctx)?;
    check(auth, &fields)?;
    let given = metadata(auth, &fields).await?;
    let db = auth.database(&ctx.project).await?;
    let mut provider = find(&db, path).await?;
    if let Some((metadata_xml, idp)) = given {
        if idp.entity_id != provider.saml.entity_id {
            let expected = provider.saml.entity_id;
            return Err(SsoError::EntityMismatch { expected, got: idp.entity_id }.into());
        }
        provider.saml.metadata_xml = metadata_xml;
        // Metadata that was sent is not replaced by what an older address answers.
        provider.saml.metadata_url = text(fields.metadata_url.clone());
        provider.saml.updated_at = Some(ctx.now);
    }
    fill(&mut provider, fields)?;
    provider.updated_at = Some(ctx.now);
    write(ctx, &db, &provider, "sso_provider_updated").await
}

/// Remove one; its users stay, and cannot sign in.
pub(crate) async fn delete(auth: &Auth, ctx: &Context, path: &str) -> Result<Value, Error> {
    enabled(ctx)?;
    let db = auth.database(&ctx.project).await?;
    let provider = find(&db, path).await?;
    if !queries::delete_sso_provider(&db, provider.id).await? {
        return Err(SsoError::ProviderMissing.into());
    }
    queries::apply(&db, &told(ctx, &provider, "sso_provider_deleted")).await?;
    Ok(provider.view())
}

async fn find(db: &ServiceClient, path: &str) -> Result<SsoProvider, Error> {
    let key = match path.strip_prefix(RESOURCE) {
        Some(resource) => ProviderKey::Resource(resource),
        None => ProviderKey::Id(path.parse().map_err(|_| SsoError::ProviderMissing)?),
    };
    queries::sso_provider(db, &key).await?.ok_or_else(|| SsoError::ProviderMissing.into())
}

/// The rules that need no network.
fn check(auth: &Auth, fields: &Fields) -> Result<(), Error> {
    let given = |it: &Option<String>| text(it.clone());
    let url = given(&fields.metadata_url);
    if url.is_some() && given(&fields.metadata_xml).is_some() {
        return Err(Error::invalid("Only one of metadata_xml or metadata_url needs to be set"));
    }
    if let Some(url) = url {
        let parsed = Url::parse(&url).map_err(|_| Error::invalid("metadata_url is not a valid URL"))?;
        if parsed.scheme() != "https" && !auth.config().private_providers {
            return Err(Error::invalid("metadata_url is not a HTTPS URL"));
        }
        auth.providers().http.check_public(&url).map_err(Error::invalid)?;
    }
    if given(&fields.name_id_format).is_some_and(|it| !NAME_ID_FORMATS.contains(&it.as_str())) {
        let list = NAME_ID_FORMATS.join(", ");
        return Err(Error::Invalid(format!("name_id_format must be unspecified or one of {list}").into()));
    }
    if fields.attribute_mapping.as_ref().is_some_and(|it| !it.is_bounded()) {
        return Err(Error::invalid("attribute_mapping takes at most 100 keys of 20 names each"));
    }
    if given(&fields.resource_id).is_some_and(|it| it.len() > MAX_RESOURCE_ID) {
        return Err(Error::invalid("resource_id takes at most 255 characters"));
    }
    Ok(())
}

/// The metadata that is sent or found at the address that is sent, and what it says.
async fn metadata(auth: &Auth, fields: &Fields) -> Result<Option<(String, IdpMetadata)>, Error> {
    let found = match (text(fields.metadata_xml.clone()), text(fields.metadata_url.clone())) {
        (Some(sent), _) => sent,
        (None, Some(url)) => fetch(auth, &url).await?,
        (None, None) => return Ok(None),
    };
    let idp = IdpMetadata::parse(&found).map_err(|it| Error::Invalid(it.to_string().into()))?;
    Ok(Some((found, idp)))
}

/// Write the fields that are there.
fn fill(provider: &mut SsoProvider, fields: Fields) -> Result<(), Error> {
    if let Some(domains) = fields.domains {
        provider.domains = checked_domains(domains)?;
    }
    if let Some(mapping) = fields.attribute_mapping {
        provider.saml.attribute_mapping = Some(mapping);
    }
    if let Some(format) = fields.name_id_format {
        provider.saml.name_id_format = text(Some(format));
    }
    if let Some(resource) = fields.resource_id {
        provider.resource_id = text(Some(resource));
    }
    if fields.disabled.is_some() {
        provider.disabled = fields.disabled;
    }
    Ok(())
}

fn checked_domains(domains: Vec<String>) -> Result<Vec<String>, Error> {
    let legal = |it: &String| {
        (1..=253).contains(&it.len()) && !it.contains(|it: char| it.is_whitespace() || "@/:".contains(it))
    };
    let mut domains: Vec<String> = domains.iter().map(|it| it.trim().to_lowercase()).collect();
    domains.sort_unstable();
    domains.dedup();
    if domains.len() <= MAX_DOMAINS && domains.iter().all(legal) {
        return Ok(domains);
    }
    Err(Error::invalid("domains takes at most 100 names of hosts, without '@'"))
}

/// Write it, when none of its domains is somebody else's.
async fn write(
    ctx: &Context,
    db: &ServiceClient,
    provider: &SsoProvider,
    action: &'static str,
) -> Result<Value, Error> {
    for domain in &provider.domains {
        let holder = queries::sso_provider(db, &ProviderKey::Domain(domain)).await?;
        if let Some(holder) = holder.filter(|it| it.id != provider.id) {
            return Err(SsoError::DomainTaken { domain: domain.clone(), provider: holder.id }.into());
        }
    }
    queries::write_sso_provider(db, provider).await?;
    queries::apply(db, &told(ctx, provider, action)).await?;
    Ok(provider.view())
}

fn told(ctx: &Context, provider: &SsoProvider, action: &'static str) -> Change {
    let mut change = Change::new(ctx.now);
    let traits = crate::user::object(json!({"sso_provider_id": provider.id}));
    change.audit(Audit { action, log_type: "team", actor: None, traits, ip: ctx.ip_text() });
    change
}
