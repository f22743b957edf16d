//! Bounds of what a project sets about SMS, second factors and passkeys.

use common::{AuthSettings, SmsProvider};

use super::is_url;

/// Refuse what does not fit.
pub(super) fn check(auth: &AuthSettings) -> Result<(), &'static str> {
    let rules = [
        ((30..=3600).contains(&auth.sms_otp_expiry_secs), "auth.sms_otp_expiry_secs must be 30 to 3600"),
        ((6..=10).contains(&auth.sms_otp_length), "auth.sms_otp_length must be 6 to 10"),
        (
            auth.sms_template.contains("{{ .Code }}") && auth.sms_template.len() <= 1000,
            "auth.sms_template must hold {{ .Code }} and at most 1000 bytes",
        ),
        (
            auth.sms_test_otps.len() <= 100
                && auth.sms_test_otps.iter().all(|(phone, code)| are_digits(phone) && are_digits(code)),
            "auth.sms_test_otps must map at most 100 numbers to codes, both digits only",
        ),
        (
            auth.sms_provider.as_ref().is_none_or(is_reachable),
            "auth.sms_provider must have http or https addresses, a sender and a plain account id",
        ),
        ((1..=100).contains(&auth.mfa_max_factors), "auth.mfa_max_factors must be 1 to 100"),
        (
            (30..=3600).contains(&auth.mfa_challenge_expiry_secs),
            "auth.mfa_challenge_expiry_secs must be 30 to 3600",
        ),
        ((1..=100).contains(&auth.passkey_max_per_user), "auth.passkey_max_per_user must be 1 to 100"),
        (
            auth.webauthn_rp_id.as_deref().is_none_or(is_domain),
            "auth.webauthn_rp_id must be a domain such as example.com",
        ),
        (
            auth.webauthn_rp_name.as_deref().is_none_or(|it| (1..=100).contains(&it.len())),
            "auth.webauthn_rp_name must be 1 to 100 bytes",
        ),
        (
            auth.webauthn_rp_origins.len() <= 20 && auth.webauthn_rp_origins.iter().all(|it| is_url(it)),
            "auth.webauthn_rp_origins must be at most 20 http or https addresses",
        ),
    ];
    rules.iter().find(|it| !it.0).map_or(Ok(()), |it| Err(it.1))
}

fn is_reachable(provider: &SmsProvider) -> bool {
    match provider {
        SmsProvider::Twilio { account_sid, from, url, .. } => {
            let plain = |it: u8| it.is_ascii_alphanumeric() || it == b'_' || it == b'-';
            !account_sid.is_empty()
                && account_sid.bytes().all(plain)
                && (1..=100).contains(&from.len())
                && url.as_deref().is_none_or(is_url)
        }
        SmsProvider::Webhook { url, .. } => is_url(url),
    }
}

fn are_digits(text: &str) -> bool {
    (2..=15).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_digit())
}

fn is_domain(text: &str) -> bool {
    let label = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(edit: impl Fn(&mut AuthSettings)) -> bool {
        let mut auth = AuthSettings::default();
        edit(&mut auth);
        check(&auth).is_ok()
    }

    #[test]
    fn what_could_not_work_is_refused() {
        assert!(check_one(|_| {}));
        assert!(!check_one(|it| it.sms_template = "no code".into()));
        assert!(!check_one(|it| it.sms_otp_length = 4));
        assert!(!check_one(|it| drop(it.sms_test_otps.insert("+491".into(), "123456".into()))));
        assert!(!check_one(|it| it.webauthn_rp_id = Some("https://a.b".into())));
        let twilio = |sid: &str| SmsProvider::Twilio {
            account_sid: sid.into(),
            auth_token: None,
            from: "+1".into(),
            url: None,
        };
        assert!(check_one(|it| it.sms_provider = Some(twilio("AC1"))));
        assert!(!check_one(|it| it.sms_provider = Some(twilio("../x"))));
        let hook = |url: &str| SmsProvider::Webhook { url: url.into(), secret: None };
        assert!(!check_one(|it| it.sms_provider = Some(hook("file:///etc/passwd"))));
    }
}
