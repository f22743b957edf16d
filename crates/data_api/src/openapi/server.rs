//! Where the document says that the API is.

use common::PublicUrl;
use http::Uri;

/// The address of the API, in the parts that Swagger wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    /// Name and port.
    pub(super) host: String,
    /// Where the paths begin.
    pub(super) base_path: String,
}

impl Server {
    /// As the setting `openapi-server-proxy-uri` says, else as the gateway was reached and what it cut off from the
    /// path, else as the client named us.
    pub(crate) fn of(setting: Option<&str>, public: Option<(&PublicUrl, &str)>, host: Option<&str>) -> Self {
        setting
            .and_then(Self::parse)
            .or_else(|| public.and_then(|(url, base_path)| Self::parse(&format!("{}{base_path}", url.0))))
            .or_else(|| Self::parse(&format!("http://{}/", host?)))
            .unwrap_or(Self { scheme: "http", host: "localhost:80".into(), base_path: "/".into() })
    }

    fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let (scheme, port) = match uri.scheme_str()? {
            "http" => ("http", 80),
            "https" => ("https", 443),
            _ => return None,
        };
        let port = uri.port_u16().unwrap_or(port);
        Some(Self { scheme, host: format!("{}:{port}", uri.host()?), base_path: uri.path().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(setting: Option<&str>, public: Option<&str>, host: Option<&str>) -> String {
        let public = public.map(|it| PublicUrl(it.into()));
        let server = Server::of(setting, public.as_ref().map(|it| (it, "/rest/v1")), host);
        format!("{} {} {}", server.scheme, server.host, server.base_path)
    }

    #[test]
    fn the_setting_wins_over_the_public_address_and_that_over_the_host() {
        let proxy = Some("https://postgrest.com/openapi.json");
        let public = Some("https://api.test:8443");
        let host = Some("localhost:3000");
        assert_eq!(check(proxy, public, host), "https postgrest.com:443 /openapi.json");
        assert_eq!(check(None, public, host), "https api.test:8443 /rest/v1");
        assert_eq!(check(None, None, host), "http localhost:3000 /");
        assert_eq!(check(None, None, None), "http localhost:80 /");
    }

    #[test]
    fn an_address_without_path_begins_at_the_root() {
        let public = PublicUrl("http://api.test".into());
        assert_eq!(Server::of(None, Some((&public, "")), None).base_path, "/");
        assert_eq!(check(Some("http://[::1]"), None, None), "http [::1]:80 /");
    }

    #[test]
    fn an_address_that_is_none_is_passed_over() {
        for setting in ["", "/path", "ftp://host", "postgrest.com"] {
            assert_eq!(check(Some(setting), None, Some("h:1")), "http h:1 /", "{setting}");
        }
    }
}
