//! One attempt to get one certificate: account, order, proof, key, certificate. An order that was under way when a
//! process ended is taken up again.

use std::error::Error as StdError;

use instant_acme::{
    Account, AccountBuilder, AccountCredentials, AuthorizationStatus, ChallengeType, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::queries::{self, Claim};
use super::{AcmeSettings, ChallengeKind, open_text, seal_text};
use crate::ControlPlane;

/// Anything; it ends as a text for operators.
pub(super) type Failure = Box<dyn StdError + Send + Sync>;

/// Longest part of a failure that is kept.
const MAX_TOLD_CHARS: usize = 500;
/// The authority has forgotten us.
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// A certificate and its key, both PEM.
pub(super) struct Issued {
    pub(super) chain: String,
    pub(super) key: String,
}

/// What went wrong, with its causes, bounded.
pub(super) fn told(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text.chars().take(MAX_TOLD_CHARS).collect()
}

impl ControlPlane {
    /// Get a certificate for the domain of `claim`.
    pub(super) async fn attempt(&self, settings: &AcmeSettings, claim: &Claim) -> Result<Issued, Failure> {
        let account = self.account(settings).await?;
        let outcome = self.order(&account, settings, claim).await;
        if let Err(error) = &outcome
            && let Some(instant_acme::Error::Api(problem)) = error.downcast_ref()
            && problem.r#type.as_deref() == Some(NO_ACCOUNT)
        {
            queries::forget_account(&self.inner.db, &settings.directory).await?;
        }
        outcome
    }

    async fn order(
        &self,
        account: &Account,
        settings: &AcmeSettings,
        claim: &Claim,
    ) -> Result<Issued, Failure> {
        let db = &self.inner.db;
        let vault = self.inner.seal.cluster_vault()?;
        let context = format!("certificates.order_key:{}", claim.domain);
        let mut key = claim.order_key.as_ref().and_then(|it| open_text(&vault, &context, it).ok());
        let mut order = match resume(account, claim, key.is_some()).await {
            Some(order) => order,
            None => {
                key = None;
                let domain = [Identifier::Dns(claim.domain.clone())];
                account.new_order(&NewOrder::new(&domain)).await?
            }
        };
        let key = match key {
            Some(key) => key,
            None => KeyPair::generate()?.serialize_pem(),
        };
        // Before the authority signs it: a certificate whose key is lost would be of no use.
        let sealed = seal_text(&vault, &context, &key)?;
        queries::note_order(db, &claim.domain, Some(order.url()), Some(&sealed)).await?;
        let outcome = self.finish(&mut order, settings, claim, &key).await;
        if outcome.is_err() && !matches!(order.state().status, OrderStatus::Processing | OrderStatus::Valid) {
            queries::note_order(db, &claim.domain, None, None).await?;
        }
        Ok(Issued { chain: outcome?, key })
    }

    async fn finish(
        &self,
        order: &mut Order,
        settings: &AcmeSettings,
        claim: &Claim,
        key: &str,
    ) -> Result<String, Failure> {
        let retries = RetryPolicy::new();
        if order.state().status == OrderStatus::Pending {
            self.prove(order, settings, claim).await?;
            let ready = order.poll_ready(&retries).await;
            if !matches!(ready, Ok(OrderStatus::Ready)) {
                return Err(why_not(order).await.unwrap_or_else(|| match ready {
                    Ok(status) => format!("the order became {status:?}").into(),
                    Err(error) => error.into(),
                }));
            }
        }
        if order.state().status == OrderStatus::Ready {
            let mut params = CertificateParams::new(vec![claim.domain.clone()])?;
            params.distinguished_name = DistinguishedName::new();
            order.finalize_csr(params.serialize_request(&KeyPair::from_pem(key)?)?.der()).await?;
        }
        Ok(order.poll_certificate(&retries).await?)
    }

    /// Lay out the answers, then tell the authority to ask.
    async fn prove(&self, order: &mut Order, settings: &AcmeSettings, claim: &Claim) -> Result<(), Failure> {
        let first =
            if claim.failures.is_multiple_of(2) { ChallengeKind::TlsAlpn } else { ChallengeKind::Http };
        let first = settings.challenge.unwrap_or(first);
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let offers = |kind| authorization.challenges.iter().any(|it| it.r#type == named(kind));
            let kind = match (offers(first), settings.challenge) {
                (true, _) => first,
                (false, None) if offers(first.other()) => first.other(),
                (false, _) => return Err("the authority offers no challenge that can be met here".into()),
            };
            let mut challenge = authorization.challenge(named(kind)).ok_or("the challenge is gone")?;
            let (token, answer) = (challenge.token.clone(), challenge.key_authorization());
            let place = (claim.domain.as_str(), token.as_str());
            queries::open_challenge(&self.inner.db, place, kind, answer.as_str()).await?;
            challenge.set_ready().await?;
        }
        Ok(())
    }

    /// Our account at the authority; made by whoever needs it first.
    async fn account(&self, settings: &AcmeSettings) -> Result<Account, Failure> {
        let (db, directory) = (&self.inner.db, &settings.directory);
        let vault = self.inner.seal.cluster_vault()?;
        let context = format!("acme_accounts.credentials:{directory}");
        if let Some(sealed) = queries::account(db, directory).await? {
            let credentials: AccountCredentials =
                serde_json::from_str(&open_text(&vault, &context, &sealed)?)?;
            return Ok(builder(settings)?.from_credentials(credentials).await?);
        }
        let contact = settings.email.as_ref().map(|it| format!("mailto:{it}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let wanted =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let (account, credentials) = builder(settings)?.create(&wanted, directory.clone(), None).await?;
        let sealed = seal_text(&vault, &context, &serde_json::to_string(&credentials)?)?;
        queries::keep_account(db, directory, &sealed).await?;
        Ok(account)
    }
}

fn builder(settings: &AcmeSettings) -> Result<AccountBuilder, instant_acme::Error> {
    match &settings.root {
        Some(root) => Account::builder_with_root(root),
        None => Account::builder(),
    }
}

/// The order that was under way, when it can still lead to a certificate.
async fn resume(account: &Account, claim: &Claim, has_key: bool) -> Option<Order> {
    let mut order = account.order(claim.order_url.clone()?).await.ok()?;
    let usable = match order.state().status {
        OrderStatus::Pending | OrderStatus::Ready => true,
        OrderStatus::Processing | OrderStatus::Valid => has_key,
        OrderStatus::Invalid => false,
    };
    usable.then_some(order)
}

/// What the authority says about a challenge that failed.
async fn why_not(order: &mut Order) -> Option<Failure> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let state = authorization.refresh().await.ok()?;
        if let Some(problem) = state.challenges.iter().find_map(|it| it.error.clone()) {
            return Some(instant_acme::Error::Api(problem).into());
        }
    }
    None
}

fn named(kind: ChallengeKind) -> ChallengeType {
    match kind {
        ChallengeKind::TlsAlpn => ChallengeType::TlsAlpn01,
        ChallengeKind::Http => ChallengeType::Http01,
    }
}
