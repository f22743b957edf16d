//! What a browser brings from a provider: decoded, looked at, verified. Pure.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use saml_rs::{
    AcsEndpoint, BrowserInput, ClockSkew, EntityId, FormField, IdpDescriptor, MessageId, MetadataTrustPolicy,
    PendingAuthnRequest, RelayStateParam, ReplayPolicy, Saml, SamlError, SamlValidationContext, SpConfig,
    SpValidationPolicy, SsoResponse, SsoResponseBinding, SsoSession, XmlSignatureProfile,
};

use super::metadata::IdpMetadata;
use super::xml::{self, Element, MAX_MESSAGE_BYTES};
use super::{ASSERTION, Assertion, PROTOCOL, Refusal, SKEW_SECS, Service, assertion, shape};

const SUCCESS: &str = "urn:oasis:names:tc:SAML:2.0:status:Success";

/// A response that is XML; nothing in it is verified.
#[derive(Debug)]
pub(crate) struct Message {
    text: String,
    root: Element,
}

/// Why a form holds no message.
#[derive(Debug)]
pub(crate) enum FormError {
    /// It is no Base64.
    Base64,
    /// It is no XML that we read.
    Xml(Refusal),
}

/// What an answer must fit.
#[derive(Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) service: &'a Service,
    pub(crate) idp: &'a IdpMetadata,
    /// The request that it answers; `None`: it must answer none.
    pub(crate) request_id: Option<&'a str>,
    pub(crate) now: Timestamp,
}

impl Message {
    /// From the form's field.
    ///
    /// # Errors
    /// [`FormError`]
    pub(crate) fn parse(field: &str) -> Result<Self, FormError> {
        let too_large = FormError::Xml(Refusal("the message is too large"));
        if field.len() > MAX_MESSAGE_BYTES * 3 / 2 {
            return Err(too_large);
        }
        // Lines may be broken.
        let field: String = field.chars().filter(|it| !it.is_ascii_whitespace()).collect();
        let bytes = BASE64_STANDARD.decode(field).map_err(|_| FormError::Base64)?;
        let text = String::from_utf8(bytes).map_err(|_| FormError::Xml(Refusal("this is no UTF-8")))?;
        let root = xml::message(&text).map_err(FormError::Xml)?;
        if root.is(PROTOCOL, "Response") {
            return Ok(Self { text, root });
        }
        Err(FormError::Xml(Refusal("this is no response")))
    }

    /// Who claims to have sent it: the response's issuer, else the assertion's.
    pub(crate) fn issuer(&self) -> &str {
        let assertion = || self.root.only(ASSERTION, "Assertion")?.only(ASSERTION, "Issuer");
        self.root.only(ASSERTION, "Issuer").or_else(assertion).map_or("", Element::text)
    }
}

/// What `message` says, when all of it fits. Takes milliseconds for the largest: not on a thread that serves requests.
///
/// # Errors
/// [`Refusal`] says what does not.
pub(crate) fn read(message: &Message, expected: &Expected<'_>) -> Result<Assertion, Refusal> {
    let signed = shape::assertion(&message.root)?;
    check_times(&message.root)?;
    check_envelope(&message.root, expected)?;
    let read = assertion::read(signed, expected)?;
    let session = verify(message, expected).map_err(|error| refused(&error))?;
    // Two readers of one text: they agree, or something was made to look like two things.
    let same =
        session.assertion_id().as_str() == read.id && session.name_id().value().trim() == read.name_id();
    if same { Ok(read) } else { Err(Refusal("the assertion can be read in two ways")) }
}

/// Every time can be read, and is not so late that adding to it fails.
fn check_times(response: &Element) -> Result<(), Refusal> {
    const NAMES: [&str; 5] =
        ["IssueInstant", "NotBefore", "NotOnOrAfter", "AuthnInstant", "SessionNotOnOrAfter"];
    let mut times = response.descend().flat_map(|it| NAMES.iter().filter_map(|name| it.attribute(name)));
    let legible = times.all(|it| it.parse::<Timestamp>().is_ok());
    if legible { Ok(()) } else { Err(Refusal("a time cannot be read")) }
}

/// What the response says around the assertion. It may be unsigned, so all of it is told again inside or harmless.
fn check_envelope(response: &Element, expected: &Expected<'_>) -> Result<(), Refusal> {
    let status = response.only(PROTOCOL, "Status").and_then(|it| it.only(PROTOCOL, "StatusCode"));
    if status.and_then(|it| it.attribute("Value")) != Some(SUCCESS) {
        return Err(Refusal("the provider refused"));
    }
    if response.only(ASSERTION, "Issuer").is_some_and(|it| it.text() != expected.idp.entity_id) {
        return Err(Refusal("the response is of another issuer"));
    }
    if response.attribute("Destination").is_some_and(|it| !it.is_empty() && it != expected.service.acs) {
        return Err(Refusal("the response was meant for another address"));
    }
    if response.attribute("InResponseTo").filter(|it| !it.is_empty()) != expected.request_id {
        return Err(Refusal("the response answers another request"));
    }
    Ok(())
}

fn verify(message: &Message, expected: &Expected<'_>) -> Result<SsoSession, SamlError> {
    let acs = AcsEndpoint::post(&expected.service.acs)?;
    let config = SpConfig::builder(EntityId::try_new(&expected.service.entity_id)?)
        .acs_endpoint(acs.clone())
        .validation(SpValidationPolicy {
            xml_signatures: XmlSignatureProfile::StrictRsaSha2,
            audience: saml_rs::AudienceValidationPolicy::Validate,
            ..SpValidationPolicy::recommended()
        })
        .build()?;
    let sp = Saml::sp(config)?;
    // Made from what we read ourselves: the library sees no metadata of others.
    let trust = MetadataTrustPolicy::UnsignedForCompatibility;
    let idp = IdpDescriptor::from_metadata_xml(&expected.idp.minimal(), trust)?;
    let field = FormField::new("SAMLResponse", BASE64_STANDARD.encode(&message.text));
    let input = BrowserInput::<SsoResponse>::post(vec![field]);
    // Replays are refused by the database, for all processes.
    let skew = ClockSkew::from_millis(-SKEW_SECS * 1000, SKEW_SECS * 1000);
    let now = SamlValidationContext::new(expected.now.into(), ReplayPolicy::DisabledForCompatibility);
    let now = now.with_clock_skew(skew);
    let Some(request) = expected.request_id else { return sp.accept_unsolicited_sso(&idp, input, now) };
    let pending = PendingAuthnRequest::try_new(
        MessageId::try_new(request)?,
        RelayStateParam::absent(),
        acs,
        SsoResponseBinding::Post,
        EntityId::try_new(&expected.idp.entity_id)?,
    )?;
    sp.finish_sso(&idp, &pending, input, now)
}

/// The library's reason, without what the message held.
fn refused(error: &SamlError) -> Refusal {
    Refusal(match error {
        SamlError::SignatureMissing => "there is no signature",
        SamlError::SignatureVerification { .. } => "no signature verifies by a key of the provider",
        SamlError::CertificateMismatch => "the signature is by another key",
        SamlError::PotentialWrappingAttack | SamlError::SignedReferenceMismatch => {
            "a signature covers something else"
        }
        SamlError::AudienceMismatch { .. } => "the assertion is meant for somebody else",
        SamlError::TimeWindowInvalid { .. } => "the assertion is not valid now",
        SamlError::AlgorithmUnsupported => "an algorithm is not allowed",
        SamlError::SubjectConfirmationInvalid { .. } => "the subject is not confirmed",
        _ => "the library refused the response",
    })
}

#[cfg(test)]
mod tests;
