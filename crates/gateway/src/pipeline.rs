//! What happens to every request, spelled out; each step is a module of its own.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use common::{ClientAddress, Configured, Project, ProjectRef, PublicUrl, RequestId, Verbosity};
use futures_util::FutureExt as _;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use tokio::time::{Instant, timeout};

use crate::admission::{Admitted, Door};
use crate::config::{Config, ServiceLimits};
use crate::credentials::{self, Credentials};
use crate::deadline::within;
use crate::events::{self, Answered, Event};
use crate::forward::{Passage, Tunnel};
use crate::forwarded::Origin;
use crate::host::{self, Named};
use crate::rate_limit::{self, Asking, Class, Told};
use crate::response_cache::{self, Approach, Turn};
use crate::route::{self, Route, Target};
use crate::serve::Peer;
use crate::state::Inner;
use crate::{
    Endpoint, Error, Gateway, body_limit, compress, cors, framing, operations, request_id, security, strict,
    timing, traced,
};

/// Auth's clients name by it the shape of errors that they understand.
const API_VERSION: HeaderName = HeaderName::from_static("x-supabase-api-version");

/// Everything on :8000.
#[must_use]
pub fn endpoint(gateway: Gateway) -> Endpoint {
    Endpoint::new(move |request| enter(Arc::clone(&gateway.inner), request))
}

/// What is known about a request before anybody answers it, and kept for the way back.
struct Visit {
    id: RequestId,
    route: Route,
    origin: Origin,
    peer: Option<Peer>,
    method: Method,
    /// Set as soon as the project is found.
    project: Option<Arc<Project>>,
    /// How long it took to find out who asks.
    admission: Duration,
    /// The header that the project wants back, as the request has it.
    trace: Option<(HeaderName, HeaderValue)>,
    /// What it is told of limits.
    rates: Told,
    /// Headers of the request that shape the answer.
    page: Option<HeaderValue>,
    accept_encoding: Option<HeaderValue>,
    api_version: Option<HeaderValue>,
    /// Where somebody wants traces.
    span: Option<trace::Span>,
}

impl Visit {
    fn of(gateway: &Inner, request: &mut Request<Body>) -> Self {
        host::write(request);
        let peer = request.extensions().get::<Peer>().cloned();
        let hop = peer.as_ref().map(Peer::hop);
        let route = if gateway.config.direct { route::DIRECT } else { route::find(request.uri().path()) };
        let origin = Origin::of(hop, request.headers(), request.uri(), gateway.trusted_proxies());
        let span = traced::arrive(request, route, &origin);
        let header = |name: HeaderName| request.headers().get(name).cloned();
        Self {
            id: gateway.request_ids.of(request.headers()),
            route,
            origin,
            peer,
            method: request.method().clone(),
            project: None,
            admission: Duration::ZERO,
            trace: None,
            rates: Told::default(),
            page: header(header::ORIGIN),
            accept_encoding: header(header::ACCEPT_ENCODING),
            api_version: header(API_VERSION),
            span,
        }
    }

    /// Remember whose request it is, and what of it the project wants back.
    fn belongs_to(&mut self, project: &Arc<Project>, headers: &HeaderMap) {
        self.project = Some(Arc::clone(project));
        let name = project.rest.server_trace_header.as_deref().and_then(|it| it.parse::<HeaderName>().ok());
        self.trace = name.and_then(|name| headers.get(&name).cloned().map(|value| (name, value)));
    }

    /// The origins that browsers may call from: the project's for its data API, else the operator's.
    fn origins<'a>(&'a self, config: &'a Config) -> &'a [String] {
        let own = self.project.as_ref().map(|it| it.rest.server_cors_allowed_origins.as_slice());
        match (self.route.target, own) {
            (Target::DataApi, Some(own)) if !own.is_empty() => own,
            _ => &config.cors_origins,
        }
    }
}

