//! A project's signing keys and their life: standby → current → previous → revoked.
//!
//! A standby key is published before it signs, so that whoever keeps the key set for ten minutes knows it in time; a
//! previous one still verifies until it is revoked. Private halves are sealed with the project's other secrets, and
//! thrown away when a key is revoked.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use common::jwt::Key;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::jwk;
use crate::{Error, random};

/// Keys of a project that are not revoked.
const MAX_KEYS: usize = 10;
/// Revoked ones that are remembered by name.
const MAX_REVOKED: usize = 20;

/// How a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum Algorithm {
    /// A pair on the curve P-256.
    #[default]
    ES256,
    /// An RSA pair of 2048 bits.
    RS256,
    /// A shared secret; never published.
    HS256,
}

/// Where in its life a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Standby,
    Current,
    Previous,
    Revoked,
}

#[derive(Clone, Serialize, Deserialize)]
struct SigningKey {
    kid: String,
    algorithm: Algorithm,
    status: Status,
    /// PKCS#8 as PEM, or the secret itself; empty when revoked.
    private: String,
    /// The point (ES256), or modulus and exponent (RS256), in base64.
    public: Vec<String>,
    created_at: Timestamp,
    changed_at: Timestamp,
}

/// A private half and the parts of the public one, as they are stored.
pub(super) type Pair = (String, Vec<String>);

/// All signing keys of a project, oldest first.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct SigningKeys(Vec<SigningKey>);

/// What versions before rotation stored.
#[derive(Clone, Deserialize)]
pub(super) struct OldPair {
    kid: String,
    private_pem: String,
    public_point: String,
}

impl From<OldPair> for SigningKeys {
    fn from(it: OldPair) -> Self {
        Self(vec![SigningKey {
            kid: it.kid,
            algorithm: Algorithm::ES256,
            status: Status::Current,
            private: it.private_pem,
            public: vec![it.public_point],
            created_at: Timestamp::UNIX_EPOCH,
            changed_at: Timestamp::UNIX_EPOCH,
        }])
    }
}

impl SigningKeys {
    /// The first key of a project.
    pub(super) fn generate(now: Timestamp) -> Result<Self, Error> {
        Ok(Self(vec![SigningKey::generate(Algorithm::default(), Status::Current, now)?]))
    }

    /// Make a standby key; its name.
    ///
    /// # Errors
    /// [`Error::SigningKeys`] when there is one already, or there are too many keys.
    pub(crate) fn prepare(&mut self, algorithm: Algorithm, now: Timestamp) -> Result<String, Error> {
        self.room()?;
        Ok(self.add(SigningKey::generate(algorithm, Status::Standby, now)?))
    }

    /// Take a private JWK over as the standby key; its name.
    ///
    /// # Errors
    /// [`Error::Body`] for one that cannot be used, [`Error::SigningKeys`] as for [`prepare`](Self::prepare).
    pub(crate) fn import(&mut self, jwk: &Map<String, Value>, now: Timestamp) -> Result<String, Error> {
        self.room()?;
        let jwk::Imported { kid, algorithm, pair: (private, public) } = jwk::read(jwk)?;
        let kid = kid.to_string();
        if self.0.iter().any(|it| it.kid == kid) {
            return Err(Error::SigningKeys("there is, or was, a key of that name"));
        }
        let status = Status::Standby;
        Ok(self.add(SigningKey { kid, algorithm, status, private, public, created_at: now, changed_at: now }))
    }

    fn room(&self) -> Result<(), Error> {
        if self.0.iter().any(|it| it.status == Status::Standby) {
            return Err(Error::SigningKeys("there is a standby key already"));
        }
        if self.0.iter().filter(|it| it.status != Status::Revoked).count() >= MAX_KEYS {
            return Err(Error::SigningKeys("there are ten keys already: revoke previous ones"));
        }
        Ok(())
    }

    fn add(&mut self, key: SigningKey) -> String {
        let kid = key.kid.clone();
        self.0.push(key);
        kid
    }

