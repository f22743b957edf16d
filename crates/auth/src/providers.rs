//! Identity providers: what is known about each ([`table`]), what a project set ([`resolve`]), how to talk to them
//! ([`http`], [`oidc`], [`exchange`]) and what they tell about a user ([`profile`]).
//!
//! Providers are rows of a table, not code. Only addresses that an administrator configured, or that a configured
//! issuer published about itself, are ever contacted; redirects are not followed; every answer is bounded in size and
//! time.

mod custom;
mod exchange;
mod http;
mod mapping;
mod oidc;
mod profile;
mod resolve;
mod table;

use std::sync::Arc;

use crate::Config;

pub(crate) use custom::Custom;
pub(crate) use exchange::Granted;
pub(crate) use http::{Outbound, Trust};
pub(crate) use oidc::{Expected, Issuers, TokenError, unverified_issuer};
#[cfg(feature = "saml")]
pub(crate) use profile::Email;
pub(crate) use profile::Profile;
use resolve::IdTokens;
pub(crate) use resolve::{NotFound, Provider, base_of_custom, find, for_id_tokens, for_issuer, of_custom};
pub(crate) use table::issuer_of;

/// Why a provider could not be asked, or what was wrong with its answer. For the log: never a secret, a token or a body.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failure(pub(crate) String);

impl Failure {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// The way to providers, shared by all projects: connections, and what issuers published.
#[derive(Debug, Clone)]
pub(crate) struct Providers {
    pub(crate) http: Arc<Outbound>,
    pub(crate) issuers: Arc<Issuers>,
}

impl Providers {
    /// Nothing is contacted yet.
    pub(crate) fn new(config: &Config) -> Self {
        let http = Arc::new(Outbound::new(config.private_providers));
        Self { issuers: Arc::new(Issuers::new(Arc::clone(&http))), http }
    }

    /// Exchange the code that `provider` sent to `redirect_uri`.
    pub(crate) async fn exchange(
        &self,
        provider: &Provider,
        (code, redirect_uri): (&str, &str),
        verifier: Option<&str>,
    ) -> Result<Granted, Failure> {
        exchange::run(&self.http, provider, (code, redirect_uri), verifier).await
    }

    /// Who the user is that `provider` gave `granted` for.
    pub(crate) async fn profile(
        &self,
        provider: &Provider,
        granted: &Granted,
        now_secs: i64,
    ) -> Result<Profile, Failure> {
        profile::fetch(self, provider, granted, now_secs).await
    }

    /// Whose token it is that Azure issued: of `tenant`'s issuer, or of any tenant's.
    async fn azure(&self, tenant: Option<&str>, token: &str) -> Result<IdTokens, Failure> {
        let issuer = unverified_issuer(token).ok_or_else(|| Failure::new("the ID token names no issuer"))?;
        let right = tenant.map_or_else(|| is_azure_issuer(&issuer), |it| it == issuer);
        if !right {
            return Err(Failure::new("the ID token is of another tenant"));
        }
        let metadata = self.issuers.discover(Trust::Operator, &issuer, None).await?;
        Ok(IdTokens { issuers: vec![issuer], jwks_uri: metadata.jwks_uri.clone() })
    }
}

/// Whether `issuer` is the one of the Azure tenant at `url`, or of any tenant when `url` names none.
pub(crate) fn is_azure_tenant(url: Option<&str>, issuer: &str) -> bool {
    let older = issuer.strip_prefix("https://sts.windows.net/").and_then(|it| it.strip_suffix('/'));
    match url.and_then(resolve::azure_tenant) {
        Some(tenant) => tenant == issuer,
        None => is_azure_issuer(issuer) || older.is_some_and(is_tenant),
    }
}

/// Whether `issuer` is the one of an Azure tenant: everything but one path segment is fixed.
pub(crate) fn is_azure_issuer(issuer: &str) -> bool {
    let host = issuer.strip_prefix("https://login.microsoftonline.com/");
    host.and_then(|it| it.strip_suffix("/v2.0")).is_some_and(is_tenant)
}

fn is_tenant(text: &str) -> bool {
    !text.is_empty()
        && !text.contains("..")
        && text.bytes().all(|it| it.is_ascii_alphanumeric() || b"-.".contains(&it))
}
