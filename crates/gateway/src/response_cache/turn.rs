//! One request's way through the cache: a read is answered from it or fills it, a write makes it forget, and whatever is
//! neither passes.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use common::{Caller, Dependence, NothingWritten, Project, ProjectRef, Repeatable, ResponseCache as Mode};
use futures_util::future::Either;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use serde_json::Value;
use store::{Flight, Lead};

use super::answer::{self, Answer, HIT, MISS, Terms};
use super::directives::Directives;
use super::key::{Asked, Key};
use super::{Kept, ResponseCache, Teller, ttl_of};
use crate::Error;
use crate::credentials;
use crate::forward;
use crate::route::{Route, Target};
use crate::state::Inner;

/// The cache of a gateway that has one; set once, when the services are wired.
pub(crate) type Caching = OnceLock<ResponseCache>;
/// How a worker tells of writes; set once, when the services are wired.
pub(crate) type Telling = OnceLock<Teller>;

/// By this a worker tells its proxy what [`Repeatable`] says.
const REPEATABLE: HeaderName = HeaderName::from_static("x-madbase-repeatable");
/// Its values: whether the answer depended on the whole request.
const ON_WHOLE: HeaderValue = HeaderValue::from_static("whole");
const ON_PART: HeaderValue = HeaderValue::from_static("part");
/// And that a request is refused which wrote nothing ([`NothingWritten`]).
const NOTHING: HeaderValue = HeaderValue::from_static("nothing");
/// What a worker's gateway adds to the answers of its data API for one request: ours adds its own to each.
const OF_ONE_REQUEST: [HeaderName; 5] = [
    header::DATE,
    HeaderName::from_static("sb-request-id"),
    HeaderName::from_static("server-timing"),
    header::STRICT_TRANSPORT_SECURITY,
    HeaderName::from_static("x-request-id"),
];
/// A larger answer to a write may be on its way before the write is committed.
const SURELY_COMMITTED_BYTES: u64 = 64 * 1024;

/// Whose request comes to the cache, and where it goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Approach<'a> {
    route: &'a Route,
    project: &'a Project,
    caller: &'a Caller,
    /// Whether another process answers.
    is_remote: bool,
}

impl<'a> Approach<'a> {
    /// Of an admitted request.
    pub(crate) fn new(route: &'a Route, project: &'a Project, caller: &'a Caller, is_remote: bool) -> Self {
        Self { route, project, caller, is_remote }
    }
}

/// What the cache has to do with a request.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Nothing.
    Pass,
    /// Somebody else may keep the answer: the proxy, when this is a worker.
    Tell,
    /// The answer is neither looked for nor kept.
    Bypass,
    /// Make others forget.
    Write(Writing),
    /// Look, and fill in.
    Read(Box<Reading>),
}

/// A read that may be answered from the cache.
#[derive(Debug)]
pub(crate) struct Reading {
    cache: ResponseCache,
    key: Key,
    directives: Directives,
    /// What the client has.
    known: Vec<HeaderValue>,
    /// What the key is made for.
    dependence: Dependence,
    terms: Terms,
    is_remote: bool,
    /// The header that the project wants back, when the request has it.
    trace: Option<HeaderName>,
}

/// A write that runs. Dropped before it has ended, it leaves its project in doubt.
#[derive(Debug)]
pub(crate) struct Writing {
    teller: Teller,
    project: ProjectRef,
    /// Whether its method promises to change nothing.
    is_safe: bool,
    /// Whether another process answers.
    is_remote: bool,
    /// Whether the proxy before this worker wants to know as well.
    is_told: bool,
    has_ended: bool,
}

