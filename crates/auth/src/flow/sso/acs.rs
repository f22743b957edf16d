//! `POST /sso/saml/acs`: the provider sent the user back with an assertion.
//!
//! Whatever happens, the user's browser is sent on: to where the flow began with a session or a code, to the site with
//! an error. Addresses that come beside the assertion are followed only where the project allows them.

use jiff::SignedDuration;
use url::Url;
use uuid::Uuid;

use super::{METHOD, enabled, idp, relay_id, service};
use crate::error::SsoError;
use crate::events::{self, Event};
use crate::flow::external::account::sign_in;
use crate::flow::external::{Arrival, Landing, ORGANISATION, Outcome};
use crate::providers::{Email, Profile};
use crate::queries::{self, Claim, ProviderKey, RelayState, SsoProvider};
use crate::request::Context;
use crate::saml::{Assertion, Expected, FormError, LIFETIME_SECS, Message, Refusal, SKEW_SECS, read};
use crate::session::Tokens;
use crate::user::{Object, check_metadata};
use crate::{Auth, Error, ExternalError, secret};

/// For how long a user may stay with the provider.
const RELAY_SECS: i64 = 600;

/// What a browser brings.
#[derive(Default)]
pub(crate) struct Form {
    response: Option<String>,
    relay_state: String,
    artifact: bool,
}

impl Form {
    /// From a body.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a field comes twice.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut form = Self::default();
        let mut relay_state = None;
        for (name, value) in url::form_urlencoded::parse(body) {
            let before = match &*name {
                "SAMLResponse" => form.response.replace(value.into_owned()),
                "RelayState" => relay_state.replace(value.into_owned()),
                "SAMLart" => {
                    form.artifact = !value.is_empty();
                    None
                }
                _ => None,
            };
            if before.is_some() {
                return Err(Error::invalid("A field of the form comes twice"));
            }
        }
        form.relay_state = relay_state.unwrap_or_default();
        form.response = form.response.filter(|it| !it.is_empty());
        Ok(form)
    }
}

/// What the relay state stands for.
struct Begun {
    redirect_to: String,
    /// The flow that we began; `None`: the provider began.
    state: Option<RelayState>,
}

/// Finish a flow.
pub(crate) async fn run(auth: &Auth, ctx: &Context, form: &Form) -> Result<Landing, Error> {
    enabled(ctx)?;
    match finish(auth, ctx, form).await {
        Ok(landing) => Ok(landing),
        Err(error) => Ok(Landing::Lost(error)),
    }
}

async fn finish(auth: &Auth, ctx: &Context, form: &Form) -> Result<Landing, Error> {
    let begun = begun(auth, ctx, form).await?;
    let message = message(ctx, form)?;
    let provider = provider(auth, ctx, &begun, &message).await?;
    let assertion = verified(auth, ctx, (&provider, &begun), message).await?;
    let profile = profile(&provider, &assertion)?;
    let (ends, target) = (assertion.session_ends, begun.redirect_to);
    let flow = begun.state.and_then(|it| it.flow_state_id);
    let code = flow.map(|_| Uuid::new_v4().to_string());
    let name = format!("{ORGANISATION}{}", provider.id);
    let arrival = Arrival {
        provider: &name,
        profile: &profile,
        email_optional: false,
        method: METHOD,
        flow,
        claim: flow.zip(code.as_deref()).map(|(id, code)| Claim {
            id,
            user_id: Uuid::nil(),
            auth_code: secret::stored(code),
            provider_access_token: None,
            provider_refresh_token: None,
            session_not_after: ends,
        }),
        session_ends: ends,
    };
    match (sign_in(auth, ctx, &arrival).await?, code) {
        (Outcome::Claimed, Some(code)) => Ok(Landing::Code { target, code }),
        (Outcome::SignedIn(tokens), _) => Ok(signed_in(target, tokens)),
        (Outcome::Claimed, None) => Err(Error::Conflict),
    }
}

fn signed_in(target: String, tokens: Box<Tokens>) -> Landing {
    Landing::SignedIn { target, tokens }
}

