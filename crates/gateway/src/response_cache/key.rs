//! What makes a request another one: all that its answer may depend on, as bytes that are compared, not as a digest. Pure.
//!
//! The project with its version, what its database holds of code ([`Dependence::generation`]), the method, the path and
//! the query as they are sent (without the API key), the role and **all** claims of the token, and the headers that the
//! data API reads; every header where code in the database may read them (no key is made for such a request to a worker,
//! which sees other headers).

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use common::{Caller, Dependence, Project};
use http::{HeaderMap, HeaderName, Method, header};

/// The headers that the data API reads of a read.
const READ: [HeaderName; 5] = [
    header::ACCEPT,
    header::RANGE,
    HeaderName::from_static("accept-profile"),
    HeaderName::from_static("prefer"),
    HeaderName::from_static("range-unit"),
];

/// A request, as far as its answer depends on it. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key(Arc<[u8]>);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    /// As the service sees it.
    pub(super) path: &'a str,
    /// Without the API key.
    pub(super) query: Option<&'a str>,
    pub(super) headers: &'a HeaderMap,
}

impl Key {
    /// The key of what `caller` asks of `project`.
    pub(super) fn of(project: &Project, dependence: Dependence, caller: &Caller, asked: Asked<'_>) -> Self {
        let mut parts = Parts(Vec::with_capacity(256 + asked.path.len() + caller.claims.json.len()));
        parts.push(project.reference.as_str().as_bytes());
        parts.push(project.id.0.as_bytes());
        parts.push(&project.version.to_le_bytes());
        parts.push(&dependence.generation.to_le_bytes());
        parts.push(asked.method.as_str().as_bytes());
        parts.push(asked.path.as_bytes());
        parts.push(&[u8::from(asked.query.is_some()), u8::from(caller.authenticated)]);
        parts.push(asked.query.unwrap_or_default().as_bytes());
        parts.push(caller.role().as_bytes());
        parts.push(caller.claims.json.as_bytes());
        if dependence.on_whole_request {
            let mut names: Vec<&HeaderName> = asked.headers.keys().collect();
            names.sort_unstable_by_key(|it| it.as_str());
            for name in names {
                parts.push(name.as_str().as_bytes());
                parts.push_all(asked.headers, name);
            }
        } else {
            READ.iter().for_each(|name| parts.push_all(asked.headers, name));
        }
        Self(parts.0.into())
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.0.len()
    }
}

/// Parts that cannot be mistaken for others: each with its length before it.
struct Parts(Vec<u8>);

impl Parts {
    fn push(&mut self, part: &[u8]) {
        self.0.extend_from_slice(&part.len().to_le_bytes());
        self.0.extend_from_slice(part);
    }

    /// All values of a header.
    fn push_all(&mut self, headers: &HeaderMap, name: &HeaderName) {
        let values = headers.get_all(name);
        self.push(&values.iter().count().to_le_bytes());
        values.iter().for_each(|it| self.push(it.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use common::jwt::{Claims, KeyRing};
    use common::{ApiKeys, AuthSettings, Login, Logins, ProjectId, RestSettings, Vault};
    use http::HeaderValue;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn project() -> Project {
        let login = Login { user: "nobody".into(), password: "none".to_owned().into() };
        let key = || "none".to_owned().into();
        Project {
            id: ProjectId(uuid::Uuid::nil()),
            reference: "board".parse().unwrap(),
            name: "board".into(),
            database: "none".into(),
            logins: Logins { owner: login.clone(), authenticator: login.clone(), services: login },
            keys: ApiKeys { anon: key(), service_role: key(), publishable: key(), secret: key() },
            jwt: KeyRing::default(),
            vault: Vault::new(&[7; 32]).unwrap(),
            auth: AuthSettings::default(),
            rest: RestSettings::default(),
            limits: common::LimitSettings::default(),
            realtime: common::RealtimeSettings::default(),
            version: 1,
        }
    }

    /// A request, as text: path, query, claims, headers.
    type Sketch = (String, Option<String>, (String, String), Vec<(usize, String)>);

    const NAMES: [&str; 6] = ["accept", "prefer", "range", "accept-profile", "x-other", "cookie"];

    fn key(project: &Project, on_whole_request: bool, (path, query, claims, headers): &Sketch) -> Key {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(NAMES[name % NAMES.len()], HeaderValue::from_str(value).unwrap());
        }
        let claims = json!({"sub": claims.0, "tenant": claims.1}).as_object().cloned().unwrap();
        let claims = Arc::new(Claims::from_map(claims, "authenticated"));
        let caller = Caller { claims, authenticated: true };
        let dependence = Dependence { generation: 1, on_whole_request };
        let asked = Asked { method: &Method::GET, path, query: query.as_deref(), headers: &map };
        Key::of(project, dependence, &caller, asked)
    }

    /// The headers that count, each name's values in order.
    fn counting(whole: bool, (_, _, _, headers): &Sketch) -> Vec<Vec<&str>> {
        let names = if whole { &NAMES[..] } else { &NAMES[..4] };
        let of = |name: &&str| {
            let named = headers.iter().filter(|(it, _)| NAMES[it % NAMES.len()] == *name);
            named.map(|(_, value)| value.as_str()).collect()
        };
        names.iter().map(of).collect()
    }

    fn sketch() -> impl Strategy<Value = Sketch> {
        let word = || "[ab,]{0,2}";
        let headers = prop::collection::vec((0..6_usize, word()), 0..3);
        (word(), prop::option::of(word()), (word(), word()), headers)
            .prop_map(|(path, query, claims, headers)| (path.to_string(), query, claims, headers))
    }

    proptest! {
        /// No part can pass for another one, wherever one ends and the next begins.
        #[test]
        fn keys_are_equal_exactly_when_all_that_counts_is(one in sketch(), other in sketch(), whole: bool) {
            let project = project();
            let counts = |it: &Sketch| (it.0.clone(), it.1.clone(), it.2.clone());
            let same = counts(&one) == counts(&other) && counting(whole, &one) == counting(whole, &other);
            prop_assert_eq!(key(&project, whole, &one) == key(&project, whole, &other), same);
        }
    }

    #[test]
    fn projects_versions_and_generations_are_apart() {
        let sketch = ("/x".to_owned(), None, (String::new(), String::new()), Vec::new());
        let (one, mut other) = (project(), project());
        assert_eq!(key(&one, false, &sketch), key(&other, false, &sketch));
        other.version = 2;
        assert_ne!(key(&one, false, &sketch), key(&other, false, &sketch));
        other.version = 1;
        other.id = ProjectId(uuid::Uuid::from_u128(2));
        assert_ne!(key(&one, false, &sketch), key(&other, false, &sketch), "made anew under the same name");
    }
}
