//! Bounds of what a project sets about sessions, passwords, captchas, limits, mails and hooks.

use common::{AuthSettings, HookSettings, mail};

use super::is_url;

const YEAR_SECS: u64 = 365 * 24 * 3600;
const MAX_RATE: u32 = 1_000_000;
const MAX_TEMPLATE_BYTES: usize = 64 * 1024;

/// Refuse what does not fit.
pub(super) fn check(auth: &AuthSettings) -> Result<(), String> {
    let url = |it: &Option<String>| it.as_deref().is_none_or(is_url);
    let rules = [
        (
            auth.sessions_timebox <= YEAR_SECS && auth.sessions_inactivity_timeout <= YEAR_SECS,
            "auth.sessions_timebox and sessions_inactivity_timeout are at most a year",
        ),
        (
            auth.password_required_characters.len() <= 1000,
            "auth.password_required_characters: at most 1000 bytes",
        ),
        (url(&auth.password_hibp_url), "auth.password_hibp_url must be an http or https address"),
        (url(&auth.security_captcha_url), "auth.security_captcha_url must be an http or https address"),
        (
            !auth.security_captcha_enabled || auth.security_captcha_secret.is_some(),
            "auth.security_captcha_enabled needs auth.security_captcha_secret",
        ),
        (rates(auth).into_iter().all(|it| it <= MAX_RATE), "auth.rate_limit_… must be 0 to 1000000"),
    ];
    rules.iter().find(|it| !it.0).map_or(Ok(()), |it| Err(it.1.to_owned()))?;
    for (name, template) in &auth.mailer_templates {
        let texts = [&template.subject, &template.content];
        if texts.into_iter().flatten().any(|it| it.len() > MAX_TEMPLATE_BYTES) {
            return Err(format!("auth.mailer_templates.{name}: at most 64 KiB"));
        }
        mail::check(name, template).map_err(|it| format!("auth.mailer_templates.{name}: {it}"))?;
    }
    for (name, hook) in hooks(auth) {
        check_hook(hook).map_err(|it| format!("auth.hook_{name}: {it}"))?;
    }
    Ok(())
}

fn rates(auth: &AuthSettings) -> [u32; 10] {
    [
        auth.rate_limit_token_refresh,
        auth.rate_limit_sign_in,
        auth.rate_limit_verify,
        auth.rate_limit_otp,
        auth.rate_limit_sso,
        auth.rate_limit_web3,
        auth.rate_limit_passkey,
        auth.rate_limit_anonymous_users,
        auth.rate_limit_mfa,
        auth.rate_limit_oauth_dynamic_client_registration,
    ]
}

fn hooks(auth: &AuthSettings) -> [(&'static str, &HookSettings); 6] {
    [
        ("custom_access_token", &auth.hook_custom_access_token),
        ("before_user_created", &auth.hook_before_user_created),
        ("send_email", &auth.hook_send_email),
        ("send_sms", &auth.hook_send_sms),
        ("mfa_verification_attempt", &auth.hook_mfa_verification_attempt),
        ("password_verification_attempt", &auth.hook_password_verification_attempt),
    ]
}

fn check_hook(hook: &HookSettings) -> Result<(), String> {
    let HookSettings { enabled, uri, secrets } = hook;
    if uri.is_empty() && !enabled {
        return Ok(());
    }
    if let Some(rest) = uri.strip_prefix("pg-functions://") {
        let parts: Vec<&str> = rest.split('/').collect();
        let plain =
            |it: &&str| (1..=63).contains(&it.len()) && !it.contains(['"', '\'', '\0', '(', ';', ' ']);
        let sound = matches!(parts.as_slice(), [_, schema, function] if plain(schema) && plain(function));
        return if sound {
            Ok(())
        } else {
            Err("uri must be pg-functions://postgres/<schema>/<function>".to_owned())
        };
    }
    if !is_url(uri) {
        return Err("uri must be https://… or pg-functions://postgres/<schema>/<function>".to_owned());
    }
    if uri.starts_with("http://") && !is_local(uri) {
        return Err("http is for addresses of this machine only; use https".to_owned());
    }
    let secrets = secrets.as_deref().unwrap_or_default();
    let sound = secrets.split('|').all(|it| it.strip_prefix("v1,whsec_").is_some_and(|key| key.len() >= 16));
    if sound { Ok(()) } else { Err("secrets must be v1,whsec_<base64>, several with | between".to_owned()) }
}

fn is_local(uri: &str) -> bool {
    let host = uri.parse::<http::Uri>().ok().and_then(|it| it.host().map(str::to_owned)).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || host == "host.docker.internal" || address.is_ok_and(|it| it.is_loopback())
}

#[cfg(test)]
mod tests {
    use common::MailTemplate;

    use super::*;

    fn hook(uri: &str, secrets: Option<&str>) -> Result<(), String> {
        check_hook(&HookSettings { enabled: true, uri: uri.into(), secrets: secrets.map(str::to_owned) })
    }

    #[test]
    fn hooks_are_functions_or_signed_requests_to_safe_addresses() {
        let key = Some("v1,whsec_bWFkYmFzZSBtYWRiYXNl");
        assert_eq!(hook("pg-functions://postgres/public/before_user", None), Ok(()));
        assert_eq!(hook("https://hooks.example.com/sms", key), Ok(()));
        assert_eq!(
            hook("http://127.0.0.1:9/x", Some("v1,whsec_bWFkYmFzZSBtYWRiYXNl|v1,whsec_b3RoZXIgb3RoZXIgb3Q=")),
            Ok(())
        );
        for (uri, secrets) in [
            ("", None),
            ("pg-functions://postgres/public", None),
            ("pg-functions://postgres/public/f();drop", None),
            ("https://hooks.example.com/sms", None),
            ("https://hooks.example.com/sms", Some("whsec_x")),
            ("http://hooks.example.com/sms", key),
            ("file:///etc/passwd", key),
        ] {
            assert!(hook(uri, secrets).is_err(), "{uri} {secrets:?}");
        }
    }

    #[test]
    fn templates_and_captchas_are_checked_when_they_are_set() {
        let with = |change: fn(&mut AuthSettings)| {
            let mut auth = AuthSettings::default();
            change(&mut auth);
            check(&auth)
        };
        assert_eq!(with(|_| {}), Ok(()));
        assert!(with(|it| it.security_captcha_enabled = true).is_err());
        assert!(with(|it| it.rate_limit_otp = 2_000_000).is_err());
        let template = |content: &str| MailTemplate { subject: None, content: Some(content.into()) };
        assert!(
            with(|it| drop(it.mailer_templates.insert("letter".into(), MailTemplate::default()))).is_err()
        );
        let mut auth = AuthSettings::default();
        auth.mailer_templates.insert("invite".into(), template("{{ .ConfirmationURL }}"));
        assert_eq!(check(&auth), Ok(()));
        auth.mailer_templates.insert("invite".into(), template("{{ .ConfirmationURL "));
        assert!(check(&auth).unwrap_err().contains("auth.mailer_templates.invite"));
    }
}
