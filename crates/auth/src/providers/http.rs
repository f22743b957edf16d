//! Requests to providers: no redirects, an answer within ten seconds, at most 1 MiB, JSON.
//!
//! Addresses that a project's own people may set (`/admin/custom-providers`) go another way than those that the
//! operator set: encrypted, and to public addresses only, also after the name was resolved. Otherwise a project could
//! read what only the server can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use serde_json::Value;
use url::{Host, Url};

use super::Failure;

const MAX_BYTES: usize = 1024 * 1024;
const MAX_URL: usize = 8 * 1024;
const CONNECT: Duration = Duration::from_secs(5);
const WHOLE: Duration = Duration::from_secs(10);

/// Who chose the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Trust {
    /// Whoever operates the server: any address, also unencrypted.
    Operator,
    /// The people of one project: public addresses, encrypted.
    Project,
}

/// Connections to providers.
#[derive(Debug)]
pub(crate) struct Outbound {
    anywhere: Option<reqwest::Client>,
    public: Option<reqwest::Client>,
    /// Whether a project's people may go anywhere.
    private: bool,
}

impl Outbound {
    pub(crate) fn new(private: bool) -> Self {
        let client = || {
            reqwest::Client::builder()
                .redirect(Policy::none())
                .connect_timeout(CONNECT)
                .timeout(WHOLE)
                .no_proxy()
                .user_agent(concat!("madbase/", env!("CARGO_PKG_VERSION")))
        };
        let public = client().https_only(true).dns_resolver(PublicOnly);
        // Without a TLS library nothing can be fetched; each request then says so.
        Self { anywhere: client().build().ok(), public: public.build().ok(), private }
    }

    /// `GET` a JSON document.
    pub(crate) async fn get(&self, trust: Trust, url: &str, headers: HeaderMap) -> Result<Value, Failure> {
        let request = self.client(trust)?.get(self.check(trust, url)?).headers(headers);
        let (status, body) = send(request).await?;
        if !status.is_success() {
            return Err(Failure::new(format!("{} answered {status}", shown(url))));
        }
        json(url, &body)
    }

    /// `GET` a document of any type; its status, whatever it is, and its body.
    #[cfg(feature = "saml")]
    pub(crate) async fn document(
        &self,
        trust: Trust,
        url: &str,
        headers: HeaderMap,
    ) -> Result<(http::StatusCode, Vec<u8>), Failure> {
        send(self.client(trust)?.get(self.check(trust, url)?).headers(headers)).await
    }

    /// `POST` a form; the answer whatever its status is, because OAuth tells errors in JSON too.
    pub(crate) async fn post(
        &self,
        trust: Trust,
        url: &str,
        form: &[(&str, &str)],
        authorization: Option<HeaderValue>,
    ) -> Result<Value, Failure> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = self
            .client(trust)?
            .post(self.check(trust, url)?)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(body);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let (status, body) = send(request).await?;
        let value = json(url, &body)?;
        let error = value.get("error").and_then(Value::as_str);
        match error {
            None if status.is_success() => Ok(value),
            Some(error) => Err(Failure::new(format!("{} refused: {error:.80}", shown(url)))),
            None => Err(Failure::new(format!("{} answered {status}", shown(url)))),
        }
    }

    fn client(&self, trust: Trust) -> Result<&reqwest::Client, Failure> {
        let client = match trust {
            Trust::Project if !self.private => &self.public,
            Trust::Operator | Trust::Project => &self.anywhere,
        };
        client.as_ref().ok_or_else(|| Failure::new("no TLS library"))
    }

    fn check(&self, trust: Trust, url: &str) -> Result<Url, Failure> {
        let parsed = parse(url)?;
        if trust == Trust::Project {
            self.check_public(url).map_err(Failure::new)?;
        }
        Ok(parsed)
    }

    /// What an address must keep that a project's people may set.
    ///
    /// # Errors
    /// What is wrong with it, in GoTrue's words.
    pub(crate) fn check_public(&self, url: &str) -> Result<(), &'static str> {
        if self.private {
            parse(url).map(drop).map_err(|_| "Invalid URL format")
        } else {
            check_public_address(url)
        }
    }
}

