//! Who delivers a project's SMS, and which kinds of second factor its users may have.

use serde::{Deserialize, Serialize};

/// Who delivers SMS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum SmsProvider {
    /// Twilio, or a service that speaks its HTTP API.
    Twilio {
        /// The account.
        account_sid: String,
        /// Its token. Encrypted at rest with the project's secrets.
        #[serde(default)]
        auth_token: Option<String>,
        /// The sender: a number, or a messaging service's id.
        from: String,
        /// Where the API is; `None` is Twilio's own.
        #[serde(default)]
        url: Option<String>,
    },
    /// A service of the project: it is sent `{"phone", "message", "otp", "channel"}` as JSON.
    Webhook {
        /// Where it listens: http or https.
        url: String,
        /// Sent as `Authorization: Bearer`. Encrypted at rest with the project's secrets.
        #[serde(default)]
        secret: Option<String>,
    },
}

/// What users may do with a kind of second factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FactorUse {
    /// Enroll and use.
    On,
    /// Use those that there are.
    Verify,
    /// Nothing.
    #[default]
    Off,
}

impl FactorUse {
    /// Whether new factors may be enrolled.
    #[must_use]
    pub fn enrolls(self) -> bool {
        matches!(self, Self::On)
    }

    /// Whether factors may be used.
    #[must_use]
    pub fn verifies(self) -> bool {
        !matches!(self, Self::Off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_told_apart_by_their_kind() {
        let twilio = r#"{"kind": "twilio", "account_sid": "AC1", "from": "+491"}"#;
        assert!(matches!(serde_json::from_str(twilio), Ok(SmsProvider::Twilio { auth_token: None, .. })));
        for bad in [r#"{"kind": "pigeon"}"#, r#"{"kind": "webhook"}"#, r#"{"url": "http://a.b"}"#] {
            assert!(serde_json::from_str::<SmsProvider>(bad).is_err(), "{bad}");
        }
    }
}
