//! From the host that a request names to the project that it means. Pure.

use std::net::IpAddr;

use common::ProjectRef;
use http::{HeaderValue, Request, header};

/// What a host says about the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// No project: a bare address, a foreign name, the base domain itself.
    Default,
    /// The label before the base domain or before `localhost`.
    Project(ProjectRef),
    /// Under the base domain, but no project can be called so.
    Nobody,
}

/// Let the `Host` header say what the request's target says, where that names a host: by HTTP/2, and to a proxy. It is the
/// target that counts (RFC 9113 §8.3.1, RFC 9112 §3.2.2), and services and SQL look at the header.
pub(crate) fn write<B>(request: &mut Request<B>) {
    let Some(authority) = request.uri().authority() else { return };
    let host = authority.as_str().rsplit('@').next().unwrap_or_default();
    if let Ok(host) = HeaderValue::from_str(host) {
        request.headers_mut().insert(header::HOST, host);
    }
}

/// Which project `host` (with or without a port) means.
pub(crate) fn named(host: &str, base_domain: Option<&str>) -> Named {
    let name = name_of(host);
    let under = |domain: &str| {
        let label = strip_suffix_ignoring_case(name, domain)?.strip_suffix('.')?;
        Some(label.to_ascii_lowercase())
    };
    match base_domain.and_then(under).or_else(|| under("localhost")) {
        Some(label) => label.parse().map_or(Named::Nobody, Named::Project),
        None => Named::Default,
    }
}

/// Whether a link to `host` leads back to us, whoever wrote the `Host` header: loopback and private addresses, `localhost`,
/// the base domain, and what is under them. Anybody can send any other name, and would get links to it mailed.
pub(crate) fn is_ours(host: &str, base_domain: Option<&str>) -> bool {
    let name = name_of(host);
    let within = |domain: &str| {
        strip_suffix_ignoring_case(name, domain).is_some_and(|it| it.is_empty() || it.ends_with('.'))
    };
    let address = name.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(name).parse();
    match address.map(|it: IpAddr| it.to_canonical()) {
        Ok(IpAddr::V4(it)) => it.is_loopback() || it.is_private() || it.is_link_local(),
        Ok(IpAddr::V6(it)) => it.is_loopback() || it.is_unique_local() || it.is_unicast_link_local(),
        Err(_) => within("localhost") || base_domain.is_some_and(within),
    }
}

/// Whether `host` is this machine as it calls itself: loopback addresses, `localhost` and what is under it.
pub(crate) fn is_local(host: &str) -> bool {
    let name = name_of(host);
    let address = name.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(name).parse();
    match address.map(|it: IpAddr| it.to_canonical()) {
        Ok(address) => address.is_loopback(),
        Err(_) => {
            strip_suffix_ignoring_case(name, "localhost").is_some_and(|it| it.is_empty() || it.ends_with('.'))
        }
    }
}

/// The host alone.
pub(crate) fn without_port(host: &str) -> &str {
    name_of(host)
}

/// The host without its port and without the root's dot; an IPv6 address keeps its brackets.
fn name_of(host: &str) -> &str {
    // Every request does this: by bytes it is a few steps.
    let end = match host.bytes().rposition(|it| it == b']') {
        Some(bracket) => bracket + 1,
        None => host.bytes().position(|it| it == b':').unwrap_or(host.len()),
    };
    let name = host.get(..end).unwrap_or(host);
    name.strip_suffix('.').unwrap_or(name)
}

fn strip_suffix_ignoring_case<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let start = text.len().checked_sub(suffix.len())?;
    let (head, tail) = text.split_at_checked(start)?;
    tail.eq_ignore_ascii_case(suffix).then_some(head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(host: &str) -> String {
        match named(host, Some("example.com")) {
            Named::Default => "(default)".into(),
            Named::Project(reference) => reference.into(),
            Named::Nobody => "(nobody)".into(),
        }
    }

    #[test]
    fn links_lead_to_us_or_nowhere() {
        let ours = |it| is_ours(it, Some("example.com"));
        for host in [
            "localhost:8000",
            "a.localhost",
            "example.com",
            "board.Example.com:443",
            "127.0.0.1:8000",
            "[::1]:1",
            "10.1.2.3",
            "[fd00::1]",
        ] {
            assert!(ours(host), "{host}");
        }
        for host in [
            "evil.com",
            "notexample.com",
            "example.com.evil.com",
            "localhost.evil.com",
            "203.0.113.1",
            "[2001:db8::1]",
            "",
        ] {
            assert!(!ours(host), "{host}");
        }
        assert!(!is_ours("example.com", None));
    }

    #[test]
    fn the_first_label_names_the_project() {
        assert_eq!(check("board.example.com"), "board");
        assert_eq!(check("Board.Example.COM:8000"), "board");
        assert_eq!(check("board.localhost:8000"), "board");
        assert_eq!(check("board.example.com."), "board");
        assert_eq!(check("default.localhost"), "default");
    }

    #[test]
    fn other_hosts_mean_the_default_project() {
        for host in
            ["", "localhost", "localhost:8000", "example.com", "127.0.0.1:8000", "[::1]:8000", "[::1]"]
        {
            assert_eq!(check(host), "(default)", "{host}");
        }
        for host in
            ["board.example.org", "boardexample.com", "notlocalhost", "gateway", "example.com.evil.org"]
        {
            assert_eq!(check(host), "(default)", "{host}");
        }
    }

    #[test]
    fn what_can_be_no_project_is_nobody() {
        for host in ["a.b.example.com", "-x.example.com", ".example.com", "1a.localhost", "ü.example.com"] {
            assert_eq!(check(host), "(nobody)", "{host}");
        }
    }

    proptest! {
        #[test]
        fn every_reference_is_found_again(label in "[a-z][a-z0-9-]{0,30}[a-z0-9]", port in proptest::option::of(1_u16..)) {
            let port = port.map(|it| format!(":{it}")).unwrap_or_default();
            prop_assert_eq!(check(&format!("{label}.example.com{port}")), label.clone());
            prop_assert_eq!(check(&format!("{label}.localhost{port}")), label);
        }

        #[test]
        fn no_host_panics(host in ".{0,60}") {
            check(&host);
        }
    }
}
