//! What a project may set, per service. Stored as JSON by the control plane, read by the services.
//!
//! A missing field takes its default, so that old rows stay readable; an unknown field is refused, so that a typing
//! mistake is not silently ignored.

mod external;
mod guard;
mod limits;
mod phone;
mod realtime;

use std::collections::BTreeMap;

pub use external::{OAuthServerSettings, ProviderSettings};
pub use guard::{CaptchaProvider, HookSettings, MailTemplate};
pub use limits::{LimitSettings, RateLimits};
pub use phone::{FactorUse, SmsProvider};
pub use realtime::RealtimeSettings;
use serde::{Deserialize, Serialize};

mod named;

pub use named::{SettingError, parse_truth};

/// Settings of a project's data API, under PostgREST's own names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RestSettings {
    /// Exposed schemas, the default one first.
    pub db_schemas: Vec<String>,
    /// Schemas appended to `search_path` of every request.
    pub db_extra_search_path: Vec<String>,
    /// The most rows that one answer holds; `None` for no limit.
    pub db_max_rows: Option<u64>,
    /// The role of a request without a token; `None` refuses those (PGRST302).
    pub db_anon_role: Option<String>,
    /// A function called in every request after the settings, before the query: `schema.function`.
    pub db_pre_request: Option<String>,
    /// Whether aggregate functions are allowed in `select`.
    pub db_aggregates_enabled: bool,
    /// Whether `Accept: application/vnd.pgrst.plan` is answered.
    pub db_plan_enabled: bool,
    /// How a transaction ends: `commit`, `commit-allow-override`, `rollback`, `rollback-allow-override`.
    pub db_tx_end: String,
    /// Settings of a called function that hold for the whole transaction, not only inside of it.
    pub db_hoisted_tx_settings: Vec<String>,
    /// A function that answers `/` instead of the OpenAPI description: `schema.function`.
    pub db_root_spec: Option<String>,
    /// Whether `pgrst.*` settings of the login role are read (`alter role … set pgrst.db_schemas = …`).
    pub db_config: bool,
    /// A function called before the `pgrst.*` settings are read, to make some by `set_config`: `schema.function`.
    pub db_pre_config: Option<String>,
    /// What the OpenAPI description at `/` shows.
    pub openapi_mode: OpenApiMode,
    /// Whether the OpenAPI description says that a JWT is expected.
    pub openapi_security_active: bool,
    /// The public address of this API, for the OpenAPI description.
    pub openapi_server_proxy_uri: Option<String>,
    /// How much of an error a client may read.
    pub client_error_verbosity: Verbosity,
    /// Whether an aliased embed may still be filtered by its relation's name (with a `Warning`).
    pub url_use_legacy_target_names: bool,
    /// Settings made in every transaction: name with a dot → value.
    pub app_settings: BTreeMap<String, String>,
    /// The audience that a token's `aud` must hold, if it has one; `None` accepts any.
    pub jwt_aud: Option<String>,
    /// Where in the claims the role is: a path such as `$.role`, `$.realm.roles[0]` or the older `.role`.
    pub jwt_role_claim_key: String,
    /// How many verified tokens are remembered; 0 verifies every time.
    pub jwt_cache_max_entries: u64,
    /// Whether `Server-Timing` tells how long each stage took.
    pub server_timing_enabled: bool,
    /// The request header that is sent back, for tracing.
    pub server_trace_header: Option<String>,
    /// Origins that browsers may call from; empty means any.
    pub server_cors_allowed_origins: Vec<String>,
    /// Whether answers to reads are kept and given again until something is written.
    pub response_cache: ResponseCache,
    /// The longest that such an answer is given, in seconds: how late a change that did not pass MadBase may be seen.
    pub response_cache_max_age: u64,
}

