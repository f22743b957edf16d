//! One connection: what it has sent and not sent, and frames that came in part. Small, because there are many.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};

use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket as Raw, Type};

/// So many connections from one source address, of 127.1.0.0/16: each address has its own ports, and servers that count
/// by address do not take the crowd for one client.
const PER_SOURCE: usize = 200;

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Connecting,
    Upgrading,
    Open,
    Joining,
    Joined,
    Closed,
}

/// A WebSocket of the crowd.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) stream: TcpStream,
    pub(crate) state: State,
    /// The number of the message that comes next.
    pub(crate) next: u32,
    partial: Vec<u8>,
    unsent: Vec<u8>,
}

impl Socket {
    /// Begin to connect socket number `number`.
    pub(crate) fn connect(number: usize, to: SocketAddr) -> io::Result<Self> {
        let raw = Raw::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        raw.set_nonblocking(true)?;
        if to.ip().is_loopback() {
            let [.., high, low] = (number / PER_SOURCE + 1).to_be_bytes();
            raw.bind(&SocketAddr::from((Ipv4Addr::new(127, 1, high, low), 0)).into())?;
        }
        match raw.connect(&to.into()) {
            Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => return Err(error),
            _ => {}
        }
        raw.set_tcp_nodelay(true)?;
        let stream = TcpStream::from_std(raw.into());
        Ok(Self { stream, state: State::Connecting, next: 0, partial: Vec::new(), unsent: Vec::new() })
    }

    /// Send `bytes`, or keep what the kernel does not take now.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.unsent.extend_from_slice(bytes);
        self.flush()
    }

    /// Whether the kernel takes no more for the moment.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Send what is kept.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.unsent = Vec::new();
        Ok(())
    }

    /// Read once, behind what was kept, into the beginning of `buffer`: how much is there now, and whether more may follow.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
        let kept = self.partial.len();
        let too_long = || io::Error::other("a frame longer than the buffer");
        buffer.get_mut(..kept).ok_or_else(too_long)?.copy_from_slice(&self.partial);
        let free = buffer.get_mut(kept..).filter(|it| !it.is_empty()).ok_or_else(too_long)?;
        let room = free.len();
        match self.stream.read(free) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                self.partial = Vec::new();
                Ok((kept + read, read == room))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok((0, false)),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok((0, true)),
            Err(error) => Err(error),
        }
    }

    /// Keep the beginning of a frame until the rest comes.
    pub(crate) fn keep(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            self.partial = rest.to_vec();
        }
    }
}

/// `EINPROGRESS` of Linux.
const IN_PROGRESS: i32 = 115;
