//! The PostgreSQL of a test process.

use state::postgres::{Ephemeral, Search};
use tokio::sync::OnceCell;

static SERVER: OnceCell<TestServer> = OnceCell::const_new();

/// A PostgreSQL for tests, with its superuser.
#[derive(Debug)]
pub struct TestServer {
    url: String,
    store: store::Server,
    pub(crate) own: Option<Ephemeral>,
}

impl TestServer {
    /// A cluster of its own, whatever the environment says.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn start() -> Self {
        let own = state::postgres::ephemeral(&search()).await.expect("start a throw-away PostgreSQL");
        let url = own.url().to_owned();
        Self { store: store_of(&url), url, own: Some(own) }
    }

    /// Stop it, as an operator does, and start it again at the same address after `away`.
    ///
    /// # Panics
    /// When it does not, or is not this process's own.
    pub async fn restart(&mut self, away: std::time::Duration) {
        let own = self.own.as_mut().expect("the server is a cluster of its own");
        own.stop().await.expect("stop PostgreSQL");
        tokio::time::sleep(away).await;
        own.start().await.expect("start PostgreSQL again");
    }

    /// The superuser's URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The server as the crates under test take it.
    #[must_use]
    pub fn store(&self) -> store::Server {
        self.store.clone()
    }
}

/// The PostgreSQL of this test process; started at the first call, gone with the process.
///
/// # Panics
/// When it cannot be started: the message names the next step.
pub async fn server() -> &'static TestServer {
    SERVER.get_or_init(open).await
}

async fn open() -> TestServer {
    match setting("MADBASE_TEST_DATABASE_URL") {
        Some(url) => TestServer { store: store_of(&url), url, own: None },
        None => TestServer::start().await,
    }
}

pub(crate) fn store_of(url: &str) -> store::Server {
    store::Server::from_url(url).expect("read the test server's URL")
}

pub(crate) fn search() -> Search {
    Search { only: setting("MADBASE_POSTGRES_BIN").map(Into::into), path: std::env::var_os("PATH") }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test process is its own `madbase`: nobody else reads settings"
)]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|it| !it.is_empty())
}