    /// The standby key signs from now on, the current one becomes a previous one; the new current key's name.
    ///
    /// # Errors
    /// [`Error::SigningKeys`] without a standby key.
    pub(crate) fn rotate(&mut self, now: Timestamp) -> Result<String, Error> {
        let standby = self.0.iter().position(|it| it.status == Status::Standby);
        let standby = standby.ok_or(Error::SigningKeys("there is no standby key"))?;
        let mut kid = String::new();
        for (idx, key) in self.0.iter_mut().enumerate() {
            if idx == standby {
                kid.clone_from(&key.kid);
                key.turn(Status::Current, now);
            } else if key.status == Status::Current {
                key.turn(Status::Previous, now);
            }
        }
        Ok(kid)
    }

    /// Nothing that the key `kid` signed is believed any more.
    ///
    /// # Errors
    /// [`Error::UnknownSigningKey`]; [`Error::SigningKeys`] for the current key.
    pub(crate) fn revoke(&mut self, kid: &str, now: Timestamp) -> Result<(), Error> {
        let key = self.0.iter_mut().find(|it| it.kid == kid).ok_or(Error::UnknownSigningKey)?;
        if key.status == Status::Current {
            return Err(Error::SigningKeys("the current key signs: rotate before revoking it"));
        }
        if key.status != Status::Revoked {
            key.turn(Status::Revoked, now);
            key.private.clear();
        }
        let revoked = self.0.iter().filter(|it| it.status == Status::Revoked).count();
        let mut surplus = revoked.saturating_sub(MAX_REVOKED);
        self.0.retain(|it| {
            let goes = surplus > 0 && it.status == Status::Revoked;
            surplus -= usize::from(goes);
            !goes
        });
        Ok(())
    }

    /// For a key ring: the current key first, the others to verify only, revoked ones not at all.
    pub(super) fn ring(&self) -> Result<Vec<Key>, Error> {
        let mut keys = Vec::new();
        for key in self.0.iter().filter(|it| it.status != Status::Revoked) {
            match key.status {
                Status::Current => keys.insert(0, key.read()?),
                Status::Standby | Status::Previous | Status::Revoked => keys.push(key.read()?.verifying()),
            }
        }
        Ok(keys)
    }

    /// For people: everything but the private halves.
    pub(crate) fn shown(&self) -> Value {
        let shown = |it: &SigningKey| {
            json!({
                "kid": it.kid, "algorithm": it.algorithm, "status": it.status,
                "created_at": it.created_at, "changed_at": it.changed_at,
            })
        };
        self.0.iter().map(shown).collect()
    }
}

impl SigningKey {
    fn generate(algorithm: Algorithm, status: Status, now: Timestamp) -> Result<Self, Error> {
        let (private, public) = match algorithm {
            Algorithm::ES256 => es256()?,
            Algorithm::RS256 => rs256()?,
            Algorithm::HS256 => (random::base62(64)?, Vec::new()),
        };
        let kid = Uuid::new_v4().to_string();
        Ok(Self { kid, algorithm, status, private, public, created_at: now, changed_at: now })
    }

    fn turn(&mut self, status: Status, now: Timestamp) {
        self.status = status;
        self.changed_at = now;
    }

    fn read(&self) -> Result<Key, Error> {
        let decode = |it: &String| BASE64_STANDARD.decode(it).map_err(|it| Error::Stored(it.into()));
        let public = self.public.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
        let key = match (self.algorithm, public.as_slice()) {
            (Algorithm::ES256, [point]) => Key::from_es256(&self.kid, &self.private, point),
            (Algorithm::RS256, [n, e]) => Key::from_rs256(&self.kid, &self.private, (n, e)),
            (Algorithm::HS256, _) => Ok(Key::from_hs256(&self.kid, self.private.as_bytes())),
            _ => return Err(Error::Stored("a signing key lacks its public half".into())),
        };
        key.map_err(|it| Error::Stored(it.into()))
    }
}

fn es256() -> Result<Pair, Error> {
    stored_es256(&EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| Error::Randomness)?)
}

pub(super) fn stored_es256(pair: &EcdsaKeyPair) -> Result<Pair, Error> {
    let der = pair.to_pkcs8v1().map_err(|_| Error::Randomness)?;
    Ok((pem(der.as_ref()), vec![BASE64_STANDARD.encode(pair.public_key().as_ref())]))
}

