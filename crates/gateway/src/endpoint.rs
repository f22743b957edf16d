//! What answers requests: a service behind the gateway, in this process or in others, or the gateway behind a listener.
//!
//! One allocation per request; a router between the two would cost several, and has nothing to route there.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use common::Verbosity;
use http::{Request, Response};
use tower::ServiceExt as _;

use crate::forward::Passage;
use crate::forwarded::Origin;
use crate::load::Begun;
use crate::request_id::RequestIds;
use crate::route::Target;
use crate::serve::Peer;
use crate::{Gateway, Load, Workers, pipeline};

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// Answers every request. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint {
    way: Way,
    load: Option<Load>,
}

#[derive(Clone)]
enum Way {
    Here(Arc<dyn Fn(Request<Body>) -> Answering + Send + Sync>),
    There(Workers),
    /// The gateway itself; it needs no closure around it, and hears of the connection without detours.
    Door(Gateway),
}

impl Endpoint {
    /// An endpoint that answers by `answer`.
    pub fn new<F, A>(answer: F) -> Self
    where
        F: Fn(Request<Body>) -> A + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        Way::Here(Arc::new(move |request| Box::pin(answer(request)))).into()
    }

    /// A service behind the gateway, which bounds its bodies: the bound of axum's own would be a second, smaller one.
    #[must_use]
    pub fn behind(service: Router) -> Self {
        service.layer(DefaultBodyLimit::disable()).into()
    }

    /// The workers that answer, if this process does not.
    pub(crate) fn workers(&self) -> Option<&Workers> {
        match &self.way {
            Way::Here(_) | Way::Door(_) => None,
            Way::There(workers) => Some(workers),
        }
    }

    /// The same, with its requests counted by `load` where they come in: by [`crate::serve()`], so that an endpoint around
    /// this one would hide the count.
    #[must_use]
    pub fn counted(self, load: &Load) -> Self {
        Self { load: Some(load.clone()), ..self }
    }

    /// Count a request, if somebody wants that.
    pub(crate) fn begin(&self) -> Option<Begun<'_>> {
        self.load.as_ref().map(Load::begin)
    }

    /// The answer to `request`.
    pub fn answer(&self, request: Request<Body>) -> Answering {
        match &self.way {
            Way::Here(answer) => answer(request),
            Way::There(workers) => Box::pin(answer_there(workers.clone(), request)),
            Way::Door(gateway) => {
                let (gateway, peer) = (gateway.clone(), request.extensions().get::<Peer>().cloned());
                Box::pin(async move { pipeline::enter(&gateway.inner, request, peer.map(Arc::new)).await })
            }
        }
    }

    /// The answer to `request`, which came by `peer`. Large: nothing of a gateway's work lies elsewhere.
    pub(crate) async fn answer_to(&self, peer: &Arc<Peer>, mut request: Request<Body>) -> Response<Body> {
        if let Way::Door(gateway) = &self.way {
            // Counts references to the connection's own endpoint: those to the gateway are counted for all cores together.
            return pipeline::enter(&gateway.inner, request, Some(Arc::clone(peer))).await;
        }
        request.extensions_mut().insert(Peer::clone(peer));
        self.answer(request).await
    }
}

/// Workers behind a listener, with no gateway between them: nobody is believed, nothing is checked.
async fn answer_there(workers: Workers, request: Request<Body>) -> Response<Body> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let id = RequestIds::default().of(request.headers(), since_1970);
    let client = request.extensions().get::<Peer>().map(|it| it.address.ip());
    let host = request.headers().get(http::header::HOST).and_then(|it| it.to_str().ok());
    let host = host.unwrap_or_default().to_owned();
    let origin = Origin { client, host, encrypted: false, vouched: false };
    match workers.forward(request, &Passage { id: &id, origin: &origin }).await {
        Ok(response) => response,
        Err(error) => error.response(Target::Nobody, None, Verbosity::Verbose),
    }
}

impl From<Way> for Endpoint {
    fn from(way: Way) -> Self {
        Self { way, load: None }
    }
}

impl From<Workers> for Endpoint {
    fn from(workers: Workers) -> Self {
        Way::There(workers).into()
    }
}

impl From<Gateway> for Endpoint {
    fn from(gateway: Gateway) -> Self {
        Way::Door(gateway).into()
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
