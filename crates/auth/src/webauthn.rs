//! Security keys and passkeys (`WebAuthn`): options for browsers, and whether what they send back verifies.
//!
//! On `webauthn-rs-core` rather than its façade, because passkeys must be discoverable and keys must be kept as
//! Supabase keeps them: the public key as COSE bytes, the user's handle as the text of the id. What the façade would
//! decide is decided here, in one place: user verification is preferred, attestation is not asked for, other origins
//! and frames of other sites are refused, a signature counter must grow.

mod credential;
mod site;

pub(crate) use credential::{Key, provider_name};

use std::time::Duration;

use common::Project;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;
use webauthn_rs_core::WebauthnCore;
use webauthn_rs_core::proto::{
    AttestationConveyancePreference, AuthenticationState, COSEAlgorithm, Credential, PublicKeyCredential,
    RegisterPublicKeyCredential, RegistrationState, UserVerificationPolicy,
};

use crate::Error;
use crate::user::User;

/// For how long browsers may ask their user.
pub(crate) const TIMEOUT_SECS: u32 = 300;

/// Why a browser's answer does not count.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It is no credential.
    Malformed(Box<dyn std::error::Error + Send + Sync>),
    /// It does not verify.
    Unverified(Box<dyn std::error::Error + Send + Sync>),
}

/// A question to a browser.
pub(crate) struct Question {
    /// What `navigator.credentials` takes, with `publicKey` outside.
    pub(crate) options: Value,
    /// What the answer is compared with; kept on the server.
    pub(crate) state: Value,
}

/// What a key proved.
pub(crate) struct Proof {
    pub(crate) sign_count: u32,
    pub(crate) backup_eligible: bool,
    pub(crate) backed_up: bool,
}

/// A project as browsers know it.
pub(crate) struct RelyingParty {
    core: WebauthnCore,
}

impl RelyingParty {
    /// From the project's settings.
    ///
    /// # Errors
    /// [`Error::Internal`] when neither they nor `site_url` name a domain.
    pub(crate) fn of(project: &Project) -> Result<Self, Error> {
        let site::Site { id, name, origins } = site::of(&project.auth)?;
        let timeout = Duration::from_secs(TIMEOUT_SECS.into());
        let core = WebauthnCore::new_unsafe_experts_only(&name, &id, origins, timeout, None, None);
        Ok(Self { core })
    }

    /// Ask for a new key of `user`; `passkey` for one that names its user itself.
    pub(crate) fn ask_for_new(
        &self,
        user: &User,
        known: Vec<Vec<u8>>,
        passkey: bool,
    ) -> Result<Question, Error> {
        let name = [user.address(), user.number()].into_iter().find(|it| !it.is_empty());
        let id = user.id.to_string();
        let name = name.unwrap_or(&id);
        let shown = user.raw_user_meta_data.as_ref().and_then(|it| it.get("name")?.as_str());
        let shown = shown.filter(|it| !it.is_empty()).unwrap_or(name);
        let builder = self.core.new_challenge_register_builder(id.as_bytes(), name, shown);
        let builder = builder
            .map_err(Error::internal)?
            .attestation(AttestationConveyancePreference::None)
            .credential_algorithms(algorithms())
            .require_resident_key(passkey)
            .user_verification_policy(UserVerificationPolicy::Preferred)
            .exclude_credentials(Some(known));
        let (options, state) = self.core.generate_challenge_register(builder).map_err(Error::internal)?;
        question(&options, &state)
    }

    /// The new key in a browser's answer.
    pub(crate) fn new_key(&self, state: &Value, answer: &Value) -> Result<Key, Fault> {
        let state: RegistrationState = read(state).map_err(Fault::Unverified)?;
        let answer: RegisterPublicKeyCredential = read(answer).map_err(Fault::Malformed)?;
        let credential = self.core.register_credential(&answer, &state, None);
        let credential = credential.map_err(|it| Fault::Unverified(it.into()))?;
        Key::new(&credential, &answer.response.attestation_object).map_err(Fault::Unverified)
    }

    /// Ask for a proof by one of `keys`; by any passkey when there are none.
    pub(crate) fn ask_for_proof(&self, keys: &[Key]) -> Result<Question, Error> {
        let credentials: Result<Vec<Credential>, _> = keys.iter().map(Key::credential).collect();
        let builder = self.core.new_challenge_authenticate_builder(
            credentials.map_err(Error::Internal)?,
            Some(UserVerificationPolicy::Preferred),
        );
        // Some keys that could not be backed up learn it by an update.
        let builder = builder.map_err(Error::internal)?.allow_backup_eligible_upgrade(true);
        let (options, mut state) =
            self.core.generate_challenge_authenticate(builder).map_err(Error::internal)?;
        // They are read again when the answer comes.
        state.set_allowed_credentials(Vec::new());
        question(&options, &state)
    }

    /// Whether `answer` proves that its sender holds `key`.
    pub(crate) fn verify(&self, state: &Value, answer: &Answer, key: &Key) -> Result<Proof, Fault> {
        let state: AuthenticationState = read(state).map_err(Fault::Unverified)?;
        let credential = key.credential().map_err(Fault::Unverified)?;
        let result = self.core.authenticate_single_credential(&answer.0, &state, &credential);
        let result = result.map_err(|it| Fault::Unverified(it.into()))?;
        Ok(Proof {
            sign_count: result.counter(),
            backup_eligible: result.backup_eligible(),
            backed_up: result.backup_state(),
        })
    }
}

/// A browser's answer, not verified yet.
pub(crate) struct Answer(PublicKeyCredential);

impl Answer {
    /// From JSON.
    pub(crate) fn parse(answer: &Value) -> Result<Self, Fault> {
        read(answer).map(Self).map_err(Fault::Malformed)
    }

    /// Which key it says it is.
    pub(crate) fn key_id(&self) -> &[u8] {
        self.0.get_credential_id()
    }

    /// Whose passkey it says it is.
    pub(crate) fn user_id(&self) -> Option<Uuid> {
        std::str::from_utf8(self.0.get_user_unique_id()?).ok()?.parse().ok()
    }
}

fn algorithms() -> Vec<COSEAlgorithm> {
    vec![COSEAlgorithm::ES256, COSEAlgorithm::RS256, COSEAlgorithm::EDDSA, COSEAlgorithm::ES384]
}

fn question(options: &impl serde::Serialize, state: &impl serde::Serialize) -> Result<Question, Error> {
    Ok(Question {
        options: serde_json::to_value(options).map_err(Error::internal)?,
        state: serde_json::to_value(state).map_err(Error::internal)?,
    })
}

fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Box<dyn std::error::Error + Send + Sync>> {
    T::deserialize(value).map_err(Into::into)
}