impl Default for RestSettings {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(|it| (*it).to_owned()).collect();
        Self {
            db_schemas: words(&["public", "graphql_public"]),
            db_extra_search_path: words(&["public", "extensions"]),
            db_max_rows: Some(1000),
            db_anon_role: Some("anon".into()),
            db_pre_request: None,
            db_aggregates_enabled: false,
            db_plan_enabled: false,
            db_tx_end: "commit".into(),
            db_hoisted_tx_settings: words(&[
                "statement_timeout",
                "plan_filter.statement_cost_limit",
                "default_transaction_isolation",
            ]),
            db_root_spec: None,
            db_config: true,
            db_pre_config: None,
            openapi_mode: OpenApiMode::FollowPrivileges,
            openapi_security_active: false,
            openapi_server_proxy_uri: None,
            client_error_verbosity: Verbosity::Verbose,
            url_use_legacy_target_names: true,
            app_settings: BTreeMap::new(),
            jwt_aud: None,
            jwt_role_claim_key: "$.role".into(),
            jwt_cache_max_entries: 1000,
            server_timing_enabled: false,
            server_trace_header: None,
            server_cors_allowed_origins: Vec::new(),
            response_cache: ResponseCache::Off,
            response_cache_max_age: 60,
        }
    }
}

/// Which answers of the data API are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResponseCache {
    /// None.
    #[default]
    Off,
    /// Those to requests that say how old an answer may be: `Cache-Control: max-age=60`.
    OnRequest,
    /// All that may be, except for requests that want fresh ones: `Cache-Control: no-cache`.
    On,
}

/// What the OpenAPI description at `/` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpenApiMode {
    /// What the caller's role may use.
    #[default]
    FollowPrivileges,
    /// Everything in the schema.
    IgnorePrivileges,
    /// Nothing: `/` is 404 (PGRST126).
    Disabled,
}

/// How much of an error a client may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verbosity {
    /// `code`, `message`, `details` and `hint`.
    #[default]
    Verbose,
    /// `code` and `message` only.
    Minimal,
}

