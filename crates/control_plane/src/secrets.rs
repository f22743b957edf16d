//! A project's secrets: made once, stored as one encrypted JSON document, turned into keys when a project is read.

mod jwk;
mod signing;

use std::fmt;

use common::jwt::{Key, KeyRing};
use common::{ApiKeys, Login, Logins, ProjectId, ProjectRef};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::queries::ProjectRow;
use crate::seal::Seal;
use crate::settings::HiddenValues;
use crate::{Error, random};
use signing::OldPair;
pub(crate) use signing::{Algorithm, SigningKeys};

/// How long the legacy JWT keys hold: ten years.
const KEY_TTL_SECS: i64 = 10 * 365 * 24 * 3600;

/// How long a JWT secret from elsewhere is: as long as its digests at least (RFC 7518 §3.2).
const JWT_SECRET_BYTES: std::ops::RangeInclusive<usize> = 32..=512;

/// Everything about a project that must not be read by anybody else.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Secrets {
    pub(crate) owner: StoredLogin,
    pub(crate) authenticator: StoredLogin,
    pub(crate) services: StoredLogin,
    pub(crate) jwt_secret: String,
    /// The keys that sign and verify users' tokens.
    #[serde(default)]
    pub(crate) signing_keys: SigningKeys,
    /// Where versions before this one kept the only one; read, never written.
    #[serde(default, skip_serializing)]
    signing: Option<OldPair>,
    pub(crate) anon_key: String,
    pub(crate) service_role_key: String,
    pub(crate) publishable_key: String,
    pub(crate) secret_key: String,
    /// Settings that are secrets, kept here rather than among the settings, which are stored in the clear.
    #[serde(default, skip_serializing_if = "HiddenValues::is_empty")]
    pub(crate) settings: HiddenValues,
    /// Where versions before this one kept the only such setting; read, never written.
    #[serde(default, skip_serializing)]
    smtp_password: Option<String>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct StoredLogin {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// The names of a project's three logins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoginNames {
    pub(crate) owner: String,
    pub(crate) authenticator: String,
    pub(crate) services: String,
}

impl LoginNames {
    /// The names with `suffix` behind.
    pub(crate) fn with_suffix(suffix: &str) -> Self {
        Self {
            owner: format!("postgres{suffix}"),
            authenticator: format!("authenticator{suffix}"),
            services: format!("madbase_services{suffix}"),
        }
    }

    pub(crate) fn all(&self) -> [&str; 3] {
        [&self.owner, &self.authenticator, &self.services]
    }
}

impl Secrets {
    /// New secrets for `reference`; the legacy keys are valid from `now_secs` on.
    pub(crate) fn generate(reference: &ProjectRef, names: LoginNames, now_secs: i64) -> Result<Self, Error> {
        let jwt_secret = random::base62(48)?;
        let ring = KeyRing::new(vec![Key::from_secret(jwt_secret.as_bytes())]);
        Ok(Self {
            owner: StoredLogin::generate(names.owner)?,
            authenticator: StoredLogin::generate(names.authenticator)?,
            services: StoredLogin::generate(names.services)?,
            signing_keys: SigningKeys::generate(Timestamp::from_second(now_secs).unwrap_or_default())?,
            signing: None,
            anon_key: legacy_key(&ring, reference, "anon", now_secs)?,
            service_role_key: legacy_key(&ring, reference, "service_role", now_secs)?,
            publishable_key: random::api_key("sb_publishable_")?,
            secret_key: random::api_key("sb_secret_")?,
            jwt_secret,
            settings: HiddenValues::new(),
            smtp_password: None,
        })
    }

    /// The secrets of a stored project.
    ///
    /// # Errors
    /// [`Error::MasterKey`] when the key does not fit.
    pub(crate) fn open(seal: &Seal, row: &ProjectRow) -> Result<Self, Error> {
        let mut secrets: Self = serde_json::from_slice(&seal.open(row.id, &row.secrets)?)?;
        if let Some(password) = secrets.smtp_password.take() {
            secrets.settings.insert("/auth/smtp/password".to_owned(), password.into());
        }
        if let Some(pair) = secrets.signing.take() {
            secrets.signing_keys = pair.into();
        }
        Ok(secrets)
    }

    /// As they are stored for the project `id`.
    pub(crate) fn seal(&self, seal: &Seal, id: ProjectId) -> Result<Vec<u8>, Error> {
        seal.close(id, &serde_json::to_vec(self)?)
    }

    /// New opaque keys; the old ones stop working as soon as caches have forgotten them.
    pub(crate) fn rotate_opaque_keys(&mut self) -> Result<(), Error> {
        self.publishable_key = random::api_key("sb_publishable_")?;
        self.secret_key = random::api_key("sb_secret_")?;
        Ok(())
    }

