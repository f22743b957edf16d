//! Reads an assertion whose signature was verified: whether it is meant for us, now, for this request, and who it is
//! about. Pure.

use jiff::Timestamp;

use super::response::Expected;
use super::xml::Element;
use super::{ASSERTION, LIFETIME_SECS, Refusal, SKEW_SECS};

pub(crate) const PERSISTENT: &str = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent";
pub(crate) const TRANSIENT: &str = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient";
pub(crate) const EMAIL: &str = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress";
pub(crate) const UNSPECIFIED: &str = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified";
const BEARER: &str = "urn:oasis:names:tc:SAML:2.0:cm:bearer";
const SUBJECT_ID: &str = "urn:oasis:names:tc:SAML:attribute:subject-id";
/// What providers call the address.
const ADDRESSES: [&str; 6] = [
    "urn:oid:0.9.2342.19200300.100.1.3",
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress",
    "http://schemas.xmlsoap.org/claims/EmailAddress",
    "mail",
    "Mail",
    "email",
];
/// Longest id of an assertion or a user.
const MAX_ID: usize = 1024;

/// What a provider says about a user.
#[derive(Debug)]
pub(crate) struct Assertion {
    /// Unique at the provider.
    pub(crate) id: String,
    name_id: String,
    name_id_format: String,
    attributes: Vec<Attribute>,
    /// When the provider wants the session to end.
    pub(crate) session_ends: Option<Timestamp>,
}

#[derive(Debug)]
struct Attribute {
    name: String,
    friendly: String,
    values: Vec<String>,
}

impl Assertion {
    /// The provider's lasting id of the user; a transient one is none.
    pub(crate) fn user_id(&self) -> Option<String> {
        if let Some(id) = self.values(SUBJECT_ID).next() {
            return Some(id.to_owned()).filter(|it| !it.is_empty() && it.len() <= MAX_ID);
        }
        let lasting = !self.name_id.is_empty() && self.name_id_format != TRANSIENT;
        let id =
            if self.name_id_format == EMAIL { self.name_id.to_lowercase() } else { self.name_id.clone() };
        lasting.then_some(id)
    }

    /// The user's address, by any of the names that providers use.
    pub(crate) fn email(&self) -> Option<String> {
        let found = ADDRESSES.iter().flat_map(|it| self.values(it)).find(|it| !it.is_empty());
        let found = found.or((self.name_id_format == EMAIL).then_some(self.name_id.as_str()));
        found.map(str::to_owned)
    }

    /// The values of the attribute `name`, which may be its friendly name.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.attributes.iter().filter(move |it| it.name == name || it.friendly == name);
        named.flat_map(|it| &it.values).map(String::as_str)
    }

    /// The name of the user as the provider wrote it.
    pub(super) fn name_id(&self) -> &str {
        &self.name_id
    }
}

/// Read the assertion at `element`.
///
/// # Errors
/// [`Refusal`] says what is wrong with it.
pub(super) fn read(element: &Element, expected: &Expected<'_>) -> Result<Assertion, Refusal> {
    let id =
        element.attribute("ID").filter(|it| it.len() <= MAX_ID).ok_or(Refusal("the assertion has no id"))?;
    if element.attribute("Version") != Some("2.0") {
        return Err(Refusal("the assertion is of another version"));
    }
    let issuer = element.only(ASSERTION, "Issuer").ok_or(Refusal("the assertion has no issuer"))?;
    if issuer.text() != expected.idp.entity_id {
        return Err(Refusal("the assertion is of another issuer"));
    }
    let issued = required(element, "IssueInstant")?;
    if issued > later(expected.now, SKEW_SECS) || issued < later(expected.now, -LIFETIME_SECS - SKEW_SECS) {
        return Err(Refusal("the assertion is too old, or of the future"));
    }
    check_conditions(element, expected)?;
    let subject = element.only(ASSERTION, "Subject").ok_or(Refusal("the assertion has no subject"))?;
    if !subject.all(ASSERTION, "SubjectConfirmation").any(|it| confirms(it, expected)) {
        return Err(Refusal("the subject is confirmed for somebody else, another request, or not now"));
    }
    let name = subject.only(ASSERTION, "NameID");
    let name_id = name.map(|it| it.text().to_owned()).unwrap_or_default();
    if name_id.len() > MAX_ID || subject.all(ASSERTION, "NameID").count() > 1 {
        return Err(Refusal("the subject has too long a name, or several"));
    }
    Ok(Assertion {
        id: id.to_owned(),
        name_id,
        name_id_format: name.and_then(|it| it.attribute("Format")).unwrap_or(UNSPECIFIED).to_owned(),
        attributes: attributes(element),
        session_ends: session_ends(element, expected)?,
    })
}

