//! The state of the auth service: handles, shared by all requests of all projects.

use std::sync::Arc;

use common::{Inbox, Project};
use jiff::Timestamp;
use store::{Databases, ServiceClient};

use crate::mail::Outbox;
use crate::password::Passwords;
use crate::providers::Providers;
use crate::sms::Sms;
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
}

impl Auth {
    /// Nothing is connected yet; mails of projects without an SMTP server go to `inbox`.
    #[must_use]
    pub fn new(config: Config, databases: Databases, inbox: Inbox) -> Self {
        let passwords = Passwords::new(&config);
        let providers = Providers::new(&config);
        let sms = Sms::new(&config, inbox.clone());
        let outbox = Outbox::new(&config, inbox);
        Self(Arc::new(Inner { config, databases, passwords, providers, outbox, sms }))
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
        self.0.databases.of(project).await.services().await.map_err(Error::Store)
    }
}
