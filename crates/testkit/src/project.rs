//! Projects for tests: made by the real control plane on the test server, with all service schemas.
//!
//! Many test processes may share one server: each code version has its own control database (its name ends with the
//! migrations' fingerprint), and every project its own reference, so nobody meets anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use common::jwt::Claims;
use common::{Caller, Inbox, Login, Project};
use control_plane::{Config, ControlPlane, NewProject, ServiceMigrations};
use refinery::Runner;
use secrecy::ExposeSecret as _;
use serde_json::json;
use store::{Databases, PoolSettings};
use tokio::sync::OnceCell;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::{TestServer, primary, server};

static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
static REPLICATED_PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A fresh project of one test.
#[derive(Debug)]
pub struct TestProject {
    /// As the services see it.
    pub project: Arc<Project>,
    /// Pools of this test's own.
    pub databases: Databases,
    /// The control plane that made it.
    pub control_plane: ControlPlane,
}

/// Make a project whose reference starts with `name` (letters, digits, `-`; cut to 12).
///
/// # Panics
/// When it cannot be made.
pub async fn project(name: &str) -> TestProject {
    make(server().await, control_plane().await, name).await
}

/// As [`project`], on the primary of [`crate::standby`].
///
/// # Panics
/// When it cannot be made.
pub async fn replicated_project(name: &str) -> TestProject {
    let primary = primary().await;
    let plane = REPLICATED_PLANE.get_or_init(|| start(primary)).await;
    make(primary, plane, name).await
}

/// As [`project`], on a server of the test's own.
///
/// # Panics
/// When it cannot be made.
pub async fn project_on(server: &TestServer, name: &str) -> TestProject {
    make(server, &start(server).await, name).await
}

async fn make(server: &TestServer, plane: &ControlPlane, name: &str) -> TestProject {
    let short: String = name.chars().filter(|it| it.is_ascii_alphanumeric()).take(12).collect();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let unique = Uuid::new_v4().simple().to_string();
    let reference = format!("t{}-{count}-{}", short.to_lowercase(), unique.split_at(8).0);
    let reference = reference.parse().expect("a test project's reference is legal");
    let new = NewProject { reference, name: name.to_owned() };
    let project = plane.create(new, "testkit").await.expect("create a test project");
    let databases = Databases::new(server.store(), PoolSettings::default());
    TestProject { project, databases, control_plane: plane.clone() }
}

/// The control plane of this test process, on the test server.
///
/// # Panics
/// When it cannot start.
pub async fn control_plane() -> &'static ControlPlane {
    let server = server().await;
    PLANE.get_or_init(|| start(server)).await
}

async fn start(server: &TestServer) -> ControlPlane {
    let services = services();
    let mark = control_plane::fingerprint(&services);
    let config = Config {
        control_database: format!("madbase_{mark}"),
        default_database: format!("default_{mark}"),
        ..Config::new([42; 32], "test-admin-token".to_owned().into())
    };
    let databases = Databases::new(server.store(), PoolSettings::default());
    ControlPlane::start(config, databases, Inbox::new(100), services).await.expect("start the control plane")
}

/// Every service's migrations, as the binary names them.
///
/// # Panics
/// When a service's folder cannot be read, once one of them is run.
#[must_use]
pub fn services() -> Vec<ServiceMigrations> {
    vec![
        ServiceMigrations { schema: "auth", owner: "supabase_auth_admin", runner: auth_migrations },
        ServiceMigrations {
            schema: "realtime",
            owner: "supabase_realtime_admin",
            runner: realtime_migrations,
        },
    ]
}

fn auth_migrations() -> Runner {
    read_migrations(concat!(env!("CARGO_MANIFEST_DIR"), "/../auth/migrations"))
}

fn realtime_migrations() -> Runner {
    read_migrations(concat!(env!("CARGO_MANIFEST_DIR"), "/../realtime/migrations"))
}

/// A service's own files, read when the tests run: a change in its code must not rebuild every crate's tests.
fn read_migrations(folder: &str) -> Runner {
    Runner::new(&refinery::load_sql_migrations(folder).expect("read a service's migrations"))
}

impl TestProject {
    /// A connection as the superuser.
    ///
    /// # Panics
    /// When PostgreSQL does not answer.
    pub async fn admin(&self) -> Client {
        self.databases.server().admin(&self.project.database).await.expect("connect as the superuser")
    }

    /// A connection as the project's owner (`postgres` of a default project).
    ///
    /// # Panics
    /// When PostgreSQL does not answer.
    pub async fn owner(&self) -> Client {
        let login = &self.project.logins.owner;
        self.databases.server().login(&self.project.database, login).await.expect("connect as the owner")
    }

    /// A caller with `role` and nothing else: `anon`, `service_role`.
    #[must_use]
    pub fn caller(&self, role: &str) -> Caller {
        Caller { claims: Arc::new(Claims::of_role(role)), authenticated: role != "anon" }
    }

    /// A signed-in user, as the gateway would have verified him.
    #[must_use]
    pub fn user(&self, id: Uuid) -> Caller {
        let claims = json!({"sub": id, "aud": "authenticated", "role": "authenticated"});
        let map = claims.as_object().cloned().unwrap_or_default();
        Caller { claims: Arc::new(Claims::from_map(map, "authenticated")), authenticated: true }
    }
}

/// A connection to `database` of the test server as `login`.
///
/// # Errors
/// What the driver says, also when PostgreSQL refuses the login.
///
/// # Panics
/// When the test server's URL cannot be read.
pub async fn connect(database: &str, login: &Login) -> Result<Client, tokio_postgres::Error> {
    let url = server().await.url();
    let mut config: tokio_postgres::Config = url.parse().expect("read the test server's URL");
    config.dbname(database).user(&login.user).password(login.password.expose_secret());
    let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