/// What the relay state stands for: a flow of ours, which is over then, or an address that the provider names.
async fn begun(auth: &Auth, ctx: &Context, form: &Form) -> Result<Begun, Error> {
    let allowed = |wanted: Option<&str>| {
        let wanted = wanted.filter(|it| crate::request::is_allowed_redirect(it, &ctx.project.auth));
        wanted.unwrap_or(&ctx.project.auth.site_url).to_owned()
    };
    if let Ok(token) = form.relay_state.parse::<Uuid>() {
        let db = auth.database(&ctx.project).await?;
        let state = queries::take_relay(&db, relay_id(token)).await?.ok_or(SsoError::RelayStateMissing)?;
        if ctx.now.as_second() - state.created_at.as_second() >= RELAY_SECS {
            return Err(SsoError::RelayStateExpired.into());
        }
        return Ok(Begun { redirect_to: allowed(state.redirect_to.as_deref()), state: Some(state) });
    }
    let address = form.relay_state.starts_with('/') || Url::parse(&form.relay_state).is_ok();
    if !form.relay_state.is_empty() && !address {
        return Err(Error::invalid("SAML RelayState is not a valid UUID or URL"));
    }
    if form.artifact {
        return Err(Error::invalid("SAML Artifact response can only be used with SP initiated flow"));
    }
    Ok(Begun { redirect_to: allowed(Some(&form.relay_state)), state: None })
}

fn message(ctx: &Context, form: &Form) -> Result<Message, Error> {
    let field = form.response.as_deref().ok_or(Error::invalid("SAMLResponse is missing"))?;
    Message::parse(field).map_err(|error| match error {
        FormError::Base64 => Error::invalid("SAMLResponse is not a valid Base64 string"),
        FormError::Xml(Refusal(reason)) => {
            events::tell(&Event::SamlRefused { project: Some(&ctx.project.reference), reason });
            Error::invalid("SAMLResponse is not a valid XML SAML assertion")
        }
    })
}

/// The provider that the flow began with, or the one that says it sent the message.
async fn provider(
    auth: &Auth,
    ctx: &Context,
    begun: &Begun,
    message: &Message,
) -> Result<SsoProvider, Error> {
    let key = match &begun.state {
        Some(state) => ProviderKey::Id(state.sso_provider_id),
        None => ProviderKey::Entity(message.issuer()),
    };
    let db = auth.database(&ctx.project).await?;
    let found = queries::sso_provider(&db, &key).await?.filter(|it| it.disabled != Some(true));
    found.ok_or_else(|| SsoError::IdpMissing.into())
}

/// What the message says, if it is genuine, for us, now, and for the first time.
async fn verified(
    auth: &Auth,
    ctx: &Context,
    (provider, begun): (&SsoProvider, &Begun),
    message: Message,
) -> Result<Assertion, Error> {
    let refused = |Refusal(reason)| {
        events::tell(&Event::SamlRefused { project: Some(&ctx.project.reference), reason });
        Error::from(SsoError::Assertion)
    };
    let idp = idp(auth, ctx, provider).await?;
    let (service, now) = (service(ctx), ctx.now);
    let request_id = begun.state.as_ref().map(|it| it.request_id.clone());
    let reading = tokio::task::spawn_blocking(move || {
        let request_id = request_id.as_deref();
        read(&message, &Expected { service: &service, idp: &idp, request_id, now })
    });
    let assertion = reading.await.map_err(Error::internal)?.map_err(refused)?;
    let digest = secret::stored(&format!("{}\0{}", provider.saml.entity_id, assertion.id));
    // Nobody takes an assertion that was issued earlier than that.
    let keep = SignedDuration::from_secs(LIFETIME_SECS + 3 * SKEW_SECS);
    let expires_at = ctx.now.saturating_add(keep).unwrap_or(ctx.now);
    let db = auth.database(&ctx.project).await?;
    if queries::use_assertion(&db, &digest, (ctx.now, expires_at)).await? {
        return Ok(assertion);
    }
    Err(refused(Refusal("the assertion was used before")))
}

/// Who that is, in the form of all providers.
fn profile(provider: &SsoProvider, assertion: &Assertion) -> Result<Profile, Error> {
    let user_id = assertion.user_id().ok_or(SsoError::NoUserId)?;
    let mut claims: Object = match &provider.saml.attribute_mapping {
        Some(mapping) => mapping.claims(assertion),
        None => Object::new(),
    };
    let mapped =
        claims.get("email").and_then(|it| it.as_str()).filter(|it| !it.is_empty()).map(str::to_owned);
    let address = mapped.or_else(|| assertion.email()).ok_or(SsoError::NoEmail)?;
    let address = address.trim().to_lowercase();
    claims.insert("sub".into(), user_id.into());
    claims.insert("iss".into(), provider.saml.entity_id.clone().into());
    check_metadata(Some(&claims))?;
    let email = Email { address, verified: true, primary: true };
    Profile::new(claims, vec![email]).ok_or_else(|| ExternalError::NoEmail.into())
}
