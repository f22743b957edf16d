//! The only project of `madbase rest`, kept up to date with what its settings say.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use common::{
    ApiKeys, AuthSettings, Configured, Directory, Finding, Login, Logins, Project, ProjectId, ProjectRef,
    Vault,
};
use data_api::DataApi;
use secrecy::SecretString;
use store::{Databases, Notification, Notifications, Session, Statement};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use super::database;
use super::options::Options;
use super::settings::Settings;

/// The channel that the data API itself hears.
const CHANNEL: &str = "pgrst";
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(32);
/// How long the database may take to say that it is there.
const READY_LIMIT: Duration = Duration::from_secs(2);

/// A directory of one project.
#[derive(Debug)]
pub(super) struct Sole {
    settings: Settings,
    databases: Databases,
    data_api: DataApi,
    login: Login,
    database: String,
    project: RwLock<Arc<Project>>,
    /// Whether settings and catalog were loaded.
    loaded: AtomicBool,
}

impl Sole {
    /// The project as file and environment describe it.
    pub(super) fn new(
        settings: Settings,
        options: &Options,
        databases: Databases,
        data_api: DataApi,
    ) -> Result<Self> {
        let server = databases.server();
        let login = server.named_login().context("name a user in PGRST_DB_URI")?;
        let database = server.database().context("name a database in PGRST_DB_URI")?.to_owned();
        let none = || SecretString::from(String::new());
        let keys = ApiKeys { anon: none(), service_role: none(), publishable: none(), secret: none() };
        let project = Project {
            id: ProjectId(Uuid::nil()),
            reference: ProjectRef::of_default(),
            name: database.clone(),
            database: database.clone(),
            logins: Logins { owner: login.clone(), authenticator: login.clone(), services: login.clone() },
            keys,
            jwt: options.jwt.clone(),
            // The data API alone stores nothing.
            vault: Vault::new(&[0; 32])?,
            auth: AuthSettings::default(),
            rest: options.rest.clone(),
            limits: common::LimitSettings::default(),
            realtime: common::RealtimeSettings::default(),
            version: 1,
        };
        let project = RwLock::new(Arc::new(project));
        Ok(Self { settings, databases, data_api, login, database, project, loaded: AtomicBool::new(false) })
    }

    pub(super) fn database(&self) -> &str {
        &self.database
    }

    fn current(&self) -> Arc<Project> {
        Arc::clone(&self.project.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Load for the first time. A database that is away may come back; one that refuses us will not.
    ///
    /// # Errors
    /// When the login or the settings are refused.
    pub(super) async fn begin(&self) -> Result<()> {
        match self.reload(false).await {
            Err(error) if is_final(&error) => Err(error),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the database is not there yet; trying again");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Read the settings again and the catalog with them; `anyway` even if nothing changed.
    async fn reload(&self, anyway: bool) -> Result<()> {
        let options = self.read().await?;
        let current = self.current();
        if anyway || current.rest != options.rest || !self.loaded.load(Ordering::Relaxed) {
            let version = current.version + 1;
            let next = Project { rest: options.rest, jwt: options.jwt, version, ..(*current).clone() };
            let next = Arc::new(next);
            // Until then, requests are answered as before.
            self.data_api.warm(&next).await.context("load the schema cache")?;
            *self.project.write().unwrap_or_else(PoisonError::into_inner) = next;
            tracing::info!(version, "settings loaded");
        }
        self.loaded.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn read(&self) -> Result<Options> {
        let options = self.settings.read(None)?;
        if !options.rest.db_config {
            return Ok(options);
        }
        let mut client = self.databases.server().login(&self.database, &self.login).await?;
        let found = database::settings(&mut client, options.rest.db_pre_config.as_deref()).await?;
        self.settings.read(Some(found))
    }

    /// What is known of the database, as JSON.
    pub(super) fn schema_cache(&self) -> Option<String> {
        self.data_api.schema_cache(&self.current())
    }

    /// Whether the database answers and the catalog is there.
    pub(super) async fn is_ready(&self) -> bool {
        if !self.loaded.load(Ordering::Relaxed) {
            return false;
        }
        let database = self.databases.of(&self.current()).await;
        let statement = Statement { text: "select 1".into(), params: Vec::new() };
        let session = Session::default();
        let asked = database.read(&session, &statement);
        matches!(tokio::time::timeout(READY_LIMIT, asked).await, Ok(Ok(_)))
    }

    /// Keep the settings up to date: until loaded, then at every notification and SIGUSR2.
    pub(super) async fn keep(self: Arc<Self>, channel: Option<String>) {
        let mut wait = FIRST_WAIT;
        while !self.loaded.load(Ordering::Relaxed) {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
            self.try_reload(true).await;
        }
        let mut notifications = match &channel {
            // Once for the life of the process.
            Some(name) => Some(self.databases.of(&self.current()).await.listen(String::leak(name.clone()))),
            None => None,
        };
        let (Ok(mut schema), Ok(mut config)) =
            (signal(SignalKind::user_defined1()), signal(SignalKind::user_defined2()))
        else {
            return;
        };
        loop {
            tokio::select! {
                told = next(notifications.as_mut()) => match told {
                    Some(Notification::Connected) => self.try_reload(false).await,
                    Some(Notification::Message(text)) if text == "reload config" => self.try_reload(true).await,
                    // The data API hears its own channel by itself.
                    Some(Notification::Message(text)) if channel.as_deref() != Some(CHANNEL)
                        && (text.is_empty() || text == "reload schema") => self.try_reload(true).await,
                    Some(Notification::Message(_)) => {}
                    None => notifications = None,
                },
                _ = schema.recv() => self.try_reload(true).await,
                _ = config.recv() => self.try_reload(true).await,
            }
        }
    }

    /// A failure leaves everything as it was.
    async fn try_reload(&self, anyway: bool) {
        if let Err(error) = self.reload(anyway).await {
            tracing::error!(
                error = format!("{error:#}"),
                "the settings could not be loaded; the old ones stay"
            );
        }
    }
}

async fn next(notifications: Option<&mut Notifications>) -> Option<Notification> {
    match notifications {
        Some(notifications) => notifications.next().await,
        None => std::future::pending().await,
    }
}

/// Whether trying again is of no use: wrong settings, or a login that PostgreSQL refuses.
fn is_final(error: &anyhow::Error) -> bool {
    let source = match error.downcast_ref::<store::Error>() {
        Some(store::Error::Connect(source)) => source,
        Some(_) => return true,
        None => return error.downcast_ref::<data_api::Error>().is_none(),
    };
    let refused = source.downcast_ref::<store::postgres::Error>().and_then(|it| it.code());
    // Class 28 refuses the login, 3D the database; what starts up or is full may change its mind.
    refused.is_some_and(|it| it.code().starts_with("28") || it.code().starts_with("3D"))
}

impl Directory for Sole {
    fn find<'a>(&'a self, _reference: &'a ProjectRef) -> Finding<'a> {
        let project = self.current();
        Box::pin(std::future::ready(Ok(Some(project))))
    }

    /// The gateway may remember an older one.
    fn configured<'a>(&'a self, _project: &'a Arc<Project>) -> Configured<'a> {
        Configured::Known(self.current())
    }
}
