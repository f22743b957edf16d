//! A server with the realtime service in it, as a gateway would call it, and clients that speak WebSocket to it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::any;
use common::jwt::Claims;
use common::{Caller, Project, RealtimeSettings};
use futures_util::{SinkExt as _, StreamExt as _};
use realtime::{Config, Realtime};
use serde_json::{Value, json};
use store::{Databases, Redis};
use testkit::TestProject;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, Message, client::IntoClientRequest as _};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// One process.
pub(crate) struct World {
    pub(crate) project: Arc<Project>,
    pub(crate) realtime: Realtime,
    pub(crate) address: String,
}

/// A moment in seconds since 1970, `from_now` seconds away.
pub(crate) fn secs(from_now: i64) -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap() + from_now
}

/// A token of the project's own.
pub(crate) fn token(project: &Project, claims: &Value) -> String {
    project.jwt.sign(claims.as_object().unwrap()).unwrap()
}

/// Limits that tests do not reach.
pub(crate) fn open() -> RealtimeSettings {
    let most = 1_000_000;
    RealtimeSettings {
        max_concurrent_users: most,
        max_joins_per_second: most,
        max_events_per_second: most,
        max_bytes_per_second: 1_000_000_000,
        ..RealtimeSettings::default()
    }
}

impl World {
    /// With limits that tests do not reach.
    pub(crate) async fn new(test: &TestProject) -> Self {
        Self::with(test, open(), Config::default(), &Redis::none()).await
    }

    pub(crate) async fn with(
        test: &TestProject,
        settings: RealtimeSettings,
        config: Config,
        redis: &Redis,
    ) -> Self {
        let project = Project { realtime: settings, ..Project::clone(&test.project) };
        Self::of(test, project, config, redis).await
    }

    /// Of `project`, which is `test`'s with other settings.
    pub(crate) async fn of(test: &TestProject, project: Project, config: Config, redis: &Redis) -> Self {
        let project = Arc::new(project);
        let databases: Databases = test.databases.clone();
        let realtime = Realtime::new(config, databases, redis, test.control_plane.locks(redis), None);
        let (service, known) = (realtime.clone(), Arc::clone(&project));
        // As the gateway does: the project, and who the key says that it is.
        let answer = move |mut request: Request| {
            let (service, project) = (service.clone(), Arc::clone(&known));
            async move {
                let caller = caller(&project, request.uri().query().unwrap_or_default());
                request.extensions_mut().insert(project);
                request.extensions_mut().insert(caller);
                service.answer(request).await
            }
        };
        let router = Router::new().fallback(any(answer));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { project, realtime, address }
    }

    pub(crate) async fn connect(&self, vsn: &str) -> Client {
        self.connect_as(vsn, "anon").await.unwrap()
    }

    /// As `role`, whose token expires in an hour.
    pub(crate) async fn connect_as(&self, vsn: &str, role: &str) -> Result<Client, tungstenite::Error> {
        let url = format!("ws://{}/websocket?vsn={vsn}&role={role}", self.address);
        let (stream, _) = connect_async(url.into_client_request().unwrap()).await?;
        Ok(Client { stream, is_v1: vsn == "1.0.0", next_ref: 1, kept: VecDeque::new() })
    }

    /// A socket that has joined the public `topic`.
    pub(crate) async fn joined(&self, topic: &str, config: Value) -> Client {
        let mut client = self.connect("2.0.0").await;
        let reply = client.join(topic, json!({ "config": config })).await;
        assert_eq!(reply["status"], "ok", "{reply}");
        client
    }
}

/// The test's queries name a role, or a whole token's claims.
pub(crate) fn caller(project: &Project, query: &str) -> Caller {
    let role = query.split('&').find_map(|it| it.strip_prefix("role=")).unwrap_or("anon");
    let exp = query.split('&').find_map(|it| it.strip_prefix("exp=")?.parse().ok()).unwrap_or(secs(3600));
    let claims = json!({"role": role, "exp": exp, "ref": project.reference.as_str()});
    let claims = Claims::from_map(claims.as_object().cloned().unwrap(), "");
    Caller { authenticated: role != "anon", claims: Arc::new(claims) }
}