/// Any request: answered, whatever happens, and then dressed, logged and counted.
async fn enter(gateway: Arc<Inner>, mut request: Request<Body>) -> Response<Body> {
    let started = Instant::now();
    let mut visit = Visit::of(&gateway, &mut request);
    let span = visit.span.clone();
    let answer =
        trace::within(span, AssertUnwindSafe(answer(&gateway, &mut visit, request)).catch_unwind()).await;
    let mut response = match answer.unwrap_or(Err(Error::Panicked)) {
        Ok(response) => response,
        Err(error) => refuse(&error, &visit),
    };
    timing::tell(visit.project.as_deref(), visit.admission, &mut response);
    let headers = response.headers_mut();
    cors::mark(visit.route.target, visit.origins(&gateway.config), visit.page.as_ref(), headers);
    security::protect(headers, visit.origin.encrypted && !host::is_local(&visit.origin.host));
    std::mem::take(&mut visit.rates).add_to(headers);
    request_id::echo(&visit.id, headers);
    if let Some((name, value)) = visit.trace.take() {
        headers.insert(name, value);
    }
    let response = compress::compress(&visit.method, visit.accept_encoding.take(), response).await;
    let answered = Answered {
        method: &visit.method,
        route: visit.route,
        status: response.status(),
        took: started.elapsed(),
        project: visit.project.as_ref().map(|it| &it.reference),
        id: &visit.id,
    };
    visit.span.iter().for_each(|it| traced::answered(it, &answered));
    let _entered = visit.span.as_ref().map(trace::Span::enter);
    gateway.measures.answered(&answered);
    response
}

fn refuse(error: &Error, visit: &Visit) -> Response<Body> {
    if error.status().is_server_error() {
        let _entered = visit.span.as_ref().map(trace::Span::enter);
        events::emit(Event::Failed { error, id: &visit.id });
    }
    let verbosity = visit.project.as_ref().map_or(Verbosity::Verbose, |it| it.rest.client_error_verbosity);
    error.response(visit.route.target, visit.api_version.as_ref(), verbosity)
}

async fn answer(gateway: &Inner, visit: &mut Visit, request: Request<Body>) -> Result<Response<Body>, Error> {
    if let Some(https) = gateway.https.get()
        && let Some(elsewhere) =
            https.elsewhere(visit.route.target, (&visit.origin, visit.peer.as_ref()), &request)
    {
        return Ok(elsewhere);
    }
    if cors::is_preflight(&visit.method, request.headers()) {
        // Its project may allow other origins than the operator does; without one the operator's hold.
        if visit.route.target == Target::DataApi
            && let Ok(project) = meet_project(gateway, visit).await
        {
            let limit = gateway.config.directory_timeout;
            let configured = configured(gateway, &project, limit).await;
            visit.belongs_to(&configured.unwrap_or(project), request.headers());
        }
        return Ok(cors::preflight(visit.route.target, request.headers()));
    }
    match visit.route.target {
        Target::Auth => forward(gateway, visit, request, (&gateway.services.auth, gateway.config.auth)).await,
        Target::DataApi => {
            forward(gateway, visit, request, (&gateway.services.data_api, gateway.config.data_api)).await
        }
        Target::Realtime => {
            forward(gateway, visit, request, (&gateway.services.realtime, gateway.config.realtime)).await
        }
        Target::NotBuilt => Err(Error::NotBuilt { prefix: visit.route.prefix }),
        Target::Health => operations::health(&visit.method),
        // Rare ones lie on the heap, and not in every request's memory.
        Target::Ready => Box::pin(operations::ready(gateway, visit.peer.as_ref(), &visit.method)).await,
        Target::Metrics => {
            operations::metrics(gateway, visit.peer.as_ref(), &visit.method, request.headers())
        }
        Target::Challenge => Box::pin(challenge(gateway, request.uri())).await.ok_or(Error::NoRoute),
        Target::Nobody => Err(Error::NoRoute),
    }
}

async fn challenge(gateway: &Inner, uri: &Uri) -> Option<Response<Body>> {
    gateway.https.get()?.challenge(uri.path()).await
}

