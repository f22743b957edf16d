//! What every request brings beside its body: the project, the public address, the Bearer token, where mails lead.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use common::jwt::{Claims, Rules};
use common::{Caller, ClientAddress, Project, PublicUrl};
use http::request::Parts;
use http::{HeaderMap, header};
use jiff::Timestamp;

use super::redirect;
use crate::{Auth, Error};

/// Clock skew allowed on a token's times; the data API allows the same.
const LEEWAY_SECS: i64 = 30;
/// Longest `User-Agent` that is kept.
const MAX_USER_AGENT: usize = 512;

/// What every request brings.
pub(crate) struct Context {
    pub(crate) auth: Auth,
    pub(crate) project: Arc<Project>,
    pub(crate) public_url: PublicUrl,
    pub(crate) now: Timestamp,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) user_agent: Option<String>,
    /// Where mailed links lead in the end: an allowed `redirect_to` or referrer, else the site.
    pub(crate) redirect_to: String,
    origin: Option<String>,
    /// For which audience the client asks (`X-JWT-AUD`), if it says so.
    audience: Option<String>,
    bearer: Option<String>,
    caller: Option<Caller>,
}

impl Context {
    /// Where auth is reached from outside; `iss` of its tokens.
    pub(crate) fn issuer(&self) -> String {
        format!("{}/auth/v1", self.public_url.0)
    }

    /// `wanted` when it is allowed, else where this request leads anyway.
    pub(crate) fn redirect_or(&self, wanted: Option<&str>) -> String {
        match wanted.filter(|it| redirect::is_allowed(it, &self.project.auth)) {
            Some(wanted) => wanted.to_owned(),
            None => self.redirect_to.clone(),
        }
    }

    /// The claims of the Bearer token. An opaque key (`sb_…`) stands for the caller that the gateway made of it.
    pub(crate) fn claims(&self) -> Result<Claims, Error> {
        match (&self.bearer, &self.caller) {
            (None, _) => Err(Error::NoAuthorization),
            (Some(bearer), Some(caller)) if bearer.starts_with("sb_") => Ok((*caller.claims).clone()),
            (Some(bearer), _) => {
                let rules = Rules {
                    now_secs: self.now.as_second(),
                    leeway_secs: LEEWAY_SECS,
                    audience: None,
                    default_role: "",
                };
                self.project.jwt.verify(bearer, &rules).map_err(Error::BadJwt)
            }
        }
    }

    /// Whether the token is for the audience that the client asks for.
    pub(crate) fn fits_audience(&self, claims: &Claims) -> bool {
        self.audience.as_deref().filter(|it| !it.is_empty()).is_none_or(|it| claims.text("aud") == Some(it))
    }

    /// Refuse whoever does not hold the service key.
    pub(crate) fn admin(&self) -> Result<(), Error> {
        let role = match (&self.bearer, &self.caller) {
            (None, Some(caller)) if is_admin(caller.role()) => return Ok(()),
            _ => self.claims()?.role,
        };
        if is_admin(&role) { Ok(()) } else { Err(Error::NotAdmin) }
    }

    /// Refuse a page of another site: what users consent to is asked by ours. Programs send no `Origin`.
    pub(crate) fn check_origin(&self) -> Result<(), Error> {
        match self.origin.as_deref() {
            None => Ok(()),
            Some(origin) if redirect::is_allowed(origin, &self.project.auth) => Ok(()),
            Some(_) => Err(Error::invalid("unauthorized request origin")),
        }
    }

    /// The address for rows that keep it as text.
    pub(crate) fn ip_text(&self) -> Option<String> {
        self.ip.map(|it| it.to_string())
    }
}

impl FromRequestParts<Auth> for Context {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, auth: &Auth) -> Result<Self, Error> {
        let missing = || Error::internal("the gateway did not say which project is asked");
        let project = parts.extensions.get::<Arc<Project>>().cloned().ok_or_else(missing)?;
        let public_url = parts.extensions.get::<PublicUrl>().cloned().ok_or_else(missing)?;
        let query = parts.uri.query().unwrap_or_default();
        let wanted = url::form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "redirect_to")
            .map(|(_, value)| value.into_owned());
        auth.resume(&project);
        let referrer = text(&parts.headers, header::REFERER);
        let redirect_to = redirect::resolve(wanted.as_deref(), referrer.as_deref(), &project.auth);
        Ok(Self {
            auth: auth.clone(),
            public_url,
            now: auth.now(),
            ip: parts.extensions.get::<ClientAddress>().map(|it| it.0),
            user_agent: text(&parts.headers, header::USER_AGENT)
                .map(|it| it.chars().take(MAX_USER_AGENT).collect()),
            redirect_to,
            origin: text(&parts.headers, header::ORIGIN),
            audience: text(&parts.headers, http::HeaderName::from_static("x-jwt-aud")),
            bearer: bearer(&parts.headers),
            caller: parts.extensions.get::<Caller>().cloned(),
            project,
        })
    }
}

fn is_admin(role: &str) -> bool {
    matches!(role, "service_role" | "supabase_admin")
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}
