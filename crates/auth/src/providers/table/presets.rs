//! The rows of the table of providers. Addresses, scopes and fields are those that each provider documents.

use super::{At, Emails, Facts, Host, Preset, Verified};

const fn host(public: &'static str) -> Host {
    Host { public, below: "" }
}

pub(super) const fn email(verified: Verified) -> Emails {
    Emails::One { at: "/email", verified }
}

const NOWHERE: Host = host("");
pub(super) const STANDARD: &[&str] = &["/email_verified"];

const PLAIN: Preset = Preset {
    name: "",
    web: NOWHERE,
    api: NOWHERE,
    authorize: At::Web(""),
    token: At::Web(""),
    scopes: &[],
    parameters: &[],
    headers: &[],
    pkce: false,
    basic: false,
    proof: false,
    facts: Facts::IdToken { issuer: "" },
    emails: email(Verified::All(STANDARD)),
    claims: &[],
    rest: false,
};

/// What every OpenID Connect provider tells.
pub(in crate::providers) const OPENID: &[(&str, &str)] = &[
    ("sub", "/sub"),
    ("name", "/name"),
    ("family_name", "/family_name"),
    ("given_name", "/given_name"),
    ("middle_name", "/middle_name"),
    ("nickname", "/nickname"),
    ("preferred_username", "/preferred_username"),
    ("profile", "/profile"),
    ("picture", "/picture"),
    ("website", "/website"),
    ("gender", "/gender"),
    ("birthdate", "/birthdate"),
    ("zoneinfo", "/zoneinfo"),
    ("locale", "/locale"),
];

/// A provider of which only the issuer is known.
pub(in crate::providers) const GENERIC: Preset =
    Preset { scopes: &["openid", "profile", "email"], pkce: true, claims: OPENID, ..PLAIN };

const SLACK: Preset = Preset {
    web: host("https://slack.com"),
    api: host("https://slack.com"),
    scopes: &["profile", "email", "openid"],
    facts: Facts::Get(At::Api("/api/openid.connect.userInfo")),
    claims: &[
        ("sub", "/https:~1~1slack.com~1user_id"),
        ("name", "/name"),
        ("picture", "/picture"),
        ("custom_claims.https://slack.com/team_id", "/https:~1~1slack.com~1team_id"),
    ],
    ..PLAIN
};

const X: Preset = Preset {
    name: "x",
    web: host("https://x.com"),
    api: host("https://api.x.com"),
    authorize: At::Web("/i/oauth2/authorize"),
    token: At::Api("/2/oauth2/token"),
    scopes: &["users.email", "tweet.read", "users.read", "offline.access"],
    pkce: true,
    basic: true,
    facts: Facts::Get(At::Api(
        "/2/users/me?user.fields=id,name,username,confirmed_email,profile_image_url,url,created_at",
    )),
    emails: Emails::One { at: "/data/confirmed_email", verified: Verified::Yes },
    claims: &[
        ("sub", "/data/id"),
        ("name", "/data/name"),
        ("preferred_username", "/data/username"),
        ("user_name", "/data/username"),
        ("picture", "/data/profile_image_url"),
        ("profile", "https://x.com/{/data/username}"),
        ("website", "/data/url"),
        ("custom_claims.created_at", "/data/created_at"),
    ],
    ..PLAIN
};

