//! Everything auth asks of the database: reads of accounts and tokens, and one statement for all writes.
//!
//! Callers hold a connection for these calls only. All text is ours; client input travels as parameters.

mod audit;
mod change;
mod custom;
mod external;
pub(crate) mod factors;
mod oauth;
pub(crate) mod outbox;
mod parts;
#[cfg(feature = "webauthn")]
pub(crate) mod passkeys;
mod read;
#[cfg(feature = "saml")]
mod sso;

pub(crate) use audit::audit_page;
pub(crate) use change::{
    Applied, Audit, Change, Claim, EndSessions, FlowState, OneTimeToken, Save, Spend, Touch, apply,
    apply_and_read, take_attempt, take_attempts_at,
};
pub(crate) use custom::{count_customs, custom, customs, delete_custom, write_custom};
pub(crate) use external::{
    Candidates, ClientState, Flow, NewFlow, begin_flow, candidates, flow, take_client_state,
};
pub(crate) use oauth::{
    AuthorizationRow, ClientRow, Granting, Reply, answer_authorization, authorization, authorization_by_code,
    claim_authorization, client, clients, consent, delete_client, expire_authorization, grants,
    new_authorization, revoke, write_client,
};
pub(crate) use read::{
    Mailed, MailedToken, Refreshing, by_email, by_id, by_phone, delete_user, flow_by_code, latest_flow,
    mailed_by_address, mailed_by_link, own_token, page, refreshing, sent_to_phone, signed_in,
};

#[cfg(feature = "saml")]
pub(crate) use sso::{
    ProviderKey, RelayState, SamlProvider, SsoProvider, begin_relay, count_sso_providers,
    delete_sso_provider, new_saml_key, refresh_metadata, saml_key, sso_provider, sso_providers, take_relay,
    use_assertion, write_sso_provider,
};

use serde::de::DeserializeOwned;
use store::postgres::Row;
use store::postgres::types::Json;

use crate::Error;

fn decode<T: DeserializeOwned>(row: &Row) -> Result<T, Error> {
    let Json(value) = row.try_get::<_, Json<T>>(0).map_err(|it| Error::internal(Box::new(it)))?;
    Ok(value)
}