/// A client of either version.
pub(crate) struct Client {
    pub(crate) stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    is_v1: bool,
    next_ref: u64,
    /// Events that came before a reply that was waited for: an answer and what it causes come in any order.
    kept: VecDeque<Told>,
}

/// What a client is sent, in either version.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    pub(crate) reference: Value,
    pub(crate) topic: String,
    pub(crate) event: String,
    pub(crate) payload: Value,
}

impl Client {
    /// Send and do not wait; the message's reference.
    pub(crate) async fn send(&mut self, topic: &str, event: &str, payload: Value) -> String {
        let reference = self.next_ref.to_string();
        self.next_ref += 1;
        let text = if self.is_v1 {
            json!({"topic": topic, "event": event, "payload": payload, "ref": reference, "join_ref": "1"})
        } else {
            json!(["1", reference, topic, event, payload])
        };
        self.stream.send(Message::text(text.to_string())).await.unwrap();
        reference
    }

    /// Send and wait for the reply; events that come before it are kept for [`Client::event`].
    pub(crate) async fn ask(&mut self, topic: &str, event: &str, payload: Value) -> Value {
        let reference = self.send(topic, event, payload).await;
        loop {
            let told = self.next().await;
            if told.event != "phx_reply" {
                self.kept.push_back(told);
            } else if told.reference == json!(reference) {
                return told.payload;
            }
        }
    }

    pub(crate) async fn join(&mut self, topic: &str, payload: Value) -> Value {
        self.ask(topic, "phx_join", payload).await
    }

    pub(crate) async fn broadcast(&mut self, topic: &str, payload: Value) {
        self.send(topic, "broadcast", json!({"type": "broadcast", "event": "e", "payload": payload})).await;
    }

    /// The next text, or binary broadcast as if it were one.
    pub(crate) async fn next(&mut self) -> Told {
        match self.frame().await {
            Message::Text(text) if self.is_v1 => {
                let it: Value = serde_json::from_str(&text).unwrap();
                let text = |name: &str| it[name].as_str().unwrap().to_owned();
                let (topic, event) = (text("topic"), text("event"));
                Told { reference: it["ref"].clone(), topic, event, payload: it["payload"].clone() }
            }
            Message::Text(text) => {
                let it: Value = serde_json::from_str(&text).unwrap();
                let text = |idx: usize| it[idx].as_str().unwrap().to_owned();
                Told { reference: it[1].clone(), topic: text(2), event: text(3), payload: it[4].clone() }
            }
            other => panic!("no text: {other:?}"),
        }
    }

    /// The next event that is no reply.
    pub(crate) async fn event(&mut self) -> Told {
        if let Some(told) = self.kept.pop_front() {
            return told;
        }
        loop {
            let told = self.next().await;
            if told.event != "phx_reply" {
                return told;
            }
        }
    }

    pub(crate) async fn frame(&mut self) -> Message {
        match timeout(PATIENCE, self.stream.next()).await {
            Ok(Some(Ok(message))) => message,
            other => panic!("nothing came: {other:?}"),
        }
    }

    /// Skip to the end: its code and reason.
    pub(crate) async fn end(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(frame) = self.frame().await {
                return frame.map_or((1005, String::new()), |it| (it.code.into(), it.reason.to_string()));
            }
        }
    }

    /// Nothing else was sent before the answer to this.
    pub(crate) async fn hears_nothing(&mut self) {
        assert!(self.kept.is_empty(), "{:?}", self.kept);
        let reference = self.send("phoenix", "heartbeat", json!({})).await;
        let told = self.next().await;
        assert_eq!((told.event.as_str(), &told.reference), ("phx_reply", &json!(reference)), "{told:?}");
    }
}
