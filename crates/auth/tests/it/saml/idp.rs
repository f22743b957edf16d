//! An organisation's identity provider: a key of its own, answers that it signs, and forgeries made of them.

use std::io::Read as _;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::read::DeflateDecoder;
use http::{Method, Request};
use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use saml_rs::constants::signature_algorithm::RSA_SHA256;
use saml_rs::crypto::{construct_saml_signature, keys::load_private_key};
use serde_json::{Value, json};

use crate::external::said;
use crate::support::{Answer, Api};

pub(crate) const ENTITY: &str = "https://idp.test/metadata";
pub(crate) const ACS: &str = "http://api.test/auth/v1/sso/saml/acs";
pub(crate) const SERVICE: &str = "http://api.test/auth/v1/sso/saml/metadata";
pub(crate) const PERSISTENT: &str = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent";
const NAMESPACES: &str = "xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:protocol\" \
     xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\"";

/// A key and its certificate.
pub(crate) struct Signer {
    pem: String,
    /// Base64.
    pub(crate) certificate: String,
}

impl Signer {
    fn new() -> Self {
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let certificate = CertificateParams::new(Vec::new()).unwrap().self_signed(&pair).unwrap();
        Self { pem: pair.serialize_pem(), certificate: BASE64_STANDARD.encode(certificate.der()) }
    }

    /// The organisation's.
    pub(crate) fn right() -> &'static Self {
        static KEY: OnceLock<Signer> = OnceLock::new();
        KEY.get_or_init(Self::new)
    }

    /// Somebody else's.
    pub(crate) fn wrong() -> &'static Self {
        static KEY: OnceLock<Signer> = OnceLock::new();
        KEY.get_or_init(Self::new)
    }

    fn sign(&self, xml: &str, whole: bool, algorithm: &str) -> String {
        let key = load_private_key(&self.pem, None).unwrap();
        construct_saml_signature(xml, whole, &key, &self.certificate, algorithm, &[], None).unwrap()
    }

    /// A response with its assertion signed.
    pub(crate) fn sign_assertion(&self, xml: &str) -> String {
        self.sign(xml, false, RSA_SHA256)
    }

    /// A response signed as a whole.
    pub(crate) fn sign_response(&self, xml: &str) -> String {
        self.sign(xml, true, RSA_SHA256)
    }
}

pub(crate) fn metadata() -> String {
    metadata_of(ENTITY, &[Signer::right()])
}

pub(crate) fn metadata_of(entity: &str, signers: &[&Signer]) -> String {
    let keys: String = signers
        .iter()
        .map(|it| {
            format!(
                "<KeyDescriptor use=\"signing\"><ds:KeyInfo xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\">\
                 <ds:X509Data><ds:X509Certificate>\n{}\n</ds:X509Certificate></ds:X509Data></ds:KeyInfo></KeyDescriptor>",
                it.certificate
            )
        })
        .collect();
    format!(
        "<?xml version=\"1.0\"?>\n<!-- published by a test -->\n\
         <EntityDescriptor xmlns=\"urn:oasis:names:tc:SAML:2.0:metadata\" entityID=\"{entity}\">\
         <IDPSSODescriptor protocolSupportEnumeration=\"urn:oasis:names:tc:SAML:2.0:protocol\">{keys}\
         <SingleSignOnService Binding=\"urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect\" \
         Location=\"https://idp.test/sso\"/></IDPSSODescriptor></EntityDescriptor>"
    )
}

/// An answer before it is signed; tests change a field to lie.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) id: String,
    pub(crate) assertion_id: String,
    pub(crate) in_response_to: Option<String>,
    pub(crate) issuer: String,
    pub(crate) destination: String,
    pub(crate) recipient: String,
    pub(crate) audience: String,
    pub(crate) issued: Timestamp,
    pub(crate) lifetime_secs: i64,
    /// As XML.
    pub(crate) name_id: String,
    pub(crate) name_id_format: String,
    pub(crate) attributes: Vec<(String, Vec<String>)>,
    pub(crate) session_ends: Option<Timestamp>,
    pub(crate) status: String,
    /// Put into the conditions.
    pub(crate) conditions: String,
}

impl Draft {
    /// An honest answer to `request`, or to nobody.
    pub(crate) fn new(request: Option<&str>) -> Self {
        let random = || format!("_{}", uuid::Uuid::new_v4().simple());
        Self {
            id: random(),
            assertion_id: random(),
            in_response_to: request.map(str::to_owned),
            issuer: ENTITY.into(),
            destination: ACS.into(),
            recipient: ACS.into(),
            audience: SERVICE.into(),
            issued: Timestamp::from_second(Timestamp::now().as_second()).unwrap(),
            lifetime_secs: 300,
            name_id: "user-1".into(),
            name_id_format: PERSISTENT.into(),
            attributes: vec![("mail".into(), vec!["Ada@Org.test".into()])],
            session_ends: None,
            status: "urn:oasis:names:tc:SAML:2.0:status:Success".into(),
            conditions: String::new(),
        }
    }

