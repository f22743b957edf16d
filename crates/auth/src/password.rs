//! Passwords: argon2id for new hashes, bcrypt (Supabase's) and argon2 accepted.
//!
//! Hashing runs on threads of its own, as many as there are cores; whoever waits, waits in a bounded queue, so a storm
//! of sign-ins costs other requests nothing. An unknown user costs the same time as a known one.

pub(crate) mod breach;
mod threads;

use std::sync::Arc;

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Params, Version};
use common::AuthSettings;
use trace::SpanKind;

use self::threads::{Memory, Threads};

use crate::{Config, Error};

/// Longest password in bytes: what bcrypt reads, so that a dump can go back to Supabase's own service.
const MAX_BYTES: usize = 72;
/// The dearest imported hash that is computed: memory in KiB and passes.
const DEAREST: (u32, u32) = (262_144, 16);

/// What a comparison found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Another password, or none is set.
    Wrong,
    /// The password, hashed as we hash today.
    Right,
    /// The password, hashed in another way: store a new hash.
    Outdated,
}

/// Hashes and compares passwords.
#[derive(Debug)]
pub(crate) struct Passwords {
    argon2: Argon2<'static>,
    dummy: Arc<str>,
    threads: Threads,
}

impl Passwords {
    pub(crate) fn new(config: &Config) -> Self {
        let params = Params::new(config.argon2_memory_kib, config.argon2_passes, 1, None).unwrap_or_default();
        let dummy = format!(
            "$argon2id$v=19$m={},t={},p=1$bm90YXJlYWxzYWx0$bm90YXJlYWxoYXNobm90YXJlYWxoYXNobm90YXJlYWw",
            params.m_cost(),
            params.t_cost()
        );
        Self {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            dummy: dummy.into(),
            threads: Threads::new(config.hashing_threads, config.hashing_queue),
        }
    }

    /// A new hash of `plain`.
    ///
    /// # Errors
    /// [`Error::Busy`] when the queue is full.
    pub(crate) async fn hash(&self, plain: &str) -> Result<String, Error> {
        let _span = trace::begin(SpanKind::Internal, || "hash a password");
        let (argon2, plain) = (self.argon2.clone(), plain.to_owned());
        self.threads
            .run(move |memory| {
                let hash = hash(&argon2, &plain, memory).map_err(|it| Error::internal(it.to_string()))?;
                Ok(hash.to_string())
            })
            .await
    }

    /// Compare `plain` with `stored`; without a stored hash the answer is `Wrong`, after the same time.
    ///
    /// # Errors
    /// [`Error::Busy`] when the queue is full.
    pub(crate) async fn compare(&self, plain: &str, stored: Option<&str>) -> Result<Verdict, Error> {
        let _span = trace::begin(SpanKind::Internal, || "compare a password");
        let known = stored.is_some_and(|it| !it.is_empty());
        let stored: Arc<str> = match stored {
            Some(stored) if known => stored.into(),
            _ => self.dummy.clone(),
        };
        let (argon2, plain) = (self.argon2.clone(), plain.to_owned());
        let verdict = self.threads.run(move |memory| Ok(compare(&argon2, &plain, &stored, memory))).await?;
        Ok(if known { verdict } else { Verdict::Wrong })
    }
}

/// Whether `hash` is one that [`Passwords::compare`] reads (for hashes handed in by the admin API).
pub(crate) fn is_readable(hash: &str) -> bool {
    is_bcrypt(hash) || affordable(hash).is_some()
}

/// Refuse a password that the project's rules do not allow.
pub(crate) fn check_strength(plain: &str, settings: &AuthSettings) -> Result<(), Error> {
    if plain.len() > MAX_BYTES {
        return Err(Error::Invalid(format!("Password cannot be longer than {MAX_BYTES} characters").into()));
    }
    let mut messages = Vec::new();
    let short = plain.chars().count() < settings.password_min_length;
    if short {
        messages.push(format!("Password should be at least {} characters.", settings.password_min_length));
    }
    let sets = sets(&settings.password_required_characters);
    let poor = sets.iter().any(|set| !plain.chars().any(|it| set.contains(it)));
    if poor {
        messages
            .push(format!("Password should contain at least one character of each: {}.", sets.join(", ")));
    }
    let reasons: &[&str] = match (short, poor) {
        (false, false) => return Ok(()),
        (true, false) => &["length"],
        (false, true) => &["characters"],
        (true, true) => &["length", "characters"],
    };
    Err(Error::WeakPassword { message: messages.join(" "), reasons })
}

/// The sets of `abc:ABC:012`; `\\:` is a colon.
fn sets(text: &str) -> Vec<String> {
    let mut sets = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let escaped = letter == '\\' && letters.next_if_eq(&':').is_some();
        match sets.last_mut() {
            Some(last) if escaped => last.push(':'),
            Some(last) if letter != ':' => last.push(letter),
            _ => sets.push(String::new()),
        }
    }
    sets.retain(|it| !it.is_empty());
    sets
}