    /// Another shared secret, made or `given`, and new legacy keys (`anon`, `service_role`), valid from `now_secs` on;
    /// whatever the old secret signed is refused, and what the given one signed elsewhere is taken.
    ///
    /// # Errors
    /// [`Error::Body`] for a given one that is too short or too long.
    pub(crate) fn replace_jwt_secret(
        &mut self,
        reference: &ProjectRef,
        given: Option<&str>,
        now_secs: i64,
    ) -> Result<(), Error> {
        self.jwt_secret = match given {
            None => random::base62(48)?,
            Some(secret) if JWT_SECRET_BYTES.contains(&secret.len()) => secret.to_owned(),
            Some(_) => {
                let (least, most) = (JWT_SECRET_BYTES.start(), JWT_SECRET_BYTES.end());
                return Err(Error::Body(format!("jwt_secret: {least} to {most} bytes are needed")));
            }
        };
        let ring = KeyRing::new(vec![Key::from_secret(self.jwt_secret.as_bytes())]);
        self.anon_key = legacy_key(&ring, reference, "anon", now_secs)?;
        self.service_role_key = legacy_key(&ring, reference, "service_role", now_secs)?;
        Ok(())
    }

    /// The keys that sign and verify tokens, the signing one first; the shared secret signs the legacy keys.
    pub(crate) fn key_ring(&self) -> Result<KeyRing, Error> {
        let mut keys = self.signing_keys.ring()?;
        keys.push(Key::from_secret(self.jwt_secret.as_bytes()));
        Ok(KeyRing::new(keys))
    }

    pub(crate) fn logins(&self) -> Logins {
        Logins {
            owner: self.owner.login(),
            authenticator: self.authenticator.login(),
            services: self.services.login(),
        }
    }

    pub(crate) fn api_keys(&self) -> ApiKeys {
        ApiKeys {
            anon: self.anon_key.as_str().into(),
            service_role: self.service_role_key.as_str().into(),
            publishable: self.publishable_key.as_str().into(),
            secret: self.secret_key.as_str().into(),
        }
    }

    pub(crate) fn names(&self) -> LoginNames {
        LoginNames {
            owner: self.owner.user.clone(),
            authenticator: self.authenticator.user.clone(),
            services: self.services.user.clone(),
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("owner", &self.owner.user).finish_non_exhaustive()
    }
}

impl StoredLogin {
    fn generate(user: String) -> Result<Self, Error> {
        Ok(Self { user, password: random::base62(32)? })
    }

    fn login(&self) -> Login {
        Login { user: self.user.clone(), password: self.password.as_str().into() }
    }
}

fn legacy_key(ring: &KeyRing, reference: &ProjectRef, role: &str, now_secs: i64) -> Result<String, Error> {
    let claims = json!({
        "iss": "supabase", "ref": reference, "role": role, "iat": now_secs, "exp": now_secs + KEY_TTL_SECS,
    });
    let signed = claims.as_object().and_then(|it| ring.sign_hs256(it));
    signed.ok_or_else(|| Error::Stored("a legacy key could not be signed".into()))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use common::jwt::Rules;

    use super::*;

    fn secrets() -> Secrets {
        let reference = "team".parse().unwrap();
        Secrets::generate(&reference, LoginNames::with_suffix("_team"), 1_000_000).unwrap()
    }

    #[test]
    fn legacy_keys_are_tokens_of_their_role_for_ten_years() {
        let secrets = secrets();
        let ring = secrets.key_ring().unwrap();
        let rules = |now_secs| Rules { now_secs, leeway_secs: 0, audience: None, default_role: "nobody" };
        for (key, role) in [(&secrets.anon_key, "anon"), (&secrets.service_role_key, "service_role")] {
            let claims = ring.verify(key, &rules(1_000_000)).unwrap();
            assert_eq!((claims.role.as_str(), claims.text("ref")), (role, Some("team")));
            assert_eq!(claims.text("iss"), Some("supabase"));
            assert!(ring.verify(key, &rules(1_000_000 + KEY_TTL_SECS)).is_ok());
            assert!(ring.verify(key, &rules(1_000_001 + KEY_TTL_SECS)).is_err());
        }
    }

    #[test]
    fn the_pair_signs_and_survives_storage() {
        let stored = serde_json::to_vec(&secrets()).unwrap();
        let read: Secrets = serde_json::from_slice(&stored).unwrap();
        let ring = read.key_ring().unwrap();
        let token = ring.sign(json!({"role": "authenticated"}).as_object().unwrap()).unwrap();
        let rules = Rules { now_secs: 0, leeway_secs: 0, audience: None, default_role: "anon" };
        assert_eq!(ring.verify(&token, &rules).unwrap().role, "authenticated");
        assert_eq!(ring.jwks()["keys"].as_array().unwrap().len(), 1);
        let header = token.split('.').next().unwrap();
        let header = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(header).unwrap();
        assert!(String::from_utf8(header).unwrap().contains("ES256"));
    }

    #[test]
    fn debug_shows_no_secret() {
        let secrets = secrets();
        let shown = format!("{secrets:?}");
        assert!(!shown.contains(&secrets.jwt_secret) && !shown.contains(&secrets.owner.password), "{shown}");
    }
}
