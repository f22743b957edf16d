//! What answers requests: a service behind the gateway, in this process or in others, or the gateway behind a listener.
//!
//! One allocation per request; a router between the two would cost several, and has nothing to route there.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use common::Verbosity;
use http::{Request, Response};
use tower::ServiceExt as _;

use crate::Workers;
use crate::forward::Passage;
use crate::forwarded::Origin;
use crate::request_id::RequestIds;
use crate::route::Target;
use crate::serve::Peer;

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// Answers every request. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint(Way);

#[derive(Clone)]
enum Way {
    Here(Arc<dyn Fn(Request<Body>) -> Answering + Send + Sync>),
    There(Workers),
}

impl Endpoint {
    /// An endpoint that answers by `answer`.
    pub fn new<F, A>(answer: F) -> Self
    where
        F: Fn(Request<Body>) -> A + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        Self(Way::Here(Arc::new(move |request| Box::pin(answer(request)))))
    }

    /// A service behind the gateway, which bounds its bodies: the bound of axum's own would be a second, smaller one.
    #[must_use]
    pub fn behind(service: Router) -> Self {
        service.layer(DefaultBodyLimit::disable()).into()
    }

    /// The workers that answer, if this process does not.
    pub(crate) fn workers(&self) -> Option<&Workers> {
        match &self.0 {
            Way::Here(_) => None,
            Way::There(workers) => Some(workers),
        }
    }

    /// The answer to `request`.
    pub fn answer(&self, request: Request<Body>) -> Answering {
        match &self.0 {
            Way::Here(answer) => answer(request),
            Way::There(workers) => Box::pin(answer_there(workers.clone(), request)),
        }
    }
}

/// Workers behind a listener, with no gateway between them: nobody is believed, nothing is checked.
async fn answer_there(workers: Workers, request: Request<Body>) -> Response<Body> {
    let id = RequestIds::default().of(request.headers());
    let client = request.extensions().get::<Peer>().map(|it| it.address.ip());
    let host = request.headers().get(http::header::HOST).and_then(|it| it.to_str().ok());
    let host = host.unwrap_or_default().to_owned();
    let origin = Origin { client, host, encrypted: false, vouched: false };
    match workers.forward(request, &Passage { id: &id, origin: &origin }).await {
        Ok(response) => response,
        Err(error) => error.response(Target::Nobody, None, Verbosity::Verbose),
    }
}

impl From<Workers> for Endpoint {
    fn from(workers: Workers) -> Self {
        Self(Way::There(workers))
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
