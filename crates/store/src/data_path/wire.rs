//! A socket with its two buffers: what PostgreSQL sent and nobody has looked at, what the socket has not yet taken.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};

use super::broken::Broken;
use crate::socket::Socket;

/// A buffer in use is this large; PostgreSQL itself sends pieces of 8 KiB.
const BUFFER: usize = 16 * 1024;
/// A buffer that grew beyond this shrinks when it is empty.
const LARGE_BUFFER: usize = 256 * 1024;

/// A socket and its buffers.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: Socket,
    pub(crate) input: BytesMut,
    pub(crate) output: BytesMut,
    written: u64,
}

impl Wire {
    pub(crate) fn new(socket: Socket, input: BytesMut) -> Self {
        Self { socket, input, output: BytesMut::with_capacity(BUFFER), written: 0 }
    }

    /// Bytes that the socket took so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Bytes that were appended to the output so far.
    pub(super) fn appended(&self) -> u64 {
        self.written + self.output.len() as u64
    }

    /// Hand the output to the socket, as much as it takes now.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        while !self.output.is_empty() {
            let sent = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.output))?;
            if sent == 0 {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into()));
            }
            self.written += sent as u64;
            self.output.advance(sent);
        }
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        self.shrink();
        Poll::Ready(Ok(()))
    }

    /// Wait for bytes in the input.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        // Room for a whole piece, so that a small answer is one read.
        if self.input.capacity() - self.input.len() < BUFFER / 2 {
            self.input.reserve(BUFFER);
        }
        self.poll_more(cx)
    }

    /// Wait for bytes in the input, which holds less than `size` and gets no more than that.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, size: usize) -> Poll<Result<(), Broken>> {
        if self.input.capacity() < size {
            self.input.reserve(size - self.input.len());
        }
        self.poll_more(cx)
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if ready!(pin!(self.socket.read_buf(&mut self.input)).poll(cx))? == 0 {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()));
        }
        Poll::Ready(Ok(()))
    }

    /// Give back what a large statement or answer needed.
    pub(super) fn shrink(&mut self) {
        for buffer in [&mut self.input, &mut self.output] {
            if buffer.is_empty() && buffer.capacity() > LARGE_BUFFER {
                *buffer = BytesMut::with_capacity(BUFFER);
            }
        }
    }
}
