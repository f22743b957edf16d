//! `GET /authorize` and `GET /user/identities/authorize`: remember what the flow is about, send the user to the provider.

use url::Url;
use uuid::Uuid;

use super::{METHOD, provider, redirect_uri};
use crate::error::AccountError;
use crate::flow::whoami;
use crate::providers::Provider;
use crate::queries::{self, NewFlow};
use crate::request::{Context, pkce};
use crate::{Auth, Error, ExternalError, secret};

/// What we say ourselves, or what is none of the provider's business.
const OURS: &[&str] = &[
    "apikey",
    "client_id",
    "client_secret",
    "code_challenge",
    "code_challenge_method",
    "code_verifier",
    "invite_token",
    "provider",
    "redirect_to",
    "redirect_uri",
    "response_mode",
    "response_type",
    "scopes",
    "skip_http_redirect",
    "state",
];
/// Longest address that browsers and providers surely take.
const MAX_URL: usize = 8 * 1024;

/// The query, in its order; of a name that comes twice, the first counts.
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(crate) fn parse(query: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(query).into_owned().collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str());
        found.filter(|it| !it.is_empty())
    }
}

/// Begin a flow; where the user must go.
pub(crate) async fn run(auth: &Auth, ctx: &Context, query: &Parameters) -> Result<String, Error> {
    begin(auth, ctx, query, None).await
}

/// Begin a flow that links an identity to the signed-in user.
pub(crate) async fn linking(auth: &Auth, ctx: &Context, query: &Parameters) -> Result<String, Error> {
    let who = whoami::in_person(auth, ctx).await?;
    if !ctx.project.auth.manual_linking {
        return Err(AccountError::LinkingDisabled.into());
    }
    let target = who.account.user.id;
    drop(who);
    begin(auth, ctx, query, Some(target)).await
}

async fn begin(
    auth: &Auth,
    ctx: &Context,
    query: &Parameters,
    linking_target_id: Option<Uuid>,
) -> Result<String, Error> {
    let name = query.get("provider").unwrap_or_default().to_lowercase();
    let found = provider(auth, ctx, &name).await;
    let provider = found.map_err(|it| it.into_error(ExternalError::Unsupported))?;
    let challenge =
        pkce::Fields::new(query.get("code_challenge"), query.get("code_challenge_method")).parse()?;
    let (challenge, method) = challenge.map(|it| (it.challenge, it.method)).unzip();
    let id = Uuid::new_v4();
    let pkce = if provider.pkce { Some((Uuid::new_v4(), secret::token()?)) } else { None };
    let url = address(ctx, &provider, query, (id, pkce.as_ref().map(|it| it.1.as_str())))?;
    let code_verifier = match &pkce {
        Some((id, verifier)) => Some(sealed(ctx, *id, verifier)?),
        None => None,
    };
    let flow = NewFlow {
        id,
        provider_type: provider.name.clone(),
        authentication_method: METHOD,
        code_challenge: challenge,
        code_challenge_method: method,
        invite_token: query.get("invite_token").map(secret::stored),
        referrer: ctx.redirect_to.clone(),
        oauth_client_state_id: pkce.as_ref().map(|it| it.0),
        linking_target_id,
        email_optional: provider.email_optional,
        created_at: ctx.now,
        code_verifier,
    };
    let db = auth.database(&ctx.project).await?;
    if let Some(token) = &flow.invite_token
        && queries::mailed_by_link(&db, token).await?.is_none()
    {
        return Err(ExternalError::InviteTokenMissing.into());
    }
    queries::begin_flow(&db, &flow).await?;
    Ok(url)
}

fn sealed(ctx: &Context, id: Uuid, verifier: &str) -> Result<String, Error> {
    ctx.project.vault.seal(&super::callback::context(id), verifier.as_bytes()).map_err(Error::internal)
}

/// The provider's page, with everything that it must know.
fn address(
    ctx: &Context,
    provider: &Provider,
    query: &Parameters,
    (state, verifier): (Uuid, Option<&str>),
) -> Result<String, Error> {
    let mut url = Url::parse(&provider.authorize).map_err(Error::internal)?;
    let mut scopes = provider.scopes.clone();
    if let Some(more) = query.get("scopes") {
        let more: Vec<String> =
            more.split([',', ' ']).filter(|it| !it.is_empty()).map(str::to_owned).collect();
        if provider.name.starts_with("custom:") {
            scopes.retain(|it| it == "openid");
        }
        scopes.extend(more);
    }
    let mut seen = std::collections::BTreeSet::new();
    scopes.retain(|it| seen.insert(it.clone()));
    {
        let mut pairs = url.query_pairs_mut();
        pairs.append_pair("client_id", &provider.client_id);
        pairs.append_pair("redirect_uri", &redirect_uri(ctx));
        pairs.append_pair("response_type", "code");
        if !scopes.is_empty() {
            pairs.append_pair("scope", &scopes.join(" "));
        }
        pairs.append_pair("state", &state.to_string());
        if let Some(verifier) = verifier {
            pairs.append_pair("code_challenge", &secret::s256(verifier));
            pairs.append_pair("code_challenge_method", "S256");
        }
        for (name, value) in &provider.parameters {
            pairs.append_pair(name, value);
        }
        for (name, value) in &query.0 {
            let lower = name.to_lowercase();
            let ours =
                OURS.contains(&lower.as_str()) || provider.parameters.iter().any(|(it, _)| *it == lower);
            match lower.as_str() {
                // WorkOS wants to know which of its providers, and our own parameter has that name.
                "workos_provider" => drop(pairs.append_pair("provider", value)),
                "scope" => {}
                _ if !ours => drop(pairs.append_pair(name, value)),
                _ => {}
            }
        }
    }
    let url = String::from(url);
    if url.len() > MAX_URL {
        return Err(Error::invalid("The query is too long"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_name_that_comes_twice_the_first_counts() {
        let query = Parameters::parse(b"a=1&b=&a=2&c=%20x");
        assert_eq!((query.get("a"), query.get("b"), query.get("c")), (Some("1"), None, Some(" x")));
    }
}
