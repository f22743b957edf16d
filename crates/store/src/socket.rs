//! A socket to PostgreSQL: a Unix socket where the configuration names one, else TCP with its limits set, encrypted as
//! the configuration wants it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::{Host, SslNegotiation};
use tokio_rustls::client::TlsStream;

use crate::budget::Place;
use crate::config::Config;
use crate::tls::Encrypted;

const DEFAULT_PORT: u16 = 5432;

/// Until the socket is closed.
type Held = Option<Place>;

/// A connected socket, and the place that it takes.
#[derive(Debug)]
#[expect(dead_code, reason = "a place is given back when its socket is dropped")]
pub(crate) enum Socket {
    Tcp(TcpStream, Held),
    Unix(UnixStream, Held),
    Tls(Box<TlsStream<TcpStream>>, Held),
    /// None at all: its first use fails. How a failure to connect reaches the driver's error type.
    Failed(Option<io::Error>),
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
pub(crate) fn addresses(config: &tokio_postgres::Config) -> Vec<Address> {
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

/// Connect within the configuration's `connect_timeout`, once there is a place for it.
pub(crate) async fn connect(address: &Address, config: &Config) -> io::Result<Socket> {
    let place = match config.budget() {
        Some(budget) => Some(budget.place().await?),
        None => None,
    };
    let connecting = async {
        match address {
            Address::Unix(path) => Ok(Socket::Unix(UnixStream::connect(path).await?, place)),
            Address::Tcp(host, port) => encrypted(host, *port, config, place).await,
        }
    };
    match config.get_connect_timeout() {
        None => connecting.await,
        Some(limit) => tokio::time::timeout(*limit, connecting)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
    }
}

async fn encrypted(host: &str, port: u16, config: &Config, place: Option<Place>) -> io::Result<Socket> {
    let directly = config.get_ssl_negotiation() == SslNegotiation::Direct;
    let stream = tcp(host, port, config).await?;
    match config.tls().encrypt(stream, name_of(host, config), directly).await? {
        Encrypted::Yes(stream) => Ok(Socket::Tls(stream, place)),
        Encrypted::No(stream) => Ok(Socket::Tcp(stream, place)),
        Encrypted::Again => Ok(Socket::Tcp(tcp(host, port, config).await?, place)),
    }
}

async fn tcp(host: &str, port: u16, config: &Config) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    limit(&stream, config)?;
    Ok(stream)
}

/// What a certificate must be for: the host, also where `hostaddr` says how to reach it.
fn name_of<'a>(host: &'a str, config: &'a Config) -> &'a str {
    let idx = config.get_hostaddrs().iter().position(|it| it.to_string() == host);
    match idx.and_then(|it| config.get_hosts().get(it)) {
        Some(Host::Tcp(name)) => name,
        _ => host,
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

fn failure(error: &mut Option<io::Error>) -> io::Error {
    error.take().unwrap_or_else(|| io::ErrorKind::NotConnected.into())
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(it, _) => Pin::new(it).poll_read(cx, buffer),
            Self::Unix(it, _) => Pin::new(it).poll_read(cx, buffer),
            Self::Tls(it, _) => Pin::new(it).poll_read(cx, buffer),
            Self::Failed(it) => Poll::Ready(Err(failure(it))),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(it, _) => Pin::new(it).poll_write(cx, bytes),
            Self::Unix(it, _) => Pin::new(it).poll_write(cx, bytes),
            Self::Tls(it, _) => Pin::new(it).poll_write(cx, bytes),
            Self::Failed(it) => Poll::Ready(Err(failure(it))),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(it, _) => Pin::new(it).poll_flush(cx),
            Self::Tcp(..) | Self::Unix(..) | Self::Failed(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(it, _) => Pin::new(it).poll_shutdown(cx),
            Self::Unix(it, _) => Pin::new(it).poll_shutdown(cx),
            Self::Tls(it, _) => Pin::new(it).poll_shutdown(cx),
            Self::Failed(_) => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_come_first_and_ports_follow_their_hosts() {
        let config: tokio_postgres::Config = "host=db1,/run/pg,db2 port=1,2,3".parse().unwrap();
        let tcp = |host: &str, port| Address::Tcp(host.to_owned(), port);
        assert_eq!(
            addresses(&config),
            [Address::Unix("/run/pg/.s.PGSQL.2".into()), tcp("db1", 1), tcp("db2", 3)]
        );
        let config: tokio_postgres::Config = "postgres://ada@db/app".parse().unwrap();
        assert_eq!(addresses(&config), [tcp("db", 5432)]);
    }

    #[test]
    fn certificates_are_for_the_host_not_for_its_address() {
        let config = Config::parse("host=db1,db2 hostaddr=10.0.0.1,10.0.0.2").unwrap();
        assert_eq!(name_of("10.0.0.2", &config), "db2");
        let config = Config::parse("hostaddr=10.0.0.1").unwrap();
        assert_eq!(name_of("10.0.0.1", &config), "10.0.0.1");
    }
}
