//! A client and a worker that have left HTTP behind (101): bytes go both ways until one of them ends it.
//!
//! The pipeline hands the tunnel to the connection as an extension of the answer; the connection runs it once the answer is
//! written, so that it keeps its place among the open connections and ends with them.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, copy_bidirectional_with_sizes};
use tokio::time::sleep;

use super::transport::Transport;

/// Kept for each direction of each tunnel.
const BUFFER_BYTES: usize = 4096;

/// Both ends. Clones are the same tunnel; it is run once.
#[derive(Debug, Clone)]
pub(crate) struct Tunnel(Arc<Mutex<Option<Ends>>>);

#[derive(Debug)]
struct Ends {
    client: OnUpgrade,
    worker: Transport,
    /// What the worker sent right behind its 101.
    first: Bytes,
    idle_timeout: Duration,
}

impl Tunnel {
    pub(super) fn new(
        client: OnUpgrade,
        (worker, first): (Transport, Bytes),
        idle_timeout: Duration,
    ) -> Self {
        Self(Arc::new(Mutex::new(Some(Ends { client, worker, first, idle_timeout }))))
    }

    /// Pass bytes until an end closes, or both are silent for too long.
    pub(crate) async fn run(self) {
        let ends = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Ends { client, mut worker, first, idle_timeout }) = ends else { return };
        let Ok(client) = client.await else { return };
        let passed = AtomicU64::new(0);
        let mut client = Counted { stream: TokioIo::new(client), passed: &passed };
        let passing = async {
            client.write_all(&first).await?;
            drop(first);
            copy_bidirectional_with_sizes(&mut client, &mut worker, BUFFER_BYTES, BUFFER_BYTES).await
        };
        let silence = async {
            let mut before = None;
            loop {
                let now = passed.load(Relaxed);
                if before.replace(now) == Some(now) {
                    return;
                }
                sleep(idle_timeout).await;
            }
        };
        tokio::select! {
            _bytes_or_error = passing => {}
            () = silence => {}
        }
    }
}

/// The client's end; what it reads and takes is counted.
struct Counted<'a> {
    stream: TokioIo<Upgraded>,
    passed: &'a AtomicU64,
}

impl AsyncRead for Counted<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_ready() {
            self.passed.fetch_add(1, Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Counted<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if polled.is_ready() {
            self.passed.fetch_add(1, Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
