//! `POST /sso`: find the provider, remember what the flow is about, send the user there.

use serde::Deserialize;
use uuid::Uuid;

use super::{METHOD, enabled, idp, key, relay_id, service};
use crate::error::SsoError;
use crate::flow::external::ORGANISATION;
use crate::queries::{self, NewFlow, ProviderKey, RelayState, SsoProvider};
use crate::request::{Context, pkce, text};
use crate::saml::{Ask, assertion, sign_in_url};
use crate::{Auth, Error, secret};

/// The body.
#[derive(Default, Deserialize)]
pub(crate) struct Fields {
    provider_id: Option<String>,
    domain: Option<String>,
    redirect_to: Option<String>,
    #[serde(default)]
    pub(crate) skip_http_redirect: Option<bool>,
    #[serde(flatten)]
    pkce: pkce::Fields,
}

/// Begin a flow; where the user must go.
pub(crate) async fn run(auth: &Auth, ctx: &Context, fields: Fields) -> Result<String, Error> {
    enabled(ctx)?;
    let (id, domain) = (text(fields.provider_id), text(fields.domain));
    let redirect_to = ctx.redirect_or(fields.redirect_to.as_deref());
    let challenge = fields.pkce.parse()?;
    let provider = provider(auth, ctx, (id.as_deref(), domain.as_deref())).await?;
    let idp = idp(auth, ctx, &provider).await?;
    let key = key(auth, ctx).await?;
    let request_id = format!("_{}", secret::hex(&secret::random::<20>()?));
    let token = Uuid::new_v4();
    let format = provider.saml.name_id_format.as_deref().unwrap_or(assertion::PERSISTENT);
    let relay_state = token.to_string();
    let ask = Ask { id: &request_id, relay_state: &relay_state, name_id_format: format, now: ctx.now };
    let url = sign_in_url(&service(ctx), &idp, &key, &ask)?;
    let db = auth.database(&ctx.project).await?;
    let flow = challenge.map(|challenge| NewFlow {
        id: Uuid::new_v4(),
        provider_type: format!("{ORGANISATION}{}", provider.id),
        authentication_method: METHOD,
        code_challenge: Some(challenge.challenge),
        code_challenge_method: Some(challenge.method),
        invite_token: None,
        referrer: redirect_to.clone(),
        oauth_client_state_id: None,
        linking_target_id: None,
        email_optional: false,
        created_at: ctx.now,
        code_verifier: None,
    });
    if let Some(flow) = &flow {
        queries::begin_flow(&db, flow).await?;
    }
    let state = RelayState {
        id: relay_id(token),
        sso_provider_id: provider.id,
        request_id,
        redirect_to: Some(redirect_to),
        created_at: ctx.now,
        flow_state_id: flow.map(|it| it.id),
    };
    queries::begin_relay(&db, &state).await?;
    Ok(url)
}

async fn provider(
    auth: &Auth,
    ctx: &Context,
    wanted: (Option<&str>, Option<&str>),
) -> Result<SsoProvider, Error> {
    let (key, missing) = match wanted {
        (Some(_), Some(_)) => return Err(Error::invalid("Only one of provider_id or domain supported")),
        (None, None) => return Err(Error::invalid("A provider_id or domain needs to be provided")),
        (Some(id), None) => {
            (ProviderKey::Id(id.parse().map_err(|_| SsoError::NoSuchProvider)?), SsoError::NoSuchProvider)
        }
        (None, Some(domain)) => (ProviderKey::Domain(domain), SsoError::NoProviderOfDomain),
    };
    let db = auth.database(&ctx.project).await?;
    let found = queries::sso_provider(&db, &key).await?;
    found.filter(|it| it.disabled != Some(true)).ok_or_else(|| missing.into())
}
