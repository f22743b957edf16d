//! What a project sets to guard its sign-ins: hooks that are asked, captchas, and the mails that it sends.

use serde::{Deserialize, Serialize};

/// A hook: somebody outside of auth who decides or delivers.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HookSettings {
    /// Whether it is asked.
    pub enabled: bool,
    /// `https://…` (or `http://…` on this machine and private networks), or `pg-functions://postgres/schema/function`.
    pub uri: String,
    /// Keys that sign HTTP requests (standard webhooks), `v1,whsec_…`, several with `|` between: all sign, so that the
    /// receiver may change over. Encrypted at rest with the project's secrets.
    pub secrets: Option<String>,
}

impl std::fmt::Debug for HookSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HookSettings")
            .field("enabled", &self.enabled)
            .field("uri", &self.uri)
            .finish_non_exhaustive()
    }
}

/// Who checks captchas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaptchaProvider {
    /// hCaptcha.
    #[default]
    Hcaptcha,
    /// Cloudflare Turnstile.
    Turnstile,
}

impl CaptchaProvider {
    /// Where its answers are checked.
    #[must_use]
    pub fn url(self) -> &'static str {
        match self {
            Self::Hcaptcha => "https://hcaptcha.com/siteverify",
            Self::Turnstile => "https://challenges.cloudflare.com/turnstile/v0/siteverify",
        }
    }
}

/// What a mail says, where the project wants other words than ours.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailTemplate {
    /// The subject; `None` is ours.
    pub subject: Option<String>,
    /// The body as HTML; `None` is ours. Variables as on Supabase: `{{ .ConfirmationURL }}`, `{{ .Token }}`, ….
    pub content: Option<String>,
}
