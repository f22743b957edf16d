//! From credentials to the caller: is the key this project's, and whose is the token?
//!
//! The key decides whether a request is let in at all; the token, when there is one, decides who is asking. Roles are
//! passed on as tokens name them: PostgreSQL decides whether the data path may become them.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use common::jwt::{self, Claims};
use common::{Caller, Project};
use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};

use crate::Error;
use crate::credentials::{Credentials, is_opaque};
use crate::tokens::{Purpose, Tokens};

/// The role of requests without a token where the project names no other.
const ANONYMOUS: &str = "anon";
const SERVICE: &str = "service_role";

/// The door of one project, at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Door<'a> {
    pub(crate) tokens: &'a Tokens,
    pub(crate) project: &'a Project,
    /// Seconds since 1970.
    pub(crate) now_secs: i64,
    /// Whether a request needs a key.
    pub(crate) needs_key: bool,
}

/// Who came in.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// Who is asking.
    pub(crate) caller: Caller,
    /// What `Authorization` becomes, when it held an opaque key: the token of that key's role, which services can read.
    pub(crate) authorization: Option<HeaderValue>,
}

/// A key that is this project's.
struct Key<'a> {
    caller: Caller,
    token: &'a str,
}

impl Door<'_> {
    /// The caller of the data API: the token's, else the key's.
    pub(crate) fn admit_to_data(&self, credentials: &Credentials<'_>) -> Result<Admitted, Error> {
        // A bearer token without `apikey` is key and token at once; it is verified below, with PostgREST's words.
        let key = match (credentials.apikey.as_deref(), credentials.bearer) {
            (Some(key), _) => Some(self.key(key)?),
            (None, Some(key)) if is_opaque(key) => Some(self.key(key)?),
            (None, None | Some("")) if self.needs_key => return Err(Error::NoKey),
            (None, _) => None,
        };
        let caller = match (credentials.token(), &key) {
            (Some(token), Some(key)) if token == key.token => key.caller.clone(),
            (Some(token), _) => self.caller_of(token, key.is_some())?,
            (None, Some(key)) => key.caller.clone(),
            (None, None) => self.anonymous().ok_or(Error::AnonymousDisabled)?,
        };
        Ok(Admitted { caller, authorization: swapped(credentials, key.as_ref()) })
    }

    /// The caller of a data API that is served alone: the token's, else the anonymous role; there are no keys.
    pub(crate) fn admit_directly(&self, bearer: Option<&str>) -> Result<Admitted, Error> {
        let caller = match bearer {
            Some(token) => self.caller_of(token, true)?,
            None => self.anonymous().ok_or(Error::AnonymousDisabled)?,
        };
        Ok(Admitted { caller, authorization: None })
    }

    /// The caller of auth: the key's. Auth verifies the user's token by itself. `open` paths need no key.
    pub(crate) fn admit_to_auth(&self, credentials: &Credentials<'_>, open: bool) -> Result<Admitted, Error> {
        let key = match credentials.key() {
            Some(key) => self.key(key).map(Some),
            None => Ok(None),
        };
        let optional = open || !self.needs_key;
        let key = match key {
            Ok(Some(key)) => Some(key),
            Ok(None) if optional => None,
            Ok(None) => return Err(Error::NoKey),
            // A user's token that is no key is auth's business where no key is needed.
            Err(_) if open || (optional && credentials.apikey.is_none()) => None,
            Err(error) => return Err(error),
        };
        let caller = match &key {
            Some(key) => key.caller.clone(),
            None => self.anonymous().unwrap_or_else(|| self.role(ANONYMOUS)),
        };
        Ok(Admitted { caller, authorization: swapped(credentials, key.as_ref()) })
    }

    /// The caller of realtime: the token's, else the key's. A token that is refused is told why, also as a key: sockets
    /// have nothing else to show. One that names no role comes in with none, and realtime refuses it in its own words.
    pub(crate) fn admit_to_realtime(&self, credentials: &Credentials<'_>) -> Result<Admitted, Error> {
        let verify = |token: &str| {
            let claims = self.tokens.verify(self.project, (token, Purpose::Caller), self.now_secs);
            claims.map(|it| self.caller(it)).map_err(Error::Token)
        };
        let key = match credentials.key() {
            Some(key) if is_opaque(key) => Some(self.key(key)?),
            Some(key) => Some(Key { caller: verify(key)?, token: key }),
            None if self.needs_key => return Err(Error::NoKey),
            None => None,
        };
        let caller = match (credentials.token().filter(|it| !it.is_empty()), &key) {
            (Some(token), Some(key)) if token == key.token => key.caller.clone(),
            (Some(token), _) => verify(token)?,
            (None, Some(key)) => key.caller.clone(),
            (None, None) => self.anonymous().ok_or(Error::AnonymousDisabled)?,
        };
        Ok(Admitted { caller, authorization: swapped(credentials, key.as_ref()) })
    }

    fn key<'k>(&'k self, key: &'k str) -> Result<Key<'k>, Error> {
        if !is_opaque(key) {
            let claims = self
                .tokens
                .verify(self.project, (key, Purpose::Key), self.now_secs)
                .map_err(|_| Error::WrongKey)?;
            // A key names its role; a token without one may only come along with a key.
            if claims.role.is_empty() {
                return Err(Error::WrongKey);
            }
            return Ok(Key { caller: self.caller(claims), token: key });
        }
        let keys = &self.project.keys;
        let (token, role) = match (same(key, &keys.secret), same(key, &keys.publishable)) {
            (true, _) => (keys.service_role.expose_secret(), SERVICE),
            (false, true) => (keys.anon.expose_secret(), ANONYMOUS),
            (false, false) => return Err(Error::WrongKey),
        };
        let caller = match self.tokens.verify(self.project, (token, Purpose::Key), self.now_secs) {
            Ok(claims) if claims.role == role => self.caller(claims),
            Ok(_) | Err(_) => self.role(role),
        };
        Ok(Key { caller, token })
    }

    fn caller_of(&self, token: &str, has_key: bool) -> Result<Caller, Error> {
        if self.project.jwt.is_empty() {
            return Err(Error::NoSecret);
        }
        let presented = (token, Purpose::Caller);
        let claims = self.tokens.verify(self.project, presented, self.now_secs).map_err(Error::Token)?;
        if !claims.role.is_empty() {
            return Ok(self.caller(claims));
        }
        if self.needs_key && !has_key {
            return Err(Error::WrongKey);
        }
        if self.needs_key && is_id_token(&claims) {
            return Err(Error::Token(jwt::Error::Audience));
        }
        let role = self.project.rest.db_anon_role.as_deref().ok_or(Error::AnonymousDisabled)?;
        let mut map = claims.map.clone();
        map.remove("role");
        Ok(self.caller(Arc::new(Claims::from_map(map, role))))
    }

    fn anonymous(&self) -> Option<Caller> {
        self.project.rest.db_anon_role.as_deref().map(|it| self.role(it))
    }

    fn role(&self, role: &str) -> Caller {
        self.caller(Arc::new(Claims::of_role(role)))
    }

    fn caller(&self, claims: Arc<Claims>) -> Caller {
        let anonymous = self.project.rest.db_anon_role.as_deref().unwrap_or(ANONYMOUS);
        Caller { authenticated: claims.role != anonymous, claims }
    }
}

/// Whether these are claims that auth tells an OAuth client about a user: they are for the client's eyes, no session
/// stands behind them, and whoever has them is not the user.
fn is_id_token(claims: &Claims) -> bool {
    claims.map.contains_key("client_id") && !claims.map.contains_key("session_id")
}

fn same(key: &str, expected: &SecretString) -> bool {
    verify_slices_are_equal(key.as_bytes(), expected.expose_secret().as_bytes()).is_ok()
}

fn swapped(credentials: &Credentials<'_>, key: Option<&Key<'_>>) -> Option<HeaderValue> {
    let key = key.filter(|_| credentials.bearer.is_some_and(is_opaque))?;
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.token)).ok()?;
    value.set_sensitive(true);
    Some(value)
}
