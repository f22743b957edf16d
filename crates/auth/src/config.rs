//! What auth is told once, at start: the clock, the cost of a password hash, the bounds of its queues.
//!
//! What a project may set for itself is `common::AuthSettings`; this is the same for all projects of a process.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use store::Redis;

/// Tells the time; tests own it.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that asks `now`.
    #[must_use]
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time, cut to microseconds: what PostgreSQL keeps.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let now = (self.0)();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }
}

impl Default for Clock {
    /// The system's clock.
    fn default() -> Self {
        Self::new(Timestamp::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Settings of the auth service of this process.
#[derive(Debug, Clone)]
pub struct Config {
    /// Tells the time.
    pub clock: Clock,
    /// What this process shares with others.
    pub redis: Redis,
    /// Password hashes computed at once; more than the cores only makes each of them slower.
    pub hashing_threads: usize,
    /// Requests that may wait for a hash; further ones are answered 503 at once.
    pub hashing_queue: usize,
    /// Memory of one argon2id hash in KiB (OWASP: 19456).
    pub argon2_memory_kib: u32,
    /// Passes of one argon2id hash (OWASP: 2).
    pub argon2_passes: u32,
    /// Mails waiting or on their way; with a full queue whoever wants another one is answered 503.
    pub mail_queue: usize,
    /// SMTP conversations at once.
    pub mail_connections: usize,
    /// Longest wait for an SMTP server's answer.
    pub mail_timeout: Duration,
    /// Waits between attempts to send one mail; after the last one it is given up.
    pub mail_retries: Vec<Duration>,
    /// SMS on their way to a provider at once; whoever wants another one is answered 503.
    pub sms_connections: usize,
    /// Longest wait for an SMS provider's answer.
    pub sms_timeout: Duration,
    /// Whether providers that a project's own people define may be at private or unencrypted addresses. Only where all
    /// projects belong to whoever operates the server; what the operator sets is never restricted.
    pub private_providers: bool,
    /// The longest that a hook, a captcha's provider or the list of breached passwords may take.
    pub hook_timeout: Duration,
    /// Such requests on their way at once; further ones wait.
    pub hook_connections: usize,
    /// Client addresses whose requests are counted in this process; the least active are forgotten first.
    pub max_limited: u64,
    /// Tries after which a code is void.
    pub otp_max_attempts: i32,
    /// Codes tried in an hour at one address or number, whichever codes were sent to it and whoever tries.
    pub otp_guesses_per_hour: u32,
    /// Answers that could tell by their time who has an account leave at multiples of this; zero for at once.
    pub answer_grid: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            clock: Clock::default(),
            redis: Redis::none(),
            hashing_threads: std::thread::available_parallelism().map_or(2, NonZeroUsize::get),
            hashing_queue: 2048,
            argon2_memory_kib: 19_456,
            argon2_passes: 2,
            mail_queue: 256,
            mail_connections: 4,
            mail_timeout: Duration::from_secs(10),
            mail_retries: vec![Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(60)],
            sms_connections: 64,
            sms_timeout: Duration::from_secs(10),
            private_providers: false,
            hook_timeout: Duration::from_secs(5),
            hook_connections: 64,
            max_limited: 100_000,
            otp_max_attempts: 10,
            otp_guesses_per_hour: 30,
            answer_grid: Duration::from_millis(50),
        }
    }
}
