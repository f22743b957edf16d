//! A socket to PostgreSQL: a Unix socket where the configuration names one, else TCP with its limits set.
//!
//! TLS belongs here: a third kind of [`Socket`], made after TCP is connected.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

const DEFAULT_PORT: u16 = 5432;

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Where to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Unix(PathBuf),
    Tcp(String, u16),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

/// The addresses of `config`; Unix sockets first, since they save a quarter of PostgreSQL's work per request.
pub(crate) fn addresses(config: &Config) -> Vec<Address> {
    let port = |idx| {
        let ports = config.get_ports();
        ports.get(idx).or_else(|| ports.first()).copied().unwrap_or(DEFAULT_PORT)
    };
    let count = config.get_hosts().len().max(config.get_hostaddrs().len());
    let mut addresses: Vec<_> = (0..count)
        .filter_map(|idx| match (config.get_hostaddrs().get(idx), config.get_hosts().get(idx)) {
            (Some(address), _) => Some(Address::Tcp(address.to_string(), port(idx))),
            (None, Some(Host::Tcp(host))) => Some(Address::Tcp(host.clone(), port(idx))),
            (None, Some(Host::Unix(dir))) => Some(Address::Unix(dir.join(format!(".s.PGSQL.{}", port(idx))))),
            (None, None) => None,
        })
        .collect();
    addresses.sort_by_key(|it| matches!(it, Address::Tcp(..)));
    addresses
}

/// Connect within the configuration's `connect_timeout`.
pub(crate) async fn connect(address: &Address, config: &Config) -> io::Result<Socket> {
    let connecting = async {
        match address {
            Address::Unix(path) => Ok(Socket::Unix(UnixStream::connect(path).await?)),
            Address::Tcp(..) if config.get_ssl_mode() == SslMode::Require => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "TLS to PostgreSQL is not supported yet"))
            }
            Address::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                limit(&stream, config)?;
                Ok(Socket::Tcp(stream))
            }
        }
    };
    match config.get_connect_timeout() {
        None => connecting.await,
        Some(limit) => tokio::time::timeout(*limit, connecting)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
    }
}

/// Small packets at once, and a dead peer noticed within seconds.
fn limit(stream: &TcpStream, config: &Config) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(config.get_tcp_user_timeout().copied())?;
    if config.get_keepalives() {
        let mut keepalive = TcpKeepalive::new().with_time(config.get_keepalives_idle());
        if let Some(interval) = config.get_keepalives_interval() {
            keepalive = keepalive.with_interval(interval);
        }
        if let Some(retries) = config.get_keepalives_retries() {
            keepalive = keepalive.with_retries(retries);
        }
        socket.set_tcp_keepalive(&keepalive)?;
    }
    Ok(())
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(it) => Pin::new(it).poll_read(cx, buffer),
            Self::Unix(it) => Pin::new(it).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(it) => Pin::new(it).poll_write(cx, bytes),
            Self::Unix(it) => Pin::new(it).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(it) => Pin::new(it).poll_shutdown(cx),
            Self::Unix(it) => Pin::new(it).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_come_first_and_ports_follow_their_hosts() {
        let config: Config = "host=db1,/run/pg,db2 port=1,2,3".parse().unwrap();
        let tcp = |host: &str, port| Address::Tcp(host.to_owned(), port);
        assert_eq!(
            addresses(&config),
            [Address::Unix("/run/pg/.s.PGSQL.2".into()), tcp("db1", 1), tcp("db2", 3)]
        );
        let config: Config = "postgres://ada@db/app".parse().unwrap();
        assert_eq!(addresses(&config), [tcp("db", 5432)]);
    }
}
