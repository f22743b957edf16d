//! A request body that ends with an error when it grows too large, and remembers that it did.
//!
//! What is over the limit is read and thrown away for a while: a client that is still sending would otherwise see a reset
//! connection instead of the 413.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;

/// How much of a body that is too large is read for the sake of the answer.
const MAX_DISCARDED_BYTES: usize = 32 * 1024 * 1024;
/// For how long it is read when the head already said that it is too large.
const MAX_DISCARD_TIME: Duration = Duration::from_secs(5);

/// Whether a limited body was too large.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overflow(Option<Arc<AtomicBool>>);

impl Overflow {
    fn happen(&self) {
        if let Some(flag) = &self.0 {
            flag.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the limit was passed.
    pub(crate) fn happened(&self) -> bool {
        self.0.as_ref().is_some_and(|it| it.load(Ordering::Relaxed))
    }
}

/// Cut `body` at `max_bytes`; the flag tells whether it was.
pub(crate) fn limit(body: &mut Body, max_bytes: usize) -> Overflow {
    if http_body::Body::is_end_stream(body) {
        return Overflow::default();
    }
    let overflow = Overflow(Some(Arc::default()));
    let inner = std::mem::take(body);
    *body = Body::new(Limited { inner, left: max_bytes, discarded: 0, overflow: overflow.clone() });
    overflow
}

/// Whether the head alone says that the body is too large.
pub(crate) fn is_announced(headers: &HeaderMap, max_bytes: usize) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|it| usize::try_from(it).map_or(true, |it| it > max_bytes))
}

/// Read a body that is too large, so that its sender gets to hear of it; bounded in size and time.
///
/// Not when the client waits for `100 Continue`: it has sent nothing, and reading would invite it to.
pub(crate) async fn discard(headers: &HeaderMap, mut body: Body) {
    if headers.contains_key(header::EXPECT) {
        return;
    }
    let _overflows = limit(&mut body, 0);
    let read_on = async { while let Some(Ok(_)) = body.frame().await {} };
    let _unread_rest = tokio::time::timeout(MAX_DISCARD_TIME, read_on).await;
}

/// The request body was larger than allowed.
#[derive(Debug, thiserror::Error)]
#[error("the request body is too large")]
struct TooLarge;

struct Limited {
    inner: Body,
    left: usize,
    discarded: usize,
    overflow: Overflow,
}

impl http_body::Body for Limited {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        loop {
            let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
            let size = frame.as_ref().and_then(|it| it.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
            if !self.overflow.happened() {
                let Some(left) = self.left.checked_sub(size) else {
                    self.overflow.happen();
                    self.discarded = size;
                    continue;
                };
                self.left = left;
                return Poll::Ready(frame);
            }
            self.discarded = self.discarded.saturating_add(size);
            if !matches!(frame, Some(Ok(_))) || self.discarded > MAX_DISCARDED_BYTES {
                return Poll::Ready(Some(Err(axum::Error::new(TooLarge))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream() && !self.overflow.happened()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn check(chunks: &[usize], max_bytes: usize) -> (Option<usize>, bool) {
        let chunks: Vec<_> =
            chunks.iter().map(|it| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; *it]))).collect();
        let mut body = Body::from_stream(stream::iter(chunks));
        let overflow = limit(&mut body, max_bytes);
        let read = body.collect().await.ok().map(|it| it.to_bytes().len());
        (read, overflow.happened())
    }

    #[tokio::test]
    async fn the_limit_itself_is_allowed() {
        assert_eq!(check(&[], 0).await, (Some(0), false));
        assert_eq!(check(&[4, 6], 10).await, (Some(10), false));
        assert_eq!(check(&[4, 7], 10).await, (None, true));
        assert_eq!(check(&[11], 10).await, (None, true));
        assert_eq!(check(&[11, 40 * 1024 * 1024, 1], 10).await, (None, true));
    }

    #[test]
    fn a_length_that_is_too_large_is_seen_in_the_head() {
        let announced = |length: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_LENGTH, http::HeaderValue::from_static(length));
            is_announced(&headers, 10)
        };
        assert!(!announced("10"));
        assert!(announced("11"));
        assert!(announced("18446744073709551615"));
        assert!(!announced("nonsense"));
        assert!(!is_announced(&HeaderMap::new(), 10));
    }
}