/// Takes some tenths of a second.
fn rs256() -> Result<Pair, Error> {
    stored_rs256(&RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| Error::Randomness)?)
}

pub(super) fn stored_rs256(pair: &RsaKeyPair) -> Result<Pair, Error> {
    let der = pair.as_der().map_err(|_| Error::Randomness)?;
    let public = pair.public_key();
    let n = public.modulus().big_endian_without_leading_zero();
    let e = public.exponent().big_endian_without_leading_zero();
    Ok((pem(der.as_ref()), vec![BASE64_STANDARD.encode(n), BASE64_STANDARD.encode(e)]))
}

fn pem(der: &[u8]) -> String {
    let body = BASE64_STANDARD.encode(der);
    format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
}

#[cfg(test)]
mod tests {
    use common::jwt::{KeyRing, Rules};

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(secs).unwrap()
    }

    fn sign(keys: &SigningKeys) -> String {
        let claims = json!({"role": "authenticated"});
        KeyRing::new(keys.ring().unwrap()).sign(claims.as_object().unwrap()).unwrap()
    }

    fn opens(keys: &SigningKeys, token: &str) -> bool {
        let rules = Rules { now_secs: 0, leeway_secs: 0, audience: None, default_role: "anon" };
        KeyRing::new(keys.ring().unwrap()).verify(token, &rules).is_ok()
    }

    fn published(keys: &SigningKeys) -> usize {
        KeyRing::new(keys.ring().unwrap()).jwks()["keys"].as_array().unwrap().len()
    }

    #[test]
    fn keys_of_all_kinds_live_side_by_side_and_end_one_after_the_other() {
        let mut keys = SigningKeys::generate(at(0)).unwrap();
        let mut tokens = vec![(keys.0[0].kid.clone(), sign(&keys))];
        for algorithm in [Algorithm::RS256, Algorithm::HS256, Algorithm::ES256] {
            let kid = keys.prepare(algorithm, at(1)).unwrap();
            assert!(keys.prepare(algorithm, at(1)).is_err(), "one standby key at a time");
            let before = sign(&keys);
            assert_eq!(keys.rotate(at(2)).unwrap(), kid);
            let after = sign(&keys);
            assert_ne!(before.split('.').next(), after.split('.').next(), "another key signs");
            assert!(opens(&keys, &before) && opens(&keys, &after));
            tokens.push((kid, after));
        }
        assert_eq!(published(&keys), 3, "a shared secret is never published");
        assert!(keys.rotate(at(3)).is_err(), "there is no standby key");
        let (current, _) = tokens.pop().unwrap();
        assert!(keys.revoke(&current, at(4)).is_err());
        assert!(keys.revoke("nobody", at(4)).is_err());
        for (kid, token) in &tokens {
            assert!(opens(&keys, token));
            keys.revoke(kid, at(4)).unwrap();
            assert!(!opens(&keys, token), "what a revoked key signed is refused");
        }
        assert_eq!(published(&keys), 1);
        let stored = serde_json::to_string(&keys).unwrap();
        assert_eq!(stored.matches("PRIVATE KEY").count(), 2, "one key is left, its text begins and ends");
        assert!(!keys.shown().to_string().contains("PRIVATE"));
    }

    #[test]
    fn keys_are_bounded() {
        let mut keys = SigningKeys::generate(at(0)).unwrap();
        for _ in 1..MAX_KEYS {
            keys.prepare(Algorithm::HS256, at(0)).unwrap();
            keys.rotate(at(0)).unwrap();
        }
        assert!(keys.prepare(Algorithm::HS256, at(0)).is_err());
        for _ in 0..60 {
            let previous = keys.0.iter().find(|it| it.status == Status::Previous).unwrap().kid.clone();
            keys.revoke(&previous, at(0)).unwrap();
            keys.prepare(Algorithm::HS256, at(0)).unwrap();
            keys.rotate(at(0)).unwrap();
        }
        assert_eq!(keys.0.len(), MAX_KEYS + MAX_REVOKED);
    }
}
