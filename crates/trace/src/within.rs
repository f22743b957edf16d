//! A future that has a span: wherever it is polled, the span is the current one.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::Span;

pin_project_lite::pin_project! {
    /// A future with its span; see [`within`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Within<F> {
        span: Option<Span>,
        #[pin]
        future: F,
    }
}

/// `future`, with `span` being the current one where it is polled; without a span the same future.
pub fn within<F: Future>(span: Option<Span>, future: F) -> Within<F> {
    Within { span, future }
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = this.span.as_ref().map(Span::enter);
        this.future.poll(cx)
    }
}
