//! The state of the auth service: handles, shared by all requests of all projects.

use std::sync::Arc;

use common::{Inbox, Project};
use jiff::Timestamp;
use store::{Databases, Limiter, ServiceClient};

use crate::hooks::Functions;
use crate::mail::Outbox;
use crate::password::Passwords;
use crate::providers::Providers;
use crate::sessions::{SessionManager, Sessions};
use crate::sms::Sms;
use crate::web::Web;
use crate::{Config, Error};

/// The auth service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Auth(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    databases: Databases,
    passwords: Passwords,
    providers: Providers,
    outbox: Outbox,
    sms: Sms,
    sessions: Sessions,
    limiter: Limiter,
    web: Web,
    functions: Functions,
}

impl Auth {
    /// Nothing is connected yet; mails of projects without an SMTP server go to `inbox`.
    #[must_use]
    pub fn new(config: Config, databases: Databases, inbox: Inbox) -> Self {
        let passwords = Passwords::new(&config);
        let providers = Providers::new(&config);
        let sms = Sms::new(&config, inbox.clone());
        let outbox = Outbox::new(&config, databases.clone(), inbox);
        let sessions = Sessions::new(config.redis.clone());
        let limiter = Limiter::new(&config.redis, config.max_limited);
        let (web, functions) = (Web::new(&config), Functions::new());
        Self(Arc::new(Inner {
            config,
            databases,
            passwords,
            providers,
            outbox,
            sms,
            sessions,
            limiter,
            web,
            functions,
        }))
    }

    /// The sessions of `project`, by opaque tokens.
    #[must_use]
    pub fn sessions(&self, project: Arc<Project>) -> SessionManager {
        SessionManager::new(self.clone(), project)
    }

    /// Send mails of `project` that a process which died left to send; returns at once.
    ///
    /// Requests of the project do the same once a minute; call it at start for those that get none.
    pub fn resume(&self, project: &Arc<Project>) {
        self.0.outbox.sweep(self, project);
    }

    /// Which sessions stand.
    pub(crate) fn standing(&self) -> &Sessions {
        &self.0.sessions
    }

    /// How often each address may ask.
    pub(crate) fn limiter(&self) -> &Limiter {
        &self.0.limiter
    }

    /// Requests to hooks and the like.
    pub(crate) fn web(&self) -> &Web {
        &self.0.web
    }

    /// Connections for hooks that are functions.
    pub(crate) fn functions(&self) -> &Functions {
        &self.0.functions
    }

    pub(crate) fn databases(&self) -> &Databases {
        &self.0.databases
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.config.clock.now()
    }

    pub(crate) fn passwords(&self) -> &Passwords {
        &self.0.passwords
    }

    pub(crate) fn providers(&self) -> &Providers {
        &self.0.providers
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.0.outbox
    }

    pub(crate) fn sms(&self) -> &Sms {
        &self.0.sms
    }

    /// A connection to `project`'s database; hold it for statements only, never while a password is hashed.
    pub(crate) async fn database(&self, project: &Project) -> Result<ServiceClient, Error> {
        let database = self.0.databases.of(project).await;
        if self.0.config.redis.is_configured() {
            // What this request may end must be heard here, or Redis would keep it.
            self.0.sessions.watch(project, &database);
        }
        database.services().await.map_err(Error::Store)
    }
}
