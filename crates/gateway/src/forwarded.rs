//! Where a request comes from and how it reached us: from the connection, or from `X-Forwarded-*` of trusted proxies. Pure.
//!
//! Headers of everybody else are ignored: whoever could set them could pretend any address and any host.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, Uri, header};

use crate::Network;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How a request reached us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The client's address: the nearest one that no trusted proxy has; `None` outside of [`crate::serve`].
    pub(crate) client: Option<IpAddr>,
    /// `host[:port]` as the client wrote it, or empty.
    pub(crate) host: String,
    /// Whether the client came by TLS.
    pub(crate) encrypted: bool,
    /// Whether a trusted proxy passed the host on.
    pub(crate) vouched: bool,
}

impl Origin {
    /// The origin of a request that came by `hop`.
    pub(crate) fn of(
        hop: Option<impl Into<Hop>>,
        headers: &HeaderMap,
        uri: &Uri,
        trusted: &[Network],
    ) -> Self {
        let hop: Option<Hop> = hop.map(Into::into);
        let peer = hop.map(|it| it.address);
        let encrypted = hop.is_some_and(|it| it.encrypted);
        let believed = hop.is_some_and(|it| it.is_node || is_trusted(it.address, trusted));
        let host = uri.authority().map(|it| it.as_str()).or_else(|| text(headers, &header::HOST));
        let host = host.map(without_userinfo).filter(|it| is_host(it)).unwrap_or_default();
        if !believed {
            return Self { client: peer, host: host.to_owned(), encrypted, vouched: false };
        }
        // One pass over all instead of a search for each: clients on this machine are believed, and forward nothing.
        if !headers.keys().any(|it| it.as_str().starts_with("x-forwarded-")) {
            let client = peer.map(|it| it.to_canonical());
            return Self { client, host: host.to_owned(), encrypted, vouched: true };
        }
        let protocol = first(headers, &FORWARDED_PROTO);
        let encrypted = protocol.map_or(encrypted, |it| it.eq_ignore_ascii_case("https"));
        let host = match first(headers, &FORWARDED_HOST).filter(|it| is_host(it)) {
            Some(forwarded) => with_port(forwarded, first(headers, &FORWARDED_PORT), encrypted),
            None => host.to_owned(),
        };
        let client = hop.map(|it| client(it, headers, trusted));
        Self { client, host, encrypted, vouched: true }
    }

    /// The public address, or `fallback` when the request named no usable host.
    pub(crate) fn url(&self, fallback: &str) -> String {
        match (self.host.as_str(), self.encrypted) {
            ("", _) => fallback.to_owned(),
            (host, true) => format!("https://{host}"),
            (host, false) => format!("http://{host}"),
        }
    }
}

/// The connection that a request came by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hop {
    /// The other end.
    pub(crate) address: IpAddr,
    /// Whether it is TLS.
    pub(crate) encrypted: bool,
    /// Whether the other end is a node of ours, which may speak for others.
    pub(crate) is_node: bool,
}

impl From<IpAddr> for Hop {
    /// An unencrypted connection from a stranger.
    fn from(address: IpAddr) -> Self {
        Self { address, encrypted: false, is_node: false }
    }
}

/// Whether `peer` may set `X-Forwarded-*`.
pub(crate) fn is_trusted(peer: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|it| it.contains(peer))
}

/// Whether some proxy says that the request is not its own.
pub(crate) fn is_forwarded(headers: &HeaderMap) -> bool {
    [&FORWARDED_FOR, &FORWARDED_HOST, &header::FORWARDED, &header::VIA]
        .into_iter()
        .any(|it| headers.contains_key(it))
}

/// Whether a proxy says how the client came.
pub(crate) fn says_protocol(headers: &HeaderMap) -> bool {
    headers.contains_key(&FORWARDED_PROTO)
}

/// Walk `X-Forwarded-For` from the nearest hop outwards, as long as trusted proxies vouch for it.
fn client(hop: Hop, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let mut nearest = hop.address.to_canonical();
    let mut vouched = hop.is_node;
    let lines: Vec<&str> = headers.get_all(&FORWARDED_FOR).iter().filter_map(|it| it.to_str().ok()).collect();
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        if !vouched && !is_trusted(nearest, trusted) {
            break;
        }
        vouched = false;
        let Some(address) = hop_address(hop.trim()) else { break };
        nearest = address.to_canonical();
    }
    nearest
}

/// An address as proxies write it: bare, in brackets, with or without a port.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let bare = |it: &str| it.parse().ok();
    let bracketed = || hop.strip_prefix('[')?.split_once(']')?.0.parse().ok();
    let with_port = || hop.rsplit_once(':')?.0.parse().ok();
    bare(hop).or_else(bracketed).or_else(with_port)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|it| it.to_str().ok())
}

/// The first of a list: what the outermost proxy saw.
fn first<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    text(headers, name).and_then(|it| it.split(',').next()).map(str::trim)
}

fn without_userinfo(authority: &str) -> &str {
    let behind = authority.bytes().rposition(|it| it == b'@').map(|at| at + 1);
    behind.and_then(|it| authority.get(it..)).unwrap_or(authority)
}

