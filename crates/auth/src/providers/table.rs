//! What is known about each provider: where it is, what to ask for, and where in its answers a user's facts are.
//!
//! A source is a JSON pointer (`/user/name`; `*` takes the first value of a map), or a text with pointers in braces
//! (`{/first_name} {/last_name}`). A target below `custom_claims` takes the JSON as it is.

mod presets;

pub(super) use presets::GENERIC;
use presets::{ISSUERS, PRESETS, email};

/// One of a provider's two sides: most have the pages for people and the interface for programs on different hosts.
#[derive(Clone, Copy)]
pub(super) struct Host {
    /// Where the public one is; empty when every project has its own.
    pub(super) public: &'static str,
    /// What follows the address of a project's own one.
    pub(super) below: &'static str,
}

/// A host and a path on it.
#[derive(Clone, Copy)]
pub(super) enum At {
    /// On the side for people.
    Web(&'static str),
    /// On the side for programs.
    Api(&'static str),
}

/// Where a user's facts are.
#[derive(Clone, Copy)]
pub(super) enum Facts {
    /// In an answer to a request with the access token.
    Get(At),
    /// In the answer that held the access token, at this pointer.
    Token(&'static str),
    /// In the ID token of this issuer; empty when only the project knows it.
    IdToken { issuer: &'static str },
    /// In the ID token of an Azure tenant.
    Azure,
}

/// Where a user's addresses are.
#[derive(Clone, Copy)]
pub(super) enum Emails {
    /// One, among the facts.
    One { at: &'static str, verified: Verified },
    /// A list of its own.
    List { from: At, list: &'static str, at: &'static str, verified: &'static str, primary: &'static str },
}

/// Whether the provider has verified an address.
#[derive(Clone, Copy)]
pub(super) enum Verified {
    /// Always, by its own rules.
    Yes,
    /// It does not say.
    No,
    /// When all of these are true, or `"true"`, or not empty.
    All(&'static [&'static str]),
    /// When the first is not this text, or the second is set.
    Unless(&'static str, &'static str, &'static str),
    /// When `xms_edov` is true, or absent.
    AzureDomainOwner,
}

/// A row of the table.
#[derive(Clone, Copy)]
pub(super) struct Preset {
    pub(super) name: &'static str,
    pub(super) web: Host,
    pub(super) api: Host,
    /// Empty for those that publish it.
    pub(super) authorize: At,
    pub(super) token: At,
    pub(super) scopes: &'static [&'static str],
    /// Sent along with every redirect.
    pub(super) parameters: &'static [(&'static str, &'static str)],
    /// Sent along with every request for facts; `{client_id}` is replaced.
    pub(super) headers: &'static [(&'static str, &'static str)],
    /// Whether it speaks PKCE.
    pub(super) pkce: bool,
    /// Whether the client proves itself in a header rather than in the body.
    pub(super) basic: bool,
    /// Whether requests carry a proof of the secret (Facebook's `appsecret_proof`).
    pub(super) proof: bool,
    pub(super) facts: Facts,
    pub(super) emails: Emails,
    /// Claim of ours → source.
    pub(super) claims: &'static [(&'static str, &'static str)],
    /// Whether everything else that it tells is kept below `custom_claims`.
    pub(super) rest: bool,
}

/// The row of `name`.
pub(super) fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|it| it.name == name)
}

/// How ID tokens of `name` are read; for those that redirect by OpenID Connect too, the row itself.
pub(super) fn id_token_preset(name: &str) -> Option<Preset> {
    let row = preset(name)?;
    match row.facts {
        Facts::IdToken { .. } | Facts::Azure => Some(*row),
        Facts::Get(_) | Facts::Token(_) => {
            let (_, issuer, claims, verified) = ISSUERS.iter().find(|it| it.0 == name)?;
            let facts = Facts::IdToken { issuer };
            Some(Preset { facts, claims, emails: email(*verified), rest: false, ..*row })
        }
    }
}

/// The issuer of `name`'s ID tokens, where everybody has the same.
pub(crate) fn issuer_of(name: &str) -> Option<&'static str> {
    match id_token_preset(name)?.facts {
        Facts::IdToken { issuer } if !issuer.is_empty() => Some(issuer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preset_names() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|it| it.name)
    }

    #[test]
    fn rows_are_complete_and_encrypted() {
        let mut names: Vec<&str> = preset_names().collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), PRESETS.len()), (24, 24));
        for row in PRESETS {
            assert!(row.claims.iter().any(|it| it.0 == "sub"), "{}", row.name);
            for host in [row.web.public, row.api.public] {
                assert!(host.is_empty() || host.starts_with("https://"), "{}", row.name);
                assert!(!host.ends_with('/'), "{}", row.name);
            }
            if let Facts::IdToken { issuer } = row.facts {
                assert!(issuer.starts_with("https://"), "{}", row.name);
            }
        }
    }

    #[test]
    fn apps_bring_id_tokens_of_these() {
        let with: Vec<&str> = preset_names().filter(|it| id_token_preset(it).is_some()).collect();
        assert_eq!(
            with,
            ["apple", "azure", "facebook", "google", "kakao", "keycloak", "linkedin_oidc", "snapchat"]
        );
    }
}
