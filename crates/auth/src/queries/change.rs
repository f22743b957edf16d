//! The one writing statement: a [`Change`] is everything a flow wants written, and is written whole or not at all.
//!
//! One statement is one transaction and one round trip. Guards (a version of the user's row, a token to spend, a
//! refresh token to retire) are checked by the same statement: when one fails, nothing is written and the flow reads
//! again. So no lock is ever held while we think.

use jiff::Timestamp;
use serde::Serialize;
use store::ServiceClient;
use uuid::Uuid;

use super::parts::Parts;
use super::{decode, read};
use crate::Error;
use crate::mail::KeptMail;
use crate::session::{Opening, RefreshToken, Session};
use crate::user::{Account, Identity, Object, User};

/// What a flow wants written.
#[derive(Serialize)]
pub(crate) struct Change {
    now: Timestamp,
    /// Guard: delete this mailed token; nothing happens when it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spend: Option<Spend>,
    /// Guard: write the user's row unless it changed since it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) save: Option<Save>,
    /// Guard: retire the refresh token stored as this text unless it is retired already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retire: Option<String>,
    /// Guard: delete this PKCE flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finish_flow: Option<Uuid>,
    /// Guard: give this flow its user and code unless it has a user already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) claim: Option<Claim>,
    /// Guard: delete this request for consent, whose code was exchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) redeem: Option<Uuid>,
    /// Guard: note a sign-in unless the user is gone or the password changed. Not together with `save`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) touch: Option<Touch>,
    pub(crate) create: Vec<User>,
    pub(crate) identities: Vec<Identity>,
    /// Identities to delete: nobody proved them, or the user unlinks them.
    pub(crate) disown: Vec<Uuid>,
    pub(crate) mail: Vec<OneTimeToken>,
    /// Mails that wait to be sent.
    pub(crate) outbox: Vec<KeptMail>,
    pub(crate) flows: Vec<FlowState>,
    /// Void all mailed tokens of this user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clear: Option<Uuid>,
    /// End sessions of a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<EndSessions>,
    /// The sessions of this user that exist already end now, and say so when they are refreshed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outlive: Option<Uuid>,
    /// When the session that is opened ends, if it does by itself.
    #[serde(skip)]
    pub(crate) session_ends: Option<Timestamp>,
    open: Vec<Session>,
    methods: Vec<MethodRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refresh: Option<Session>,
    pub(crate) issue: Vec<RefreshToken>,
    audit: Vec<AuditRow>,
}

/// A mailed token to spend.
#[derive(Serialize)]
pub(crate) struct Spend {
    pub(crate) id: Uuid,
    pub(crate) token_hash: String,
}

/// A user's row to write, and the version it was read as.
#[derive(Serialize)]
pub(crate) struct Save {
    pub(crate) version: String,
    pub(crate) row: User,
}

/// A sign-in to note.
#[derive(Serialize)]
pub(crate) struct Touch {
    pub(crate) user_id: Uuid,
    /// The hash that the password was compared with: a sign-in must not survive a change of the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expected: Option<String>,
    /// A fresher hash of the same password.
    pub(crate) encrypted_password: Option<String>,
}

/// A flow that a provider sent a user back to: the user and the code that it gets.
#[derive(Clone, Serialize)]
pub(crate) struct Claim {
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    /// Digest of the code.
    pub(crate) auth_code: String,
    /// The provider's tokens, sealed.
    pub(crate) provider_access_token: Option<String>,
    pub(crate) provider_refresh_token: Option<String>,
    /// When the session ends that the code is exchanged for.
    pub(crate) session_not_after: Option<Timestamp>,
}

/// Sessions to end: all of a user, `only` one, or all `except` one.
#[derive(Serialize)]
pub(crate) struct EndSessions {
    pub(crate) user_id: Uuid,
    pub(crate) only: Option<Uuid>,
    pub(crate) except: Option<Uuid>,
}

/// A row of `auth.one_time_tokens`.
#[derive(Clone, Serialize)]
pub(crate) struct OneTimeToken {
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) token_type: &'static str,
    pub(crate) token_hash: String,
    pub(crate) relates_to: String,
}

