//! What an identity provider publishes about itself, and what we publish. Pure.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use url::Url;

use super::xml::{self, Element};
use super::{METADATA, NAME_ID_FORMATS, POST, PROTOCOL, REDIRECT, Refusal, SIGNATURE, Service, escape};

const MAX_ENTITY_ID: usize = 1024;
const MAX_URL: usize = 2048;
const MAX_CERTIFICATES: usize = 20;

/// What we need to know of an identity provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdpMetadata {
    pub(crate) entity_id: String,
    /// Where browsers are sent.
    pub(crate) sso_url: String,
    /// Base64 of the certificates of its keys; nothing but the keys counts.
    pub(crate) certificates: Vec<String>,
    /// When the provider wants to be asked again.
    pub(crate) valid_until: Option<Timestamp>,
}

/// Why a document is no metadata.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MetadataError {
    #[error("SAML Metadata is not valid XML: {0}")]
    Xml(Refusal),
    #[error("SAML Metadata does not contain an EntityID")]
    NoEntityId,
    #[error("SAML Metadata does not contain any IDPSSODescriptor")]
    NoIdp,
    #[error("SAML Metadata contains multiple IDPSSODescriptors")]
    ManyIdps,
    #[error("SAML Metadata does not contain a SingleSignOnService with the HTTP-Redirect binding")]
    NoAddress,
    #[error("SAML Metadata does not contain a signing certificate that can be read")]
    NoCertificate,
}

impl IdpMetadata {
    /// From a document with one provider.
    ///
    /// # Errors
    /// [`MetadataError`] says what is missing.
    pub(crate) fn parse(text: &str) -> Result<Self, MetadataError> {
        let root = xml::document(text).map_err(MetadataError::Xml)?;
        let entity = entity(&root)?;
        let entity_id = entity.attribute("entityID").map(str::trim).unwrap_or_default();
        if entity_id.is_empty() || entity_id.len() > MAX_ENTITY_ID {
            return Err(MetadataError::NoEntityId);
        }
        let idp = match entity.all(METADATA, "IDPSSODescriptor").count() {
            0 => return Err(MetadataError::NoIdp),
            1 => entity.only(METADATA, "IDPSSODescriptor").ok_or(MetadataError::NoIdp)?,
            _ => return Err(MetadataError::ManyIdps),
        };
        let mut services = idp.all(METADATA, "SingleSignOnService");
        let service = services.find(|it| it.attribute("Binding") == Some(REDIRECT));
        let sso_url = service.and_then(|it| it.attribute("Location")).filter(|it| is_web(it));
        let valid_until = [&root, entity, idp].into_iter().find_map(|it| it.attribute("validUntil"));
        Ok(Self {
            entity_id: entity_id.to_owned(),
            sso_url: sso_url.ok_or(MetadataError::NoAddress)?.to_owned(),
            certificates: certificates(idp)?,
            valid_until: valid_until.and_then(|it| it.parse().ok()),
        })
    }

    /// The same as a document of our own, with nothing else in it.
    pub(super) fn minimal(&self) -> String {
        let keys: String = self.certificates.iter().map(|it| key_descriptor(it)).collect();
        format!(
            "<md:EntityDescriptor xmlns:md=\"{METADATA}\" entityID=\"{}\"><md:IDPSSODescriptor \
             protocolSupportEnumeration=\"{PROTOCOL}\">{keys}<md:SingleSignOnService Binding=\"{REDIRECT}\" \
             Location=\"{}\"/></md:IDPSSODescriptor></md:EntityDescriptor>",
            escape(&self.entity_id),
            escape(&self.sso_url)
        )
    }
}

/// The entity: the document itself, or the only one in a list.
fn entity(root: &Element) -> Result<&Element, MetadataError> {
    if root.is(METADATA, "EntitiesDescriptor") {
        return root.only(METADATA, "EntityDescriptor").ok_or(MetadataError::NoEntityId);
    }
    if root.is(METADATA, "EntityDescriptor") { Ok(root) } else { Err(MetadataError::NoEntityId) }
}

fn is_web(address: &str) -> bool {
    let web = Url::parse(address).is_ok_and(|it| matches!(it.scheme(), "http" | "https") && it.has_host());
    web && address.len() <= MAX_URL && !address.contains('#')
}