/// The conditions hold, we are among the audience, and there is none that we do not know.
fn check_conditions(element: &Element, expected: &Expected<'_>) -> Result<(), Refusal> {
    let conditions =
        element.only(ASSERTION, "Conditions").ok_or(Refusal("the assertion has no conditions"))?;
    if !is_now(conditions, expected)? {
        return Err(Refusal("the assertion is not yet valid, or not any more"));
    }
    let mut restrictions = 0;
    for condition in &conditions.children {
        if condition.is(ASSERTION, "AudienceRestriction") {
            restrictions += 1;
            let mut audiences = condition.all(ASSERTION, "Audience");
            if !audiences.any(|it| it.text() == expected.service.entity_id) {
                return Err(Refusal("the assertion is meant for somebody else"));
            }
        } else if !condition.is(ASSERTION, "OneTimeUse") && !condition.is(ASSERTION, "ProxyRestriction") {
            return Err(Refusal("the assertion has an unknown condition"));
        }
    }
    if restrictions == 0 { Err(Refusal("the assertion does not say who it is meant for")) } else { Ok(()) }
}

/// Whether a confirmation lets whoever brings the assertion be its subject: here, now, for this request.
fn confirms(confirmation: &Element, expected: &Expected<'_>) -> bool {
    let Some(data) = confirmation.only(ASSERTION, "SubjectConfirmationData") else { return false };
    confirmation.attribute("Method") == Some(BEARER)
        && data.attribute("Recipient") == Some(&expected.service.acs)
        && data.attribute("InResponseTo").filter(|it| !it.is_empty()) == expected.request_id
        && data.attribute("NotOnOrAfter").is_some()
        && is_now(data, expected) == Ok(true)
}

/// Whether now is between `NotBefore` and `NotOnOrAfter`, where they are told.
fn is_now(element: &Element, expected: &Expected<'_>) -> Result<bool, Refusal> {
    let begun = time(element, "NotBefore")?.is_none_or(|it| it <= later(expected.now, SKEW_SECS));
    let over = time(element, "NotOnOrAfter")?.is_some_and(|it| it <= later(expected.now, -SKEW_SECS));
    Ok(begun && !over)
}

/// The earliest end that a statement about the sign-in names.
fn session_ends(element: &Element, expected: &Expected<'_>) -> Result<Option<Timestamp>, Refusal> {
    let mut earliest: Option<Timestamp> = None;
    for statement in element.all(ASSERTION, "AuthnStatement") {
        if let Some(end) = time(statement, "SessionNotOnOrAfter")? {
            earliest = Some(earliest.map_or(end, |it| it.min(end)));
        }
    }
    match earliest {
        Some(end) if end <= expected.now => Err(Refusal("the session at the provider is over")),
        other => Ok(other),
    }
}

fn attributes(element: &Element) -> Vec<Attribute> {
    let statements = element.all(ASSERTION, "AttributeStatement");
    let all = statements.flat_map(|it| it.all(ASSERTION, "Attribute"));
    all.map(|it| Attribute {
        name: it.attribute("Name").unwrap_or_default().to_owned(),
        friendly: it.attribute("FriendlyName").unwrap_or_default().to_owned(),
        values: it.all(ASSERTION, "AttributeValue").map(|it| it.text().to_owned()).collect(),
    })
    .collect()
}

fn required(element: &Element, name: &str) -> Result<Timestamp, Refusal> {
    time(element, name)?.ok_or(Refusal("a time is missing"))
}

fn time(element: &Element, name: &str) -> Result<Option<Timestamp>, Refusal> {
    let Some(text) = element.attribute(name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Refusal("a time cannot be read"))
}

pub(super) fn later(now: Timestamp, secs: i64) -> Timestamp {
    now.saturating_add(jiff::SignedDuration::from_secs(secs)).unwrap_or(now)
}
