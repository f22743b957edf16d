//! The service's door: path and method → action, then the pipeline request → plan → sql → run → response.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request as HttpRequest;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use common::{Caller, OpenApiMode, Project, RestSettings};
use http::header::HOST;
use http::request::Parts;
use http::{Method, StatusCode};
use store::{Databases, Delivery, Session};

use crate::catalog::{Catalog, Catalogs, Known};
use crate::error::{Error, RequestError};
use crate::events::Event;
use crate::plan::{self, Context, Shaped};
use crate::prepared::{Asked, Prepared, Shape};
use crate::request::prefer::Count;
use crate::request::{self, Action, MediaType, Parameters, Request};
use crate::run::{self, Check, Form, Outcome, Runner};
use crate::watch::Watch;
use crate::{Config, openapi, response, sql};

mod repeatable;

/// Handles of the service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DataApi {
    config: Arc<Config>,
    databases: Databases,
    catalogs: Catalogs,
}

impl DataApi {
    /// Nothing is connected or loaded yet.
    #[must_use]
    pub fn new(config: Config, databases: Databases) -> Self {
        let config = Arc::new(config);
        let catalogs = Catalogs::new(databases.clone(), Arc::clone(&config));
        Self { config, databases, catalogs }
    }

    /// Load the catalog of `project` now, so that its first request need not wait. If an older version of the project is
    /// served already, it stays until the new one is loaded.
    ///
    /// # Errors
    /// [`Error::NoCatalog`] when it cannot be loaded.
    pub async fn warm(&self, project: &Arc<Project>) -> Result<(), Error> {
        self.catalogs.renew(project).await
    }

    /// `project` with the settings that its own database makes, if they are known; costs a look into memory.
    #[must_use]
    pub fn known(&self, project: &Project) -> Option<Arc<Project>> {
        self.catalogs.known(project).map(|it| Arc::clone(&it.project))
    }

    /// The schema cache of `project` as JSON, as PostgREST's admin server shows it; `None` when it is not loaded.
    #[must_use]
    pub fn schema_cache(&self, project: &Project) -> Option<String> {
        self.catalogs.known(project).map(|it| it.catalog.dump().to_string())
    }

    /// `project` with the settings that its own database makes; asks the database when they are not known yet.
    ///
    /// # Errors
    /// [`Error::NoCatalog`] when the database does not answer.
    pub async fn configured(&self, project: &Arc<Project>) -> Result<Arc<Project>, Error> {
        self.catalogs.of(project).await.map(|it| Arc::clone(&it.project))
    }

    /// Answer `request` for `/`, `/{relation}` or `/rpc/{function}`; its extensions say whose it is.
    pub async fn answer(self, mut request: HttpRequest) -> Response {
        let extensions = request.extensions_mut();
        let (Some(project), Some(caller)) = (extensions.remove::<Arc<Project>>(), extensions.remove()) else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let known = match self.catalogs.of(&project).await {
            Ok(known) => known,
            Err(error) => return refuse(&error, &project),
        };
        match pipeline(&self, &known, &caller, request).await {
            Ok(response) => response,
            Err(error) => refuse(&error, &known.project),
        }
    }
}

/// What a path is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Root,
    Relation(String),
    Function(String),
}

impl Target {
    fn parse(path: &str) -> Result<Self, RequestError> {
        let decode = |it: &str| percent_encoding::percent_decode_str(it).decode_utf8_lossy().into_owned();
        let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
        match (parts.next(), parts.next(), parts.next()) {
            (None | Some(""), None, _) => Ok(Self::Root),
            (Some(name), None, _) => Ok(Self::Relation(decode(name))),
            (Some("rpc"), Some(name), None) if !name.is_empty() => Ok(Self::Function(decode(name))),
            _ => Err(RequestError::Path),
        }
    }