impl Turn {
    /// What the cache has to do with `request`, whose path is still the client's. A worker is asked for a plain answer:
    /// it is compressed here, for each client in its own way.
    pub(crate) fn of(gateway: &Inner, approach: Approach<'_>, request: &mut Request<Body>) -> Self {
        if approach.is_remote {
            // The worker will not see them: nor may the key.
            forward::drop_named(request.headers_mut());
        }
        let turn = Self::choose(gateway, approach, request);
        if let (Self::Read(_), true) = (&turn, approach.is_remote) {
            request.headers_mut().remove(header::ACCEPT_ENCODING);
        }
        turn
    }

    fn choose(gateway: &Inner, approach: Approach<'_>, request: &Request<Body>) -> Self {
        let Approach { route, project, .. } = approach;
        if project.rest.response_cache == Mode::Off {
            return Self::Pass;
        }
        let cache = gateway.responses.get();
        let path = request.uri().path().get(route.cut_bytes..).unwrap_or_default();
        // A worker tells too: the proxy may have lost PostgreSQL, or the worker.
        if let Some(teller) = cache.map(|it| &it.inner.teller).or_else(|| gateway.tells.get())
            && may_write(route.target, request.method(), path)
        {
            let (teller, project) = (teller.clone(), project.reference.clone());
            let is_safe = request.method().is_safe();
            let (is_remote, is_told, has_ended) = (approach.is_remote, cache.is_none(), false);
            return Self::Write(Writing { teller, project, is_safe, is_remote, is_told, has_ended });
        }
        let Some(cache) = cache else {
            return if route.target == Target::DataApi { Self::Tell } else { Self::Pass };
        };
        if route.target != Target::DataApi || request.method() == Method::OPTIONS {
            return Self::Pass;
        }
        match Reading::of(cache, gateway.projects.dependence(project), approach, request) {
            Some(reading) => Self::Read(Box::new(reading)),
            None => Self::Bypass,
        }
    }
}

/// Whether a request may change what the data API shows. Of auth all but a few reads do: links in mails sign in, and
/// triggers on its tables are the project's.
fn may_write(target: Target, method: &Method, path: &str) -> bool {
    let is_safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    let reads = ["/user", "/settings", "/health"];
    let reads = reads.contains(&path) || path.starts_with("/.well-known/");
    // Broadcasts change nothing that is kept.
    (!is_safe && target != Target::Realtime)
        || (target == Target::Auth && *method != Method::OPTIONS && !reads)
}

impl Reading {
    /// `None` when nothing of it can be kept.
    fn of(
        cache: &ResponseCache,
        dependence: Option<Dependence>,
        approach: Approach<'_>,
        request: &Request<Body>,
    ) -> Option<Self> {
        let Approach { route, project, caller, is_remote } = approach;
        let directives = Directives::of(request.headers(), project.rest.response_cache)?;
        let dependence = dependence?;
        if is_remote && dependence.on_whole_request {
            // What the worker's database sees is not what is here: on its way the gateway writes the client's address,
            // the host and more into the headers (`forward::head`).
            return None;
        }
        let version = cache.inner.teller.versions.of(&project.reference)?;
        let settings = &cache.inner.settings;
        let expires_secs = caller.claims.map.get("exp").map(|it| expiry(it).unwrap_or(0));
        let ttl = ttl_of(settings, project, expires_secs)?;
        let path = request.uri().path().get(route.cut_bytes..)?;
        let query = request.uri().query().and_then(credentials::without_key);
        let (method, headers) = (request.method(), request.headers());
        let trace = project.rest.server_trace_header.as_deref().and_then(|it| it.parse::<HeaderName>().ok());
        let asked = Asked { method, path, query: query.as_deref(), headers };
        let terms = Terms {
            version,
            ttl,
            max_body_bytes: settings.max_body_bytes,
            has_body: *method != Method::HEAD,
        };
        Some(Self {
            cache: cache.clone(),
            key: Key::of(project, dependence, caller, asked),
            directives,
            dependence,
            known: headers.get_all(header::IF_NONE_MATCH).iter().cloned().collect(),
            terms,
            is_remote,
            trace: trace.filter(|it| headers.contains_key(it)),
        })
    }