    pub(crate) fn assertion(&self) -> String {
        let in_response_to = self.in_response_to();
        let (issued, begins) = (self.issued, self.issued - SignedDuration::from_secs(60));
        let over = self.issued + SignedDuration::from_secs(self.lifetime_secs);
        let ends = self.session_ends.map(|it| format!(" SessionNotOnOrAfter=\"{it}\"")).unwrap_or_default();
        let attributes: String =
            self.attributes.iter().map(|(name, values)| attribute(name, values)).collect();
        format!(
            "<saml:Assertion ID=\"{}\" Version=\"2.0\" IssueInstant=\"{issued}\"><saml:Issuer>{}</saml:Issuer>\
             <saml:Subject><saml:NameID Format=\"{}\">{}</saml:NameID>\
             <saml:SubjectConfirmation Method=\"urn:oasis:names:tc:SAML:2.0:cm:bearer\">\
             <saml:SubjectConfirmationData NotOnOrAfter=\"{over}\" Recipient=\"{}\"{in_response_to}/>\
             </saml:SubjectConfirmation></saml:Subject>\
             <saml:Conditions NotBefore=\"{begins}\" NotOnOrAfter=\"{over}\"><saml:AudienceRestriction>\
             <saml:Audience>{}</saml:Audience></saml:AudienceRestriction>{}</saml:Conditions>\
             <saml:AuthnStatement AuthnInstant=\"{issued}\"{ends}><saml:AuthnContext><saml:AuthnContextClassRef>\
             urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef></saml:AuthnContext>\
             </saml:AuthnStatement><saml:AttributeStatement>{attributes}</saml:AttributeStatement></saml:Assertion>",
            self.assertion_id,
            self.issuer,
            self.name_id_format,
            self.name_id,
            self.recipient,
            self.audience,
            self.conditions,
        )
    }

    fn in_response_to(&self) -> String {
        self.in_response_to.as_ref().map(|it| format!(" InResponseTo=\"{it}\"")).unwrap_or_default()
    }

    /// The response around `assertion`.
    pub(crate) fn around(&self, assertion: &str) -> String {
        format!(
            "<samlp:Response {NAMESPACES} ID=\"{}\" Version=\"2.0\" IssueInstant=\"{}\" Destination=\"{}\"{}>\
             <saml:Issuer>{}</saml:Issuer><samlp:Status><samlp:StatusCode Value=\"{}\"/></samlp:Status>{assertion}\
             </samlp:Response>",
            self.id,
            self.issued,
            self.destination,
            self.in_response_to(),
            self.issuer,
            self.status,
        )
    }

    pub(crate) fn unsigned(&self) -> String {
        self.around(&self.assertion())
    }

    /// With the assertion signed by the organisation.
    pub(crate) fn signed(&self) -> String {
        Signer::right().sign_assertion(&self.unsigned())
    }
}

fn attribute(name: &str, values: &[String]) -> String {
    let values: String =
        values.iter().map(|it| format!("<saml:AttributeValue>{it}</saml:AttributeValue>")).collect();
    format!("<saml:Attribute Name=\"{name}\">{values}</saml:Attribute>")
}

/// A sign-in that waits for the provider.
pub(crate) struct Begun {
    pub(crate) url: String,
    pub(crate) request: String,
    pub(crate) request_id: String,
    pub(crate) relay_state: String,
}

impl Api {
    /// A project with the organisation of domain `org.test`; what was answered when it was made.
    pub(crate) async fn organisation(&self, more: Value) -> Value {
        let mut body = json!({"type": "saml", "metadata_xml": metadata(), "domains": ["org.test"]});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let made = self.admin(Method::POST, "/admin/sso/providers", body).await;
        assert_eq!(made.status, 201, "{}", made.body);
        made.body
    }

    /// Begin a sign-in with `more` in the body.
    pub(crate) async fn begin_sso(&self, more: Value) -> Begun {
        let mut body = json!({"domain": "org.test", "skip_http_redirect": true});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let answer = self.post("/sso", body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let url = answer.body["url"].as_str().unwrap().to_owned();
        let said = said(&url);
        let deflated = BASE64_STANDARD.decode(&said["SAMLRequest"]).unwrap();
        let mut request = String::new();
        DeflateDecoder::new(&*deflated).read_to_string(&mut request).unwrap();
        let id = request.split(" ID=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        Begun { url, request, request_id: id, relay_state: said["RelayState"].clone() }
    }

    /// What the provider's page makes the browser send.
    pub(crate) async fn bring(&self, xml: &str, relay_state: &str) -> Answer {
        self.bring_form(&[("SAMLResponse", &BASE64_STANDARD.encode(xml)), ("RelayState", relay_state)]).await
    }

    pub(crate) async fn bring_form(&self, fields: &[(&str, &str)]) -> Answer {
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.request(&Method::POST, "/sso/saml/acs", None);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let request: Request<axum::body::Body> = request.body(form.into()).unwrap();
        self.send(request).await
    }

    /// A whole sign-in at the organisation; what the browser ends with.
    pub(crate) async fn through_sso(&self, change: impl FnOnce(&mut Draft)) -> Answer {
        let begun = self.begin_sso(json!({})).await;
        let mut draft = Draft::new(Some(&begun.request_id));
        change(&mut draft);
        self.bring(&draft.signed(), &begun.relay_state).await
    }
}

/// What the browser is told: the error's code and description, or the empty text.
pub(crate) fn refusal(answer: &Answer) -> (u16, String, String) {
    let location = answer.headers.get("location").map_or("", |it| it.to_str().unwrap());
    if location.is_empty() {
        return (answer.status.as_u16(), answer.refusal().1.to_owned(), answer.body.to_string());
    }
    let said = said(location);
    let text = |name: &str| said.get(name).cloned().unwrap_or_default();
    (answer.status.as_u16(), text("error_code"), text("error_description"))
}

/// Refused like any forgery: sent to the site without a session, and nobody learns why.
#[track_caller]
pub(crate) fn assert_forged(answer: &Answer, what: &str) {
    let (status, code, description) = refusal(answer);
    assert_eq!(status, 303, "{what}: {:?}", answer.headers.get("location"));
    assert_eq!((&*code, &*description), ("validation_failed", "SAML Assertion is not valid"), "{what}");
    let location = answer.location();
    assert!(location.starts_with("http://localhost:3000?"), "{what}: {location}");
    assert!(!location.contains("token"), "{what}: {location}");
}
