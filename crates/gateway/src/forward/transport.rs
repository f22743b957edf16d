//! The socket to a worker, with or without TLS.
//!
//! A kept connection may have been closed by the worker without the runtime knowing it yet. Before such a connection is
//! used again, [`Probe::ask`] makes its next read ask the system itself: a request is then not written into a closed one.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{WorkerAddress, WorkerSettings};

/// How long a worker's machine may be silent about what was sent to it.
const SILENCE: Duration = Duration::from_secs(5);

/// Makes the next read look whether the other end has closed the connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Probe(Arc<AtomicBool>);

impl Probe {
    pub(super) fn ask(&self) {
        self.0.store(true, Relaxed);
    }
}

/// A connection to a worker.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(Socket),
    Encrypted(Box<TlsStream<Socket>>),
}

/// A TCP connection that can be probed.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    probe: Probe,
}

impl Transport {
    /// Connect; bounded by the caller.
    pub(super) async fn open(worker: &WorkerAddress, settings: &WorkerSettings) -> io::Result<(Self, Probe)> {
        let stream = TcpStream::connect(worker.authority()).await?;
        stream.set_nodelay(true)?;
        watch_the_other_end(&stream)?;
        let probe = Probe::default();
        let socket = Socket { stream, probe: probe.clone() };
        if !worker.encrypted {
            return Ok((Self::Plain(socket), probe));
        }
        let config =
            settings.tls.clone().ok_or_else(|| io::Error::other("there are no TLS settings for workers"))?;
        let name = worker.host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(config).connect(name, socket).await?;
        Ok((Self::Encrypted(Box::new(stream)), probe))
    }
}

/// A machine that has vanished answers nothing; without this a request would wait for it until its timeout.
fn watch_the_other_end(stream: &TcpStream) -> io::Result<()> {
    let every = Duration::from_secs(1);
    let alive = TcpKeepalive::new().with_time(Duration::from_secs(2)).with_interval(every).with_retries(3);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&alive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(SILENCE))?;
    Ok(())
}

impl Socket {
    /// Whether the other end has closed, by asking the system.
    fn is_closed(&self) -> io::Result<bool> {
        match SockRef::from(&self.stream).peek(&mut [MaybeUninit::uninit()]) {
            Ok(count) => Ok(count == 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.probe.0.load(Relaxed) {
            self.probe.0.store(false, Relaxed);
            if self.is_closed()? {
                return Poll::Ready(Ok(()));
            }
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(it) => Pin::new(it).poll_read(context, buffer),
            Self::Encrypted(it) => Pin::new(it).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(it) => Pin::new(it).poll_write(context, bytes),
            Self::Encrypted(it) => Pin::new(it).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(it) => Pin::new(it).poll_write_vectored(context, parts),
            Self::Encrypted(it) => Pin::new(it).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(it) => it.is_write_vectored(),
            Self::Encrypted(it) => it.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(it) => Pin::new(it).poll_flush(context),
            Self::Encrypted(it) => Pin::new(it).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(it) => Pin::new(it).poll_shutdown(context),
            Self::Encrypted(it) => Pin::new(it).poll_shutdown(context),
        }
    }
}
