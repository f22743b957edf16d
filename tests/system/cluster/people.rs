//! People who work on the task board: each has a session and a board of his own, and does one thing after the other.

use std::collections::HashSet;
use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::ORGANISATION;
use super::balancer::{Balancer, Doors};
use super::tally::{Outcome, Tally};

/// How many.
pub(super) const PEOPLE: usize = 6;
const PASSWORD: &str = "correct horse battery staple";
/// Everybody comes from one address, which may sign in 150 times in five minutes: they do it in turn.
const TURN: Duration = Duration::from_millis(2200);
const SIGN_IN_EVERY: Duration = Duration::from_secs(14);
/// How long a balancer looks for a proxy that takes the connection.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct People {
    working: JoinSet<Vec<String>>,
    stop: CancellationToken,
}

/// The titles of the tasks whose writing was acknowledged.
pub(super) struct Written(Vec<String>);

struct Person {
    number: usize,
    client: reqwest::Client,
    doors: Doors,
    key: String,
    token: String,
    signs_in: Instant,
    tally: Tally,
    written: Vec<String>,
}

impl People {
    /// Sign them up, make them members, and let them begin.
    pub(super) async fn work(
        balancer: &Balancer,
        keys: &Value,
        owner: &tokio_postgres::Client,
        tally: &Tally,
    ) -> Self {
        let (mut working, stop) = (JoinSet::new(), CancellationToken::new());
        let mut signs_in = Instant::now();
        for number in 1..=PEOPLE {
            signs_in += TURN;
            let mut person = Person {
                number,
                client: reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap(),
                doors: balancer.doors(),
                key: keys["anon"].as_str().unwrap().to_owned(),
                token: String::new(),
                signs_in,
                tally: tally.clone(),
                written: Vec::new(),
            };
            let id = person.sign_up().await;
            let row = format!("insert into public.members values ('{ORGANISATION}', '{id}', 'member')");
            owner.batch_execute(&row).await.unwrap();
            let stop = stop.clone();
            working.spawn(async move {
                let mut round = 0;
                while !stop.is_cancelled() {
                    person.work(round).await;
                    round += 1;
                }
                person.written
            });
        }
        Self { working, stop }
    }

    /// Let them finish what they are at.
    pub(super) async fn stop(self) -> Written {
        self.stop.cancel();
        Written(self.working.join_all().await.concat())
    }
}

impl Person {
    async fn sign_up(&mut self) -> String {
        let body = json!({ "email": self.email(), "password": PASSWORD });
        let session =
            self.ask(|it, base| it.client.post(format!("{base}/auth/v1/signup")).json(&body)).await.unwrap();
        self.token = session["access_token"].as_str().unwrap().to_owned();
        session["user"]["id"].as_str().unwrap().to_owned()
    }

    fn email(&self) -> String {
        format!("person-{}@example.com", self.number)
    }

    /// Write, read, change, list, call; now and then sign in again.
    async fn work(&mut self, round: usize) {
        let title = format!("person {} round {round}", self.number);
        let task = json!({ "board_id": self.number, "title": title });
        let written = self
            .ask(|it, base| {
                let request = it.client.post(format!("{base}/rest/v1/tasks?select=id")).json(&task);
                request.header("prefer", "return=representation")
            })
            .await;
        if let Some(row) = written {
            let id = row[0]["id"].as_i64().unwrap();
            self.written.push(title);
            let path = format!("/rest/v1/tasks?id=eq.{id}");
            let change = json!({ "status": "doing" });
            self.ask(|it, base| it.client.patch(format!("{base}{path}")).json(&change)).await;
            let place = json!({ "task_id": id, "board_id": self.number, "position": round });
            let own = format!("/rest/v1/tasks?id=eq.{id}&select=id");
            let read = self.ask(|it, base| it.client.get(format!("{base}{own}"))).await;
            if read.is_some_and(|it| it[0].is_null()) {
                self.tally.stale();
            }
            if round.is_multiple_of(5) {
                self.ask(|it, base| it.client.post(format!("{base}/rest/v1/rpc/move_task")).json(&place))
                    .await;
            }
        }
        let list = format!(
            "/rest/v1/tasks?board_id=eq.{}&status=neq.done&order=id.desc&limit=20&select=id,title,board:boards(name)",
            self.number
        );
        self.ask(|it, base| it.client.get(format!("{base}{list}"))).await;
        self.ask(|it, base| it.client.get(format!("{base}/rest/v1/rpc/board_summary"))).await;
        if Instant::now() >= self.signs_in {
            self.signs_in = Instant::now() + SIGN_IN_EVERY;
            let body = json!({ "email": self.email(), "password": PASSWORD });
            let path = "/auth/v1/token?grant_type=password";
            let session = self.ask(|it, base| it.client.post(format!("{base}{path}")).json(&body)).await;
            if let Some(token) = session.and_then(|it| it["access_token"].as_str().map(str::to_owned)) {
                self.token = token;
            }
        }
    }

    /// Ask by the balancer; the answer's JSON, or nothing when there was none.
    async fn ask(&self, request: impl Fn(&Self, &str) -> RequestBuilder) -> Option<Value> {
        let began = Instant::now();
        let answer = loop {
            let mut request = request(self, self.doors.next()).header("apikey", &self.key);
            if !self.token.is_empty() {
                request = request.bearer_auth(&self.token);
            }
            match request.send().await {
                Err(error) if error.is_connect() && began.elapsed() < PATIENCE => {
                    self.tally.moved();
                    sleep(Duration::from_millis(10)).await;
                }
                answer => break answer,
            }
        };
        let (outcome, value) = judge(answer).await;
        self.tally.note(outcome, began.elapsed());
        value
    }
}

async fn judge(answer: reqwest::Result<reqwest::Response>) -> (Outcome, Option<Value>) {
    let (status, url, text) = match answer {
        Err(error) => return (Outcome::Failed(format!("{error:?}")), None),
        Ok(answer) => {
            let (status, url) = (answer.status(), answer.url().path().to_owned());
            match answer.text().await {
                Ok(text) => (status, url, text),
                Err(error) => return (Outcome::Failed(format!("{url}: {error:?}")), None),
            }
        }
    };
    if status.is_success() {
        return (Outcome::Answered, Some(serde_json::from_str(&text).unwrap_or_default()));
    }
    if status == 502 && text.contains("worker_lost") {
        return (Outcome::Lost, None);
    }
    (Outcome::Failed(format!("{url}: {status} {text}")), None)
}

impl Written {
    /// What was acknowledged is there, once; what is there beyond that was lost on its way back.
    pub(super) async fn compare(&self, owner: &tokio_postgres::Client, tally: &Tally) {
        let rows = owner.query("select title from public.tasks", &[]).await.unwrap();
        let there: Vec<String> = rows.iter().map(|it| it.get(0)).collect();
        let unique: HashSet<&String> = there.iter().collect();
        assert_eq!(unique.len(), there.len(), "a task was written twice");
        let missing: Vec<_> = self.0.iter().filter(|it| !unique.contains(it)).collect();
        assert!(missing.is_empty(), "acknowledged, and not there: {missing:?}");
        let surplus = there.len() - self.0.len();
        assert!(surplus <= tally.lost(), "{surplus} tasks are there that nobody was told of");
    }
}
