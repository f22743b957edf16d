//! Where a worker is, as a discovery or the setting `WORKER_UPSTREAM_URLS` says it. Pure.

use std::fmt;
use std::str::FromStr;

use http::Uri;

/// One worker of a list. Two entries are the same worker when id, host, port and encryption are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerAddress {
    /// The node's id; of a fixed list the address. A label of metrics.
    pub id: String,
    /// Name or IP address (IPv6 in brackets).
    pub host: String,
    /// The port of its gateway.
    pub port: u16,
    /// Whether it is reached by TLS ([`super::WorkerSettings::tls`]).
    pub encrypted: bool,
    /// Whether it is about to stop: it finishes what it has and gets nothing new.
    pub draining: bool,
}

impl WorkerAddress {
    /// `host:port`, as connections and the `Host` of health checks name it.
    pub(super) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        (&self.id, &self.host, self.port, self.encrypted)
            == (&other.id, &other.host, other.port, other.encrypted)
    }

    /// The workers of a list of URLs, separated by commas; blanks and empty entries are left out.
    ///
    /// ```
    /// let list = gateway::WorkerAddress::list("http://10.0.0.3:8000, https://w2.internal:8443")?;
    /// assert_eq!((list[0].port, list[1].encrypted), (8000, true));
    /// # Ok::<(), gateway::WorkerUrlError>(())
    /// ```
    ///
    /// # Errors
    /// [`WorkerUrlError`] names the first entry that is no such URL.
    pub fn list(urls: &str) -> Result<Vec<Self>, WorkerUrlError> {
        urls.split(',').map(str::trim).filter(|it| !it.is_empty()).map(str::parse).collect()
    }
}

impl FromStr for WorkerAddress {
    type Err = WorkerUrlError;

    fn from_str(url: &str) -> Result<Self, WorkerUrlError> {
        let wrong = || WorkerUrlError(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let encrypted = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) | None => return Err(wrong()),
        };
        let authority = uri.authority().filter(|it| !it.as_str().contains('@')).ok_or_else(wrong)?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.host().is_empty() {
            return Err(wrong());
        }
        let port = authority.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let host = authority.host().to_owned();
        Ok(Self { id: format!("{host}:{port}"), host, port, encrypted, draining: false })
    }
}

impl fmt::Display for WorkerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

/// An entry of a list of workers that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address of a worker; write http://host:port or https://host:port")]
pub struct WorkerUrlError(String);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(urls: &str) -> String {
        let told = |it: &WorkerAddress| format!("{} {} tls={}", it.id, it.authority(), it.encrypted);
        match WorkerAddress::list(urls) {
            Ok(list) => list.iter().map(told).collect::<Vec<_>>().join("; "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_list_of_urls_is_a_list_of_workers() {
        assert_eq!(check(""), "");
        let two = "http://10.0.0.3:8100,, https://w2.internal/ ";
        assert_eq!(
            check(two),
            "10.0.0.3:8100 10.0.0.3:8100 tls=false; w2.internal:443 w2.internal:443 tls=true"
        );
        assert_eq!(check("http://[::1]:81"), "[::1]:81 [::1]:81 tls=false");
    }

    #[test]
    fn what_is_no_address_of_a_worker_is_named() {
        for bad in [
            "10.0.0.3:8100",
            "ftp://x:1",
            "http://a:1/path",
            "http://a:1?b",
            "http://u@a:1",
            "http://:1",
            "x y",
        ] {
            let told =
                format!("`{bad}` is no address of a worker; write http://host:port or https://host:port");
            assert_eq!(check(&format!("http://a:1,{bad}")), told);
        }
    }
}