/// The certificates of the keys that sign.
fn certificates(idp: &Element) -> Result<Vec<String>, MetadataError> {
    let keys = idp.all(METADATA, "KeyDescriptor").filter(|it| it.attribute("use") != Some("encryption"));
    let infos = keys.flat_map(|it| it.all(SIGNATURE, "KeyInfo")).flat_map(|it| it.all(SIGNATURE, "X509Data"));
    let mut found = Vec::new();
    for element in infos.flat_map(|it| it.all(SIGNATURE, "X509Certificate")) {
        let text: String = element.text().chars().filter(|it| !it.is_ascii_whitespace()).collect();
        let der = BASE64_STANDARD.decode(&text).map_err(|_| MetadataError::NoCertificate)?;
        // A sequence: the rest is the library's to read.
        if der.first() != Some(&0x30) {
            return Err(MetadataError::NoCertificate);
        }
        if !found.contains(&text) {
            found.push(text);
        }
    }
    if found.is_empty() || found.len() > MAX_CERTIFICATES {
        Err(MetadataError::NoCertificate)
    } else {
        Ok(found)
    }
}

fn key_descriptor(certificate: &str) -> String {
    format!(
        "<md:KeyDescriptor use=\"signing\"><ds:KeyInfo xmlns:ds=\"{SIGNATURE}\"><ds:X509Data><ds:X509Certificate>\
         {certificate}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"
    )
}

impl Service {
    /// What identity providers import about us; `certificate` is that of our key, in Base64.
    pub(crate) fn metadata(&self, certificate: &str, valid_until: Option<Timestamp>) -> String {
        let until = valid_until.and_then(|it| Timestamp::from_second(it.as_second()).ok());
        let until = until.map(|it| format!(" validUntil=\"{it}\"")).unwrap_or_default();
        let formats: String =
            NAME_ID_FORMATS.iter().map(|it| format!("<md:NameIDFormat>{it}</md:NameIDFormat>")).collect();
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<md:EntityDescriptor xmlns:md=\"{METADATA}\" \
             entityID=\"{}\"{until}><md:SPSSODescriptor AuthnRequestsSigned=\"true\" WantAssertionsSigned=\"true\" \
             protocolSupportEnumeration=\"{PROTOCOL}\">{}{formats}<md:AssertionConsumerService Binding=\"{POST}\" \
             Location=\"{}\" index=\"1\" isDefault=\"true\"/></md:SPSSODescriptor></md:EntityDescriptor>",
            escape(&self.entity_id),
            key_descriptor(certificate),
            escape(&self.acs)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(inner: &str) -> String {
        format!(
            "<!-- x --><EntityDescriptor xmlns=\"{METADATA}\" entityID=\"https://idp\">{inner}</EntityDescriptor>"
        )
    }

    fn idp(inner: &str) -> String {
        format!("<IDPSSODescriptor>{inner}</IDPSSODescriptor>")
    }

    #[test]
    fn what_is_needed_is_found_and_survives_our_own_writing() {
        let key = key_descriptor("MA==").replace("md:", "");
        let service = format!(
            "<SingleSignOnService Binding=\"{POST}\" Location=\"https://idp/post\"/>\
             <SingleSignOnService Binding=\"{REDIRECT}\" Location=\"https://idp/sso?a=1&amp;b=2\"/>"
        );
        let found = IdpMetadata::parse(&document(&idp(&format!("{key}{service}")))).unwrap();
        assert_eq!(found.sso_url, "https://idp/sso?a=1&b=2");
        assert_eq!(IdpMetadata::parse(&found.minimal()), Ok(found));
    }

    #[test]
    fn what_is_missing_is_told() {
        let service = format!("<SingleSignOnService Binding=\"{REDIRECT}\" Location=\"https://idp/sso\"/>");
        let check = |text: &str| IdpMetadata::parse(text).unwrap_err();
        assert_eq!(check("<a/>"), MetadataError::NoEntityId);
        assert_eq!(check(&document("")), MetadataError::NoIdp);
        assert_eq!(check(&document(&idp("").repeat(2))), MetadataError::ManyIdps);
        assert_eq!(check(&document(&idp(""))), MetadataError::NoAddress);
        assert_eq!(check(&document(&idp(&service))), MetadataError::NoCertificate);
        let script = service.replace("https://idp/sso", "javascript:alert(1)");
        assert_eq!(check(&document(&idp(&script))), MetadataError::NoAddress);
        assert!(matches!(check("<!DOCTYPE a><a/>"), MetadataError::Xml(_)));
    }
}
