//! Tokens of the current second: compared, not hashed. Clients on kept connections send the same one again and again.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use common::jwt::Claims;
use common::{Project, ProjectRef};
use foldhash::fast::RandomState;
use store::Shelves;

use super::Purpose;

const PLACES: usize = 256;
const MAX_TOKEN_BYTES: usize = 4096;
/// The end of a token is its signature: it tells tokens apart.
const TELLING_BYTES: usize = 16;

/// At most 256 verified tokens for each core, each until the second ends in which it was looked up.
#[derive(Debug)]
pub(super) struct Seen {
    shelves: Shelves<Entry>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Entry {
    token: Box<str>,
    purpose: Purpose,
    reference: ProjectRef,
    version: i64,
    second: i64,
    claims: Arc<Claims>,
}

impl Seen {
    pub(super) fn new() -> Self {
        Self { shelves: Shelves::new(PLACES), hasher: RandomState::default() }
    }

    /// What `token` says, if it was looked up in the second `now_secs` for the same.
    pub(super) fn get(
        &self,
        project: &Project,
        (token, purpose): (&str, Purpose),
        now_secs: i64,
    ) -> Option<Arc<Claims>> {
        self.shelves.find(self.hash(token), |it| {
            let is_same = it.second == now_secs
                && it.version == project.version
                && it.purpose == purpose
                && *it.token == *token
                && it.reference == project.reference;
            is_same.then(|| Arc::clone(&it.claims))
        })
    }

    /// `token` was looked up in the second `now_secs`. Unusually long ones are not kept, for there are places on each core.
    pub(super) fn put(
        &self,
        project: &Project,
        (token, purpose): (&str, Purpose),
        now_secs: i64,
        claims: &Arc<Claims>,
    ) {
        if token.len() > MAX_TOKEN_BYTES {
            return;
        }
        let entry = Entry {
            token: token.into(),
            purpose,
            reference: project.reference.clone(),
            version: project.version,
            second: now_secs,
            claims: Arc::clone(claims),
        };
        self.shelves.put(self.hash(token), entry);
    }

    fn hash(&self, token: &str) -> u64 {
        let (_, end) = token.as_bytes().split_at(token.len().saturating_sub(TELLING_BYTES));
        self.hasher.hash_one(end)
    }
}
