//! What happens to every request, spelled out; each step is a module of its own.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use common::{ClientAddress, Configured, Project, ProjectRef, PublicUrl, RequestId, Verbosity};
use futures_util::FutureExt as _;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body::Body as _;
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
    gateway.into()
}

/// When somebody looked at the clock last: requests that need not wait look once.
#[derive(Debug, Clone, Copy)]
struct Moment {
    instant: Instant,
    since_1970: Duration,
}

impl Moment {
    fn now() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { instant: Instant::now(), since_1970 }
    }
}

/// What is known about a request before anybody answers it, and kept for the way back.
struct Visit {
    id: RequestId,
    route: Route,
    origin: Origin,
    peer: Option<Arc<Peer>>,
    method: Method,
    arrived: Instant,
    now: Moment,
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
    fn of(gateway: &Inner, request: &mut Request<Body>, peer: Option<Arc<Peer>>) -> Self {
        host::write(request);
        let hop = peer.as_deref().map(Peer::hop);
        let route = if gateway.config.direct { route::DIRECT } else { route::find(request.uri().path()) };
        let origin = Origin::of(hop, request.headers(), request.uri(), gateway.trusted_proxies());
        let span = traced::arrive(request, route, &origin);
        let now = Moment::now();
        // One pass over all instead of a search for each: there are few as a rule.
        let (mut page, mut accept_encoding, mut api_version) = (None, None, None);
        for (name, value) in request.headers() {
            let place = match *name {
                header::ORIGIN => &mut page,
                header::ACCEPT_ENCODING => &mut accept_encoding,
                _ if *name == API_VERSION => &mut api_version,
                _ => continue,
            };
            place.get_or_insert_with(|| value.clone());
        }
        Self {
            id: gateway.request_ids.of(request.headers(), now.since_1970),
            route,
            origin,
            peer,
            method: request.method().clone(),
            arrived: now.instant,
            now,
            project: None,
            admission: Duration::ZERO,
            trace: None,
            rates: Told::default(),
            page,
            accept_encoding,
            api_version,
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
pub(crate) async fn enter(
    gateway: &Inner,
    mut request: Request<Body>,
    peer: Option<Arc<Peer>>,
) -> Response<Body> {
    let mut visit = Visit::of(gateway, &mut request, peer);
    let span = visit.span.clone();
    let answer = {
        // Large: it stays where it is.
        let answering = pin!(answer(gateway, &mut visit, request));
        trace::within(span, AssertUnwindSafe(answering).catch_unwind()).await
    };
    let mut response = match answer.unwrap_or(Err(Error::Panicked)) {
        Ok(response) => response,
        Err(error) => refuse(&error, &visit),
    };
    timing::tell(visit.project.as_deref(), visit.admission, &mut response);
    let headers = response.headers_mut();
    let marked = (visit.route.target, !visit.rates.is_empty());
    cors::mark(marked, visit.origins(&gateway.config), visit.page.as_ref(), headers);
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
        took: visit.arrived.elapsed(),
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
            https.elsewhere(visit.route.target, (&visit.origin, visit.peer.as_deref()), &request)
    {
        return Ok(elsewhere);
    }
    if cors::is_preflight(&visit.method, request.headers()) {
        // Its project may allow other origins than the operator does; without one the operator's hold.
        if visit.route.target == Target::DataApi
            && let Ok(project) = meet_project(gateway, visit).await
        {
            let limit = gateway.config.directory_timeout;
            let configured = configured(gateway, (visit, &project), limit).await;
            visit.belongs_to(&configured.unwrap_or(project), request.headers());
        }
        return Ok(cors::preflight(visit.route.target, request.headers()));
    }
    let (services, config) = (&gateway.services, &gateway.config);
    match visit.route.target {
        Target::Auth => forward(gateway, visit, request, (&services.auth, config.auth)),
        Target::DataApi => forward(gateway, visit, request, (&services.data_api, config.data_api)),
        Target::Realtime => forward(gateway, visit, request, (&services.realtime, config.realtime)),
        // Rare, and not in every request's memory.
        _ => return Box::pin(operate(gateway, visit, request)).await,
    }
    .await
}

/// A request that no service answers.
async fn operate(gateway: &Inner, visit: &Visit, request: Request<Body>) -> Result<Response<Body>, Error> {
    let (peer, method) = (visit.peer.as_deref(), &visit.method);
    match visit.route.target {
        Target::Health => operations::health(method),
        Target::Ready => operations::ready(gateway, peer, method).await,
        Target::Metrics => operations::metrics(gateway, peer, method, request.headers()),
        Target::Challenge => challenge(gateway, request.uri()).await.ok_or(Error::NoRoute),
        Target::NotBuilt => Err(Error::NotBuilt { prefix: visit.route.prefix }),
        Target::Auth | Target::DataApi | Target::Realtime | Target::Nobody => Err(Error::NoRoute),
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
        project = configured(gateway, (visit, &project), limits.timeout).await?;
    }
    visit.belongs_to(&project, request.headers());
    let asking = look(gateway, visit, &project)?;
    let times = project.rest.server_timing_enabled.then(Instant::now);
    let shown = shown(visit.route, &request);
    let mut admitted = admit(gateway, visit, &project, (&request, &shown));
    // Auth looks for the session by itself, at every request.
    if let (Ok(Admitted { caller, .. }), false) = (&admitted, visit.route.target == Target::Auth)
        && let Err(refused) = strict::check(&gateway.sessions, &project, caller).await
    {
        admitted = Err(refused);
    }
    visit.admission = times.map(|it| it.elapsed()).unwrap_or_default();
    if let Some(asking) = asking {
        let admitted = admitted.as_ref().ok().map(|it| (&it.caller, shown.key()));
        let refused;
        (visit.rates, refused) = rate_limit::check(asking, &project, admitted).await;
        refused.map_or(Ok(()), Err)?;
    }
    let admitted = admitted?;
    if !request.body().is_end_stream() && body_limit::is_announced(request.headers(), limits.max_body_bytes) {
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
    let overflow = body_limit::limit(request.body_mut(), limits.max_body_bytes);
    let looks = visit.peer.as_deref().and_then(|it| it.looks(request.version()));
    let answer = {
        let answering = pin!(async {
            match service.workers() {
                None => Ok(service.answer(request).await),
                Some(workers) => {
                    workers.forward(request, &Passage { id: &visit.id, origin: &visit.origin }).await
                }
            }
        });
        let answering = pin!(response_cache::through(turn, answering));
        within((visit.arrived, limits.timeout), looks, answering).await
    };
    if overflow.happened() {
        return Err(Error::BodyTooLarge { max_bytes: limits.max_body_bytes });
    }
    take_over(visit, answer.unwrap_or(Err(Error::Timeout))?)
}

/// What a service answered, as it goes out.
fn take_over(visit: &Visit, response: Response<Body>) -> Result<Response<Body>, Error> {
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
    if let Ok(reference) = &named
        && let Some(project) = gateway.projects.recent(reference, visit.arrived)
    {
        return Ok(project);
    }
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
    visit.now = Moment::now();
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
    let asks = (visit.origin.client, visit.now.instant);
    rate_limit::look(gateway.rates.get(), class, asks, project).map_err(|(error, told)| {
        visit.rates = told;
        error
    })
}

fn named_project(gateway: &Inner, origin: &Origin) -> Result<ProjectRef, Error> {
    let default = || Ok(gateway.default_project.clone());
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
async fn configured(
    gateway: &Inner,
    (visit, project): (&mut Visit, &Arc<Project>),
    limit: Duration,
) -> Result<Arc<Project>, Error> {
    let asked = match gateway.projects.configured(project) {
        Configured::Known(project) => return Ok(project),
        Configured::Asked(asked) => timeout(limit, asked).await,
    };
    visit.now = Moment::now();
    match asked {
        Ok(Ok(project)) => Ok(project),
        Ok(Err(_told_already)) => Err(Error::NoSettings),
        Err(_elapsed) => Err(Error::Timeout),
    }
}

fn shown(route: Route, request: &Request<Body>) -> Credentials<'_> {
    match route.target {
        Target::Realtime => Credentials::of_realtime(request.headers(), request.uri().query()),
        _ => Credentials::of(request.headers(), request.uri().query()),
    }
}

fn admit(
    gateway: &Inner,
    visit: &Visit,
    project: &Project,
    (request, shown): (&Request<Body>, &Credentials<'_>),
) -> Result<Admitted, Error> {
    let route = visit.route;
    let door = Door {
        tokens: &gateway.tokens,
        project,
        now_secs: i64::try_from(visit.now.since_1970.as_secs()).unwrap_or(i64::MAX),
        needs_key: gateway.config.require_api_key,
    };
    if gateway.config.direct {
        return door.admit_directly(shown.bearer);
    }
    match route.target {
        Target::DataApi => return door.admit_to_data(shown),
        Target::Realtime => return door.admit_to_realtime(shown),
        _ => {}
    }
    let path = request.uri().path().get(route.cut_bytes..).unwrap_or_default();
    door.admit_to_auth(shown, route.target.is_open(path))
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
    fn layout<A, B, C, F: Future>(_ask: fn(A, B, C) -> F) -> (usize, usize) {
        (size_of::<F>(), align_of::<F>())
    }

    #[test]
    fn a_request_lies_in_ordinary_memory() {
        let (size, align) = layout(|gateway: &'static Inner, request, peer| enter(gateway, request, peer));
        // A timer of the runtime in it would ask for 128, which allocators serve by a detour.
        assert!(align <= 16, "{align}");
        assert!(size <= 4800, "{size}");
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
