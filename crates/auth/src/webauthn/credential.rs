//! A key as the database holds it, and as `webauthn-rs-core` reads it; and the names of well-known providers of keys.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_cbor_2::Value as Cbor;
use serde_json::{Value, json};
use uuid::Uuid;
use webauthn_rs_core::proto::{
    AttestationFormat, COSEKey, Credential, ParsedAttestation, RegisteredExtensions, UserVerificationPolicy,
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where the AAGUID stands in authenticator data, and where the credential's id does (`WebAuthn` §6.1).
const AAGUID: std::ops::Range<usize> = 37..53;
const ID_LENGTH: std::ops::Range<usize> = 53..55;

/// A key: a row of `auth.webauthn_credentials`, or `web_authn_credential` of a factor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) credential_id: Vec<u8>,
    /// COSE, as the authenticator sent it.
    pub(crate) public_key: Vec<u8>,
    pub(crate) sign_count: u32,
    pub(crate) transports: Value,
    pub(crate) backup_eligible: bool,
    pub(crate) backed_up: bool,
    pub(crate) aaguid: Option<Uuid>,
}

impl Key {
    /// A registered credential, with the bytes that it was registered by.
    pub(super) fn new(credential: &Credential, attestation_object: &[u8]) -> Result<Self, Failure> {
        let (aaguid, public_key) = attested(attestation_object)?;
        Ok(Self {
            credential_id: credential.cred_id.clone(),
            public_key,
            sign_count: credential.counter,
            transports: serde_json::to_value(credential.transports.clone().unwrap_or_default())?,
            backup_eligible: credential.backup_eligible,
            backed_up: credential.backup_state,
            aaguid: Some(aaguid),
        })
    }

    /// As the library wants it.
    pub(super) fn credential(&self) -> Result<Credential, Failure> {
        let cose: Cbor = serde_cbor_2::from_slice(&self.public_key)?;
        Ok(Credential {
            cred_id: self.credential_id.clone(),
            cred: COSEKey::try_from(&cose)?,
            counter: self.sign_count,
            transports: serde_json::from_value(self.transports.clone()).unwrap_or_default(),
            user_verified: false,
            backup_eligible: self.backup_eligible,
            backup_state: self.backed_up,
            registration_policy: UserVerificationPolicy::Preferred,
            extensions: RegisteredExtensions::none(),
            attestation: ParsedAttestation::default(),
            attestation_format: AttestationFormat::None,
        })
    }

    /// It was used.
    pub(crate) fn note(&mut self, proof: &super::Proof) {
        self.sign_count = proof.sign_count;
        self.backup_eligible = proof.backup_eligible;
        self.backed_up = proof.backed_up;
    }

    /// As `auth.mfa_factors` holds it: the JSON that Supabase's own service writes.
    pub(crate) fn to_factor(&self) -> Value {
        json!({
            "id": BASE64_STANDARD.encode(&self.credential_id),
            "publicKey": BASE64_STANDARD.encode(&self.public_key),
            "attestationType": "none",
            "transport": self.transports,
            "flags": {
                "userPresent": true, "userVerified": false,
                "backupEligible": self.backup_eligible, "backupState": self.backed_up,
            },
            "authenticator": {
                "AAGUID": BASE64_STANDARD.encode(self.aaguid.unwrap_or_default()),
                "signCount": self.sign_count, "cloneWarning": false, "attachment": "",
            },
        })
    }

    /// From the JSON of a factor.
    pub(crate) fn from_factor(stored: &Value) -> Option<Self> {
        let bytes = |pointer: &str| BASE64_STANDARD.decode(stored.pointer(pointer)?.as_str()?).ok();
        let flag = |pointer: &str| stored.pointer(pointer).and_then(Value::as_bool).unwrap_or_default();
        let count = stored.pointer("/authenticator/signCount").and_then(Value::as_u64).unwrap_or_default();
        Some(Self {
            credential_id: bytes("/id")?,
            public_key: bytes("/publicKey")?,
            sign_count: u32::try_from(count).unwrap_or(u32::MAX),
            transports: stored.get("transport").cloned().unwrap_or(Value::Null),
            backup_eligible: flag("/flags/backupEligible"),
            backed_up: flag("/flags/backupState"),
            aaguid: bytes("/authenticator/AAGUID").and_then(|it| Uuid::from_slice(&it).ok()),
        })
    }
}

/// The AAGUID and the COSE key in an attestation object that was verified already.
fn attested(attestation_object: &[u8]) -> Result<(Uuid, Vec<u8>), Failure> {
    let object: Cbor = serde_cbor_2::from_slice(attestation_object)?;
    let Cbor::Map(fields) = object else { return Err("the attestation is no map".into()) };
    let Some(Cbor::Bytes(data)) = fields.get(&Cbor::Text("authData".into())) else {
        return Err("the attestation has no authData".into());
    };
    let short = || Failure::from("authData is too short");
    let aaguid = Uuid::from_slice(data.get(AAGUID).ok_or_else(short)?)?;
    let length = data.get(ID_LENGTH).and_then(|it| <[u8; 2]>::try_from(it).ok()).ok_or_else(short)?;
    let start = ID_LENGTH.end + usize::from(u16::from_be_bytes(length));
    let rest = data.get(start..).ok_or_else(short)?;
    // Extensions may follow the key.
    let mut reader = serde_cbor_2::Deserializer::from_slice(rest);
    Cbor::deserialize(&mut reader)?;
    let key = rest.get(..reader.byte_offset()).ok_or_else(short)?;
    Ok((aaguid, key.to_vec()))
}

/// What people call a key made by the provider `aaguid`.
pub(crate) fn provider_name(aaguid: Option<Uuid>) -> &'static str {
    match aaguid.map(|it| it.to_string()).as_deref() {
        Some("ea9b8d66-4d01-1d21-3ce4-b6b48cb575d4") => "Google Password Manager",
        Some("fbfc3007-154e-4ecc-8c0b-6e020557d7bd" | "dd4ec289-e01d-41c9-bb89-70fa845d4bf2") => {
            "iCloud Keychain"
        }
        Some(
            "08987058-cadc-4b81-b6e1-30de50dcbe96"
            | "9ddd1817-af5a-4672-a2b9-3e3dd95000a9"
            | "6028b017-b1d4-4c02-b4b3-afcdafc96bb2",
        ) => "Windows Hello",
        Some("bada5566-a7aa-401f-bd96-45619a55120d") => "1Password",
        Some("d548826e-79b4-40a4-a3d8-11116f7e8349") => "Bitwarden",
        Some("531126d6-e717-415c-9320-3d9aa6981239") => "Dashlane",
        _ => "Passkey",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_factor_survives_the_database() {
        let key = Key {
            credential_id: vec![1, 2, 3],
            public_key: vec![4, 5],
            sign_count: 7,
            transports: json!(["usb"]),
            backup_eligible: true,
            backed_up: false,
            aaguid: Some(Uuid::from_u128(9)),
        };
        assert_eq!(Key::from_factor(&key.to_factor()), Some(key));
        assert_eq!(Key::from_factor(&json!({"id": "%"})), None);
    }

    #[test]
    fn garbage_is_no_attestation() {
        for bad in [&b""[..], b"\xa0", b"\xff\xff", b"\xa1\x68authData\x41\x00"] {
            assert!(attested(bad).is_err(), "{bad:?}");
        }
    }
}