    /// With `/` being what the settings say.
    fn resolve(self, settings: &RestSettings) -> Result<Self, RequestError> {
        match (self, settings.openapi_mode, &settings.db_root_spec) {
            (Self::Root, OpenApiMode::Disabled, _) => Err(RequestError::RootDisabled),
            (Self::Root, _, Some(function)) => {
                let name = function.rsplit_once('.').map_or(function.as_str(), |(_schema, name)| name);
                Ok(Self::Function(name.to_owned()))
            }
            (target, ..) => Ok(target),
        }
    }

    /// What `method` does to it; `None` is OPTIONS.
    fn action(&self, method: &Method) -> Result<Option<Action>, RequestError> {
        let action = match (self, method.as_str()) {
            (_, "OPTIONS") => return Ok(None),
            (Self::Relation(_) | Self::Root, "GET" | "HEAD") => Action::Read,
            (Self::Relation(_), "POST") => Action::Insert,
            (Self::Relation(_), "PUT") => Action::Put,
            (Self::Relation(_), "PATCH") => Action::Update,
            (Self::Relation(_), "DELETE") => Action::Delete,
            (Self::Function(_), "GET" | "HEAD") => Action::CallByGet,
            (Self::Function(_), "POST") => Action::Call,
            (Self::Function(_), _) => return Err(RequestError::FunctionMethod(method.clone())),
            _ => return Err(RequestError::Method(method.clone())),
        };
        Ok(Some(action))
    }
}

fn refuse(error: &Error, project: &Project) -> Response {
    if error.is_raised() {
        Event::Raised { error }.emit();
    } else if error.kind().is_our_fault() {
        Event::Failed { error }.emit();
    }
    response::error(error, project.rest.client_error_verbosity)
}

async fn pipeline(
    api: &DataApi,
    known: &Known,
    caller: &Caller,
    request: HttpRequest,
) -> Result<Response, Error> {
    let Known { project, catalog, .. } = known;
    let watch = Watch::start(project.rest.server_timing_enabled);
    let (parts, body) = request.into_parts();
    let limit = api.config.limits.query_bytes;
    if parts.uri.query().is_some_and(|it| it.len() > limit) {
        return Err(RequestError::QueryTooLong(limit).into());
    }
    let target = Target::parse(parts.uri.path())?.resolve(&project.rest)?;
    let exchange = Exchange { api, project, caller, catalog, parts: &parts, watch };
    let answered = match (target.action(&parts.method)?, &target) {
        (None, target) => exchange.options(target),
        (Some(action), Target::Root) => Box::pin(exchange.describe(action)).await,
        (Some(action @ Action::Read), Target::Relation(name)) => exchange.read(action, name).await,
        (Some(action), Target::Relation(name)) => {
            exchange.write(action, name, api.body(action, body).await?).await
        }
        (Some(action), Target::Function(name)) => {
            exchange.call(action, name, api.body(action, body).await?).await
        }
    };
    answered.map(|mut response| {
        if let Some(repeatable) = repeatable::of(&exchange, known, &target) {
            response.extensions_mut().insert(repeatable);
        }
        if let Some(times) = exchange.watch.times() {
            response.extensions_mut().insert(times);
        }
        response
    })
}

impl DataApi {
    /// The whole body, if it means anything.
    async fn body(&self, action: Action, body: Body) -> Result<Bytes, RequestError> {
        if !action.has_body() {
            return Ok(Bytes::new());
        }
        let limit = self.config.max_body_bytes;
        axum::body::to_bytes(body, limit).await.map_err(|error| {
            let source = std::error::Error::source(&error);
            if source.is_some_and(|it| it.is::<http_body_util::LengthLimitError>()) {
                RequestError::BodyTooLarge(limit)
            } else {
                RequestError::Body("The request body was cut off".into())
            }
        })
    }
}

/// One request with all that is known about it from outside.
struct Exchange<'a> {
    api: &'a DataApi,
    project: &'a Arc<Project>,
    caller: &'a Caller,
    catalog: &'a Catalog,
    parts: &'a Parts,
    watch: Watch,
}

