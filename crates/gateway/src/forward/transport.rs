//! The socket to a worker, with or without TLS.
//!
//! A kept connection may have been closed by the worker without the runtime knowing it yet. Before such a connection is
//! used for what must not be sent twice, [`Transport::is_stale`] asks the system itself: a request is then not written into
//! a closed one. For what may be sent twice, [`Transport::seems_stale`] has to do.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{WorkerAddress, WorkerSettings};

/// How long a worker's machine may be silent about what was sent to it.
const SILENCE: Duration = Duration::from_secs(5);

/// A connection to a worker.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl Transport {
    /// Connect; bounded by the caller.
    pub(super) async fn open(worker: &WorkerAddress, settings: &WorkerSettings) -> io::Result<Self> {
        let stream = TcpStream::connect(worker.authority()).await?;
        stream.set_nodelay(true)?;
        watch_the_other_end(&stream)?;
        if !worker.encrypted {
            return Ok(Self::Plain(stream));
        }
        let config =
            settings.tls.clone().ok_or_else(|| io::Error::other("there are no TLS settings for workers"))?;
        let name = worker.host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        Ok(Self::Encrypted(Box::new(stream)))
    }

    /// Whether the other end has closed it, or said something that nobody asked for.
    pub(super) fn is_stale(&mut self) -> bool {
        match self {
            Self::Plain(stream) => has_something(stream),
            // What TLS itself has to say, such as a session ticket, is read away here; what is left then is no good.
            Self::Encrypted(stream) => {
                let mut byte = [MaybeUninit::uninit()];
                let mut asleep = Context::from_waker(Waker::noop());
                let read = Pin::new(&mut *stream).poll_read(&mut asleep, &mut ReadBuf::uninit(&mut byte));
                read.is_ready() || has_something(stream.get_ref().0)
            }
        }
    }

    /// As [`Self::is_stale`], as far as the runtime knows: costs nothing, and may be behind by a moment.
    pub(super) fn seems_stale(&mut self) -> bool {
        match self {
            Self::Plain(stream) => {
                let told = stream.try_io(Interest::READABLE, || {
                    SockRef::from(&*stream).peek(&mut [MaybeUninit::uninit()])
                });
                !is_silence(&told)
            }
            Self::Encrypted(_) => self.is_stale(),
        }
    }

    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self, Self::Encrypted(_))
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

/// Whether there are bytes, an end or an error, by asking the system.
fn has_something(stream: &TcpStream) -> bool {
    !is_silence(&SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]))
}

fn is_silence<T>(peeked: &io::Result<T>) -> bool {
    peeked.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
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
