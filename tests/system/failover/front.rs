//! What serves the load: `madbase start`, or a proxy with a worker behind it; both know both PostgreSQL servers.

use reqwest::{Client, RequestBuilder};
use state::postgres::{Ephemeral, Standby};

use crate::node::{Node, Site, keys, until_ok};
use crate::server::{Home, Server};

pub(super) struct Front {
    base: String,
    key: String,
    client: Client,
    running: Running,
}

enum Running {
    Alone(Box<Server>),
    /// The system node comes first.
    Cluster(Vec<Node>),
}

/// `DATABASE_URL` with both hosts, the primary of today first.
fn both(primary: &Ephemeral, standby: &Standby) -> String {
    let address = |url: &str| url.split(['@', '/']).nth(3).unwrap().to_owned();
    let second = address(standby.url());
    let first = address(primary.url());
    let hosts = primary.url().replace(&first, &format!("{first},{second}"));
    format!("{hosts}?target_session_attrs=read-write")
}

impl Front {
    pub(super) async fn alone(primary: &Ephemeral, standby: &Standby) -> Self {
        let mut home = Home::new();
        home.variables.push(("DATABASE_URL", both(primary, standby)));
        let server = tokio::task::spawn_blocking(|| home.start()).await.unwrap();
        let (base, key) = (server.url(""), server.fact("service_role_key").to_owned());
        Self { base, key, client: client(), running: Running::Alone(Box::new(server)) }
    }

    pub(super) async fn cluster(primary: &Ephemeral, standby: &Standby) -> Self {
        let url = both(primary, standby);
        let start = async |role: &'static str, upstream: Option<String>| {
            let mut site = Site::new(role, primary);
            site.variables.retain(|it| it.0 != "DATABASE_URL");
            site.variables.push(("DATABASE_URL", url.clone()));
            site.variables.extend(upstream.map(|it| ("WORKER_UPSTREAM_URLS", it)));
            tokio::task::spawn_blocking(|| site.start()).await.unwrap()
        };
        let system = start("system", None).await;
        let worker = start("worker", None).await;
        let proxy = start("proxy", Some(worker.base().to_owned())).await;
        let key = keys(&system).await["service_role"].as_str().unwrap().to_owned();
        let base = proxy.base().to_owned();
        Self { base, key, client: client(), running: Running::Cluster(vec![system, worker, proxy]) }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// With the service key, also where a user's token follows: no limit of an address holds then.
    pub(super) fn service(&self, request: RequestBuilder) -> RequestBuilder {
        request.header("apikey", &self.key).bearer_auth(&self.key)
    }

    /// As a user, by the service key's door.
    pub(super) fn user(&self, request: RequestBuilder, token: &str) -> RequestBuilder {
        request.header("apikey", &self.key).bearer_auth(token)
    }

    pub(super) async fn until_ready(&self) {
        for table in ["ledger", "counters"] {
            let url = self.url(&format!("/rest/v1/{table}?limit=1"));
            until_ok(|| self.service(self.client.get(&url))).await;
        }
    }

    /// The control plane answers, too.
    pub(super) async fn controls(&self) {
        if let Running::Cluster(nodes) = &self.running {
            keys(&nodes[0]).await;
        }
    }

    pub(super) async fn stop(self) {
        match self.running {
            Running::Alone(server) => drop(server.stop().await),
            Running::Cluster(nodes) => {
                for node in nodes.into_iter().rev() {
                    node.stop().await;
                }
            }
        }
    }
}

fn client() -> Client {
    Client::builder().timeout(std::time::Duration::from_secs(30)).build().unwrap()
}