/// Settings of a project's auth service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSettings {
    /// Where mail links lead when a request names no allowed `redirect_to`.
    pub site_url: String,
    /// Further redirect targets, with globs (`https://*.example.com/**`).
    pub redirect_urls: Vec<String>,
    /// No new users by sign-up; the admin API still creates them.
    pub disable_signup: bool,
    /// Sign-up without e-mail and password.
    pub anonymous_users: bool,
    /// Whether a new e-mail address counts as confirmed without a mail.
    pub mailer_autoconfirm: bool,
    /// Whether sign-ups and codes by e-mail are answered alike for known and unknown addresses, also where Supabase's
    /// answers differ: empty `identities` of a taken address, `otp_disabled`, `signup_disabled`.
    pub conceal_accounts: bool,
    /// Lifetime of an access token.
    pub jwt_expiry_secs: u64,
    /// Shortest password, in characters.
    pub password_min_length: usize,
    /// Lifetime of a mailed token.
    pub mailer_otp_expiry_secs: u64,
    /// Whether each refresh gives a new refresh token and retires the old one.
    pub refresh_token_rotation: bool,
    /// For how long a retired refresh token may still be presented without ending the session.
    pub refresh_token_reuse_interval_secs: u64,
    /// The least time between two mails to one address.
    pub mail_max_frequency_secs: u64,
    /// The most mails that the project sends in an hour.
    pub mail_max_per_hour: u32,
    /// The SMTP server; `None` captures mails in the development inbox.
    pub smtp: Option<SmtpSettings>,
    /// Identity providers by name.
    pub external: BTreeMap<String, ProviderSettings>,
    /// Further issuers whose ID tokens `grant_type=id_token` takes, for the client that the request names.
    pub allowed_id_token_issuers: Vec<String>,
    /// Whether the service key may define identity providers of its own (`/admin/custom-providers`).
    pub custom_providers: bool,
    /// Sign-in by SAML 2.0 at the identity providers of organisations (`/admin/sso/providers`).
    pub saml_enabled: bool,
    /// Whether the project is an identity provider for others.
    pub oauth_server: OAuthServerSettings,
    /// Whether the old address must confirm a change of e-mail address as well as the new one.
    pub mailer_secure_email_change: bool,
    /// Whether a new password needs the nonce of `/reauthenticate` once a session is a day old.
    pub password_require_reauthentication: bool,
    /// Whether a new password needs the current one.
    pub password_require_current: bool,
    /// Whether users may link and unlink ways of signing in.
    pub manual_linking: bool,
    /// Sign-up and sign-in by phone number.
    pub phone_enabled: bool,
    /// Whether people sign up and in with an e-mail address; off, the service key still makes such users.
    pub email_enabled: bool,
    /// Whether a new phone number counts as confirmed without an SMS.
    pub sms_autoconfirm: bool,
    /// Lifetime of a code by SMS.
    pub sms_otp_expiry_secs: u64,
    /// Digits of a code by SMS.
    pub sms_otp_length: usize,
    /// The least time between two SMS to one number.
    pub sms_max_frequency_secs: u64,
    /// The most SMS that the project sends in an hour.
    pub sms_max_per_hour: u32,
    /// What an SMS says; `{{ .Code }}` stands for the code.
    pub sms_template: String,
    /// Numbers that get no SMS, and the code that each may use instead: for tests and app reviewers.
    pub sms_test_otps: BTreeMap<String, String>,
    /// Who delivers SMS; `None` captures them in the development inbox.
    pub sms_provider: Option<SmsProvider>,
    /// Authenticator apps as a second factor.
    pub mfa_totp: FactorUse,
    /// Codes by SMS as a second factor.
    pub mfa_phone: FactorUse,
    /// Security keys as a second factor.
    pub mfa_webauthn: FactorUse,
    /// The most factors of one user.
    pub mfa_max_factors: usize,
    /// For how long a challenge of a second factor may be answered.
    pub mfa_challenge_expiry_secs: u64,
    /// Sign-in by passkeys.
    pub passkeys: bool,
    /// The most passkeys of one user.
    pub passkey_max_per_user: usize,
    /// The domain that passkeys and security keys belong to; `None` takes the host of `site_url`.
    pub webauthn_rp_id: Option<String>,
    /// The name that browsers show beside it; `None` takes the domain.
    pub webauthn_rp_name: Option<String>,
    /// Where such a key may be used; empty takes the origin of `site_url`.
    pub webauthn_rp_origins: Vec<String>,
    /// Refuse access tokens of ended sessions at once in every service; otherwise only auth does before they expire.
    pub strict_sessions: bool,
    /// A session ends so many seconds after it began; 0 never.
    pub sessions_timebox: u64,
    /// A session that was not refreshed for so many seconds ends; 0 never.
    pub sessions_inactivity_timeout: u64,
    /// Only the newest session of a user stands.
    pub sessions_single_per_user: bool,
    /// Sets of characters of which a password needs one each: `abc…:ABC…:0123456789`, with `\:` for a colon.
    pub password_required_characters: String,
    /// Refuse passwords that were found in breaches, asked for by the first five digits of their hash.
    pub password_hibp_enabled: bool,
    /// Where that is asked; `None` is `https://api.pwnedpasswords.com/range`.
    pub password_hibp_url: Option<String>,
    /// Refuse passwords as well when nobody answers there.
    pub password_hibp_fail_closed: bool,
    /// Sign-up, sign-in and mails need a solved captcha.
    pub security_captcha_enabled: bool,
    /// Who checks it.
    pub security_captcha_provider: CaptchaProvider,
    /// What proves to the provider who asks. Encrypted at rest with the project's secrets.
    pub security_captcha_secret: Option<String>,
    /// Where it is checked; `None` is the provider's address.
    pub security_captcha_url: Option<String>,
    /// Requests of one client address in five minutes, 30 of them at once: refreshes.
    pub rate_limit_token_refresh: u32,
    /// The same: sign-ins by password, code or ID token.
    pub rate_limit_sign_in: u32,
    /// The same: mailed codes and links that are verified.
    pub rate_limit_verify: u32,
    /// The same: codes, links and invitations that are asked for.
    pub rate_limit_otp: u32,
    /// The same: sign-ins by SAML.
    pub rate_limit_sso: u32,
    /// The same: sign-ins by wallet.
    pub rate_limit_web3: u32,
    /// The same: sign-ins by passkey.
    pub rate_limit_passkey: u32,
    /// New anonymous users from one client address in an hour.
    pub rate_limit_anonymous_users: u32,
    /// Challenges and answers of second factors from one client address in a minute.
    pub rate_limit_mfa: u32,
    /// OAuth clients that register themselves from one client address in five minutes.
    pub rate_limit_oauth_dynamic_client_registration: u32,
    /// Words of mails: `confirmation`, `invite`, `magic_link`, `recovery`, `email_change`, `reauthentication`.
    pub mailer_templates: BTreeMap<String, MailTemplate>,
    /// Asked before every access token; may change its claims.
    pub hook_custom_access_token: HookSettings,
    /// Asked before a user is made; may refuse.
    pub hook_before_user_created: HookSettings,
    /// Delivers mails instead of SMTP.
    pub hook_send_email: HookSettings,
    /// Delivers SMS instead of the provider.
    pub hook_send_sms: HookSettings,
    /// Asked after every answer to a second factor's challenge; may refuse.
    pub hook_mfa_verification_attempt: HookSettings,
    /// Asked after every comparison of a password; may refuse.
    pub hook_password_verification_attempt: HookSettings,
}