/// A row of `auth.flow_state`.
#[derive(Serialize)]
pub(crate) struct FlowState {
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    /// Digest of the code; replaced when the mailed link is opened.
    pub(crate) auth_code: Option<String>,
    pub(crate) code_challenge_method: String,
    pub(crate) code_challenge: String,
    pub(crate) provider_type: String,
    pub(crate) authentication_method: String,
    pub(crate) auth_code_issued_at: Option<Timestamp>,
}

/// Something for the audit log.
pub(crate) struct Audit<'a> {
    pub(crate) action: &'static str,
    pub(crate) log_type: &'static str,
    pub(crate) actor: Option<&'a User>,
    pub(crate) traits: Object,
    pub(crate) ip: Option<String>,
}

#[derive(Serialize)]
struct MethodRow {
    id: Uuid,
    session_id: Uuid,
    authentication_method: String,
}

/// A row of `auth.audit_log_entries`.
#[derive(Serialize)]
pub(crate) struct AuditRow {
    id: Uuid,
    payload: serde_json::Value,
    ip_address: String,
}

impl Change {
    /// Nothing yet.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            now,
            spend: None,
            save: None,
            retire: None,
            finish_flow: None,
            claim: None,
            redeem: None,
            touch: None,
            create: Vec::new(),
            identities: Vec::new(),
            disown: Vec::new(),
            mail: Vec::new(),
            outbox: Vec::new(),
            flows: Vec::new(),
            clear: None,
            end: None,
            outlive: None,
            session_ends: None,
            open: Vec::new(),
            methods: Vec::new(),
            refresh: None,
            issue: Vec::new(),
            audit: Vec::new(),
        }
    }

    /// The parts of `apply.sql`, and which of them this change has.
    fn parts(&self) -> [(&'static str, bool); 21] {
        [
            ("spend", self.spend.is_some()),
            ("save", self.save.is_some()),
            ("retire", self.retire.is_some()),
            ("finish_flow", self.finish_flow.is_some()),
            ("claim", self.claim.is_some()),
            ("redeem", self.redeem.is_some()),
            ("touch", self.touch.is_some()),
            ("create", !self.create.is_empty()),
            ("identities", !self.identities.is_empty()),
            ("disown", !self.disown.is_empty()),
            ("clear", self.clear.is_some()),
            ("mail", !self.mail.is_empty()),
            ("outbox", !self.outbox.is_empty()),
            ("flows", !self.flows.is_empty()),
            ("end", self.end.is_some()),
            ("outlive", self.outlive.is_some()),
            ("open", !self.open.is_empty()),
            ("methods", !self.methods.is_empty()),
            ("refresh", self.refresh.is_some()),
            ("issue", !self.issue.is_empty()),
            ("audit", !self.audit.is_empty()),
        ]
    }

    /// Also open a session.
    pub(crate) fn open(&mut self, opening: &Opening) {
        for method in &opening.session.amr {
            self.methods.push(MethodRow {
                id: Uuid::new_v4(),
                session_id: opening.session.id,
                authentication_method: method.method.clone(),
            });
        }
        self.issue.push(opening.refresh_row(self.now));
        self.open.push(opening.session.clone());
    }

    /// Also write to the audit log.
    pub(crate) fn audit(&mut self, audit: Audit<'_>) {
        self.audit.push(AuditRow::from(audit));
    }
}

impl From<Audit<'_>> for AuditRow {
    fn from(audit: Audit<'_>) -> Self {
        let actor = audit.actor;
        let mut payload = serde_json::json!({
            "action": audit.action,
            "actor_id": actor.map_or_else(Uuid::nil, |it| it.id),
            "actor_username": actor.map_or("service_role", User::address),
            "actor_via_sso": actor.is_some_and(|it| it.is_sso_user),
            "log_type": audit.log_type,
        });
        if let (false, Some(map)) = (audit.traits.is_empty(), payload.as_object_mut()) {
            map.insert("traits".into(), audit.traits.into());
        }
        let ip_address = audit.ip.unwrap_or_default();
        Self { id: Uuid::new_v4(), payload, ip_address }
    }
}

/// What became of a [`Change`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// Written.
    Done,
    /// A guard failed, nothing is written: read again.
    Stale,
    /// Another user has the address or phone number, nothing is written.
    Taken,
}

/// What there is to do, of all that a change may be.
static APPLY: Parts = Parts::new(include_str!("apply.sql"));
const TAKE_ATTEMPT: &str = "update auth.one_time_tokens set attempts = attempts + 1 where id = any($1) \
     and attempts < $2 returning id";