    async fn through(
        self,
        answering: impl Future<Output = Result<Response<Body>, Error>>,
    ) -> Result<Response<Body>, Error> {
        let inner = &self.cache.inner;
        let version = self.terms.version;
        let joins = match self.cache.look(&self.key, version, &self.directives) {
            Some(Kept::Answer(answer)) => {
                inner.measures.hits.increment(1);
                return Ok(answer.give(HIT, &self.known));
            }
            Some(Kept::Hopeless) => false,
            None => self.directives.take(std::time::Duration::ZERO),
        };
        let flight = joins.then(|| inner.flights.board(&self.key, version.mark()));
        let lead = match flight {
            Some(Flight::Lead(lead)) => Some(lead),
            Some(Flight::Follow(flight)) => {
                // Of this version: whatever was written here, or heard of, before this request came is in it.
                if let Some(answer) = flight.landed().await.filter(|it| it.version == version) {
                    inner.measures.hits.increment(1);
                    inner.measures.joined.increment(1);
                    return Ok(answer.give(HIT, &self.known));
                }
                None
            }
            None => None,
        };
        inner.measures.misses.increment(1);
        self.read(answering.await?, lead).await
    }

    /// Fill in what the service answered.
    async fn read(
        self,
        mut response: Response<Body>,
        lead: Option<Lead<Key, Arc<Answer>>>,
    ) -> Result<Response<Body>, Error> {
        let is_repeatable = is_repeatable(&mut response, self.dependence, self.is_remote);
        let extensions = response.extensions().clone();
        let own = if self.is_remote { self.take_own(response.headers_mut()) } else { HeaderMap::new() };
        let answer = if is_repeatable { Answer::of(response, self.terms).await } else { Err(response) };
        match answer {
            Ok(answer) => {
                let answer = Arc::new(answer);
                let mut given = answer.give(MISS, &self.known);
                *given.extensions_mut() = extensions;
                given.headers_mut().extend(own);
                self.cache.keep(self.key, &answer);
                if let Some(lead) = lead {
                    lead.land(answer);
                }
                Ok(given)
            }
            Err(mut response) => {
                // An error may be gone the next time.
                if response.status().is_success() {
                    self.cache.inner.kept.insert(self.key, Kept::Hopeless);
                }
                answer::mark_missed(&mut response);
                response.headers_mut().extend(own);
                Ok(response)
            }
        }
    }

    /// What a worker says of this request alone, taken out of its answer.
    fn take_own(&self, headers: &mut HeaderMap) -> HeaderMap {
        let names = OF_ONE_REQUEST.into_iter().chain(self.trace.clone());
        names.filter_map(|name| headers.remove(&name).map(|value| (name, value))).collect()
    }
}

/// The answer of `answering`, by what the cache has to do with it: nothing costs nothing, anything else an allocation.
pub(crate) fn through<A>(turn: Turn, answering: A) -> impl Future<Output = Result<Response<Body>, Error>>
where
    A: Future<Output = Result<Response<Body>, Error>>,
{
    match turn {
        Turn::Pass => Either::Left(answering),
        turn => Either::Right(Box::pin(take(turn, answering))),
    }
}

async fn take(
    turn: Turn,
    answering: impl Future<Output = Result<Response<Body>, Error>>,
) -> Result<Response<Body>, Error> {
    match turn {
        Turn::Pass => answering.await,
        Turn::Tell => {
            let mut response = answering.await?;
            tell(&mut response);
            Ok(response)
        }
        Turn::Bypass => {
            let mut response = answering.await?;
            response.headers_mut().remove(REPEATABLE);
            answer::mark_missed(&mut response);
            Ok(response)
        }
        Turn::Write(writing) => {
            let mut response = answering.await?;
            let is_nothing = writing.is_nothing(&mut response);
            Ok(writing.end(response, is_nothing).await)
        }
        Turn::Read(reading) => reading.through(answering).await,
    }
}

