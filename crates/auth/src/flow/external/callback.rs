//! `GET` and `POST /callback`: the provider sent the user back with a code, or with a refusal.
//!
//! Whatever happens, the user's browser is sent on: to where the flow began with a session, a code or an error; to the
//! site when the flow is unknown.

use uuid::Uuid;

use super::{METHOD, Parameters, account, link, provider, redirect_uri};
use crate::flow::external::account::{Arrival, Outcome};
use crate::providers::{Granted, Profile, Provider};
use crate::queries::{self, Claim, ClientState, Flow};
use crate::request::Context;
use crate::session::Tokens;
use crate::{Auth, Error, ExternalError, secret};

/// For how long a provider may take.
const LIFETIME_SECS: i64 = 300;

/// Where the browser goes.
pub(crate) enum Landing {
    /// The flow is unknown: to the site.
    Lost(Error),
    /// The flow failed.
    Failed { target: String, error: Error },
    /// A session, for the fragment.
    SignedIn { target: String, tokens: Box<Tokens> },
    /// A code for PKCE.
    Code { target: String, code: String },
}

/// What our half of PKCE is bound to.
pub(super) fn context(id: Uuid) -> String {
    format!("oauth_client_states.code_verifier:{id}")
}

/// What the provider's tokens in flow `id` are bound to.
pub(crate) fn token_context(id: Uuid) -> String {
    format!("flow_state.provider_tokens:{id}")
}

/// Finish a flow.
pub(crate) async fn run(auth: &Auth, ctx: &Context, query: &Parameters) -> Landing {
    let flow = match load(auth, ctx, query).await {
        Ok(flow) => flow,
        Err(error) => return Landing::Lost(error),
    };
    let target = ctx.redirect_or(flow.referrer.as_deref());
    match Box::pin(finish(auth, ctx, query, &flow)).await {
        Ok(Done::SignedIn(tokens)) => Landing::SignedIn { target, tokens },
        Ok(Done::Code(code)) => Landing::Code { target, code },
        Err(error) => Landing::Failed { target, error },
    }
}

enum Done {
    SignedIn(Box<Tokens>),
    Code(String),
}

async fn load(auth: &Auth, ctx: &Context, query: &Parameters) -> Result<Flow, Error> {
    let state = query.get("state").ok_or(ExternalError::StateMissing)?;
    let id: Uuid = state.parse().map_err(|_| ExternalError::StateMalformed)?;
    let db = auth.database(&ctx.project).await?;
    let flow = queries::flow(&db, id, METHOD).await?.ok_or(ExternalError::StateUnknown)?;
    if is_over(ctx, flow.created_at) {
        return Err(ExternalError::StateExpired.into());
    }
    if flow.user_id.is_some() {
        return Err(ExternalError::StateUsed.into());
    }
    if let Some(target) = flow.linking_target_id
        && queries::by_id(&db, target).await?.is_none()
    {
        return Err(ExternalError::LinkTargetMissing.into());
    }
    Ok(flow)
}

fn is_over(ctx: &Context, began: Option<jiff::Timestamp>) -> bool {
    began.is_none_or(|it| ctx.now.as_second() - it.as_second() > LIFETIME_SECS)
}

async fn finish(auth: &Auth, ctx: &Context, query: &Parameters, flow: &Flow) -> Result<Done, Error> {
    if let Some(error) = query.get("error") {
        let words = |text: &str| text.chars().filter(|it| !it.is_control()).take(512).collect();
        let description = words(query.get("error_description").unwrap_or_default());
        return Err(ExternalError::Denied { error: words(error), description }.into());
    }
    let code = query.get("code").ok_or(ExternalError::CodeMissing)?;
    let found = provider(auth, ctx, &flow.provider_type).await;
    let provider = found.map_err(|it| it.into_error(ExternalError::Gone))?;
    let verifier = verifier(auth, ctx, flow, &provider).await?;
    let (granted, profile) =
        ask(auth, ctx, (&provider, code), verifier.as_deref(), query.get("user")).await?;
    if profile.emails.is_empty() && !flow.email_optional {
        return Err(ExternalError::NoEmail.into());
    }
    settle(auth, ctx, flow, (&profile, &granted)).await
}

