//! Requests to addresses that the operator set (hooks, captchas, breached passwords): bounded in time, size and number,
//! without redirects.

use std::time::Duration;

use axum::body::Bytes;
use http::{HeaderMap, Method, StatusCode};
use tokio::sync::Semaphore;

use crate::Config;

/// The largest answer.
pub(crate) const MAX_BYTES: usize = 200 * 1024;

/// A request.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) url: &'a str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// An answer.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Not in time, or too many others wait.
    Late,
    /// More than [`MAX_BYTES`].
    TooLarge,
    /// Nobody there, or nobody who speaks HTTP. Never holds what was sent.
    Broken,
}

/// Sends requests.
#[derive(Debug)]
pub(crate) struct Web {
    http: Option<reqwest::Client>,
    places: Semaphore,
    limit: Duration,
}

impl Web {
    pub(crate) fn new(config: &Config) -> Self {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(config.hook_timeout)
            .no_proxy()
            .user_agent(concat!("madbase/", env!("CARGO_PKG_VERSION")));
        let places = Semaphore::new(config.hook_connections.max(1));
        Self { http: client.build().ok(), places, limit: config.hook_timeout }
    }

    /// The longest that a call takes.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// Send `call` and read the answer, whatever its status is.
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Reply, Failure> {
        let span = trace::request(&call.method);
        let answer = match tokio::time::timeout(self.limit, self.send(call)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(Failure::Late),
        };
        trace::answered(span, answer.as_ref().ok().map(|it| it.status));
        answer
    }

    async fn send(&self, call: Call<'_>) -> Result<Reply, Failure> {
        let http = self.http.as_ref().ok_or(Failure::Broken)?;
        let _place = self.places.acquire().await.map_err(|_| Failure::Broken)?;
        let request = http.request(call.method, call.url).headers(call.headers).body(call.body);
        let mut answer = request.send().await.map_err(|_| Failure::Broken)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|_| Failure::Broken)? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(Failure::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status, headers, body: body.into() })
    }
}