const TAKE_ATTEMPTS_AT: &str = "update auth.one_time_tokens set attempts = attempts + 1 where relates_to = $1 \
     and token_type::text = $2 and attempts < $3 returning id";

fn json(change: &Change) -> Result<String, Error> {
    serde_json::to_string(change).map_err(Error::internal)
}

/// Write `change`. One round trip.
pub(crate) async fn apply(db: &ServiceClient, change: &Change) -> Result<Applied, Error> {
    let statement = db.prepare_cached(&APPLY.with(&change.parts())).await?;
    outcome(change, db.query_one(&statement, &[&json(change)?]).await)
}

/// Write `change`, then read the account of `user_id`. One round trip.
pub(crate) async fn apply_and_read(
    db: &ServiceClient,
    change: &Change,
    user_id: Uuid,
) -> Result<(Applied, Option<Account>), Error> {
    let apply = db.prepare_cached(&APPLY.with(&change.parts())).await?;
    let by_id = db.prepare_cached(read::ACCOUNT_BY_ID).await?;
    let change_json = json(change)?;
    // Polled together, sent together: PostgreSQL runs them one after the other.
    let parameters: [&(dyn store::postgres::types::ToSql + Sync); 1] = [&change_json];
    let id: [&(dyn store::postgres::types::ToSql + Sync); 1] = [&user_id];
    let (applied, row) = futures_util::join!(db.query_one(&apply, &parameters), db.query_opt(&by_id, &id));
    let account = row?.as_ref().map(decode).transpose()?;
    Ok((outcome(change, applied)?, account))
}

/// Take one of `max` attempts at each of the tokens `ids`; those that had one left. Before a code is compared, so
/// that guesses sent at once are no more than guesses sent one by one.
pub(crate) async fn take_attempt(db: &ServiceClient, ids: &[Uuid], max: i32) -> Result<Vec<Uuid>, Error> {
    let statement = db.prepare_cached(TAKE_ATTEMPT).await?;
    ids_of(&db.query(&statement, &[&ids, &max]).await?)
}

/// The same at every token of `token_type` that was sent to `address`, whoever it belongs to.
pub(crate) async fn take_attempts_at(
    db: &ServiceClient,
    address: &str,
    token_type: &str,
    max: i32,
) -> Result<Vec<Uuid>, Error> {
    let statement = db.prepare_cached(TAKE_ATTEMPTS_AT).await?;
    ids_of(&db.query(&statement, &[&address, &token_type, &max]).await?)
}

fn ids_of(rows: &[store::postgres::Row]) -> Result<Vec<Uuid>, Error> {
    rows.iter().map(|it| it.try_get(0).map_err(Error::from)).collect()
}

fn outcome(
    change: &Change,
    answer: Result<store::postgres::Row, store::postgres::Error>,
) -> Result<Applied, Error> {
    let error = match answer {
        Ok(row) => {
            let open: bool = row.try_get(0)?;
            return Ok(if open { Applied::Done } else { Applied::Stale });
        }
        Err(error) => error,
    };
    match error.as_db_error().map(|it| (it.code().code(), it.table(), it.constraint())) {
        Some(("23505", Some("users" | "identities"), _)) => return Ok(Applied::Taken),
        // One guard wrote and another one failed: `apply.sql` takes everything back by dividing by zero.
        Some(("22012", _, _)) => return Ok(Applied::Stale),
        // The session or user was deleted meanwhile.
        Some(("23503", Some("sessions" | "refresh_tokens" | "one_time_tokens" | "identities"), _)) => {
            return Ok(Applied::Stale);
        }
        _ => {}
    }
    match store::Error::from(error) {
        store::Error::Statement(refused) if !change.create.is_empty() || change.save.is_some() => {
            Err(Error::Refused(refused))
        }
        other => Err(Error::Store(other)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_part_of_the_statement_is_one_of_a_change() {
        let marked: BTreeSet<_> =
            include_str!("apply.sql").lines().filter_map(|it| Some(it.split_once(" --? ")?.1)).collect();
        let parts = Change::new(Timestamp::UNIX_EPOCH).parts();
        assert_eq!(marked, parts.iter().map(|(name, _)| *name).collect());
        assert!(parts.iter().all(|(_, there)| !there));
    }
}
