//! Where a mailed link may lead in the end: the site itself, or what the allow list names; anything else is the site.
//!
//! Allow-list globs: `*` matches what is no separator (`.`, `/` and whatever ends a host), `**` matches anything,
//! `?` one character that is no separator.

use common::AuthSettings;
use url::Url;

const MAX_BYTES: usize = 2048;

/// The first of `wanted` and `referrer` that is allowed, else the site.
pub(super) fn resolve(wanted: Option<&str>, referrer: Option<&str>, settings: &AuthSettings) -> String {
    [wanted, referrer]
        .into_iter()
        .flatten()
        .find(|it| is_allowed(it, settings))
        .unwrap_or(&settings.site_url)
        .to_owned()
}

/// Whether `target` is of the site or on the allow list.
pub(crate) fn is_allowed(target: &str, settings: &AuthSettings) -> bool {
    if target.is_empty() || target.len() > MAX_BYTES {
        return false;
    }
    // What browsers read differently from us is refused: `\` is `/` to them, and controls vanish.
    if target.contains(|it: char| it == '\\' || it.is_whitespace() || it.is_control()) {
        return false;
    }
    let Ok(url) = Url::parse(target) else { return false };
    let runs_code = matches!(url.scheme(), "javascript" | "data" | "vbscript" | "blob" | "file");
    if runs_code || !url.username().is_empty() || url.password().is_some() {
        return false;
    }
    if url.is_special() && !names_its_host(target) {
        return false;
    }
    is_of_site(&url, &settings.site_url) || {
        let without_fragment = target.split('#').next().unwrap_or_default();
        settings.redirect_urls.iter().any(|it| glob(it.as_bytes(), without_fragment.as_bytes()))
    }
}

/// Whether the host follows two slashes, and no more. Browsers forgive `http:host` and `http:///host`, others read
/// them as paths: what is read in two ways is refused.
fn names_its_host(target: &str) -> bool {
    let after = target.split_once(':').and_then(|(_, rest)| rest.strip_prefix("//"));
    after.is_some_and(|it| !it.starts_with(['/', '?', '#', ':', '@']))
}

fn is_of_site(url: &Url, site: &str) -> bool {
    let Ok(site) = Url::parse(site) else { return false };
    site.host_str().is_some()
        && site.scheme() == url.scheme()
        && site.host_str() == url.host_str()
        && site.port_or_known_default() == url.port_or_known_default()
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'.' | b'/' | b'?' | b'#' | b'@' | b'%')
}

/// Whether `pattern` matches all of `text`. Remembers the last `*` and the last `**`, so it takes at most
/// `pattern × text` steps.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let mut reachable = vec![false; text.len() + 1];
    if let Some(start) = reachable.first_mut() {
        *start = true;
    }
    let mut rest = pattern;
    while let Some((&byte, after)) = rest.split_first() {
        let anything = byte == b'*' && after.first() == Some(&b'*');
        rest = if anything { after.get(1..).unwrap_or_default() } else { after };
        let mut next = vec![false; text.len() + 1];
        let mut before = false;
        for (idx, slot) in next.iter_mut().enumerate() {
            let here = reachable.get(idx).copied().unwrap_or_default();
            let came = idx.checked_sub(1);
            let previous = came.and_then(|it| text.get(it).copied());
            *slot = match (byte, previous) {
                (b'*', Some(previous)) => here || (before && (anything || !is_separator(previous))),
                (b'*', None) => here,
                (b'?', Some(previous)) => step(&reachable, came) && !is_separator(previous),
                (literal, Some(previous)) => step(&reachable, came) && literal == previous,
                (_, None) => false,
            };
            before = *slot;
        }
        reachable = next;
    }
    reachable.last().copied().unwrap_or_default()
}

fn step(reachable: &[bool], idx: Option<usize>) -> bool {
    idx.and_then(|it| reachable.get(it).copied()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(allowed: &str, target: &str) -> bool {
        let settings = AuthSettings {
            site_url: "https://app.example.com".into(),
            redirect_urls: vec![allowed.into()],
            ..AuthSettings::default()
        };
        is_allowed(target, &settings)
    }

    #[test]
    fn the_site_is_always_allowed() {
        for good in
            ["https://app.example.com", "https://app.example.com/a?b#c", "https://app.example.com:443/"]
        {
            assert!(check("", good), "{good}");
        }
    }

    #[test]
    fn tricks_are_refused() {
        for bad in [
            "//evil.com",
            "/path",
            "https://evil.com",
            "https://app.example.com@evil.com",
            "https://app.example.com:x@evil.com",
            "https://app.example.com.evil.com",
            "http://app.example.com",
            "https://app.example.com:444",
            "https://app.example.com\\@evil.com",
            "https://evil.com/https://app.example.com",
            "https://evil.com#https://app.example.com",
            "https://app.example.com%2f@evil.com",
            "https:///evil.com",
            "https:app.example.com",
            "https:/app.example.com",
            "https:///app.example.com",
            "HTTPS:app.example.com",
            "https://@app.example.com",
            "https://app.example.com\u{3002}evil.com",
            "https://app.example.com\u{ff0f}@evil.com",
            "https://app.example.com%00.evil.com",
            "https://%2f%2fevil.com",
            "%2f%2fevil.com",
            "\\\\evil.com",
            "/\\evil.com",
            "https:/\\evil.com",
            "blob:https://app.example.com/x",
            "https://evil.com\t.example.com",
            "javascript:alert(1)",
            "data:text/html,x",
        ] {
            assert!(!check("", bad), "{bad}");
            assert!(!check("https://*.example.com/**", bad) || bad.contains("//app.example.com/"), "{bad}");
        }
        assert!(!check("**", "javascript:alert(1)"));
        assert!(!check("**", "http:localhost") && !check("http:*", "http:localhost"));
    }

    #[test]
    fn globs_stop_at_separators() {
        let cases = [
            ("https://*.example.com/**", "https://a.example.com/b/c?d", true),
            ("https://*.example.com/**", "https://a.b.example.com/", false),
            ("https://*.example.com/**", "https://evil.com/.example.com/", false),
            ("https://*.example.com/**", "https://a?.example.com/", false),
            ("https://*.example.com/**", "https://a%2f.example.com/", false),
            ("http://localhost:*/*", "http://localhost:5173/cb", true),
            ("http://localhost:*/*", "http://localhost:5173/cb/x", false),
            ("http://localhost:3000/?", "http://localhost:3000/x", true),
            ("myapp://callback", "myapp://callback#x", true),
            ("myapp://*", "myapp://callback", true),
            ("https://a.b/**", "https://a.b/", true),
            ("https://a.b/*/c", "https://a.b//c", true),
        ];
        for (pattern, target, expected) in cases {
            assert_eq!(check(pattern, target), expected, "{pattern} {target}");
        }
    }
}
