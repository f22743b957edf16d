//! A provider ready for use: the row of the table with what the project set, or what an issuer published.

use common::{AuthSettings, ProviderSettings};
use serde_json::Value;

use super::table::{self, At, Emails, Facts, GENERIC, Host, Preset};
use super::{Custom, Failure, Providers, Trust};
use crate::Error;
use crate::user::Object;

/// A provider ready for use.
#[derive(Clone)]
pub(crate) struct Provider {
    pub(crate) name: String,
    pub(crate) client_id: String,
    /// Whom its ID tokens may be for.
    pub(crate) client_ids: Vec<String>,
    pub(super) secret: String,
    pub(crate) trust: Trust,
    pub(super) web: String,
    pub(super) api: String,
    pub(crate) authorize: String,
    pub(super) token: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) parameters: Vec<(String, String)>,
    pub(super) headers: &'static [(&'static str, &'static str)],
    pub(crate) pkce: bool,
    pub(super) basic: bool,
    pub(super) proof: bool,
    /// What `iss` says of facts that no token carries.
    pub(super) issuer: String,
    pub(super) source: Source,
    pub(super) emails: Emails,
    /// Where the address is when it is not where the row says.
    pub(super) email_at: Option<String>,
    pub(super) claims: Vec<(String, String)>,
    /// Claims with a fixed value.
    pub(super) literals: Object,
    /// Further fields to keep below `custom_claims`.
    pub(super) custom_claims: Vec<String>,
    pub(super) rest: bool,
    pub(crate) email_optional: bool,
    pub(crate) skip_nonce_check: bool,
}