impl<'a> Exchange<'a> {
    fn parameters(&self) -> Parameters<'a> {
        Parameters::decode(self.parts.uri.query().unwrap_or_default())
    }

    fn head(&self) -> request::Head<'a> {
        request::Head {
            method: &self.parts.method,
            headers: &self.parts.headers,
            settings: &self.project.rest,
            limits: &self.api.config.limits,
        }
    }

    fn context<'r>(&'r self, request: &'r Request<'r>) -> Context<'r> {
        Context { catalog: self.catalog, settings: &self.project.rest, request }
    }

    /// The settings of the transaction.
    fn session(&self, request: &Request<'_>, name: &str, function_settings: &[String]) -> store::Session {
        self.watch.planned();
        let session = run::session(
            self.caller,
            run::Head {
                method: &self.parts.method,
                path: self.parts.uri.path(),
                headers: &self.parts.headers,
                request,
                settings: &self.project.rest,
                is_read: self.catalog.uses.request,
                is_sociable: self.catalog.is_sociable(request, name),
                role_settings: self.catalog.role_settings(self.caller.role()),
                function_settings,
            },
        );
        repeatable::session(self, session)
    }

    /// `GET`, `HEAD /`: what the schema offers.
    async fn describe(&self, action: Action) -> Result<Response, Error> {
        let parameters = self.parameters();
        let request = Request::parse(self.head(), action, &parameters, Bytes::new())?;
        self.watch.parsed();
        openapi::negotiate(&request.accepts)?;
        let settings = &self.project.rest;
        let statement = openapi::statement(request.schema, settings.openapi_mode);
        let session = Session { delivery: Delivery::Whole, ..self.session(&request, "", &[]) };
        let answer = self.api.databases.of(self.project).await.read(&session, &statement).await;
        self.watch.ran();
        let answer = answer.map_err(|it| Error::of_store(it, self.caller.authenticated))?;
        let context = openapi::Context {
            catalog: self.catalog,
            schema: request.schema,
            usable: &openapi::Usable::read(&answer).map_err(Error::Store)?,
            settings,
            version: &self.api.config.postgrest_version,
        };
        let host = request::text_of(&self.parts.headers, &HOST);
        let proxy = settings.openapi_server_proxy_uri.as_deref();
        let public = self.parts.extensions.get().map(|it| (it, self.api.config.base_path.as_str()));
        let server = openapi::Server::of(proxy, public, host);
        Ok(response::description(&request, openapi::document(context, &server)))
    }

    /// `GET`, `HEAD /{relation}`: rows.
    async fn read(&self, action: Action, name: &str) -> Result<Response, Error> {
        let parameters = self.parameters();
        let asked = Asked { head: self.head(), action, name, parameters: &parameters };
        if let Some((prepared, shape)) = self.prepared(asked, &Bytes::new()) {
            return self.run_prepared(asked, &prepared, &shape).await;
        }
        // Apart, so that the usual case is not as large as the largest.
        Box::pin(self.read_afresh(action, name, &parameters)).await
    }

    /// As [`Self::read`], parsed and planned.
    async fn read_afresh(
        &self,
        action: Action,
        name: &str,
        parameters: &Parameters<'_>,
    ) -> Result<Response, Error> {
        let request = Request::parse(self.head(), action, parameters, Bytes::new())?;
        self.watch.parsed();
        let shaped = plan::read(self.context(&request), name)?;
        let max_rows = self.project.rest.db_max_rows;
        let statement = sql::read(&shaped, request.preferences.count, max_rows);
        let session = self.session(&request, name, &[]);
        let database = self.api.databases.of(self.project).await;
        let runner =
            Runner { database: &database, session: &session, authenticated: self.caller.authenticated };
        let check = Check::of(&request, &shaped.media);
        let mut outcome = runner.read(&statement, Form::of(&shaped), check).await?;
        self.watch.ran();
        if let MediaType::Plan(_) = &shaped.media {
            return Ok(response::plan(&request, &shaped.media, &mut outcome));
        }
        self.guess(&request, &shaped, runner, &mut outcome).await?;
        let from = (name, parameters);
        let response = response::read(
            &request,
            from,
            &shaped.media,
            &mut outcome,
            self.project.rest.client_error_verbosity,
        )?;
        Ok(self.warned(response, &shaped))
    }

    /// The statement of this request's shape, planned now if it was not before.
    fn prepared<'p>(&self, asked: Asked<'p>, body: &Bytes) -> Option<(Arc<Prepared>, Shape<'p>)> {
        let shape = Shape::of(asked, body)?;
        let kept = &self.catalog.prepared;
        if let Some(prepared) = kept.get(&shape) {
            return Some((prepared, shape));
        }
        let prepared = Arc::new(Prepared::plan(asked, self.catalog, &shape, body)?);
        kept.keep(&shape, &prepared, self.api.config.max_plans);
        Some((prepared, shape))
    }

    /// Run and answer what needs neither parsing nor planning.
    async fn run_prepared(
        &self,
        asked: Asked<'_>,
        prepared: &Prepared,
        shape: &Shape<'_>,
    ) -> Result<Response, Error> {
        let request = prepared.request();
        self.watch.parsed();
        let overloads = self.catalog.functions(request.schema, asked.name);
        let function = prepared.function(overloads).filter(|_| asked.action == Action::Call);
        let session = self.session(&request, asked.name, function.map_or(&[], |it| &it.settings));
        let database = self.api.databases.of(self.project).await;
        let runner =
            Runner { database: &database, session: &session, authenticated: self.caller.authenticated };
        let (statement, form, check) = (prepared.statement(shape), prepared.form, prepared.check);
        let mut outcome = if prepared.is_read_only {
            runner.read(&statement, form, check).await?
        } else {
            let keep = run::keeps(&self.project.rest, &request.preferences);
            runner.write(&statement, form, (check, keep)).await?
        };
        self.watch.ran();
        let (media, verbosity) = (&prepared.media, self.project.rest.client_error_verbosity);
        let from = (asked.name, asked.parameters);
        Ok(match function {
            Some(function) => response::call(&request, function, media, &mut outcome, verbosity)?,
            None if prepared.is_read_only => response::read(&request, from, media, &mut outcome, verbosity)?,
            None => {
                let table = self.catalog.table(request.schema, asked.name)?;
                response::write(&request, table, media, &mut outcome)?
            }
        })
    }

    /// Replace the total by the planner's guess where the client prefers it.
    async fn guess(
        &self,
        request: &Request<'_>,
        shaped: &Shaped<'_>,
        runner: Runner<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        let max_rows = self.project.rest.db_max_rows.and_then(|it| i64::try_from(it).ok());
        let is_beyond = max_rows.is_none_or(|max| outcome.total.is_some_and(|it| it > max));
        let wanted = match request.preferences.count {
            Some(Count::Planned) => true,
            Some(Count::Estimated) => is_beyond,
            Some(Count::Exact) | None => false,
        };
        if wanted {
            let planned = runner.planned_rows(&sql::planned_count(&shaped.rows)).await?;
            outcome.total = outcome.total.max(planned);
        }
        Ok(())
    }

    /// `POST`, `PUT`, `PATCH`, `DELETE /{relation}`: rows are written.
    async fn write(&self, action: Action, name: &str, body: Bytes) -> Result<Response, Error> {
        let parameters = self.parameters();
        let asked = Asked { head: self.head(), action, name, parameters: &parameters };
        if let Some((prepared, shape)) = self.prepared(asked, &body) {
            return self.run_prepared(asked, &prepared, &shape).await;
        }
        Box::pin(self.write_afresh(action, name, (&parameters, body))).await
    }

    /// As [`Self::write`], parsed and planned.
    async fn write_afresh(
        &self,
        action: Action,
        name: &str,
        (parameters, body): (&Parameters<'_>, Bytes),
    ) -> Result<Response, Error> {
        let request = Request::parse(self.head(), action, parameters, body)?;
        self.watch.parsed();
        let plan = plan::write(self.context(&request), name)?;
        let with_location = plan.has_location(&request);
        let statement = sql::write(&plan, with_location);
        let session = self.session(&request, name, &[]);
        let database = self.api.databases.of(self.project).await;
        let runner =
            Runner { database: &database, session: &session, authenticated: self.caller.authenticated };
        let media = &plan.shaped.media;
        let end = (Check::of(&request, media), run::keeps(&self.project.rest, &request.preferences));
        let mut outcome = runner.write(&statement, Form::of(&plan.shaped), end).await?;
        self.watch.ran();
        if let MediaType::Plan(_) = media {
            return Ok(response::plan(&request, media, &mut outcome));
        }
        let response = response::write(&request, plan.table, media, &mut outcome)?;
        Ok(self.warned(response, &plan.shaped))
    }

    /// `GET`, `HEAD`, `POST /rpc/{function}`: a function is called.
    async fn call(&self, action: Action, name: &str, body: Bytes) -> Result<Response, Error> {
        let parameters = self.parameters();
        let asked = Asked { head: self.head(), action, name, parameters: &parameters };
        if let Some((prepared, shape)) = self.prepared(asked, &body) {
            return self.run_prepared(asked, &prepared, &shape).await;
        }
        Box::pin(self.call_afresh(action, name, (&parameters, body))).await
    }

    /// As [`Self::call`], parsed and planned.
    async fn call_afresh(
        &self,
        action: Action,
        name: &str,
        (parameters, body): (&Parameters<'_>, Bytes),
    ) -> Result<Response, Error> {
        let request = Request::parse(self.head(), action, parameters, body)?;
        self.watch.parsed();
        let plan = plan::call(self.context(&request), name)?;
        let max_rows = self.project.rest.db_max_rows;
        let statement = sql::call(&plan, request.payload.as_ref(), request.preferences.count, max_rows);
        let session = self.session(&request, name, &plan.function.settings);
        let database = self.api.databases.of(self.project).await;
        let runner =
            Runner { database: &database, session: &session, authenticated: self.caller.authenticated };
        let media = &plan.shaped.media;
        let check = Check::of(&request, media);
        let mut outcome = if plan.is_read_only {
            runner.read(&statement, Form::of(&plan.shaped), check).await?
        } else {
            let keep = run::keeps(&self.project.rest, &request.preferences);
            runner.write(&statement, Form::of(&plan.shaped), (check, keep)).await?
        };
        self.watch.ran();
        if let MediaType::Plan(_) = media {
            return Ok(response::plan(&request, media, &mut outcome));
        }
        let verbosity = self.project.rest.client_error_verbosity;
        let response = response::call(&request, plan.function, media, &mut outcome, verbosity)?;
        Ok(self.warned(response, &plan.shaped))
    }

    /// `OPTIONS`: what may be done, as far as the kind of thing decides.
    fn options(&self, target: &Target) -> Result<Response, Error> {
        let (schema, _) = request::schema(self.head())?;
        let allowed = match target {
            Target::Root => "OPTIONS,GET,HEAD".to_owned(),
            Target::Relation(name) => self.catalog.table(schema, name)?.allowed_methods(),
            Target::Function(name) => {
                let parameters = self.parameters();
                let request = Request::parse(self.head(), Action::CallByGet, &parameters, Bytes::new())?;
                plan::describe_function(self.context(&request), name)?.allowed_methods().to_owned()
            }
        };
        Ok(response::options(allowed))
    }

    /// With a `Warning` when an embed was addressed by its relation's name despite an alias.
    fn warned(&self, mut response: Response, shaped: &Shaped<'_>) -> Response {
        let names = plan::legacy_names(&shaped.rows);
        if !names.is_empty() {
            let pairs: Vec<_> = names.iter().map(|(name, alias)| format!("`{name}` to `{alias}`")).collect();
            let hint = pairs.join(", ");
            Event::LegacyTarget { hint: &hint }.emit();
            response::warn(&mut response, &self.api.config.postgrest_version, &hint);
        }
        response
    }
}
