//! Sessions: their rows, their access tokens, and the answer that hands both to a client.
//!
//! Pure but for randomness: flows open a session as part of a [`crate::queries::Change`], then answer with it.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::request::Context;
use crate::user::{AUDIENCE, Account, Object, ROLE, UserView, object};
use crate::{Error, hooks, secret};

/// A row of `auth.sessions`, with its authentication methods.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) updated_at: Option<Timestamp>,
    pub(crate) aal: Option<String>,
    pub(crate) not_after: Option<Timestamp>,
    /// UTC, without a zone.
    #[serde(default)]
    pub(crate) refreshed_at: Option<jiff::civil::DateTime>,
    pub(crate) user_agent: Option<String>,
    pub(crate) ip: Option<String>,
    pub(crate) refresh_token_hmac_key: Option<String>,
    /// The client of our OAuth server that acts for the user, and what it may see.
    #[serde(default)]
    pub(crate) oauth_client_id: Option<Uuid>,
    #[serde(default)]
    pub(crate) scopes: Option<String>,
    /// How and when the user proved who they are; kept in `auth.mfa_amr_claims`.
    #[serde(default)]
    pub(crate) amr: Vec<Method>,
}

impl Session {
    /// Whether a second factor was used in it.
    pub(crate) fn is_aal2(&self) -> bool {
        self.aal.as_deref() == Some("aal2")
    }

    /// Whether a client of our OAuth server opened it for the user.
    pub(crate) fn is_of_client(&self) -> bool {
        self.oauth_client_id.is_some()
    }

    /// When it was begun or refreshed last.
    pub(crate) fn last_used(&self) -> Option<Timestamp> {
        let refreshed = self.refreshed_at.and_then(|it| it.to_zoned(jiff::tz::TimeZone::UTC).ok());
        refreshed.map(|it| it.timestamp()).or(self.created_at)
    }

    /// Whether it was not ended by time.
    pub(crate) fn is_alive(&self, now: Timestamp) -> bool {
        self.not_after.is_none_or(|it| it > now)
    }

    /// Whether it was opened at least `timebox_secs` ago (0 for never).
    pub(crate) fn is_over(&self, now: Timestamp, timebox_secs: u64) -> bool {
        has_passed(self.created_at, now, timebox_secs)
    }

    /// Whether it was last used at least `timeout_secs` ago (0 for never).
    pub(crate) fn is_idle(&self, now: Timestamp, timeout_secs: u64) -> bool {
        has_passed(self.last_used(), now, timeout_secs)
    }
}

fn has_passed(since: Option<Timestamp>, now: Timestamp, secs: u64) -> bool {
    let age = since.map_or(0, |it| now.as_second().saturating_sub(it.as_second()));
    secs > 0 && u64::try_from(age).is_ok_and(|it| it >= secs)
}

/// One way in which a session's user proved who they are.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Method {
    pub(crate) method: String,
    /// Seconds since 1970.
    pub(crate) timestamp: i64,
}

/// A row of `auth.refresh_tokens`; `token` is the digest.
#[derive(Serialize)]
pub(crate) struct RefreshToken {
    pub(crate) token: String,
    pub(crate) user_id: Uuid,
    pub(crate) session_id: Uuid,
    pub(crate) parent: Option<String>,
    pub(crate) created_at: Timestamp,
}

/// A session about to be written, with the refresh token that only the client will know.
pub(crate) struct Opening {
    pub(crate) session: Session,
    pub(crate) refresh_token: String,
}

impl Opening {
    /// A new session of `user_id`, who proved to be that by `method`.
    pub(crate) fn new(ctx: &Context, user_id: Uuid, method: &str) -> Result<Self, Error> {
        let session = Session {
            id: Uuid::new_v4(),
            user_id,
            created_at: Some(ctx.now),
            updated_at: Some(ctx.now),
            aal: Some("aal1".into()),
            not_after: None,
            refreshed_at: None,
            user_agent: ctx.user_agent.clone(),
            ip: ctx.ip.map(|it| it.to_string()),
            refresh_token_hmac_key: Some(secret::token()?),
            oauth_client_id: None,
            scopes: None,
            amr: vec![Method { method: method.to_owned(), timestamp: ctx.now.as_second() }],
        };
        Ok(Self { session, refresh_token: secret::token()? })
    }

