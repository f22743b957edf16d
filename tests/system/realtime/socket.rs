//! A client of protocol 1.0.0 that does nothing by itself but answer pings: tests see every message, and every close.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// As clients of Supabase do it, a little more often.
const HEARTBEAT: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(30);

/// An open connection.
pub(super) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// What came and was not asked for yet.
    inbox: VecDeque<Value>,
    beaten: Instant,
    refs: u64,
    /// The code of the close, once it is closed; 1006 without one.
    pub(super) closed: Option<u16>,
}

impl Socket {
    /// Connect to the node at `base`, again and again until it lets us in.
    pub(super) async fn open(base: &str, key: &str) -> Self {
        let url = format!("{}/realtime/v1/websocket?apikey={key}&vsn=1.0.0", base.replacen("http", "ws", 1));
        let deadline = Instant::now() + PATIENCE;
        loop {
            match connect_async(&url).await {
                Ok((stream, _)) => {
                    let (inbox, beaten) = (VecDeque::new(), Instant::now());
                    return Self { stream, inbox, beaten, refs: 0, closed: None };
                }
                Err(error) => assert!(Instant::now() < deadline, "no connection to {base}: {error}"),
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Send `event`; the reference of it.
    pub(super) async fn send(&mut self, topic: &str, event: &str, payload: Value) -> String {
        self.refs += 1;
        let reference = self.refs.to_string();
        let message = json!({
            "topic": topic, "event": event, "payload": payload, "ref": reference, "join_ref": "1",
        });
        let _ = self.stream.send(Message::text(message.to_string())).await;
        reference
    }

    /// Join `realtime:{topic}` with `config`; waits for changes of the database to be subscribed, if there are any.
    pub(super) async fn join(&mut self, topic: &str, config: Value) {
        let topic = format!("realtime:{topic}");
        let has_changes = config.get("postgres_changes").is_some();
        let reference = self.send(&topic, "phx_join", json!({ "config": config })).await;
        let reply = self
            .wait("a reply to the join", PATIENCE, |it| it["event"] == "phx_reply" && it["ref"] == reference)
            .await;
        assert_eq!(reply["payload"]["status"], "ok", "{reply}");
        if has_changes {
            let told = self.wait("changes are subscribed", PATIENCE, |it| it["event"] == "system").await;
            assert_eq!(told["payload"]["status"], "ok", "{told}");
        }
    }

    /// Send a broadcast to a topic that is joined.
    pub(super) async fn say(&mut self, topic: &str, payload: Value) {
        let payload = json!({ "type": "broadcast", "event": "said", "payload": payload });
        self.send(&format!("realtime:{topic}"), "broadcast", payload).await;
    }

    /// Be present.
    pub(super) async fn track(&mut self, topic: &str, meta: Value) {
        let payload = json!({ "type": "presence", "event": "track", "payload": meta });
        self.send(&format!("realtime:{topic}"), "presence", payload).await;
    }

    /// The next message that `is_it` holds for; others are forgotten.
    pub(super) async fn wait(
        &mut self,
        what: &str,
        limit: Duration,
        is_it: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + limit;
        loop {
            while let Some(message) = self.inbox.pop_front() {
                if is_it(&message) {
                    return message;
                }
            }
            assert!(self.closed.is_none(), "closed by {:?} before: {what}", self.closed);
            assert!(Instant::now() < deadline, "not in time: {what}");
            self.read(Duration::from_millis(200)).await;
        }
    }

    /// All messages that come within `limit`.
    pub(super) async fn all(&mut self, limit: Duration) -> Vec<Value> {
        let deadline = Instant::now() + limit;
        while self.closed.is_none() && Instant::now() < deadline {
            self.read(deadline - Instant::now()).await;
        }
        self.inbox.drain(..).collect()
    }

    /// Until the server closes; its code.
    pub(super) async fn end(&mut self, limit: Duration) -> u16 {
        let deadline = Instant::now() + limit;
        while self.closed.is_none() {
            assert!(Instant::now() < deadline, "it stays open");
            self.read(Duration::from_millis(200)).await;
        }
        self.closed.unwrap()
    }

    async fn read(&mut self, limit: Duration) {
        if self.beaten.elapsed() > HEARTBEAT {
            self.beaten = Instant::now();
            self.send("phoenix", "heartbeat", json!({})).await;
        }
        let Ok(next) = timeout(limit, self.stream.next()).await else { return };
        match next {
            Some(Ok(Message::Text(text))) => self.inbox.push_back(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Close(frame))) => self.closed = Some(frame.map_or(1005, |it| it.code.into())),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => self.closed = self.closed.or(Some(1006)),
        }
    }
}