async fn send(request: reqwest::RequestBuilder) -> Result<(http::StatusCode, Vec<u8>), Failure> {
    let failed = |it: reqwest::Error| Failure::new(crate::events::chain(&it.without_url()));
    let _span = trace::begin(trace::SpanKind::Client, || "ask a provider");
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_BYTES {
            return Err(Failure::new("the answer exceeds 1 MiB"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((status, body))
}

fn json(url: &str, body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(|_| Failure::new(format!("{} answered no JSON", shown(url))))
}

/// Host and path of an address: queries may hold secrets.
fn shown(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

fn parse(url: &str) -> Result<Url, Failure> {
    let parsed = Url::parse(url).map_err(|_| Failure::new("an address cannot be read"))?;
    let web = matches!(parsed.scheme(), "http" | "https") && parsed.host().is_some();
    if !web || url.len() > MAX_URL {
        return Err(Failure::new("an address is neither http nor https"));
    }
    Ok(parsed)
}

/// Names are checked again when they are resolved.
fn check_public_address(url: &str) -> Result<(), &'static str> {
    let url = Url::parse(url).map_err(|_| "Invalid URL format")?;
    if url.scheme() != "https" {
        return Err("URL must use HTTPS");
    }
    let local = "URL cannot point to localhost or loopback addresses";
    match url.host() {
        None => Err("URL must have a valid hostname"),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            if name == "localhost" || name.ends_with(".localhost") { Err(local) } else { Ok(()) }
        }
        Some(Host::Ipv4(address)) if address.is_loopback() => Err(local),
        Some(Host::Ipv6(address)) if address.is_loopback() => Err(local),
        Some(Host::Ipv4(address)) => public(address.into()),
        Some(Host::Ipv6(address)) => public(address.into()),
    }
}

fn public(address: IpAddr) -> Result<(), &'static str> {
    if is_public(address) { Ok(()) } else { Err("URL cannot point to private or internal networks") }
}

/// Resolves names, and hides those that lead inside.
#[derive(Debug, Clone, Copy)]
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|it| is_public(it.ip())).collect();
            if public.is_empty() {
                return Err("the name leads to no public address".into());
            }
            let addresses: Addrs = Box::new(public.into_iter());
            Ok(addresses)
        })
    }
}

/// Whether an address is one of the public Internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => is_public_v4(it),
        IpAddr::V6(it) => is_public_v6(it),
    }
}

fn is_public_v4(it: Ipv4Addr) -> bool {
    let [a, b, c, _] = it.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let special = (a == 192 && b == 0 && c == 0) || (a == 198 && (b == 18 || b == 19));
    !(a == 0
        || a >= 240
        || shared
        || special
        || it.is_private()
        || it.is_loopback()
        || it.is_link_local()
        || it.is_documentation()
        || it.is_multicast())
}

fn is_public_v6(it: Ipv6Addr) -> bool {
    if let Some(inner) = it.to_ipv4_mapped() {
        return is_public_v4(inner);
    }
    let [first, second, .., seventh, eighth] = it.segments();
    let inner = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match first {
        // Addresses that carry an IPv4 address: NAT64, 6to4.
        0x64 if second == 0xff9b => is_public_v4(inner(seventh, eighth)),
        0x2002 => is_public_v4(inner(second, it.segments().get(2).copied().unwrap_or_default())),
        0x2001 if second == 0xdb8 || second == 0 => false,
        // The one block that is given out for the public Internet.
        _ => (0x2000..0x4000).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        for good in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::101:101"] {
            assert!(is_public(good.parse().unwrap()), "{good}");
        }
        for bad in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "fc00::1",
            "fe80::1",
            "ff02::1",
            "2001:db8::1",
        ] {
            assert!(!is_public(bad.parse().unwrap()), "{bad}");
        }
    }

    #[test]
    fn addresses_of_a_projects_people_are_encrypted_and_outside() {
        assert_eq!(check_public_address("https://id.example.com/x"), Ok(()));
        for (bad, why) in [
            ("x", "Invalid URL format"),
            ("http://id.example.com", "URL must use HTTPS"),
            ("file:///etc/passwd", "URL must use HTTPS"),
            ("https://localhost/x", "URL cannot point to localhost or loopback addresses"),
            ("https://LOCALHOST.", "URL cannot point to localhost or loopback addresses"),
            ("https://127.1/x", "URL cannot point to localhost or loopback addresses"),
            ("https://2130706433/", "URL cannot point to localhost or loopback addresses"),
            ("https://[::1]/", "URL cannot point to localhost or loopback addresses"),
            ("https://169.254.169.254/", "URL cannot point to private or internal networks"),
            ("https://10.0.0.8/", "URL cannot point to private or internal networks"),
            ("https://[::ffff:10.0.0.8]/", "URL cannot point to private or internal networks"),
        ] {
            assert_eq!(check_public_address(bad), Err(why), "{bad}");
        }
    }
}
