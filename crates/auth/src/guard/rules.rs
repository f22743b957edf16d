//! Which request is limited by what, and which needs a captcha. Pure.

use std::time::Duration;

use common::AuthSettings;
use http::{Method, Uri};
use store::Limit;

/// At once, however many in the whole time.
const BURST: u32 = 30;
const FIVE_MINUTES: Duration = Duration::from_secs(300);

/// A budget of each client address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Refresh,
    SignIn,
    SignUp,
    Anonymous,
    Otp,
    MagicLink,
    Recover,
    Resend,
    Update,
    Verify,
    Sso,
    Assertion,
    Web3,
    Passkey,
    Challenge,
    Factor,
    Register,
}

/// What stands before a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Target {
    pub(super) rule: Option<Rule>,
    pub(super) captcha: bool,
}

impl Rule {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Refresh => "refresh",
            Self::SignIn => "sign_in",
            Self::SignUp => "sign_up",
            Self::Anonymous => "anonymous",
            Self::Otp => "otp",
            Self::MagicLink => "magic_link",
            Self::Recover => "recover",
            Self::Resend => "resend",
            Self::Update => "update",
            Self::Verify => "verify",
            Self::Sso => "sso",
            Self::Assertion => "assertion",
            Self::Web3 => "web3",
            Self::Passkey => "passkey",
            Self::Challenge => "challenge",
            Self::Factor => "factor",
            Self::Register => "register",
        }
    }

    /// Whether the time of an answer could tell who has an account.
    pub(super) fn is_quiet(self, settings: &AuthSettings) -> bool {
        match self {
            // Where confirmations are off the answer itself tells.
            Self::SignUp => !settings.mailer_autoconfirm,
            Self::Otp | Self::MagicLink | Self::Recover | Self::Resend | Self::Verify => true,
            Self::Refresh
            | Self::SignIn
            | Self::Anonymous
            | Self::Update
            | Self::Sso
            | Self::Assertion
            | Self::Web3
            | Self::Passkey
            | Self::Challenge
            | Self::Factor
            | Self::Register => false,
        }
    }

    pub(super) fn limit(self, settings: &AuthSettings) -> Limit {
        let (max, per) = match self {
            Self::Refresh => (settings.rate_limit_token_refresh, FIVE_MINUTES),
            Self::SignIn | Self::SignUp => (settings.rate_limit_sign_in, FIVE_MINUTES),
            Self::Otp | Self::MagicLink | Self::Recover | Self::Resend | Self::Update => {
                (settings.rate_limit_otp, FIVE_MINUTES)
            }
            Self::Anonymous => (settings.rate_limit_anonymous_users, Duration::from_secs(3600)),
            Self::Verify => (settings.rate_limit_verify, FIVE_MINUTES),
            Self::Sso | Self::Assertion => (settings.rate_limit_sso, FIVE_MINUTES),
            Self::Web3 => (settings.rate_limit_web3, FIVE_MINUTES),
            Self::Passkey => (settings.rate_limit_passkey, FIVE_MINUTES),
            Self::Challenge | Self::Factor => (settings.rate_limit_mfa, Duration::from_secs(60)),
            Self::Register => (settings.rate_limit_oauth_dynamic_client_registration, FIVE_MINUTES),
        };
        // The default burst belongs to the default rates; a project that allows more at all allows more at once.
        let burst = BURST.max(max / 5);
        Limit { max, per, burst }
    }
}

/// What stands before `method` on `uri`.
pub(super) fn find(method: &Method, uri: &Uri) -> Target {
    let path = uri.path().trim_end_matches('/');
    let limited = |rule| Target { rule: Some(rule), captcha: false };
    let guarded = |rule| Target { rule: Some(rule), captcha: true };
    let post = method == Method::POST;
    match path {
        "/token" if post => match grant_type(uri).as_str() {
            "refresh_token" => limited(Rule::Refresh),
            "pkce" => limited(Rule::SignIn),
            "web3" => guarded(Rule::Web3),
            _ => guarded(Rule::SignIn),
        },
        "/signup" if post => guarded(Rule::SignUp),
        "/otp" if post => guarded(Rule::Otp),
        "/magiclink" if post => guarded(Rule::MagicLink),
        "/recover" if post => guarded(Rule::Recover),
        "/resend" if post => guarded(Rule::Resend),
        "/verify" => limited(Rule::Verify),
        "/user" if method == Method::PUT => limited(Rule::Update),
        "/reauthenticate" => limited(Rule::Otp),
        "/sso" if post => guarded(Rule::Sso),
        "/sso/saml/acs" if post => limited(Rule::Assertion),
        "/passkeys/authentication/options" | "/passkeys/authentication/verify" if post => {
            limited(Rule::Passkey)
        }
        "/oauth/clients/register" if post => limited(Rule::Register),
        _ if post && path.starts_with("/factors/") && path.matches('/').count() == 3 => {
            limited(if path.ends_with("/challenge") { Rule::Challenge } else { Rule::Factor })
        }
        _ => Target::default(),
    }
}

/// As the handler reads it: names are decoded first, and of one that comes twice the last one counts.
fn grant_type(uri: &Uri) -> String {
    let pairs = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let found = pairs.filter(|(name, _)| name == "grant_type").last();
    found.map(|(_, value)| value.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, uri: &'static str) -> (Option<Rule>, bool) {
        let target = find(&method, &Uri::from_static(uri));
        (target.rule, target.captcha)
    }

    #[test]
    fn each_way_in_has_its_budget() {
        let post = Method::POST;
        assert_eq!(check(post.clone(), "/token?grant_type=password"), (Some(Rule::SignIn), true));
        assert_eq!(check(post.clone(), "/token?grant_type=refresh_token&x=1"), (Some(Rule::Refresh), false));
        assert_eq!(
            check(post.clone(), "/token?grant_type=refresh_token&grant_type=password"),
            (Some(Rule::SignIn), true)
        );
        assert_eq!(
            check(post.clone(), "/token?grant_type=refresh_token&grant%5Ftype=password"),
            (Some(Rule::SignIn), true)
        );
        assert_eq!(check(post.clone(), "/token?grant_type=refresh%5Ftoken"), (Some(Rule::Refresh), false));
        assert_eq!(check(post.clone(), "/token/?grant_type=web3"), (Some(Rule::Web3), true));
        // Both halves of one sign-in, each with the whole budget.
        assert_eq!(check(post.clone(), "/sso"), (Some(Rule::Sso), true));
        assert_eq!(check(post.clone(), "/sso/saml/acs"), (Some(Rule::Assertion), false));
        assert_eq!(check(post.clone(), "/factors/1/verify"), (Some(Rule::Factor), false));
        assert_eq!(check(post.clone(), "/factors/1/challenge"), (Some(Rule::Challenge), false));
        assert_eq!(check(post.clone(), "/factors"), (None, false));
        assert_eq!(check(Method::GET, "/verify?token=x"), (Some(Rule::Verify), false));
        assert_eq!(check(Method::GET, "/user"), (None, false));
        assert_eq!(check(post, "/logout"), (None, false));
    }

    #[test]
    fn defaults_are_supabases() {
        let settings = AuthSettings::default();
        let limit = Rule::Refresh.limit(&settings);
        assert_eq!((limit.max, limit.per.as_secs(), limit.burst), (150, 300, 30));
        assert_eq!(Rule::Anonymous.limit(&settings).per.as_secs(), 3600);
        assert_eq!(Rule::Factor.limit(&settings).max, 15);
    }
}
