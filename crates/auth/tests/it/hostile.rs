//! Attacks, one after the other: what is tried, and that it does not work. The list with all of them, also those
//! that other files hold, is docs/operations/security.md.

mod bodies;
mod codes;
mod letters;
mod logs;
mod redirects;
mod rights;
mod silence;
mod tokens;

use common::AuthSettings;

/// A project that confirms addresses by mail, without the limits that other tests are about.
fn confirming() -> AuthSettings {
    AuthSettings {
        site_url: "https://app.test".into(),
        mailer_autoconfirm: false,
        mail_max_frequency_secs: 0,
        mail_max_per_hour: 100_000,
        rate_limit_otp: 100_000,
        rate_limit_verify: 100_000,
        rate_limit_sign_in: 100_000,
        ..AuthSettings::default()
    }
}