/// The table.
pub(super) static PRESETS: &[Preset] = &[
    Preset {
        name: "apple",
        scopes: &["email", "name"],
        parameters: &[("response_mode", "form_post")],
        facts: Facts::IdToken { issuer: "https://appleid.apple.com" },
        emails: email(Verified::Yes),
        claims: &[
            ("sub", "/sub"),
            ("custom_claims.is_private_email", "/is_private_email"),
            ("custom_claims.auth_time", "/auth_time"),
            ("custom_claims.transfer_sub", "/transfer_sub"),
        ],
        ..PLAIN
    },
    Preset {
        name: "azure",
        web: host("https://login.microsoftonline.com/common"),
        authorize: At::Web("/oauth2/v2.0/authorize"),
        token: At::Web("/oauth2/v2.0/token"),
        scopes: &["openid"],
        facts: Facts::Azure,
        emails: email(Verified::AzureDomainOwner),
        claims: &[("sub", "/sub"), ("full_name", "/name"), ("preferred_username", "/preferred_username")],
        rest: true,
        ..PLAIN
    },
    Preset {
        name: "bitbucket",
        web: host("https://bitbucket.org"),
        api: host("https://api.bitbucket.org"),
        authorize: At::Web("/site/oauth2/authorize"),
        token: At::Web("/site/oauth2/access_token"),
        scopes: &["account", "email"],
        basic: true,
        facts: Facts::Get(At::Api("/2.0/user")),
        emails: Emails::List {
            from: At::Api("/2.0/user/emails"),
            list: "/values",
            at: "/email",
            verified: "/is_confirmed",
            primary: "/is_primary",
        },
        claims: &[("sub", "/uuid"), ("name", "/display_name"), ("picture", "/avatar/href")],
        ..PLAIN
    },
    Preset {
        name: "discord",
        web: host("https://discord.com"),
        api: host("https://discord.com"),
        authorize: At::Web("/api/oauth2/authorize"),
        token: At::Api("/api/oauth2/token"),
        scopes: &["email", "identify"],
        facts: Facts::Get(At::Api("/api/users/@me")),
        emails: email(Verified::All(&["/verified"])),
        claims: &[
            ("sub", "/id"),
            ("name", "{/username}#{/discriminator}"),
            ("full_name", "/username"),
            ("picture", "https://cdn.discordapp.com/avatars/{/id}/{/avatar}.png"),
            ("custom_claims.global_name", "/global_name"),
        ],
        ..PLAIN
    },
    Preset {
        name: "facebook",
        web: host("https://www.facebook.com"),
        api: host("https://graph.facebook.com"),
        authorize: At::Web("/dialog/oauth"),
        token: At::Api("/oauth/access_token"),
        scopes: &["email"],
        proof: true,
        facts: Facts::Get(At::Api("/me?fields=email,first_name,last_name,name,picture")),
        emails: email(Verified::Yes),
        claims: &[
            ("sub", "/id"),
            ("name", "{/first_name} {/last_name}"),
            ("nickname", "/name"),
            ("slug", "/name"),
            ("picture", "/picture/data/url"),
        ],
        ..PLAIN
    },
    Preset {
        name: "figma",
        web: host("https://www.figma.com"),
        api: host("https://api.figma.com"),
        authorize: At::Web("/oauth"),
        token: At::Api("/v1/oauth/token"),
        scopes: &["current_user:read"],
        basic: true,
        facts: Facts::Get(At::Api("/v1/me")),
        emails: email(Verified::Yes),
        claims: &[("sub", "/id"), ("name", "/handle"), ("avatar_url", "/img_url")],
        ..PLAIN
    },
    Preset {
        name: "fly",
        web: host("https://api.fly.io"),
        api: host("https://api.fly.io"),
        authorize: At::Web("/oauth/authorize"),
        token: At::Api("/oauth/token"),
        scopes: &["read"],
        facts: Facts::Get(At::Api("/oauth/token/info")),
        emails: email(Verified::Yes),
        claims: &[
            ("sub", "/user_id"),
            ("full_name", "/user_name"),
            ("custom_claims.resource_owner_id", "/resource_owner_id"),
            ("custom_claims.organizations", "/organizations"),
            ("custom_claims.application", "/application"),
            ("custom_claims.scope", "/scope"),
            ("custom_claims.created_at", "/created_at"),
        ],
        ..PLAIN
    },
    Preset {
        name: "github",
        web: host("https://github.com"),
        api: Host { public: "https://api.github.com", below: "/api/v3" },
        authorize: At::Web("/login/oauth/authorize"),
        token: At::Web("/login/oauth/access_token"),
        scopes: &["user:email"],
        facts: Facts::Get(At::Api("/user")),
        emails: Emails::List {
            from: At::Api("/user/emails"),
            list: "",
            at: "/email",
            verified: "/verified",
            primary: "/primary",
        },
        claims: &[
            ("sub", "/id"),
            ("name", "/name"),
            ("preferred_username", "/login"),
            ("user_name", "/login"),
            ("avatar_url", "/avatar_url"),
        ],
        ..PLAIN
    },
    Preset {
        name: "gitlab",
        web: host("https://gitlab.com"),
        api: host("https://gitlab.com"),
        authorize: At::Web("/oauth/authorize"),
        token: At::Api("/oauth/token"),
        scopes: &["read_user"],
        facts: Facts::Get(At::Api("/api/v4/user")),
        // `confirmed_at` is set when the address was confirmed.
        emails: email(Verified::All(&["/confirmed_at"])),
        claims: &[("sub", "/id"), ("name", "/name"), ("picture", "/avatar_url")],
        ..PLAIN
    },
    Preset {
        name: "google",
        scopes: &["email", "profile", "openid"],
        facts: Facts::IdToken { issuer: "https://accounts.google.com" },
        claims: &[("sub", "/sub"), ("name", "/name"), ("picture", "/picture"), ("custom_claims.hd", "/hd")],
        ..PLAIN
    },
    Preset {
        name: "kakao",
        web: host("https://kauth.kakao.com"),
        api: host("https://kapi.kakao.com"),
        authorize: At::Web("/oauth/authorize"),
        token: At::Web("/oauth/token"),
        scopes: &["account_email", "profile_image", "profile_nickname"],
        facts: Facts::Get(At::Api("/v2/user/me")),
        emails: Emails::One {
            at: "/kakao_account/email",
            verified: Verified::All(&["/kakao_account/is_email_verified", "/kakao_account/is_email_valid"]),
        },
        claims: &[
            ("sub", "/id"),
            ("name", "/kakao_account/profile/nickname"),
            ("preferred_username", "/kakao_account/profile/nickname"),
            ("user_name", "/kakao_account/profile/nickname"),
            ("avatar_url", "/kakao_account/profile/profile_image_url"),
        ],
        ..PLAIN
    },
    Preset {
        name: "keycloak",
        authorize: At::Web("/protocol/openid-connect/auth"),
        token: At::Web("/protocol/openid-connect/token"),
        scopes: &["profile", "email"],
        facts: Facts::Get(At::Web("/protocol/openid-connect/userinfo")),
        claims: &[("sub", "/sub"), ("name", "/name"), ("preferred_username", "/preferred_username")],
        rest: true,
        ..PLAIN
    },
    Preset {
        name: "linkedin",
        web: host("https://api.linkedin.com"),
        api: host("https://api.linkedin.com"),
        authorize: At::Web("/oauth/v2/authorization"),
        token: At::Api("/oauth/v2/accessToken"),
        scopes: &["r_emailaddress", "r_liteprofile"],
        facts: Facts::Get(At::Api(
            "/v2/me?projection=(id,firstName,lastName,profilePicture(displayImage~:playableStreams))",
        )),
        emails: Emails::List {
            from: At::Api("/v2/emailAddress?q=members&projection=(elements*(handle~))"),
            list: "/elements",
            at: "/handle~0/emailAddress",
            // It tells the primary address only, and only a verified one.
            verified: "",
            primary: "",
        },
        claims: &[
            ("sub", "/id"),
            ("name", "{/firstName/localized/*} {/lastName/localized/*}"),
            ("picture", "/profilePicture/displayImage~0/elements/0/identifiers/0/identifier"),
        ],
        ..PLAIN
    },
    Preset {
        name: "linkedin_oidc",
        scopes: &["openid", "email", "profile"],
        facts: Facts::IdToken { issuer: "https://www.linkedin.com/oauth" },
        claims: &[
            ("sub", "/sub"),
            ("name", "{/given_name} {/family_name}"),
            ("given_name", "/given_name"),
            ("family_name", "/family_name"),
            ("locale", "/locale"),
            ("picture", "/picture"),
        ],
        ..PLAIN
    },
    Preset {
        name: "notion",
        web: host("https://api.notion.com"),
        api: host("https://api.notion.com"),
        authorize: At::Web("/v1/oauth/authorize"),
        token: At::Api("/v1/oauth/token"),
        headers: &[("notion-version", "2021-08-16")],
        basic: true,
        facts: Facts::Get(At::Api("/v1/users/me")),
        emails: Emails::One { at: "/bot/owner/user/person/email", verified: Verified::Yes },
        claims: &[
            ("sub", "/bot/owner/user/id"),
            ("name", "/bot/owner/user/name"),
            ("picture", "/bot/owner/user/avatar_url"),
        ],
        ..PLAIN
    },
    Preset {
        name: "slack",
        authorize: At::Web("/oauth/authorize"),
        token: At::Api("/api/oauth.access"),
        emails: email(Verified::Yes),
        ..SLACK
    },
    Preset {
        name: "slack_oidc",
        authorize: At::Web("/openid/connect/authorize"),
        token: At::Api("/api/openid.connect.token"),
        ..SLACK
    },
    Preset {
        name: "snapchat",
        web: host("https://accounts.snapchat.com"),
        api: host("https://kit.snapchat.com"),
        authorize: At::Web("/accounts/oauth2/auth"),
        token: At::Web("/accounts/oauth2/token"),
        scopes: &[
            "https://auth.snapchat.com/oauth2/api/user.external_id",
            "https://auth.snapchat.com/oauth2/api/user.display_name",
            "https://auth.snapchat.com/oauth2/api/user.bitmoji.avatar",
        ],
        facts: Facts::Get(At::Api(
            "/v1/me?query=%7Bme+%7B+externalId+displayName+bitmoji+%7B+avatar+id+%7D+email+%7D+%7D",
        )),
        emails: Emails::One { at: "/data/me/email", verified: Verified::Yes },
        claims: &[
            ("sub", "/data/me/externalId"),
            ("name", "/data/me/displayName"),
            ("slug", "/data/me/displayName"),
            ("picture", "/data/me/bitmoji/avatar"),
        ],
        ..PLAIN
    },
    Preset {
        name: "spotify",
        web: host("https://accounts.spotify.com"),
        api: host("https://api.spotify.com/v1"),
        authorize: At::Web("/authorize"),
        token: At::Web("/api/token"),
        scopes: &["user-read-email"],
        basic: true,
        facts: Facts::Get(At::Api("/me")),
        emails: email(Verified::No),
        // Pictures come largest first.
        claims: &[("sub", "/id"), ("name", "/display_name"), ("picture", "/images/0/url")],
        ..PLAIN
    },
    Preset {
        name: "twitch",
        web: host("https://id.twitch.tv"),
        api: host("https://api.twitch.tv"),
        authorize: At::Web("/oauth2/authorize"),
        token: At::Web("/oauth2/token"),
        scopes: &["user:read:email"],
        headers: &[("client-id", "{client_id}")],
        facts: Facts::Get(At::Api("/helix/users")),
        emails: Emails::One { at: "/data/0/email", verified: Verified::Yes },
        claims: &[
            ("sub", "/data/0/id"),
            ("name", "/data/0/login"),
            ("nickname", "/data/0/display_name"),
            ("slug", "/data/0/display_name"),
            ("picture", "/data/0/profile_image_url"),
            ("custom_claims.broadcaster_type", "/data/0/broadcaster_type"),
            ("custom_claims.description", "/data/0/description"),
            ("custom_claims.type", "/data/0/type"),
            ("custom_claims.offline_image_url", "/data/0/offline_image_url"),
            ("custom_claims.view_count", "/data/0/view_count"),
        ],
        ..PLAIN
    },
    // OAuth 1.0a is gone at X for new applications; the old name leads to OAuth 2.0.
    Preset { name: "twitter", ..X },
    Preset {
        name: "workos",
        web: host("https://api.workos.com"),
        api: host("https://api.workos.com"),
        authorize: At::Web("/sso/authorize"),
        token: At::Api("/sso/token"),
        facts: Facts::Token("/profile"),
        emails: email(Verified::Yes),
        claims: &[
            ("sub", "/id"),
            ("name", "{/first_name} {/last_name}"),
            ("custom_claims.connection_id", "/connection_id"),
            ("custom_claims.organization_id", "/organization_id"),
        ],
        ..PLAIN
    },
    X,
    Preset {
        name: "zoom",
        web: host("https://zoom.us"),
        api: host("https://api.zoom.us"),
        authorize: At::Web("/oauth/authorize"),
        token: At::Web("/oauth/token"),
        basic: true,
        facts: Facts::Get(At::Api("/v2/users/me")),
        // Accounts made by e-mail (login type 100) are verified only if they say so.
        emails: email(Verified::Unless("/login_type", "100", "/verified")),
        claims: &[("sub", "/id"), ("name", "{/first_name} {/last_name}"), ("picture", "/pic_url")],
        ..PLAIN
    },
];

/// Name, issuer, claims that it has by other names, and when an address counts as verified.
pub(super) type Issuer = (&'static str, &'static str, &'static [(&'static str, &'static str)], Verified);

/// ID tokens that apps get without us, from issuers whose redirects work otherwise; the claims that they have.
pub(super) static ISSUERS: &[Issuer] = &[
    (
        "facebook",
        "https://www.facebook.com",
        &[("sub", "/sub"), ("name", "/name"), ("picture", "/picture")],
        Verified::Yes,
    ),
    (
        "kakao",
        "https://kauth.kakao.com",
        &[
            ("sub", "/sub"),
            ("name", "/nickname"),
            ("preferred_username", "/nickname"),
            ("picture", "/picture"),
        ],
        Verified::Yes,
    ),
    ("snapchat", "https://accounts.snapchat.com/accounts/oauth2/token", OPENID, Verified::Yes),
    ("keycloak", "", OPENID, Verified::All(STANDARD)),
];