impl Default for AuthSettings {
    #[expect(clippy::too_many_lines, reason = "one line for each setting")]
    fn default() -> Self {
        Self {
            site_url: "http://localhost:3000".into(),
            redirect_urls: Vec::new(),
            disable_signup: false,
            anonymous_users: false,
            mailer_autoconfirm: true,
            conceal_accounts: false,
            jwt_expiry_secs: 3600,
            password_min_length: 6,
            mailer_otp_expiry_secs: 3600,
            refresh_token_rotation: true,
            refresh_token_reuse_interval_secs: 10,
            mail_max_frequency_secs: 60,
            mail_max_per_hour: 30,
            smtp: None,
            external: BTreeMap::new(),
            allowed_id_token_issuers: Vec::new(),
            custom_providers: true,
            saml_enabled: false,
            oauth_server: OAuthServerSettings::default(),
            mailer_secure_email_change: true,
            password_require_reauthentication: false,
            password_require_current: false,
            manual_linking: false,
            phone_enabled: false,
            email_enabled: true,
            sms_autoconfirm: false,
            sms_otp_expiry_secs: 60,
            sms_otp_length: 6,
            sms_max_frequency_secs: 60,
            sms_max_per_hour: 30,
            sms_template: "Your code is {{ .Code }}".into(),
            sms_test_otps: BTreeMap::new(),
            sms_provider: None,
            mfa_totp: FactorUse::On,
            mfa_phone: FactorUse::Off,
            mfa_webauthn: FactorUse::Off,
            mfa_max_factors: 10,
            mfa_challenge_expiry_secs: 300,
            passkeys: false,
            passkey_max_per_user: 10,
            webauthn_rp_id: None,
            webauthn_rp_name: None,
            webauthn_rp_origins: Vec::new(),
            strict_sessions: false,
            sessions_timebox: 0,
            sessions_inactivity_timeout: 0,
            sessions_single_per_user: false,
            password_required_characters: String::new(),
            password_hibp_enabled: false,
            password_hibp_url: None,
            password_hibp_fail_closed: false,
            security_captcha_enabled: false,
            security_captcha_provider: CaptchaProvider::default(),
            security_captcha_secret: None,
            security_captcha_url: None,
            rate_limit_token_refresh: 150,
            rate_limit_sign_in: 150,
            rate_limit_verify: 30,
            rate_limit_otp: 30,
            rate_limit_sso: 30,
            rate_limit_web3: 30,
            rate_limit_passkey: 30,
            rate_limit_anonymous_users: 30,
            rate_limit_mfa: 15,
            rate_limit_oauth_dynamic_client_registration: 10,
            mailer_templates: BTreeMap::new(),
            hook_custom_access_token: HookSettings::default(),
            hook_before_user_created: HookSettings::default(),
            hook_send_email: HookSettings::default(),
            hook_send_sms: HookSettings::default(),
            hook_mfa_verification_attempt: HookSettings::default(),
            hook_password_verification_attempt: HookSettings::default(),
        }
    }
}

/// How to reach a project's SMTP server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmtpSettings {
    /// Host name or address.
    pub host: String,
    /// TCP port; 465 speaks TLS from the start, others upgrade by STARTTLS when `tls` is set.
    pub port: u16,
    /// Whether the connection must be encrypted.
    #[serde(default)]
    pub tls: bool,
    /// User name, if the server asks for one.
    #[serde(default)]
    pub username: Option<String>,
    /// Password, if the server asks for one. Encrypted at rest with the project's secrets.
    #[serde(default)]
    pub password: Option<String>,
    /// The sender: `Name <address>`.
    pub from: String,
}