/// A new hash of `plain` with a new salt.
fn hash(
    argon2: &Argon2<'_>,
    plain: &str,
    memory: &mut Memory,
) -> Result<PasswordHash, argon2::password_hash::Error> {
    let salt = Salt::generate();
    let mut out = [0; Params::DEFAULT_OUTPUT_LEN];
    let blocks = memory.blocks(argon2.params().block_count());
    argon2.hash_password_into_with_memory(plain.as_bytes(), &salt, &mut out, blocks)?;
    Ok(PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: argon2.params().try_into()?,
        salt: Some(salt),
        hash: Some(Output::new(&out)?),
    })
}

/// Whether `plain` gives `hash`; the last comparison takes the same time wherever they differ.
fn opens(plain: &str, hash: &PasswordHash, memory: &mut Memory) -> Option<()> {
    let params = Params::try_from(hash).ok()?;
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).ok()?;
    let version = hash.version.map_or(Ok(Version::default()), Version::try_from).ok()?;
    let (salt, expected) = (hash.salt.as_ref()?, hash.hash.as_ref()?);
    let mut buffer = [0; Output::MAX_LENGTH];
    let out = buffer.get_mut(..expected.len())?;
    let blocks = memory.blocks(params.block_count());
    let argon2 = Argon2::new(algorithm, version, params);
    argon2.hash_password_into_with_memory(plain.as_bytes(), salt, out, blocks).ok()?;
    (Output::new(out).ok()? == *expected).then_some(())
}

fn compare(argon2: &Argon2<'_>, plain: &str, stored: &str, memory: &mut Memory) -> Verdict {
    if is_bcrypt(stored) {
        return match bcrypt::verify(plain, stored) {
            Ok(true) => Verdict::Outdated,
            Ok(false) | Err(_) => Verdict::Wrong,
        };
    }
    let Some(hash) = affordable(stored) else { return Verdict::Wrong };
    if opens(plain, &hash, memory).is_none() {
        return Verdict::Wrong;
    }
    let current = Params::try_from(&hash)
        .is_ok_and(|it| it.m_cost() == argon2.params().m_cost() && it.t_cost() == argon2.params().t_cost());
    if current && hash.algorithm.as_str() == "argon2id" { Verdict::Right } else { Verdict::Outdated }
}

fn is_bcrypt(hash: &str) -> bool {
    // Cost 16 takes seconds; nobody may make us compute more than that.
    let cost = hash.get(4..6).and_then(|it| it.parse::<u32>().ok());
    ["$2a$", "$2b$", "$2y$"].iter().any(|it| hash.starts_with(it)) && cost.is_some_and(|it| it <= 16)
}

fn affordable(hash: &str) -> Option<PasswordHash> {
    let hash = PasswordHash::new(hash).ok()?;
    let params = Params::try_from(&hash).ok()?;
    let (memory_kib, passes) = DEAREST;
    let cheap = params.m_cost() <= memory_kib && params.t_cost() <= passes && params.p_cost() <= 8;
    (cheap && hash.algorithm.as_str().starts_with("argon2")).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn required_characters_are_sets_of_which_one_each_is_needed() {
        let check = |plain: &str, required: &str| {
            let settings =
                AuthSettings { password_required_characters: required.into(), ..AuthSettings::default() };
            match check_strength(plain, &settings) {
                Ok(()) => Vec::new(),
                Err(Error::WeakPassword { reasons, .. }) => reasons.to_vec(),
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(check("abcdef1", "abcdefghij:0123456789"), [""; 0]);
        assert_eq!(check("abcdefg", "abcdefghij:0123456789"), ["characters"]);
        assert_eq!(check("abc", "abc:012"), ["length", "characters"]);
        assert_eq!(check("abc", ""), ["length"]);
        assert_eq!(check("abcdef:", r"abc:\:"), [""; 0]);
        assert_eq!(check("abcdefg", r"abc:\:"), ["characters"]);
    }

    fn passwords() -> Passwords {
        Passwords::new(&Config { argon2_memory_kib: 64, argon2_passes: 1, ..Config::default() })
    }

    #[tokio::test]
    async fn a_hash_opens_with_its_password_only() {
        let passwords = passwords();
        let hash = passwords.hash("correct horse").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
        for (plain, verdict) in
            [("correct horse", Verdict::Right), ("battery", Verdict::Wrong), ("", Verdict::Wrong)]
        {
            assert_eq!(passwords.compare(plain, Some(&hash)).await.unwrap(), verdict, "{plain}");
        }
        for nothing in [None, Some(""), Some("plain"), Some("$2a$31$aaaaaaaaaaaaaaaaaaaaaa")] {
            assert_eq!(passwords.compare("", nothing).await.unwrap(), Verdict::Wrong);
        }
    }

    #[tokio::test]
    async fn hashes_of_supabase_open_and_are_outdated() {
        let bcrypt = bcrypt::hash("secret", 4).unwrap();
        for prefix in ["$2a$", "$2b$", "$2y$"] {
            let hash = format!("{prefix}{}", &bcrypt[4..]);
            assert_eq!(passwords().compare("secret", Some(&hash)).await.unwrap(), Verdict::Outdated);
            assert_eq!(passwords().compare("Secret", Some(&hash)).await.unwrap(), Verdict::Wrong);
        }
    }

    #[tokio::test]
    async fn the_dummy_hash_is_really_computed() {
        let passwords = passwords();
        assert!(affordable(&passwords.dummy).is_some());
    }
}
