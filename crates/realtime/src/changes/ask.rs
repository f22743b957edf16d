//! What only PostgreSQL can decide: which rows a caller sees, and conditions on types that are not compared here.
//!
//! One statement for all rows of a batch. When it fails, its rows are asked in halves, so that a policy that fails for one
//! row silences that row only; how often is bounded. A statement may take [`LONGEST`], and a database that is away is
//! waited for, [`PATIENCE`] long. Nothing here changes rows, and every value travels as a parameter.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use store::{Database, Error, PgError, Session, Statement};
use tokio::time::{Instant, sleep};

use super::array;
use super::condition::Question;

/// Longest time of one statement about policies, and of one about a filter, which anybody may write.
const LONGEST: Duration = Duration::from_secs(1);
pub(super) const LONGEST_OF_FILTER: Duration = Duration::from_millis(250);
/// How long to wait for a database that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(250);
/// Most rows of one statement.
const MOST_ROWS: usize = 1000;
/// Most statements for the rows of one batch that fail.
const MOST_HALVES: usize = 64;
/// The longest message of PostgreSQL's that is passed on, in characters.
const LONGEST_MESSAGE: usize = 200;

pub(super) const UNAUTHORIZED: &str = "Error 401: Unauthorized";
const SLOW: &str = "Error 504: Gateway Timeout, the table's policies took too long";
const AWAY: &str = "Error 503: Service Unavailable, the database did not answer";

/// What PostgreSQL says of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Hidden,
    Visible,
    /// It cannot be decided; what the subscriber is told.
    Failed(Arc<str>),
}

/// The settings of a statement that runs as `role`: about policies with `claims` (a JSON object), about a filter without.
pub(super) fn session(role: &str, claims: Option<String>) -> Session {
    let longest = if claims.is_some() { LONGEST } else { LONGEST_OF_FILTER };
    let mut settings = vec![
        ("role".into(), role.to_owned()),
        ("search_path".into(), "\"public\", \"extensions\"".to_owned()),
        ("statement_timeout".into(), longest.as_millis().to_string()),
        ("timezone".into(), "UTC".to_owned()),
        ("datestyle".into(), "ISO, MDY".to_owned()),
    ];
    settings.extend(claims.map(|it| ("request.jwt.claims".into(), it)));
    Session { settings, ..Session::default() }
}

/// What those are told whose policies take too long.
pub(super) fn slow() -> Verdict {
    Verdict::Failed(SLOW.into())
}

/// Which of the rows with these `keys` the session sees: `text` is [`super::facts::TableFacts::visible`], a key has one
/// value for each column of the primary key.
pub(super) async fn visible(
    database: &Database,
    session: &Session,
    text: &Arc<str>,
    keys: &[Vec<Bytes>],
) -> Vec<Verdict> {
    let mut verdicts = vec![Verdict::Hidden; keys.len()];
    let mut open: Vec<Range<usize>> =
        (0..keys.len()).step_by(MOST_ROWS).map(|it| it..keys.len().min(it + MOST_ROWS)).collect();
    let mut halves = 0;
    while let Some(range) = open.pop() {
        let rows = keys.get(range.clone()).unwrap_or_default();
        let failure = match read(database, session, &by_keys(text, rows)).await {
            Ok(answer) => {
                let numbers = answer.split(',').filter_map(|it| it.parse::<usize>().ok());
                for number in numbers {
                    let verdict = verdicts.get_mut(range.start + number.saturating_sub(1));
                    verdict.into_iter().for_each(|it| *it = Verdict::Visible);
                }
                continue;
            }
            Err(failure) => failure,
        };
        if rows.len() > 1 && halves < MOST_HALVES && failure.is_of_row() {
            let middle = range.start + rows.len() / 2;
            open.extend([range.start..middle, middle..range.end]);
            halves += 1;
            continue;
        }
        let verdict = Verdict::Failed(failure.told());
        verdicts.get_mut(range).into_iter().flatten().for_each(|it| *it = verdict.clone());
        if failure.is_slow() {
            // The rest would take as long.
            for range in open.drain(..) {
                verdicts.get_mut(range).into_iter().flatten().for_each(|it| *it = verdict.clone());
            }
        }
    }
    verdicts
}

