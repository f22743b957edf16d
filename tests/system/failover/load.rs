//! Who asks while the primary goes: readers, writers with keys of their own, people who sign in and refresh.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::front::Front;
use super::tally::{Kind, Outcome, Tally};

const PASSWORD: &str = "correct horse battery staple";
/// Between two requests of one who deals with accounts: password hashes are costly.
const PAUSE: Duration = Duration::from_millis(40);

pub(super) struct Load {
    asking: JoinSet<Written>,
    stop: CancellationToken,
}

/// What was written, as the writers know it.
#[derive(Default)]
pub(super) struct Written {
    acknowledged: Vec<Uuid>,
    put_off: Vec<Uuid>,
    /// By name: the last value that was acknowledged, and the last that was sent.
    counters: HashMap<String, (i32, i32)>,
}

/// One who asks.
#[derive(Clone)]
struct Person {
    front: Arc<Front>,
    tally: Tally,
    stop: CancellationToken,
    number: usize,
}

impl Load {
    pub(super) async fn begin(front: &Arc<Front>, tally: &Tally) -> Self {
        let (mut asking, stop) = (JoinSet::new(), CancellationToken::new());
        let mut number = 0;
        for kind in [Kind::Read, Kind::User, Kind::Insert, Kind::Upsert, Kind::SignIn, Kind::Refresh] {
            for _ in 0..kind.people() {
                number += 1;
                let (front, tally, stop) = (Arc::clone(front), tally.clone(), stop.clone());
                let person = Person { front, tally, stop, number };
                match kind {
                    Kind::Read => drop(asking.spawn(person.read())),
                    Kind::Insert => drop(asking.spawn(person.insert())),
                    Kind::Upsert => drop(asking.spawn(person.upsert())),
                    Kind::User | Kind::SignIn | Kind::Refresh => {
                        let session = person.sign_up().await;
                        asking.spawn(person.use_account(kind, session));
                    }
                }
            }
        }
        Self { asking, stop }
    }

    /// Let them finish what they are at.
    pub(super) async fn stop(self) -> Written {
        self.stop.cancel();
        let mut all = Written::default();
        for written in self.asking.join_all().await {
            all.acknowledged.extend(written.acknowledged);
            all.put_off.extend(written.put_off);
            all.counters.extend(written.counters);
        }
        all
    }
}

impl Person {
    async fn read(self) -> Written {
        while !self.stop.is_cancelled() {
            let url = self.front.url("/rest/v1/ledger?select=id,key&order=id.desc&limit=3");
            self.ask(Kind::Read, self.front.service(self.front.client().get(url))).await;
        }
        Written::default()
    }

    async fn insert(self) -> Written {
        let mut written = Written::default();
        while !self.stop.is_cancelled() {
            let key = Uuid::new_v4();
            let request = self.front.client().post(self.front.url("/rest/v1/ledger"));
            let answer = self.ask(Kind::Insert, self.front.service(request.json(&json!({ "key": key }))));
            if answer.await.is_some() {
                written.acknowledged.push(key);
            } else {
                written.put_off.push(key);
            }
        }
        written
    }

    async fn upsert(self) -> Written {
        let name = format!("counter {}", self.number);
        let (mut acknowledged, mut sent) = (0, 0);
        while !self.stop.is_cancelled() {
            sent += 1;
            let request = self.front.client().post(self.front.url("/rest/v1/counters"));
            let request = request.header("prefer", "resolution=merge-duplicates");
            let row = json!({ "name": name, "value": sent });
            if self.ask(Kind::Upsert, self.front.service(request.json(&row))).await.is_some() {
                acknowledged = sent;
            }
        }
        Written { counters: HashMap::from([(name, (acknowledged, sent))]), ..Written::default() }
    }

    async fn sign_up(&self) -> Value {
        let request = self.front.client().post(self.front.url("/auth/v1/signup")).json(&self.credentials());
        let answer = self.front.service(request).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }

