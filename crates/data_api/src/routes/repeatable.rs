//! Which answers may be given again to the same request of the same caller, until something is written.
//!
//! Rows of relations, and what functions give that promise not to be volatile. Not the planner's guesses, which change by
//! themselves, nor plans, which tell times; not errors. Whether code behind a view or a policy looks at the clock nobody
//! knows: the time that an answer is kept bounds that.

use common::{Dependence, Project, Repeatable, ResponseCache};
use http::header::ACCEPT;
use http::{HeaderMap, HeaderName, Method};
use store::Session;

use super::{DataApi, Exchange, Target};
use crate::catalog::{Known, Volatility};
use crate::request;

impl DataApi {
    /// What answers about `project` depend on besides the request, the caller and the rows; costs a look into memory.
    #[must_use]
    pub fn dependence(&self, project: &Project) -> Option<Dependence> {
        self.catalogs.dependence(project)
    }
}

/// What to tell the gateway of a good answer to `exchange` about `target`.
pub(super) fn of(exchange: &Exchange<'_>, known: &Known, target: &Target) -> Option<Repeatable> {
    if !may_be(exchange) || guesses(&exchange.parts.headers) {
        return None;
    }
    let lasts = match target {
        Target::Root => false,
        Target::Relation(_) => true,
        Target::Function(name) => {
            let (schema, _) = request::schema(exchange.head()).ok()?;
            let overloads = exchange.catalog.functions(schema, name);
            !overloads.is_empty() && overloads.iter().all(|it| it.volatility != Volatility::Volatile)
        }
    };
    lasts.then(|| known.dependence()).flatten().map(|dependence| Repeatable { dependence })
}

/// The session of a read whose answer others may get later: what a replica has not replayed yet must not be kept as new.
pub(super) fn session(exchange: &Exchange<'_>, session: Session) -> Session {
    if may_be(exchange) { Session { caller: None, ..session } } else { session }
}

fn may_be(exchange: &Exchange<'_>) -> bool {
    exchange.project.rest.response_cache != ResponseCache::Off
        && matches!(exchange.parts.method, Method::GET | Method::HEAD)
}

/// Whether the client wants something that the planner guesses.
fn guesses(headers: &HeaderMap) -> bool {
    let says = |name: &HeaderName, words: &[&str]| {
        headers.get_all(name).iter().any(|it| {
            let text = String::from_utf8_lossy(it.as_bytes()).to_ascii_lowercase();
            words.iter().any(|it| text.contains(it))
        })
    };
    says(&HeaderName::from_static("prefer"), &["planned", "estimated"]) || says(&ACCEPT, &["pgrst.plan"])
}