/// A request for a service: project, key, caller, bounds; then the service itself.
async fn forward(
    gateway: &Inner,
    visit: &mut Visit,
    mut request: Request<Body>,
    (service, limits): (&Endpoint, ServiceLimits),
) -> Result<Response<Body>, Error> {
    if !gateway.config.direct && matches!(visit.method, Method::CONNECT | Method::TRACE) {
        return Err(Error::Method { allowed: "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS" });
    }
    let mut project = meet_project(gateway, visit).await?;
    if visit.route.target == Target::DataApi {
        project = configured(gateway, &project, limits.timeout).await?;
    }
    visit.belongs_to(&project, request.headers());
    let asking = look(gateway, visit, &project)?;
    let started = Instant::now();
    let mut admitted = admit(gateway, visit.route, &project, &request);
    // Auth looks for the session by itself, at every request.
    if let (Ok(Admitted { caller, .. }), false) = (&admitted, visit.route.target == Target::Auth)
        && let Err(refused) = strict::check(&gateway.sessions, &project, caller).await
    {
        admitted = Err(refused);
    }
    visit.admission = started.elapsed();
    if let Some(asking) = asking {
        let sent = (request.headers(), request.uri());
        limit(visit, asking, sent, admitted.as_ref().ok()).await?;
    }
    let admitted = admitted?;
    if body_limit::is_announced(request.headers(), limits.max_body_bytes) {
        let (head, body) = request.into_parts();
        Box::pin(body_limit::discard(&head.headers, body)).await;
        return Err(Error::BodyTooLarge { max_bytes: limits.max_body_bytes });
    }
    let approach = Approach::new(&visit.route, &project, &admitted.caller, service.workers().is_some());
    let turn = Turn::of(gateway, approach, &mut request);
    // Workers see the request as it came, and find out for themselves whose it is.
    if service.workers().is_none() {
        if !gateway.config.direct {
            *request.uri_mut() = inner_uri(request.uri(), visit.route.cut_bytes);
        }
        introduce(gateway, visit, &mut request, (project, admitted));
    }
    let (head, body) = request.into_parts();
    let (body, overflow) = body_limit::limit(body, limits.max_body_bytes);
    let request = Request::from_parts(head, body);
    let answering = async {
        match service.workers() {
            None => Ok(service.answer(request).await),
            Some(workers) => {
                workers.forward(request, &Passage { id: &visit.id, origin: &visit.origin }).await
            }
        }
    };
    let looks = visit.peer.as_ref().and_then(Peer::looks);
    let answer = within(limits.timeout, looks, response_cache::through(turn, answering)).await;
    if overflow.happened() {
        return Err(Error::BodyTooLarge { max_bytes: limits.max_body_bytes });
    }
    let response = answer.unwrap_or(Err(Error::Timeout))?;
    // Only realtime ends HTTP on a connection; elsewhere a status may be what a project's function made up.
    let switches =
        visit.route.target == Target::Realtime && response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if switches || response.extensions().get::<Tunnel>().is_some() {
        return Ok(response);
    }
    framing::reframe(&visit.method, response)
}

/// The project that is asked for. Who is over the operator's limit on addresses has none looked for, which would cost the
/// directory; and who asks for projects that do not exist is counted for that.
async fn meet_project(gateway: &Inner, visit: &mut Visit) -> Result<Arc<Project>, Error> {
    let (limits, class, client) = (gateway.rates.get(), Class::of(visit.route.target), visit.origin.client);
    let named = named_project(gateway, &visit.origin);
    if limits.is_some()
        && !named.as_ref().is_ok_and(|it| gateway.projects.has(it))
        && let Err((error, told)) = rate_limit::glance(limits, class, client)
    {
        visit.rates = told;
        return Err(error);
    }
    let found = match named {
        Ok(reference) => gateway.projects.find(&reference).await,
        Err(error) => Err(error),
    };
    if let Err(Error::UnknownProject) = found {
        // On the heap: not part of every request's memory.
        let (told, refused) = Box::pin(rate_limit::count_address(limits, class, client)).await;
        visit.rates = told;
        return Err(refused.unwrap_or(Error::UnknownProject));
    }
    found
}

/// Whether the client's address is over a limit, before anything is spent on it.
fn look<'a>(gateway: &'a Inner, visit: &mut Visit, project: &Project) -> Result<Option<Asking<'a>>, Error> {
    let class = Class::of(visit.route.target);
    rate_limit::look(gateway.rates.get(), class, visit.origin.client, project).map_err(|(error, told)| {
        visit.rates = told;
        error
    })
}

/// Count the request, for all that is known of it by now; one that was not admitted for its address only.
async fn limit(
    visit: &mut Visit,
    asking: Asking<'_>,
    (headers, uri): (&HeaderMap, &Uri),
    admitted: Option<&Admitted>,
) -> Result<(), Error> {
    let Some(project) = visit.project.clone() else { return Ok(()) };
    let credentials = credentials(visit.route, headers, uri);
    let caller = admitted.map(|it| &it.caller);
    let (told, refused) = rate_limit::check(asking, &project, caller, credentials.key()).await;
    visit.rates = told;
    refused.map_or(Ok(()), Err)
}

fn named_project(gateway: &Inner, origin: &Origin) -> Result<ProjectRef, Error> {
    let default = || ProjectRef::DEFAULT.parse().map_err(|_| Error::UnknownProject);
    if gateway.config.direct {
        return default();
    }
    match host::named(&origin.host, gateway.config.base_domain.as_deref()) {
        Named::Project(reference) => Ok(reference),
        Named::Default => default(),
        Named::Nobody => Err(Error::UnknownProject),
    }
}