    fn credentials(&self) -> Value {
        json!({ "email": format!("person-{}@example.com", self.number), "password": PASSWORD })
    }

    /// Ask who one is, sign in again, or refresh; what was put off is repeated, and a refresh must succeed then.
    async fn use_account(self, kind: Kind, mut session: Value) -> Written {
        while !self.stop.is_cancelled() {
            let client = self.front.client();
            let token = |grant: &str, body: &Value| {
                let url = self.front.url(&format!("/auth/v1/token?grant_type={grant}"));
                self.front.service(client.post(url).json(body))
            };
            let request = match kind {
                Kind::SignIn => token("password", &self.credentials()),
                Kind::Refresh => {
                    token("refresh_token", &json!({ "refresh_token": session["refresh_token"] }))
                }
                _ => {
                    let access = session["access_token"].as_str().unwrap();
                    self.front.user(client.get(self.front.url("/auth/v1/user")), access)
                }
            };
            if let Some(answer) = self.ask(kind, request).await
                && kind == Kind::Refresh
            {
                session = answer;
            }
            sleep(PAUSE).await;
        }
        Written::default()
    }

    /// The answer's JSON when the request was done.
    async fn ask(&self, kind: Kind, request: RequestBuilder) -> Option<Value> {
        let began = Instant::now();
        let (outcome, value) = match request.send().await {
            Err(error) => (Outcome::Failed(format!("{error:?}")), None),
            Ok(answer) => judge(kind, answer).await,
        };
        self.tally.note(kind, began, outcome);
        value
    }
}

async fn judge(kind: Kind, answer: Response) -> (Outcome, Option<Value>) {
    let (status, headers) = (answer.status(), answer.headers().clone());
    let text = match answer.text().await {
        Ok(text) => text,
        Err(error) => return (Outcome::Failed(format!("{status}: {error:?}")), None),
    };
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    if status.is_success() {
        return (Outcome::Done, Some(body));
    }
    let in_shape = match kind {
        Kind::Read | Kind::Insert | Kind::Upsert => {
            let has = |it: &str| body.get(it).is_some();
            body["code"].as_str().is_some_and(|it| it.starts_with("PGRST00"))
                && has("message")
                && has("details")
                && has("hint")
        }
        Kind::User | Kind::SignIn | Kind::Refresh => body["error_code"] == "database_unavailable",
    };
    if status == StatusCode::SERVICE_UNAVAILABLE && headers.contains_key("retry-after") && in_shape {
        return (Outcome::PutOff, None);
    }
    (Outcome::Failed(format!("{status} {text}")), None)
}

impl Written {
    /// What was acknowledged is there, once; what was put off at most once. How much of that is there.
    pub(super) async fn compare(&self, admin: &Client) -> usize {
        let rows = admin.query("select key, count(*) from public.ledger group by 1", &[]).await.unwrap();
        let there: HashMap<Uuid, i64> =
            rows.iter().map(|it| (it.get::<_, Uuid>(0), it.get::<_, i64>(1))).collect();
        let twice: Vec<_> = there.iter().filter(|it| *it.1 > 1).collect();
        assert!(twice.is_empty(), "written more than once: {twice:?}");
        let lost: Vec<_> = self.acknowledged.iter().filter(|it| !there.contains_key(it)).collect();
        let count = self.acknowledged.len();
        assert!(lost.is_empty(), "{} of {count} acknowledged writes are lost", lost.len());
        for (name, (acknowledged, sent)) in &self.counters {
            let row = admin.query_one("select value from public.counters where name = $1", &[name]).await;
            let value: i32 = row.unwrap().get(0);
            assert!((acknowledged..=sent).contains(&&value), "{name}: {value} of {acknowledged}..{sent}");
        }
        let surplus = self.put_off.iter().filter(|it| there.contains_key(it)).count();
        assert_eq!(there.len(), count + surplus, "rows that nobody wrote");
        surplus
    }
}