/// Our half of PKCE, if the flow was begun with one.
async fn verifier(
    auth: &Auth,
    ctx: &Context,
    flow: &Flow,
    provider: &Provider,
) -> Result<Option<String>, Error> {
    let Some(id) = flow.oauth_client_state_id else {
        return if provider.pkce { Err(ExternalError::VerifierMissing.into()) } else { Ok(None) };
    };
    let db = auth.database(&ctx.project).await?;
    let state = queries::take_client_state(&db, id).await?.ok_or(ExternalError::ClientStateMissing)?;
    let ClientState { provider_type, code_verifier, created_at } = state;
    if provider_type != flow.provider_type {
        return Err(ExternalError::ProviderMismatch.into());
    }
    if is_over(ctx, Some(created_at)) {
        return Err(ExternalError::ClientStateExpired.into());
    }
    let sealed = code_verifier.ok_or(ExternalError::VerifierMissing)?;
    let plain = ctx.project.vault.open(&context(id), &sealed).map_err(Error::internal)?;
    String::from_utf8(plain).map(Some).map_err(Error::internal)
}

/// Exchange the code, then ask who that is. No connection to the database is held meanwhile.
async fn ask(
    auth: &Auth,
    ctx: &Context,
    (provider, code): (&Provider, &str),
    verifier: Option<&str>,
    user: Option<&str>,
) -> Result<(Granted, Profile), Error> {
    let granted = auth.providers().exchange(provider, (code, &redirect_uri(ctx)), verifier).await;
    let granted = granted.map_err(|source| ExternalError::Exchange {
        start: code.chars().take(4).collect(),
        source: source.into(),
    })?;
    let profile = auth.providers().profile(provider, &granted, ctx.now.as_second()).await;
    let mut profile = profile.map_err(|it| ExternalError::Profile(it.into()))?;
    if let Some(user) = user.filter(|_| provider.name == "apple") {
        profile.add_name(user);
    }
    Ok((granted, profile))
}

/// Write what the flow leads to.
async fn settle(
    auth: &Auth,
    ctx: &Context,
    flow: &Flow,
    (profile, granted): (&Profile, &Granted),
) -> Result<Done, Error> {
    let code = flow.is_pkce().then(|| Uuid::new_v4().to_string());
    let arrival = Arrival {
        provider: &flow.provider_type,
        profile,
        email_optional: flow.email_optional,
        method: METHOD,
        flow: Some(flow.id),
        claim: match &code {
            Some(code) => Some(claim(ctx, flow.id, code, granted)?),
            None => None,
        },
        session_ends: None,
    };
    let outcome = match (flow.linking_target_id, &flow.invite_token) {
        (Some(target), _) => link::link(auth, ctx, &arrival, target).await?,
        (None, Some(token)) => account::accept_invite(auth, ctx, &arrival, token).await?,
        (None, None) => account::sign_in(auth, ctx, &arrival).await?,
    };
    match (outcome, code) {
        (Outcome::Claimed, Some(code)) => Ok(Done::Code(code)),
        (Outcome::SignedIn(mut tokens), _) => {
            tokens.provider_token = Some(granted.access_token.clone());
            tokens.provider_refresh_token.clone_from(&granted.refresh_token);
            Ok(Done::SignedIn(tokens))
        }
        (Outcome::Claimed, None) => Err(Error::Conflict),
    }
}

fn claim(ctx: &Context, id: Uuid, code: &str, granted: &Granted) -> Result<Claim, Error> {
    let context = token_context(id);
    let seal = |text: &str| ctx.project.vault.seal(&context, text.as_bytes()).map_err(Error::internal);
    Ok(Claim {
        id,
        user_id: Uuid::nil(),
        auth_code: secret::stored(code),
        provider_access_token: Some(seal(&granted.access_token)?),
        provider_refresh_token: granted.refresh_token.as_deref().map(seal).transpose()?,
        session_not_after: None,
    })
}