/// `project` with the settings that its own database makes for its data API.
async fn configured(gateway: &Inner, project: &Arc<Project>, limit: Duration) -> Result<Arc<Project>, Error> {
    match gateway.projects.configured(project) {
        Configured::Known(project) => Ok(project),
        Configured::Asked(asked) => match timeout(limit, asked).await {
            Ok(Ok(project)) => Ok(project),
            Ok(Err(_told_already)) => Err(Error::NoSettings),
            Err(_elapsed) => Err(Error::Timeout),
        },
    }
}

fn credentials<'a>(route: Route, headers: &'a HeaderMap, uri: &'a Uri) -> Credentials<'a> {
    match route.target {
        Target::Realtime => Credentials::of_realtime(headers, uri.query()),
        _ => Credentials::of(headers, uri.query()),
    }
}

fn admit(
    gateway: &Inner,
    route: Route,
    project: &Project,
    request: &Request<Body>,
) -> Result<Admitted, Error> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let door = Door {
        tokens: &gateway.tokens,
        project,
        now_secs: i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX),
        needs_key: gateway.config.require_api_key,
    };
    let credentials = credentials(route, request.headers(), request.uri());
    if gateway.config.direct {
        return door.admit_directly(credentials.bearer);
    }
    match route.target {
        Target::DataApi => return door.admit_to_data(&credentials),
        Target::Realtime => return door.admit_to_realtime(&credentials),
        _ => {}
    }
    let path = request.uri().path().get(route.cut_bytes..).unwrap_or_default();
    door.admit_to_auth(&credentials, route.target.is_open(path))
}

/// Tell the service whom it has before it.
fn introduce(
    gateway: &Inner,
    visit: &Visit,
    request: &mut Request<Body>,
    (project, admitted): (Arc<Project>, Admitted),
) {
    let url = match &gateway.config.public_url {
        Some(url) if project.reference.is_default() => url.trim_end_matches('/').to_owned(),
        Some(_) | None => own_url(&gateway.config, &visit.origin),
    };
    if let Some(authorization) = admitted.authorization {
        request.headers_mut().insert(header::AUTHORIZATION, authorization);
    }
    let extensions = request.extensions_mut();
    extensions.insert(project);
    extensions.insert(admitted.caller);
    extensions.insert(visit.id.clone());
    extensions.insert(PublicUrl(url.into()));
    if let Some(address) = visit.origin.client {
        extensions.insert(ClientAddress(address));
    }
}

/// The address for links: the request's own host when that can be ours, else the one that surely is.
fn own_url(config: &Config, origin: &Origin) -> String {
    if origin.vouched || host::is_ours(&origin.host, config.base_domain.as_deref()) {
        return origin.url(&config.local_url);
    }
    config.local_url.clone()
}

/// The URI as the service sees it: path without the prefix, query without the key.
fn inner_uri(uri: &Uri, cut_bytes: usize) -> Uri {
    let path = match uri.path().get(cut_bytes..) {
        None | Some("") => "/",
        Some(path) => path,
    };
    let inner = match uri.query().and_then(credentials::without_key) {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    PathAndQuery::from_maybe_shared(bytes::Bytes::from(inner)).map_or_else(|_| Uri::default(), Uri::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Size and alignment of what `ask` returns, without asking.
    fn layout<A, B, F: Future>(_ask: fn(A, B) -> F) -> (usize, usize) {
        (size_of::<F>(), align_of::<F>())
    }

    #[test]
    fn a_request_lies_in_ordinary_memory() {
        let (size, align) = layout(enter);
        // A timer of the runtime in it would ask for 128, which allocators serve by a detour.
        assert!(align <= 16, "{align}");
        assert!(size <= 3200, "{size}");
    }

    #[test]
    fn services_see_their_own_paths() {
        let check = |uri: &'static str, cut| inner_uri(&Uri::from_static(uri), cut).to_string();
        assert_eq!(check("/rest/v1", 8), "/");
        assert_eq!(check("/rest/v1/", 8), "/");
        assert_eq!(check("/rest/v1/a%20b?select=*&apikey=k", 8), "/a%20b?select=*");
        assert_eq!(check("/auth/v1/verify?apikey=k", 8), "/verify");
        assert_eq!(check("http://h/rest/v1/x?a=%2F", 8), "/x?a=%2F");
        assert_eq!(check("/rest/v1//x", 8), "//x");
    }
}