impl Writing {
    /// Whether the service says that nothing was written. What a function of the database says there counts for nothing: a
    /// worker takes it out.
    fn is_nothing(&self, response: &mut Response<Body>) -> bool {
        let told = response.headers_mut().remove(REPEATABLE).is_some_and(|it| it == NOTHING);
        let known = response.extensions_mut().remove::<NothingWritten>().is_some();
        let is_nothing = response.status().is_client_error() && if self.is_remote { told } else { known };
        if is_nothing && self.is_told {
            response.headers_mut().insert(REPEATABLE, NOTHING);
        }
        is_nothing
    }

    /// The write was answered. PostgreSQL has the notification before the client has the answer; other processes may read
    /// it only after that. Unless nobody knows yet how the write ended: the answer may be ahead of the commit, and the
    /// service may have lost a connection on which PostgreSQL goes on.
    async fn end(mut self, response: Response<Body>, is_nothing: bool) -> Response<Body> {
        let status = response.status();
        if status.is_server_error() {
            return response;
        }
        if is_nothing || (self.is_safe && status.is_client_error()) {
            // A body that makes no sense, or a link that does not hold; anybody could make everything new by it.
            self.has_ended = true;
            return response;
        }
        let size = response.body().size_hint().exact();
        if size.is_some_and(|it| it <= SURELY_COMMITTED_BYTES) {
            self.has_ended = true;
            self.teller.changed(&self.project).await;
            return response;
        }
        response.map(|body| Body::new(Held { body, _writing: self }))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if !self.has_ended {
            self.teller.doubt(&self.project);
        }
    }
}

/// A body at whose end its write has ended.
#[derive(Debug)]
struct Held {
    body: Body,
    _writing: Writing,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whether the service says so, of what we think that it depends on: by an extension here, by a header from another
/// process.
fn is_repeatable(response: &mut Response<Body>, dependence: Dependence, is_remote: bool) -> bool {
    let told = response.extensions_mut().remove::<Repeatable>();
    if is_remote {
        // Its generations are other numbers. On a whole request depends what is not kept here.
        return response.headers_mut().remove(REPEATABLE).is_some_and(|it| it == ON_PART);
    }
    told.is_some_and(|it| it.dependence == dependence)
}

/// Say it to the proxy; what a function of the database says there counts for nothing.
fn tell(response: &mut Response<Body>) {
    response.headers_mut().remove(REPEATABLE);
    if let Some(repeatable) = response.extensions_mut().remove::<Repeatable>() {
        let on = if repeatable.dependence.on_whole_request { ON_WHOLE } else { ON_PART };
        response.headers_mut().insert(REPEATABLE, on);
    } else if response.extensions_mut().remove::<NothingWritten>().is_some() {
        response.headers_mut().insert(REPEATABLE, NOTHING);
    }
}

/// `exp`, in seconds since 1970.
#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and a saturated date compares right")]
fn expiry(date: &Value) -> Option<i64> {
    date.as_i64().or_else(|| date.as_f64().map(|it| it as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_may_write_is_known_as_such() {
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert!(may_write(Target::DataApi, &method, "/x"), "{method}");
        }
        assert!(!may_write(Target::DataApi, &Method::GET, "/rpc/f"));
        assert!(!may_write(Target::DataApi, &Method::HEAD, "/x"));
        for path in ["/verify", "/callback", "/authorize", "/user/", "/admin/users", "/sso/saml/acs"] {
            assert!(may_write(Target::Auth, &Method::GET, path), "{path}");
        }
        for path in ["/user", "/settings", "/health", "/.well-known/jwks.json", "/.well-known/none"] {
            assert!(!may_write(Target::Auth, &Method::GET, path), "{path}");
        }
        assert!(may_write(Target::Auth, &Method::PUT, "/user"));
    }
}