fn by_keys(text: &Arc<str>, rows: &[Vec<Bytes>]) -> Statement {
    let columns = rows.first().map_or(0, Vec::len);
    let column = |idx: usize| {
        let values = rows.iter().map(|it| it.get(idx).map(Bytes::as_ref));
        Some(array::literal(values).into())
    };
    Statement { text: Arc::clone(text), params: (0..columns).map(column).collect() }
}

/// What PostgreSQL says of `values`: passes, does not pass, or unknown.
///
/// # Errors
/// As [`can_ask`].
pub(super) async fn question(
    database: &Database,
    session: &Session,
    question: &Question,
    values: &[Option<Bytes>],
) -> Result<Vec<Option<bool>>, Failure> {
    let answer = read(database, session, &of_values(question, values)).await?;
    let one = |it: char| match it {
        't' => Some(true),
        'f' => Some(false),
        _ => None,
    };
    Ok(answer.chars().map(one).collect())
}

/// Whether PostgreSQL can answer `question` at all; `sample` is a value of the column, or null.
///
/// # Errors
/// [`Failure::Refused`] by PostgreSQL, [`Failure::Away`].
pub(super) async fn can_ask(
    database: &Database,
    session: &Session,
    question: &Question,
    sample: Option<&'static str>,
) -> Result<(), Failure> {
    let values = [sample.map(|it| Bytes::from_static(it.as_bytes()))];
    read(database, session, &of_values(question, &values)).await.map(drop)
}

fn of_values(question: &Question, values: &[Option<Bytes>]) -> Statement {
    let values = array::literal(values.iter().map(Option::as_deref));
    let params = vec![Some(values.into()), Some(question.operand.clone())];
    Statement { text: Arc::clone(&question.text), params }
}

/// `value` as PostgreSQL writes a value of the type `cast`.
///
/// # Errors
/// As [`can_ask`].
pub(super) async fn canonical(
    database: &Database,
    session: &Session,
    cast: &str,
    value: &str,
) -> Result<String, Failure> {
    let params = vec![Some(Bytes::copy_from_slice(value.as_bytes()))];
    read(database, session, &Statement { text: format!("select ($1::{cast})::text").into(), params }).await
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    Refused(PgError),
    Away,
}

impl Failure {
    /// Whether another row might do better.
    fn is_of_row(&self) -> bool {
        matches!(self, Self::Refused(it) if it.code != "42501" && it.code != "57014")
    }

    /// Whether it took too long.
    pub(super) fn is_slow(&self) -> bool {
        matches!(self, Self::Refused(it) if it.code == "57014")
    }

    /// What subscribers are told.
    pub(super) fn told(&self) -> Arc<str> {
        match self {
            Self::Away => AWAY.into(),
            Self::Refused(it) if it.code == "42501" => UNAUTHORIZED.into(),
            Self::Refused(it) if it.code == "57014" => SLOW.into(),
            Self::Refused(it) => {
                let message: String = it.message.chars().take(LONGEST_MESSAGE).collect();
                format!("Error 400: Bad Request, {}: {message}", it.code).into()
            }
        }
    }
}

/// The first column of the answer's first row.
async fn read(database: &Database, session: &Session, statement: &Statement) -> Result<String, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let error = match database.read(session, statement).await {
            Ok(answer) => {
                return Ok(answer.rows.first().and_then(|it| it.text(0)).unwrap_or_default().to_owned());
            }
            Err(Error::Statement(it)) => return Err(Failure::Refused(it)),
            Err(error) => error,
        };
        if Instant::now() > deadline {
            tracing::warn!(%error, "subscribers of changes cannot be told: the database does not answer");
            return Err(Failure::Away);
        }
        sleep(PAUSE).await;
    }
}
