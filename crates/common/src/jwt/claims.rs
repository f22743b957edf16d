//! The claims of a verified token, and the rules on time and audience that they must keep.
//!
//! Called by [`super::KeyRing::verify`] after the signature was checked; refuses by [`super::Error`].

use serde_json::{Map, Value};

use super::Error;

/// The claims of a verified token.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims {
    /// The PostgreSQL role: the claim `role`, or [`Rules::default_role`] when the token names none.
    pub role: String,
    /// All claims, `role` always among them.
    pub map: Map<String, Value>,
    /// The same as compact JSON: what `request.jwt.claims` is set to. Made once, sent with every request.
    pub json: String,
}

impl Claims {
    /// Claims of `role` and nothing else: a request without a token, or the project's own services.
    #[must_use]
    pub fn of_role(role: &str) -> Self {
        Self::from_map(Map::new(), role)
    }

    /// Claims from a map; `default_role` is added as `role` when the map names none.
    #[must_use]
    pub fn from_map(mut map: Map<String, Value>, default_role: &str) -> Self {
        let role = match map.get("role").and_then(Value::as_str) {
            Some(role) => role.to_owned(),
            None => default_role.to_owned(),
        };
        map.insert("role".into(), Value::String(role.clone()));
        let json = Value::Object(map.clone()).to_string();
        Self { role, map, json }
    }

    /// Claims from a map whose role was found elsewhere in it: `role` says so from now on.
    #[must_use]
    pub fn with_role(mut map: Map<String, Value>, role: &str) -> Self {
        map.insert("role".into(), Value::String(role.to_owned()));
        let json = Value::Object(map.clone()).to_string();
        Self { role: role.to_owned(), map, json }
    }

    /// The claim `name` as text, if it is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.map.get(name).and_then(Value::as_str)
    }
}

/// What a token's claims must keep besides the signature.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Seconds since 1970 (UTC), from whoever has a clock.
    pub now_secs: i64,
    /// Clock skew allowed on `exp`, `nbf` and `iat`; PostgREST allows 30.
    pub leeway_secs: i64,
    /// When set, `aud` must be or contain it, unless `aud` is absent, null or empty.
    pub audience: Option<&'a str>,
    /// The role of a token without the claim `role`.
    pub default_role: &'a str,
}

impl Rules<'_> {
    /// Check times and audience.
    pub(super) fn check(&self, claims: &Map<String, Value>) -> Result<(), Error> {
        if let Some(expires) = seconds(claims, "exp")?
            && expires < self.now_secs.saturating_sub(self.leeway_secs)
        {
            return Err(Error::Expired);
        }
        let latest = self.now_secs.saturating_add(self.leeway_secs);
        if seconds(claims, "nbf")?.is_some_and(|it| it > latest) {
            return Err(Error::NotYetValid);
        }
        if seconds(claims, "iat")?.is_some_and(|it| it > latest) {
            return Err(Error::IssuedInFuture);
        }
        self.check_audience(claims.get("aud"))
    }

    fn check_audience(&self, audience: Option<&Value>) -> Result<(), Error> {
        let named = match audience {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::String(one)) => vec![one.as_str()],
            Some(Value::Array(many)) => {
                many.iter().map(Value::as_str).collect::<Option<Vec<_>>>().ok_or(Error::BadAudience)?
            }
            Some(_) => return Err(Error::BadAudience),
        };
        match self.audience {
            Some(wanted) if !named.is_empty() && !named.contains(&wanted) => Err(Error::Audience),
            _ => Ok(()),
        }
    }
}

/// A numeric date (RFC 7519 §2), cut to whole seconds.
fn seconds(claims: &Map<String, Value>, name: &'static str) -> Result<Option<i64>, Error> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Ok(Some(whole)),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "`as` saturates, and a saturated date compares right"
            )]
            (None, Some(fraction)) => Ok(Some(fraction as i64)),
            (None, None) => Err(Error::NotANumber(name)),
        },
        Some(_) => Err(Error::NotANumber(name)),
    }
}