/// Where the facts come from.
#[derive(Clone)]
pub(super) enum Source {
    Get(String),
    Token(&'static str),
    IdToken {
        tokens: IdTokens,
        userinfo: Option<String>,
    },
    /// Of `tenant`'s issuer, or any tenant's.
    Azure {
        tenant: Option<String>,
    },
}

/// Whose ID tokens, and where the keys are.
#[derive(Clone)]
pub(crate) struct IdTokens {
    pub(super) issuers: Vec<String>,
    pub(super) jwks_uri: String,
}

/// Why there is no provider.
pub(crate) enum NotFound {
    /// In words for the client.
    Because(String),
    /// We could not look.
    Failed(Error),
}

impl From<Failure> for NotFound {
    fn from(it: Failure) -> Self {
        tracing::warn!(reason = %it, "a provider cannot be reached");
        Self::Because("the provider's configuration cannot be fetched".into())
    }
}

/// The provider `name` of the project with `settings`.
pub(crate) async fn find(
    providers: &Providers,
    settings: &AuthSettings,
    name: &str,
) -> Result<Provider, NotFound> {
    let because = |text: String| Err(NotFound::Because(text));
    let configured = settings.external.get(name);
    let row = match (table::preset(name), name.strip_prefix("custom:")) {
        (Some(row), _) => row,
        (None, Some(_)) if configured.is_some() => &GENERIC,
        (None, Some(_)) => return because(format!("custom provider {name} not found")),
        (None, None) => return because(format!("Provider {name} could not be found")),
    };
    let Some(own) = configured.filter(|it| it.enabled) else {
        return because("provider is not enabled".into());
    };
    let Some(client_id) = own.client_ids.first() else { return because("missing OAuth client ID".into()) };
    if own.secret.as_ref().is_none_or(String::is_empty) && !row.pkce {
        return because("missing OAuth secret".into());
    }
    let url = own.url.as_deref().map(|it| it.trim_end_matches('/')).filter(|it| !it.is_empty());
    let base = of_row(name, row, own, client_id);
    match row.facts {
        Facts::IdToken { issuer } => {
            let Some(issuer) = url.or(Some(issuer).filter(|it| !it.is_empty())) else {
                return because(format!("unable to find URL for the {name} provider"));
            };
            Ok(published(providers, base, (issuer, None)).await?)
        }
        Facts::Azure | Facts::Get(_) | Facts::Token(_) => {
            let Some((web, api)) = sides(row, url) else {
                return because(format!("unable to find URL for the {name} provider"));
            };
            Ok(placed(base, row, (web, api), url))
        }
    }
}

/// Where the two sides of a provider are.
fn sides(row: &Preset, url: Option<&str>) -> Option<(String, String)> {
    let side = |host: Host| match url {
        Some(url) => Some(format!("{url}{}", host.below)),
        None => (!host.public.is_empty()).then(|| host.public.to_owned()),
    };
    let web = side(row.web)?;
    Some((web.clone(), side(row.api).unwrap_or(web)))
}

/// Put the row's paths on the two sides.
fn placed(mut it: Provider, row: &Preset, (web, api): (String, String), url: Option<&str>) -> Provider {
    let place = |at: At| match at {
        At::Web(path) => format!("{web}{path}"),
        At::Api(path) => format!("{api}{path}"),
    };
    it.authorize = place(row.authorize);
    it.token = place(row.token);
    it.source = match row.facts {
        Facts::Get(at) => Source::Get(place(at)),
        Facts::Token(pointer) => Source::Token(pointer),
        Facts::Azure | Facts::IdToken { .. } => Source::Azure { tenant: url.and_then(azure_tenant) },
    };
    it.issuer.clone_from(&api);
    (it.web, it.api) = (web, api);
    it
}

/// The issuer of the tenant at `url`; none for those that stand for every tenant.
pub(super) fn azure_tenant(url: &str) -> Option<String> {
    let shared = url.ends_with("/common") || url.ends_with("/organizations") || url.ends_with("/consumers");
    (!shared).then(|| format!("{url}/v2.0"))
}

/// What the issuer published, written into `it`.
pub(super) async fn published(
    providers: &Providers,
    mut it: Provider,
    (issuer, address): (&str, Option<&str>),
) -> Result<Provider, Failure> {
    let metadata = providers.issuers.discover(it.trust, issuer, address).await?;
    it.authorize.clone_from(&metadata.authorization_endpoint);
    it.token.clone_from(&metadata.token_endpoint);
    if it.authorize.is_empty() || it.token.is_empty() || metadata.jwks_uri.is_empty() {
        return Err(Failure::new("the issuer does not publish its endpoints"));
    }
    let methods = metadata.token_endpoint_auth_methods_supported.as_deref();
    // Without the field, the header is what everybody must support.
    let body = methods.is_some_and(|it| it.iter().any(|it| it == "client_secret_post"));
    it.basic = !body;
    let mut issuers = vec![metadata.issuer.clone()];
    if it.name == "apple" {
        issuers.push("https://account.apple.com".into());
    }
    if it.name == "google" {
        issuers.push("accounts.google.com".into());
    }
    let tokens = IdTokens { issuers, jwks_uri: metadata.jwks_uri.clone() };
    it.source = Source::IdToken { tokens, userinfo: metadata.userinfo_endpoint.clone() };
    it.issuer.clone_from(&metadata.issuer);
    Ok(it)
}

fn of_row(name: &str, row: &Preset, own: &ProviderSettings, client_id: &str) -> Provider {
    let texts = |it: &[(&str, &str)]| {
        it.iter().map(|(left, right)| ((*left).to_owned(), (*right).to_owned())).collect()
    };
    Provider {
        name: name.to_owned(),
        client_id: client_id.to_owned(),
        client_ids: own.client_ids.clone(),
        secret: own.secret.clone().unwrap_or_default(),
        trust: Trust::Operator,
        web: String::new(),
        api: String::new(),
        authorize: String::new(),
        token: String::new(),
        scopes: row.scopes.iter().map(|it| (*it).to_owned()).collect(),
        parameters: texts(row.parameters),
        headers: row.headers,
        pkce: row.pkce,
        basic: row.basic,
        proof: row.proof,
        issuer: String::new(),
        source: Source::Token(""),
        emails: row.emails,
        email_at: None,
        claims: texts(row.claims),
        literals: Object::new(),
        custom_claims: Vec::new(),
        rest: row.rest,
        email_optional: own.email_optional,
        skip_nonce_check: own.skip_nonce_check,
    }
}

/// The reader of ID tokens that apps bring, for a provider that is on. `issuer` is the one that the token names; the
/// caller has checked that it is the provider's.
pub(crate) fn for_id_tokens(name: &str, own: &ProviderSettings) -> Option<Provider> {
    let row = table::id_token_preset(name).or_else(|| name.starts_with("custom:").then_some(GENERIC))?;
    let client_id = own.client_ids.first().cloned().unwrap_or_default();
    Some(of_row(name, &row, own, &client_id))
}

/// The reader of ID tokens of an issuer of which nothing else is known.
pub(crate) fn for_issuer(issuer: &str, client_id: &str) -> Provider {
    let own = ProviderSettings { client_ids: vec![client_id.to_owned()], ..ProviderSettings::default() };
    of_row(issuer, &GENERIC, &own, client_id)
}

/// The provider that a project's people defined; the secret is opened.
pub(crate) async fn of_custom(
    providers: &Providers,
    custom: &Custom,
    secret: String,
) -> Result<Provider, NotFound> {
    let base = base_of_custom(custom, secret);
    if let Some(issuer) = custom.issuer.as_deref().filter(|_| custom.is_oidc()) {
        return Ok(published(providers, base, (issuer, custom.discovery_url.as_deref())).await?);
    }
    let (Some(authorize), Some(token), Some(userinfo)) =
        (&custom.authorization_url, &custom.token_url, &custom.userinfo_url)
    else {
        let text = format!("OAuth2 provider {} missing required endpoints", custom.identifier);
        return Err(NotFound::Because(text));
    };
    Ok(Provider {
        authorize: authorize.clone(),
        token: token.clone(),
        source: Source::Get(userinfo.clone()),
        ..base
    })
}

/// What holds for a provider of a project's people before its issuer is asked.
pub(crate) fn base_of_custom(custom: &Custom, secret: String) -> Provider {
    let own = ProviderSettings {
        client_ids: std::iter::once(&custom.client_id)
            .chain(&custom.acceptable_client_ids)
            .cloned()
            .collect(),
        secret: Some(secret),
        skip_nonce_check: custom.skip_nonce_check,
        email_optional: custom.email_optional,
        ..ProviderSettings::default()
    };
    let mut it = of_row(&custom.identifier, &GENERIC, &own, &custom.client_id);
    it.trust = Trust::Project;
    it.pkce = custom.pkce_enabled;
    it.basic = false;
    it.scopes.clone_from(&custom.scopes);
    it.custom_claims.clone_from(&custom.custom_claims_allowlist);
    it.parameters = custom
        .authorization_params
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect();
    for (target, source) in &custom.attribute_mapping {
        map_attribute(&mut it, target, source);
    }
    it
}

/// A mapping names a field of what the provider tells, by name or pointer; anything but text is the value itself.
fn map_attribute(it: &mut Provider, target: &str, source: &Value) {
    let Some(source) = source.as_str() else {
        it.literals.insert(target.to_owned(), source.clone());
        return;
    };
    let pointer = if source.starts_with('/') {
        source.to_owned()
    } else {
        format!("/{}", source.replace('~', "~0").replace('/', "~1"))
    };
    if target == "email" {
        it.email_at = Some(pointer);
        return;
    }
    it.claims.retain(|(name, _)| name != target);
    it.claims.push((target.to_owned(), pointer));
}