/// Whether the text may stand in a URL as `host[:port]`; it will be part of links.
fn is_host(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text.bytes().all(|it| matches!(it, b'a'..=b'z' | b'0'..=b'9' | b'A'..=b'Z' | b'-'..=b'.' | b'_' | b':' | b'[' | b']'))
}

/// Proxies may report the port apart from the host.
fn with_port(host: &str, port: Option<&str>, encrypted: bool) -> String {
    let has_port = host.rsplit_once(':').is_some_and(|(_, tail)| !tail.contains(']'));
    let usual = if encrypted { 443 } else { 80 };
    match port.and_then(|it| it.parse::<u16>().ok()) {
        Some(port) if !has_port && port != usual => format!("{host}:{port}"),
        Some(_) | None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn check(peer: &str, sent: &[(HeaderName, &str)]) -> (String, String) {
        let trusted: Vec<Network> = ["10.0.0.0/8", "::1"].iter().map(|it| it.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let peer: IpAddr = peer.parse().unwrap();
        let origin = Origin::of(Some(peer), &headers, &Uri::from_static("/"), &trusted);
        (origin.client.unwrap().to_string(), origin.url("http://localhost:8000"))
    }

    const ALL: [(HeaderName, &str); 4] = [
        (header::HOST, "inner:8000"),
        (FORWARDED_FOR, "203.0.113.9"),
        (FORWARDED_HOST, "board.example.com"),
        (FORWARDED_PROTO, "https"),
    ];

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(check("10.1.1.1", &ALL), ("203.0.113.9".into(), "https://board.example.com".into()));
        assert_eq!(check("::1", &ALL), ("203.0.113.9".into(), "https://board.example.com".into()));
        assert_eq!(check("192.0.2.1", &ALL), ("192.0.2.1".into(), "http://inner:8000".into()));
    }

    #[test]
    fn nodes_of_ours_are_believed_for_one_hop_and_tls_counts_unless_they_say_otherwise() {
        let of = |hop: Hop, sent: &[(HeaderName, &str)]| {
            let pairs =
                sent.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
            Origin::of(Some(hop), &pairs.collect(), &Uri::from_static("/"), &[])
        };
        let node = Hop { address: "192.0.2.1".parse().unwrap(), encrypted: true, is_node: true };
        let through = of(node, &[(FORWARDED_FOR, "198.51.100.7, 203.0.113.9"), (FORWARDED_PROTO, "http")]);
        assert_eq!(through.client, Some("203.0.113.9".parse().unwrap()));
        assert!(through.vouched && !through.encrypted);
        let stranger = Hop { is_node: false, ..node };
        let direct = of(stranger, &[(FORWARDED_FOR, "203.0.113.9"), (FORWARDED_PROTO, "http")]);
        assert_eq!(direct.client, Some("192.0.2.1".parse().unwrap()));
        assert!(direct.encrypted && !direct.vouched);
    }

    #[test]
    fn the_client_is_the_nearest_address_that_is_not_ours() {
        let hops = |it| check("10.0.0.1", &[(FORWARDED_FOR, it)]).0;
        assert_eq!(hops("1.1.1.1, 203.0.113.9, 10.9.9.9"), "203.0.113.9");
        assert_eq!(hops("203.0.113.9:4711"), "203.0.113.9");
        assert_eq!(hops("[2001:db8::1]:4711"), "2001:db8::1");
        assert_eq!(hops("unknown"), "10.0.0.1");
        let lines = [(FORWARDED_FOR, "1.1.1.1"), (FORWARDED_FOR, "2.2.2.2")];
        assert_eq!(check("10.0.0.1", &lines).0, "2.2.2.2");
    }

    #[test]
    fn the_url_is_made_of_sane_hosts() {
        let host = |it| check("192.0.2.1", &[(header::HOST, it)]).1;
        assert_eq!(host("board.localhost:8000"), "http://board.localhost:8000");
        assert_eq!(host("user:word@board.localhost"), "http://board.localhost");
        assert_eq!(host("evil.org/path?"), "http://localhost:8000");
        assert_eq!(host("a b"), "http://localhost:8000");
        let port = |it| {
            let sent = [(FORWARDED_HOST, "a.example.com"), (FORWARDED_PROTO, "https"), (FORWARDED_PORT, it)];
            check("10.0.0.1", &sent).1
        };
        assert_eq!(port("443"), "https://a.example.com");
        assert_eq!(port("8443"), "https://a.example.com:8443");
    }

    proptest! {
        #[test]
        fn nobody_untrusted_changes_who_he_is(last in 1_u8..=254, claimed in "[ -~]{0,60}") {
            let peer = format!("192.0.2.{last}");
            let sent = [(FORWARDED_FOR, claimed.as_str()), (FORWARDED_HOST, &claimed), (FORWARDED_PROTO, "https")];
            prop_assert_eq!(check(&peer, &sent), (peer, "http://localhost:8000".to_owned()));
        }

        #[test]
        fn what_is_put_in_front_of_the_list_changes_nothing(forged in "[0-9a-f.:, ]{0,40}") {
            let honest = check("10.0.0.1", &[(FORWARDED_FOR, "203.0.113.9")]).0;
            let list = format!("{forged}, 203.0.113.9");
            prop_assert_eq!(check("10.0.0.1", &[(FORWARDED_FOR, &list)]).0, honest);
        }
    }
}
