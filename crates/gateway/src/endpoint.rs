//! What answers requests: a service behind the gateway, or the gateway behind a listener.
//!
//! One allocation per request; a router between the two would cost several, and has nothing to route there.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use http::{Request, Response};
use tower::ServiceExt as _;

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// Answers every request. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint(Arc<dyn Fn(Request<Body>) -> Answering + Send + Sync>);

impl Endpoint {
    /// An endpoint that answers by `answer`.
    pub fn new<F, A>(answer: F) -> Self
    where
        F: Fn(Request<Body>) -> A + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        Self(Arc::new(move |request| Box::pin(answer(request))))
    }

    /// A service behind the gateway, which bounds its bodies: the bound of axum's own would be a second, smaller one.
    #[must_use]
    pub fn behind(service: Router) -> Self {
        service.layer(DefaultBodyLimit::disable()).into()
    }

    /// The answer to `request`.
    pub(crate) fn answer(&self, request: Request<Body>) -> Answering {
        (self.0)(request)
    }
}

impl From<Router> for Endpoint {
    fn from(router: Router) -> Self {
        Self::new(move |request| {
            let router = router.clone();
            async move {
                match router.oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
        })
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Endpoint(..)")
    }
}