    /// The refresh token's row.
    pub(crate) fn refresh_row(&self, now: Timestamp) -> RefreshToken {
        RefreshToken {
            token: secret::stored(&self.refresh_token),
            user_id: self.session.user_id,
            session_id: self.session.id,
            parent: None,
            created_at: now,
        }
    }
}

/// What a client gets when it is signed in.
#[derive(Serialize)]
pub(crate) struct Tokens {
    pub(crate) access_token: String,
    token_type: &'static str,
    pub(crate) expires_in: u64,
    pub(crate) expires_at: i64,
    pub(crate) refresh_token: String,
    user: Value,
    /// What an identity provider gave us for the client to use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) provider_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) provider_refresh_token: Option<String>,
    #[serde(skip)]
    user_id: Uuid,
}

impl Tokens {
    /// Sign an access token of `session`, with the claims that the project's hook makes of ours, and put it beside
    /// `refresh_token`.
    pub(crate) async fn new(
        ctx: &Context,
        account: &Account,
        session: &Session,
        refresh_token: String,
    ) -> Result<Self, Error> {
        let lifetime = ctx.project.auth.jwt_expiry_secs;
        let expires_at = ctx.now.as_second().saturating_add_unsigned(lifetime);
        let claims = claims(ctx, account, session, expires_at);
        let method = session.amr.first().map_or("", |it| it.method.as_str());
        let claims = hooks::claims(ctx, claims, account.user.id, method).await?;
        let access_token =
            ctx.project.jwt.sign(&claims).ok_or_else(|| Error::internal("the project has no signing key"))?;
        Ok(Self {
            access_token,
            token_type: "bearer",
            expires_in: lifetime,
            expires_at,
            refresh_token,
            user: serde_json::to_value(UserView::from(account)).map_err(Error::internal)?,
            provider_token: None,
            provider_refresh_token: None,
            user_id: account.user.id,
        })
    }
}

impl IntoResponse for Tokens {
    fn into_response(self) -> Response {
        let id = HeaderValue::from_str(&self.user_id.to_string());
        let mut response = Json(self).into_response();
        if let Ok(id) = id {
            response.headers_mut().insert("sb-auth-user-id", id);
        }
        response
    }
}

/// A way of signing in as tokens tell it; an organisation's with its provider.
fn method(account: &Account, method: &Method) -> Value {
    let mut told = json!(method);
    let provider = account.identities.iter().find_map(|it| it.provider.strip_prefix("sso:"));
    if let (Some(provider), Some(map)) =
        (provider.filter(|_| method.method == "sso/saml"), told.as_object_mut())
    {
        map.insert("provider".into(), provider.into());
    }
    told
}

fn claims(ctx: &Context, account: &Account, session: &Session, expires_at: i64) -> Object {
    let user = &account.user;
    let amr: Vec<Value> = session.amr.iter().map(|it| method(account, it)).collect();
    let mut claims = object(json!({
        "iss": ctx.issuer(),
        "sub": user.id,
        "aud": user.aud.as_deref().unwrap_or(AUDIENCE),
        "exp": expires_at,
        "iat": ctx.now.as_second(),
        "email": user.address(),
        "phone": user.phone.as_deref().unwrap_or_default(),
        "app_metadata": user.raw_app_meta_data,
        "user_metadata": user.raw_user_meta_data,
        "role": user.role.as_deref().filter(|it| !it.is_empty()).unwrap_or(ROLE),
        "aal": session.aal.as_deref().unwrap_or("aal1"),
        "amr": amr,
        "session_id": session.id,
        "is_anonymous": user.is_anonymous,
    }));
    if let Some(client) = session.oauth_client_id {
        claims.insert("client_id".into(), client.to_string().into());
    }
    claims
}
